"""The residual networks of SNGAN (Miyato et al. 2018, their configuration), for any size that doubles a small map.

Batch norm in G, conditional where there are classes; spectral norm on every layer of D; no spectral norm in G.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu, relu_

from gansmith.layers.attention import attention_at
from gansmith.layers.blocks import apply_spectral_norm, initialise_glorot, to_map
from gansmith.layers.fold import folded
from gansmith.layers.labels import ConditionalBatchNorm2d, Logit
from gansmith.layers.minibatch_std import MinibatchStd
from gansmith.layers.resample import PooledConv2d, UpsampledConv2d
from gansmith.runtime import at_least_float32
from gansmith.settings import ResNetDiscriminator, ResNetGenerator
from gansmith.sizes import Size, num_residual_halvings, required_stages

WIDEST = 16
"""A map has at most this many times `width` channels, as in the published 128x128 networks."""
PLAIN_BLOCKS = {1: 2, 2: 1}
"""Blocks of D that keep the size of the map, by growth."""


def _initialise(module: nn.Module) -> None:
    """Draw Glorot's uniform weights, with gain sqrt 2 in the 3x3 convolutions of blocks."""
    initialise_glorot(module)
    for block in module.modules():
        if isinstance(block, UpBlock | DownBlock):
            for layer in (block.first, block.second):
                nn.init.xavier_uniform_(layer.weight, math.sqrt(2))


class UpBlock(nn.Module):
    """BN, ReLU, nearest x2, conv, BN, ReLU, conv; the shortcut is conv 1x1 and nearest x2, which commute.

    Args:
        before, after: channels.
        num_classes: of the batch norm; 0 for none.
    """

    def __init__(self, before: int, after: int, num_classes: int) -> None:
        super().__init__()
        self.first_norm = ConditionalBatchNorm2d(before, num_classes)
        self.first = UpsampledConv2d(before, after)
        self.second_norm = ConditionalBatchNorm2d(after, num_classes)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """Return (N, after, 2H, 2W) for maps (N, before, H, W)."""
        inner = self.first(relu_(self.first_norm(maps, labels)))
        inner = self.second(relu_(self.second_norm(inner, labels)))
        total: Tensor = inner + interpolate(self.shortcut(maps), scale_factor=2.0, mode="nearest")
        return total


class DownBlock(nn.Module):
    """ReLU, conv, ReLU, conv, and a 2x2 average pool where the map is halved, which is part of the last conv.

    The shortcut is the identity where nothing changes, else conv 1x1, after the pool, with which it commutes.

    Args:
        before, after: channels.
        is_first: of the network: no ReLU before the image.
        halves: the map.
    """

    def __init__(self, before: int, after: int, is_first: bool, halves: bool) -> None:
        super().__init__()
        self.is_first, self.halves = is_first, halves
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = PooledConv2d(after, after) if halves else nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if halves or before != after else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, after, H, W), or (N, after, H/2, W/2) rounded down, for maps (N, before, H, W)."""
        inner = self.second(relu_(self.first(maps if self.is_first else relu(maps))))
        total: Tensor = inner + self.shortcut(avg_pool2d(maps, 2) if self.halves else maps)
        return total


class ResNetGeneratorNetwork(nn.Module):
    """Latents -> base map -> up blocks -> BN, ReLU, conv 3x3, tanh.

    Args:
        settings: width, growth, latent dimension, attention.
        size: (height, width) of the images; one that `sizes.stages_of` knows.
        channels: of the images.
        num_classes: 0 for none.
    """

    def __init__(self, settings: ResNetGenerator, size: Size, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        stages = required_stages(size)
        self.latent_dim = settings.latent_dim
        factors = [min(settings.growth**index, WIDEST) for index in reversed(range(stages.num_doublings + 1))]
        widths = [settings.width * factor for factor in factors]
        self.base_shape = (widths[0], stages.height, stages.width)
        self.project = nn.Linear(settings.latent_dim, math.prod(self.base_shape))
        self.blocks = nn.ModuleList(UpBlock(before, after, num_classes) for before, after in pairwise(widths))
        self.attention = nn.ModuleDict()  # by the number of the block that it comes before
        for index, channels_there in enumerate(widths[:-1]):
            for layer in attention_at(
                settings.attention, channels_there, (stages.height << index, stages.width << index)
            ):
                self.attention[str(index)] = layer
        self.norm = nn.BatchNorm2d(widths[-1])
        self.image = nn.Conv2d(widths[-1], channels, 3, padding=1)
        _initialise(self)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N, C, H, W) in [-1, 1] for latents (N, latent_dim) and labels (N,) where there are classes."""
        maps = to_map(self.project(latents), self.base_shape)
        for index, block in enumerate(self.blocks):
            if str(index) in self.attention:
                maps = self.attention[str(index)](maps)
            maps = block(maps, labels)
        return torch.tanh(self.image(relu_(self.norm(maps))))

    def for_sampling(self) -> ResNetGeneratorNetwork:
        """Return a copy for eval mode with batch norm folded where a convolution alone feeds it; this network stays as
        it is. What depends on the class stays: scale and shift after the folded norm.
        """
        return folded(self, [(f"blocks.{i}.first", f"blocks.{i}.second_norm.norm") for i in range(len(self.blocks))])


class ResNetDiscriminatorNetwork(nn.Module):
    """Images -> down blocks -> plain blocks -> ReLU, sum or mean over the map -> one logit each.

    Halved as `sizes.num_residual_halvings` says. Arguments as `ResNetGeneratorNetwork`.
    """

    def __init__(self, settings: ResNetDiscriminator, size: Size, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        num_down, num_plain = num_residual_halvings(size, settings.growth), PLAIN_BLOCKS[settings.growth]
        blocks: list[nn.Module] = []
        before = channels
        for index in range(num_down + num_plain):
            after = settings.width * min(settings.growth**index, WIDEST)
            halves = index < num_down
            blocks.append(DownBlock(before, after, is_first=index == 0, halves=halves))
            if halves:
                blocks += attention_at(settings.attention, after, (size[0] >> index + 1, size[1] >> index + 1))
            before = after
        self.features = nn.Sequential(*blocks, nn.ReLU(), *([MinibatchStd()] if settings.minibatch_std else []))
        self.logit = Logit(before + settings.minibatch_std, num_classes)
        self.pool = settings.pool
        _initialise(self)
        if settings.normalisation == "spectral":
            apply_spectral_norm(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N,) float32 logits for images (N, C, H, W) in [-1, 1] and labels (N,) where there are classes."""
        features = at_least_float32(self.features(images))
        pooled = features.sum((2, 3)) if self.pool == "sum" else features.mean((2, 3))
        logits: Tensor = self.logit(pooled, labels)
        return logits
