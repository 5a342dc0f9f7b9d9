"""The networks of R3GAN (Huang et al. 2024, section 4 and appendix): residual blocks of grouped convolutions between
convolutions 1x1, no normalisation, for any size that doubles a small map. G and D mirror each other.

bfloat16 is for the three highest resolutions; below them everything is computed in float32 whatever the precision.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

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
    """The blocks of one resolution.

    Args:
        width: channels.
        num_blocks: one after another.
        is_rough: computed in the precision that autocast asks for, else in float32.
    """

    def __init__(self, width: int, num_blocks: int, is_rough: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(num_blocks))
        self.is_rough = is_rough

    def forward(self, maps: Tensor, through: Pass = PLAIN) -> Tensor:
        """Return (N, width, H, W) for maps of that shape."""
        with self.precision(maps.device):
            maps = _in_precision(maps)
            for block in self.blocks:
                maps = block(maps, through)
            return maps

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context of this resolution."""
        return nullcontext() if self.is_rough else full_precision(device)


def _in_precision(maps: Tensor) -> Tensor:
    """Return maps in what autocast computes products in, so that sums with their results are in that too."""
    kind = maps.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return at_least_float32(maps)
    return maps if maps.dtype == torch.float64 else maps.to(torch.get_autocast_dtype(kind))


def _draw(weight: Tensor, gain: float, fan_in: int) -> None:
    if not weight.is_meta:  # a second of imports, for nothing
        nn.init.normal_(weight, 0.0, gain / math.sqrt(fan_in))


def _initialise(network: nn.Module, stages: nn.ModuleList) -> None:
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


class R3GANGeneratorNetwork(nn.Module):
    """Latents -> scales of learned base maps -> stages, the map doubled between them -> conv 1x1 -> images.

    Args:
        settings: widths, blocks and latent dimension.
        size: (height, width) of the images; one that `sizes.stages_of` knows.
        channels: of the images.
        num_classes: 0 for none.
    """

    def __init__(self, settings: R3GANGenerator, size: Size, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        stages = required_stages(size)
        self.latent_dim, count = settings.latent_dim, stages.num_doublings + 1
        widths = widths_of(settings.width, settings.constant, count)
        self.embedding = nn.Embedding(num_classes, EMBEDDING_DIM) if num_classes else None
        self.scale = nn.Linear(settings.latent_dim + EMBEDDING_DIM * (num_classes > 0), widths[0], bias=False)
        self.base = nn.Parameter(torch.empty(1, widths[0], stages.height, stages.width))
        self.stages = nn.ModuleList(
            Stage(width, settings.blocks, index >= count - NUM_ROUGH) for index, width in enumerate(widths)
        )
        self.transitions = nn.ModuleList(_transition(before, after) for before, after in pairwise(widths))
        self.image = nn.Conv2d(widths[-1], channels, 1, bias=False)
        _initialise(self, self.stages)
        _draw(self.base, 1.0, 1)
        if self.embedding is not None:
            _draw(self.embedding.weight, 1.0, num_classes)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N, C, H, W), not bounded, for latents (N, latent_dim) and labels (N,) where there are classes."""
        with full_precision(latents.device):
            if self.embedding is not None:
                latents = torch.cat([latents, self.embedding(required(labels))], 1)
            maps = (self.base * self.scale(latents)[:, :, None, None]).contiguous(memory_format=torch.channels_last)
        maps = self.stages[0](maps)
        for transition, stage in zip(self.transitions, list(self.stages)[1:], strict=True):
            with stage.precision(maps.device):
                maps = bilinear_doubled(transition(_in_precision(maps)))
            maps = stage(maps)
        images: Tensor = self.image(maps)
        return images


def _transition(before: int, after: int) -> nn.Module:
    """A convolution 1x1 where widths differ. It commutes with the filter, so it is computed on the smaller map."""
    return nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)


class R3GANDiscriminatorNetwork(nn.Module):
    """Images -> conv 1x1 -> stages, the map halved between them -> one logit each. Arguments as
    `R3GANGeneratorNetwork`.
    """

    def __init__(self, settings: R3GANDiscriminator, size: Size, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        base = required_stages(size)
        widths = widths_of(settings.width, settings.constant, base.num_doublings + 1)[::-1]
        self.image = nn.Conv2d(channels, widths[0], 1, bias=False)
        self.stages = nn.ModuleList(
            Stage(width, settings.blocks, index < NUM_ROUGH) for index, width in enumerate(widths)
        )
        self.transitions = nn.ModuleList(_transition(before, after) for before, after in pairwise(widths))
        self.logit = Head(widths[-1], (base.height, base.width), num_classes)
        _initialise(self, self.stages)
        self.logit.initialise()

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N,) float32 logits for images (N, C, H, W) and labels (N,) where there are classes."""
        return self.run(images, labels, PLAIN)

    def run(self, images: Tensor, labels: Tensor | None, through: Pass) -> Tensor:
        """Return what `forward` does, computed through a pass (`layers/piecewise.py`)."""
        maps = self.stages[0](through.layer(self.image, images), through)
        for transition, stage in zip(self.transitions, list(self.stages)[1:], strict=True):
            with stage.precision(maps.device):
                maps = bilinear_halved(_in_precision(maps))
                maps = maps if isinstance(transition, nn.Identity) else through.layer(transition, maps)
            maps = stage(maps, through)
        with full_precision(images.device):
            maps = at_least_float32(maps)
            return through.layer(lambda values: self.logit(values, labels), maps)


class Head(nn.Module):
    """A filter for each channel over its whole map, then a dense layer; with classes, the product of the features with
    an embedding of the class. No bias. In float32.

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
        """Return (N,) logits for maps (N, width, h, w), linear in them."""
        features = self.dense((maps * self.filter).sum((2, 3)))
        return features[:, 0] if self.embedding is None else (features * self.embedding(required(labels))).sum(1)
