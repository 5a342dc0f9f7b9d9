"""Mean and covariance of features, streaming, in float64; and why features can have no number at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from gansmith.evaluation.intervals import NUM_GROUPS, Groups

ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of some features: enough to add and to take away groups without the features.

    Attributes:
        count: how many rows.
        mean: (D,) float64.
        scatter: (D, D) float64: the sum of (x - mean)(x - mean)'.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @property
    def covariance(self) -> Tensor:
        """(D, D) float64, divided by count - 1."""
        return self.scatter / (self.count - 1)

    def merged(self, other: Moments) -> Moments:
        """Return the moments of both together (Chan et al. 1983)."""
        if 0 in (self.count, other.count):
            return self if self.count else other
        count, shift = self.count + other.count, other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        spread = torch.outer(shift, shift) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + spread)

    def without(self, part: Moments) -> Moments:
        """Return the moments of the rest, where `part` is some of these rows: the inverse of `merged`.

        Raises:
            ValueError: there is no rest.
        """
        if not part.count:
            return self
        if (count := self.count - part.count) < 1:
            raise ValueError(f"no rows are left of {self.count} without {part.count}")
        mean = self.mean + (self.mean - part.mean) * (part.count / count)
        shift = part.mean - mean
        spread = torch.outer(shift, shift) * (count * part.count / self.count)
        return Moments(count, mean, self.scatter - part.scatter - spread)


def moments_of(features: Tensor) -> Moments:
    """Return the moments of features (N, D), any float type; N = 0 too."""
    dim = features.shape[1]
    empty = Moments(0, torch.zeros(dim, dtype=torch.float64), torch.zeros(dim, dim, dtype=torch.float64))
    return reduce(
        Moments.merged, map(_moments_at_once, torch.split(features, ROWS_AT_ONCE) if len(features) else ()), empty
    )


def _moments_at_once(features: Tensor) -> Moments:
    rows = features.double()
    mean = rows.mean(0)
    rows = rows - mean
    return Moments(len(rows), mean, rows.T @ rows)


def grouped_moments(features: Tensor, groups: Groups) -> list[Moments]:
    """Return the moments of each group of features (N, D); `groups` (N,) are group numbers, see `groups_of`."""
    numbers = torch.from_numpy(groups)
    return [moments_of(features[numbers == group]) for group in range(NUM_GROUPS)]


def total(moments: Sequence[Moments]) -> Moments:
    """Return the moments of all groups together."""
    return reduce(Moments.merged, moments)


def features_obstacle(features: Tensor) -> str | None:
    """Return why no score can be had from features (N, D), or None: fewer than 2 rows, or NaN or infinite ones."""
    if len(features) < 2:
        return f"{len(features)} sample{'' if len(features) == 1 else 's'}; at least 2 are needed"
    bad = int((~features.isfinite()).any(1).sum())
    if bad:
        return f"{bad:,} of {len(features):,} samples have features that are NaN or infinite"
    return None
