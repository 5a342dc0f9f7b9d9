"""A small convolutional classifier: convolution, pooling, dense. It tells what generated images look like."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from gansmith.errors import UsageError
from gansmith.layers.blocks import from_map
from gansmith.sizes import Size, size_text

Pooling = Literal["max", "average"]

FIRST_WIDTH, LARGEST_WIDTH, DENSE_WIDTH = 32, 128, 128
SMALLEST_SIDE, LARGEST_LAST_SIDE = 4, 7
DROPOUT = 0.4


class ClassifierNetwork(nn.Module):
    """Images -> one logit per class.

    Stages of 3x3 convolution, ReLU, pooling by 2 and batch norm, until the map is at most 7x7; then a dense layer of
    128 with ReLU, whose output are the features, dropout, and a dense layer to the logits.

    Args:
        size: (height, width) of the images, at least 4x4.
        channels: of the images.
        num_classes: at least 2.
        pooling: "max" or "average".

    Raises:
        UsageError: one of them is out of range.
    """

    def __init__(self, size: Size, channels: int, num_classes: int, pooling: Pooling = "max") -> None:
        super().__init__()
        if problems := _problems(size, channels, num_classes, pooling):
            raise UsageError(problems)
        self.size, self.channels, self.num_classes, self.pooling = size, channels, num_classes, pooling
        stages: list[nn.Module] = []
        before, width, (height, length) = channels, FIRST_WIDTH, size
        while not stages or max(height, length) > LARGEST_LAST_SIDE:
            stages += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(), _halving(pooling), nn.BatchNorm2d(width)]
            height, length = (height + 1) // 2, (length + 1) // 2
            before, width = width, min(2 * width, LARGEST_WIDTH)
        self.stages = nn.Sequential(*stages)
        self.dense = nn.Sequential(nn.Linear(before * height * length, DENSE_WIDTH), nn.ReLU())
        self.dropout = nn.Dropout(DROPOUT)
        self.last = nn.Linear(DENSE_WIDTH, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return (N, 128) penultimate activations, not negative, for images (N, C, H, W) in [-1, 1]."""
        activations: Tensor = self.dense(from_map(self.stages(images)))
        return activations

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, num_classes) logits for images (N, C, H, W) in [-1, 1]."""
        logits: Tensor = self.last(self.dropout(self.features(images)))
        return logits


def _halving(pooling: Pooling) -> nn.Module:
    # An odd side keeps its last row or column: ceil_mode.
    return nn.MaxPool2d(2, ceil_mode=True) if pooling == "max" else nn.AvgPool2d(2, ceil_mode=True)


def _problems(size: Size, channels: int, num_classes: int, pooling: str) -> list[str]:
    problems = []
    if min(size) < SMALLEST_SIDE:
        smallest = size_text((SMALLEST_SIDE, SMALLEST_SIDE))
        problems.append(f"size {size_text(size)}: a classifier needs images of at least {smallest}")
    if channels < 1:
        problems.append(f"channels {channels}: must be at least 1")
    if num_classes < 2:
        problems.append(f"{num_classes} classes: a classifier needs at least 2")
    if pooling not in get_args(Pooling):
        problems.append(f"pooling {pooling!r}: must be max or average")
    return problems
