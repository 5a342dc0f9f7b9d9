"""The networks of R3GAN (Huang et al. 2024, section 4 and appendix): residual blocks of grouped convolutions between
convolutions 1x1, no normalisation, for any size that doubles a small map. G and D mirror each other.

bfloat16 is for the three highest resolutions; below them everything is computed in float32 whatever the precision.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from gansmith.layers.labels import EMBEDDING_DIM, required
from gansmith.layers.piecewise import PLAIN, Pass
from gansmith.layers.resample import bilinear_doubled, bilinear_halved
from gansmith.runtime import at_least_float32, full_precision
from gansmith.settings import R3GANDiscriminator, R3GANGenerator, whole_groups
from gansmith.sizes import Size, required_stages

GROUP = 16
"""Channels of a group."""
INSIDE = 2
"""A block is so many times as wide inside."""
NUM_ROUGH = 3
"""The highest resolutions, which may be computed in bfloat16."""
CURVATURE = 1.04
"""1 + slope^2 of LeakyReLU 0.2: what the second moment of its output is 1/2 of."""


def widths_of(width: int, constant: int, num_resolutions: int) -> list[int]:
    """Return the channels of each resolution, from the base map up: `constant` times `width`, then halved each time, in
    whole groups.
    """
    return [whole_groups(width / 2 ** max(0, index - constant + 1)) for index in range(num_resolutions)]


class Block(nn.Module):
    """Conv 1x1 to twice the width, LeakyReLU, grouped conv 3x3, LeakyReLU, conv 1x1 back, added to the input.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inside = INSIDE * width
        self.first = nn.Conv2d(width, inside, 1)
        self.second = nn.Conv2d(inside, inside, 3, padding=1, groups=inside // GROUP)
        self.third = nn.Conv2d(inside, width, 1, bias=False)

    def forward(self, maps: Tensor, through: Pass = PLAIN) -> Tensor:
        """Return (N, width, H, W) for maps of that shape."""
        inner = through.activation(through.layer(self.first, maps))
        inner = through.activation(through.layer(self.second, inner))
        return maps + through.layer(self.third, inner)


class Stage(nn.Module):
    """One resolution: the map comes from the one before, then blocks.

    Args:
        before: channels of the map that comes.
        width: channels here; a convolution 1x1, where they differ, is computed on the smaller map: it commutes with the
            filter.
        num_blocks: one after another.
        is_rough: computed in the precision that autocast asks for, else in float32.
        resized: what happens to the map that comes.
    """

    def __init__(
        self, before: int, width: int, num_blocks: int, is_rough: bool, resized: Literal["doubled", "halved", "not"]
    ) -> None:
        super().__init__()
        self.transition = None if before == width else nn.Conv2d(before, width, 1, bias=False)
        self.blocks = nn.ModuleList(Block(width) for _ in range(num_blocks))
        self.is_rough, self.resized = is_rough, resized

    def forward(self, maps: Tensor, through: Pass = PLAIN) -> Tensor:
        """Return (N, width, H, W); maps (N, before, H, W), or half or twice that size."""
        with nullcontext() if self.is_rough else full_precision(maps.device):
            maps = _in_precision(maps)
            if self.resized == "halved":
                maps = bilinear_halved(maps)
            if self.transition is not None:
                maps = through.layer(self.transition, maps)
            if self.resized == "doubled":
                maps = bilinear_doubled(maps)
            for block in self.blocks:
                maps = block(maps, through)
            return maps


def _in_precision(maps: Tensor) -> Tensor:
    """Return maps in what autocast computes products in, so that sums with their results are in that too."""
    kind = maps.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return at_least_float32(maps)
    return maps if maps.dtype == torch.float64 else maps.to(torch.get_autocast_dtype(kind))


def _draw(weight: Tensor, gain: float, fan_in: int) -> None:
    if not weight.is_meta:  # a second of imports, for nothing
        nn.init.normal_(weight, 0.0, gain / math.sqrt(fan_in))


def _initialise(network: nn.Module) -> None:
    """Draw normal weights of std gain / sqrt(fan-in); biases 0. Inside blocks the gain is sqrt(2 / 1.04) L^(-1/4) for L
    blocks in the network, and the last convolution of each is 0 (as in Fixup, Zhang et al. 2019); elsewhere it is 1.
    """
    blocks = [block for block in network.modules() if isinstance(block, Block)]
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            _draw(layer.weight, 1.0, layer.weight[0].numel())
    gain = math.sqrt(2 / CURVATURE) * len(blocks) ** -0.25
    for block in blocks:
        for layer in (block.first, block.second):
            _draw(layer.weight, gain, layer.weight[0].numel())
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(block.third.weight)


class BaseMaps(nn.Module):
    """Learned maps, each scaled by a bias-free dense layer of the latents.

    Args:
        in_features: of a sample.
        shape: (C, H, W) of the maps.
    """

    def __init__(self, in_features: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.scale = nn.Linear(in_features, shape[0], bias=False)
        self.maps = nn.Parameter(torch.empty(1, *shape))

    def forward(self, latents: Tensor) -> Tensor:
        """Return (N, C, H, W), channels last in memory, for (N, in_features)."""
        scaled: Tensor = self.maps * self.scale(latents)[:, :, None, None]
        return scaled.contiguous(memory_format=torch.channels_last)


class R3GANGeneratorNetwork(nn.Module):
    """Latents -> scaled base maps -> stages, each of twice the size -> conv 1x1 -> images.

    Args:
        settings: widths, blocks and latent dimension.
        size: (height, width) of the images; one that `sizes.stages_of` knows.
        channels: of the images.
        num_classes: 0 for none.
    """

    def __init__(self, settings: R3GANGenerator, size: Size, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        base = required_stages(size)
        self.latent_dim, count = settings.latent_dim, base.num_doublings + 1
        widths = widths_of(settings.width, settings.constant, count)
        self.embedding = nn.Embedding(num_classes, EMBEDDING_DIM) if num_classes else None
        in_features = settings.latent_dim + (EMBEDDING_DIM if num_classes else 0)
        self.base = BaseMaps(in_features, (widths[0], base.height, base.width))
        first = Stage(widths[0], widths[0], settings.blocks, count <= NUM_ROUGH, "not")
        self.stages = nn.Sequential(first, *(
            Stage(before, width, settings.blocks, index >= count - NUM_ROUGH, "doubled")
            for index, (before, width) in enumerate(pairwise(widths), start=1)
        ))  # fmt: skip
        self.image = nn.Conv2d(widths[-1], channels, 1, bias=False)
        _initialise(self)
        _draw(self.base.maps, 1.0, 1)
        if self.embedding is not None:
            _draw(self.embedding.weight, 1.0, num_classes)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N, C, H, W) for latents (N, latent_dim) and labels (N,) where there are classes: as they come in
        training, cut off at -1 and 1 in eval mode.
        """
        with full_precision(latents.device):
            if self.embedding is not None:
                latents = torch.cat([latents, self.embedding(required(labels))], 1)
            maps = self.base(latents)
        images: Tensor = self.image(self.stages(maps))
        return images if self.training else images.clamp(-1, 1)


class R3GANDiscriminatorNetwork(nn.Module):
    """Images -> conv 1x1 -> stages, each of half the size -> one logit each. Arguments as `R3GANGeneratorNetwork`."""

    def __init__(self, settings: R3GANDiscriminator, size: Size, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        base = required_stages(size)
        widths = widths_of(settings.width, settings.constant, base.num_doublings + 1)[::-1]
        self.image = nn.Conv2d(channels, widths[0], 1, bias=False)
        first = Stage(widths[0], widths[0], settings.blocks, True, "not")
        self.stages = nn.ModuleList([first, *(
            Stage(before, width, settings.blocks, index < NUM_ROUGH, "halved")
            for index, (before, width) in enumerate(pairwise(widths), start=1)
        )])  # fmt: skip
        self.logit = Head(widths[-1], (base.height, base.width), num_classes)
        _initialise(self)
        self.logit.initialise()

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N,) float32 logits for images (N, C, H, W) and labels (N,) where there are classes."""
        return self.run(images, labels, PLAIN)

    def run(self, images: Tensor, labels: Tensor | None, through: Pass) -> Tensor:
        """Return what `forward` does, computed through a pass (`layers/piecewise.py`)."""
        maps = through.layer(self.image, images)
        for stage in self.stages:
            maps = stage(maps, through)
        with full_precision(images.device):
            return through.layer(lambda values: self.logit(values, labels), at_least_float32(maps))


class Head(nn.Module):
    """A filter for each channel over its whole map, then a dense layer; with classes, the product of the features with
    an embedding of the class. No bias. Linear.

    Args:
        width: channels of the map.
        size: (height, width) of the map.
        num_classes: 0 for none.
    """

    def __init__(self, width: int, size: Size, num_classes: int) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.empty(1, width, *size))
        self.dense = nn.Linear(width, width if num_classes else 1, bias=False)
        self.embedding = nn.Embedding(num_classes, width) if num_classes else None

    def initialise(self) -> None:
        """Draw what `_initialise` knows nothing of; the embedding's gain is 1 / sqrt(width)."""
        _draw(self.filter, 1.0, self.filter[0, 0].numel())
        if self.embedding is not None:
            number, width = self.embedding.weight.shape
            _draw(self.embedding.weight, 1 / math.sqrt(width), number)

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N,) logits for maps (N, width, h, w)."""
        features: Tensor = self.dense((maps * self.filter).sum((2, 3)))
        return features[:, 0] if self.embedding is None else (features * self.embedding(required(labels))).sum(1)
