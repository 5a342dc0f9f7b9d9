"""Points in the plane drawn from a few Gaussians: the toy data on which lost modes can be counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gansmith.data.sources.base import Listing, Split
from gansmith.errors import DataError

NUM_POINTS = {"train": 10_000, "test": 2_000}
EXTENT = 0.8
"""Largest coordinate of a centre; 25 standard deviations or more from the border."""
MOST_MODES = 1000


class GaussiansSource:
    """10,000 points (test: 2,000) of equally likely Gaussians in [-1, 1]^2, always the same; the label is the mode.

    A point is an "image" of one pixel with two channels, x and y: uint8 (1, 1, 2). It is rounded to a multiple of
    1/127.5 = 0.0078, about one standard deviation of the ring, which widens a mode by the rounding's own standard
    deviation of 0.0023: by 4 % for `ring`, by 3 % for `grid`. The customary "within 3 standard deviations" stands.

    Attributes:
        centres: (K, 2) float64 in [-1, 1], by label.
        std: standard deviation of each Gaussian, before rounding.
    """

    def __init__(self, name: str, centres: NDArray[np.float64], std: float) -> None:
        self.name, self.centres, self.std = name, centres, std
        self.stamp = f"{name}-1"
        self._drawn = {split: self._draw(seed, NUM_POINTS[split]) for seed, split in enumerate(NUM_POINTS)}

    def _draw(self, seed: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        random = np.random.Generator(np.random.Philox(key=seed))
        labels = random.integers(0, len(self.centres), count)
        points = self.centres[labels] + self.std * random.standard_normal((count, 2))
        return np.round((points + 1) * 127.5).clip(0, 255).astype(np.uint8), labels

    def listing(self, split: Split) -> Listing:
        """Return the points of a split."""
        labels = self._drawn[split][1]
        names = [f"{split}/{row}" for row in range(len(labels))]
        return Listing(names, labels, tuple(str(mode) for mode in range(len(self.centres))))

    def read(self, name: str) -> NDArray[np.uint8]:
        """Return one point, (1, 1, 2) uint8: (x + 1) * 127.5 and (y + 1) * 127.5, rounded."""
        split, _, row = name.partition("/")
        point: NDArray[np.uint8] = self._drawn[split][0][int(row)]
        return point.reshape(1, 1, 2)


def ring(count: str = "8") -> GaussiansSource:
    """Return `count` Gaussians on a circle; std is 0.01 of the radius (as Lin et al. 2018, PacGAN, section 4.1).

    Raises:
        DataError: `count` is not a whole number from 1 to 1000.
    """
    modes = _whole("ring", count, MOST_MODES)
    angles = 2 * np.pi * np.arange(modes) / modes
    centres = EXTENT * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return GaussiansSource(f"ring-{modes}", centres, EXTENT / 100)


def grid(side: str = "5") -> GaussiansSource:
    """Return side x side Gaussians; std is 1/40 of their spacing (as Lin et al. 2018, PacGAN, section 4.1).

    Raises:
        DataError: `side` is not a whole number from 2 to 31.
    """
    count = _whole("grid", side, 31, 2)
    places = np.linspace(-EXTENT, EXTENT, count)
    centres = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)
    return GaussiansSource(f"grid-{count}x{count}", centres, 2 * EXTENT / (count - 1) / 40)


def _whole(name: str, text: str, most: int, least: int = 1) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most):
        raise DataError(f"{name}:{text}: the count must be a whole number from {least} to {most}")
    return int(text)
