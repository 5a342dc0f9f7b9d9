"""The networks of R3GAN (Huang et al. 2024) in plain layers of PyTorch, for the plain loop (`plain.py`).

Residual blocks without normalisation, the map doubled or halved between resolutions by the filter [1, 3, 3, 1].
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d


def widths_of(settings: dict, doublings: int) -> list[int]:
    """Return the channels from the base map up: some resolutions of one width, then halved, in multiples of 8."""
    halvings = [max(0, index - settings["constant"] + 1) for index in range(doublings + 1)]
    return [max(1, math.ceil(settings["width"] / 2**number / 8)) * 8 for number in halvings]


class Block(nn.Module):
    """Convolutions 1x1, 3x3 in groups of 16, 1x1, with LeakyReLU between, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, 2 * width, 1)
        self.second = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width // 16)
        self.third = nn.Conv2d(2 * width, width, 1, bias=False)
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.activation(self.second(self.activation(self.first(maps))))
        return maps + self.third(inner)


class Resampling(nn.Module):
    """Doubles or halves a map of so many channels."""

    def __init__(self, channels: int, doubles: bool) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        kernel = torch.outer(line, line) * (4 if doubles else 1)
        self.register_buffer("kernel", kernel.repeat(channels, 1, 1, 1), persistent=False)
        self.channels, self.function = channels, conv_transpose2d if doubles else conv2d

    def forward(self, maps: Tensor) -> Tensor:
        return self.function(maps, self.kernel, stride=2, padding=1, groups=self.channels)


class Stage(nn.Module):
    """One resolution: the map gets its size, its width by a convolution 1x1, and goes through blocks."""

    def __init__(self, before: int, width: int, num_blocks: int, resampling: str | None) -> None:
        super().__init__()
        self.transition = nn.Identity() if before == width else nn.Conv2d(before, width, 1, bias=False)
        self.doubling = Resampling(width, True) if resampling == "double" else nn.Identity()
        self.halving = Resampling(before, False) if resampling == "halve" else nn.Identity()
        self.blocks = nn.Sequential(*(Block(width) for _ in range(num_blocks)))

    def forward(self, maps: Tensor) -> Tensor:
        return self.blocks(self.doubling(self.transition(self.halving(maps))))


def stages_of(widths: list[int], num_blocks: int, resampling: str) -> nn.Sequential:
    """Return the stages of a network, of which the first keeps its map."""
    stages = [Stage(before, width, num_blocks, resampling) for before, width in pairwise(widths)]
    return nn.Sequential(Stage(widths[0], widths[0], num_blocks, None), *stages)


class BaseMaps(nn.Module):
    """Learned maps, scaled by the latents."""

    def __init__(self, latent_dim: int, width: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.scale = nn.Linear(latent_dim, width, bias=False)
        self.maps = nn.Parameter(torch.randn(1, width, *size))

    def forward(self, latents: Tensor) -> Tensor:
        return self.maps * self.scale(latents)[:, :, None, None]


class R3GANGenerator(nn.Module):
    """Base maps, the stages and a convolution 1x1."""

    def __init__(self, settings: dict, shape: tuple[int, int, int], base: tuple[int, int, int]) -> None:
        super().__init__()
        widths = widths_of(settings, base[2])
        self.base = BaseMaps(settings["latent_dim"], widths[0], base[:2])
        self.stages = stages_of(widths, settings["blocks"], "double")
        self.image = nn.Conv2d(widths[-1], shape[0], 1, bias=False)

    def forward(self, latents: Tensor) -> Tensor:
        images = self.image(self.stages(self.base(latents)))
        return images if self.training else images.clamp(-1, 1)


class R3GANDiscriminator(nn.Module):
    """A convolution 1x1, the stages, a filter over each map, a dense layer."""

    def __init__(self, settings: dict, shape: tuple[int, int, int], base: tuple[int, int, int]) -> None:
        super().__init__()
        widths = widths_of(settings, base[2])[::-1]
        self.image = nn.Conv2d(shape[0], widths[0], 1, bias=False)
        self.stages = stages_of(widths, settings["blocks"], "halve")
        self.logit = Head(widths[-1], base[:2])

    def forward(self, images: Tensor) -> Tensor:
        return self.logit(self.stages(self.image(images)))


class Head(nn.Module):
    """A depthwise convolution over the whole map, then a dense layer to a logit."""

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(1, channels, *size) / math.sqrt(math.prod(size)))
        self.dense = nn.Linear(channels, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        features = conv2d(maps, self.filter.transpose(0, 1), groups=maps.shape[1])
        return self.dense(features.flatten(1)).squeeze(1)


def draw_weights(network: nn.Module) -> None:
    """Normal, std gain / sqrt(fan-in); the last convolution of each block 0."""
    blocks = [block for block in network.modules() if isinstance(block, Block)]
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, layer.weight[0].numel() ** -0.5)
    for block in blocks:
        for layer in (block.first, block.second):
            layer.weight.data *= math.sqrt(2 / 1.04) * len(blocks) ** -0.25
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(block.third.weight)
