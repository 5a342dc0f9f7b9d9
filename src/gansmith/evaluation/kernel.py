"""The kernel distance: maximum mean discrepancy with a cubic kernel, unbiased at any number of samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gansmith.evaluation.intervals import NUM_GROUPS, Estimate, Groups

PAIRS_AT_ONCE = 2**20
"""4 MB of float32: a block of kernel values stays in the processor's cache."""


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """Return the unbiased squared MMD of features (N, D) and (M, D) under (x.y / D + 1)^3 (Binkowski et al. 2018).

    Of Inception features it is the KID. Papers average 100 subsets of 1,000; this is their expectation, over all pairs.
    It can be below 0.
    """
    return _PairSums.of([real], [fake]).distance()


def kernel_estimate(real: Tensor, fake: Tensor, real_groups: Groups, fake_groups: Groups) -> Estimate:
    """Return `kernel_distance`; replicate g leaves group g out of both sides."""
    sums = _PairSums.of(_by_group(real, real_groups), _by_group(fake, fake_groups))
    return Estimate(sums.distance(), tuple(sums.without(group).distance() for group in range(NUM_GROUPS)))


def _by_group(features: Tensor, groups: Groups) -> list[Tensor]:
    numbers = torch.from_numpy(groups)
    return [features[numbers == group] for group in range(NUM_GROUPS)]


@dataclass(frozen=True)
class _PairSums:
    """Sums of the kernel over pairs between groups: (G, G) float64 each, and the (G,) counts. No row meets itself."""

    real: Tensor
    fake: Tensor
    cross: Tensor
    num_real: Tensor
    num_fake: Tensor

    @classmethod
    def of(cls, real: list[Tensor], fake: list[Tensor]) -> _PairSums:
        """Return the sums of grouped features."""
        counts = [torch.tensor([len(part) for part in parts], dtype=torch.float64) for parts in (real, fake)]
        return cls(_sums_within(real), _sums_within(fake), _sums_between(real, fake), *counts)

    def without(self, group: int) -> _PairSums:
        """Return the sums without one group."""
        keep = torch.arange(len(self.num_real)) != group
        pairs = (sums[keep][:, keep] for sums in (self.real, self.fake, self.cross))
        return _PairSums(*pairs, self.num_real[keep], self.num_fake[keep])

    def distance(self) -> float:
        """Return the mean within reals, plus that within fakes, less twice that between."""
        num_real, num_fake = self.num_real.sum(), self.num_fake.sum()
        within = self.real.sum() / (num_real * (num_real - 1)) + self.fake.sum() / (num_fake * (num_fake - 1))
        return float(within - 2 * self.cross.sum() / (num_real * num_fake))


def _sums_within(parts: list[Tensor]) -> Tensor:
    sums = torch.zeros(len(parts), len(parts), dtype=torch.float64)
    for row, part in enumerate(parts):
        own = (part.double().square().sum(1) / part.shape[1] + 1).pow(3).sum()
        sums[row, row] = _kernel_sum(part, part) - own
        for column in range(row):
            sums[row, column] = sums[column, row] = _kernel_sum(part, parts[column])
    return sums


def _sums_between(parts: list[Tensor], others: list[Tensor]) -> Tensor:
    return torch.tensor([[_kernel_sum(part, other) for other in others] for part in parts], dtype=torch.float64)


def _kernel_sum(rows: Tensor, columns: Tensor) -> float:
    """Return the kernel's sum over all pairs: products in float32, sums over stretches of a row added in float64."""
    result, one = 0.0, torch.ones(1)
    for some in torch.split(rows, max(1, PAIRS_AT_ONCE // max(1, len(columns)))):
        values = torch.addmm(one, some, columns.T, alpha=1 / rows.shape[1])
        result += float(values.pow_(3).sum(1).sum(dtype=torch.float64))
    return result
