"""Whether samples are copies of training images: the nearest ones in pixel space, judged against held-out reals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gansmith.evaluation.intervals import Interval, wilson_interval
from gansmith.evaluation.neighbours import nearest_others

LONGEST_SIDE = 32
NUM_NEIGHBOURS = 50
NEAR_COPY = 0.5
"""Of the relative distance: below it an image is a near-copy."""
NUM_STAND_INS = 10_000
NUM_PAIRS = 16


@dataclass(frozen=True)
class Nearness:
    """How near images are to the training images.

    Attributes:
        distances: (N,) float32: root of the mean squared difference of pixels from the nearest one, 0 to 255.
        indices: (N,) int64: which one that is.
        relative: (N,) float32: that distance over the one to the 50th nearest; 0 where the nearest is identical.
        is_stand_in: they are training images themselves, each compared with all others.
    """

    distances: Tensor
    indices: Tensor
    relative: Tensor
    is_stand_in: bool = False

    @property
    def num_near_copies(self) -> int:
        """How many are near-copies."""
        return int((self.relative < NEAR_COPY).sum())

    @property
    def share(self) -> float:
        """Of near-copies."""
        return self.num_near_copies / len(self.relative)

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the share."""
        return wilson_interval(self.num_near_copies, len(self.relative))


@dataclass(frozen=True)
class Pair:
    """A fake and its nearest training image: their indices, and how near they are as in `Nearness`."""

    fake: int
    train: int
    distance: float
    relative: float


@dataclass(frozen=True)
class Memorisation:
    """Copies among the fakes.

    Attributes:
        share, interval: near-copies among the fakes.
        held_out_share, held_out_interval: near-copies among real images that no generator trained on.
        is_stand_in: there are no such images; training images, each against all others, stand in.
        distance_ratio: median distance of fakes over that of held-out images; infinite where the latter is 0.
        pairs: of the 16 fakes that are relatively nearest, the nearest first.
        flagged: the fakes' interval lies wholly above the held-out images': they are copied, and it is not chance.
    """

    share: float
    interval: Interval
    held_out_share: float
    held_out_interval: Interval
    is_stand_in: bool
    distance_ratio: float
    pairs: tuple[Pair, ...]
    flagged: bool


def nearest_training(images: Tensor, train: Tensor) -> Nearness:
    """Return how near images (N, C, H, W) uint8 are to the training images (M, C, H, W) uint8."""
    return _nearness(_pixels(images), _pixels(train), None)


def nearest_other_training(train: Tensor, seed: int = 0) -> Nearness:
    """Return how near at most 10,000 training images, drawn by `seed`, are to all others: where none are held out."""
    pixels = _pixels(train)
    chosen = np.random.default_rng((seed, len(train))).permutation(len(train))[:NUM_STAND_INS]
    own = torch.from_numpy(np.sort(chosen))
    return _nearness(pixels[own], pixels, own)


def memorisation(fake: Nearness, held_out: Nearness) -> Memorisation:
    """Return the verdict on fakes, compared with real images that no generator trained on."""
    order = fake.relative.sort(stable=True).indices[:NUM_PAIRS].tolist()
    pairs = [Pair(at, int(fake.indices[at]), float(fake.distances[at]), float(fake.relative[at])) for at in order]
    middle, held_out_middle = float(fake.distances.quantile(0.5)), float(held_out.distances.quantile(0.5))
    return Memorisation(
        share=fake.share,
        interval=fake.interval,
        held_out_share=held_out.share,
        held_out_interval=held_out.interval,
        is_stand_in=held_out.is_stand_in,
        distance_ratio=middle / held_out_middle if held_out_middle else math.inf,
        pairs=tuple(pairs),
        flagged=fake.interval[0] > held_out.interval[1],
    )


def memorisation_obstacle(num_train: int) -> str | None:
    """Return why copies of so many training images cannot be told, or None."""
    if num_train <= NUM_NEIGHBOURS:
        return f"{num_train} training images; {NUM_NEIGHBOURS + 1} are needed to know how near is too near"
    return None


def small_images(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) uint8 averaged over areas to sides of at most 32: what is compared."""
    height, width = images.shape[2:]
    size = min(height, LONGEST_SIDE), min(width, LONGEST_SIDE)
    if size != (height, width):
        parts = [
            functional.adaptive_avg_pool2d(part.float(), size).round().byte() for part in torch.split(images, 1024)
        ]
        images = torch.cat(parts)
    return images


def _pixels(images: Tensor) -> Tensor:
    return small_images(images).flatten(1)


def _nearness(pixels: Tensor, train: Tensor, own: Tensor | None) -> Nearness:
    distances, indices = nearest_others(pixels, train, NUM_NEIGHBOURS, own)
    relative = distances[:, 0] / distances[:, -1].clamp(min=torch.finfo(distances.dtype).tiny)
    return Nearness(distances[:, 0] / math.sqrt(train.shape[1]), indices[:, 0], relative, own is not None)
