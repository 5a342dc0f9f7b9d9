"""The Fréchet distance between the normal distributions of two sets of features, and its limit with more samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gansmith.evaluation.intervals import NUM_GROUPS, Estimate, Groups
from gansmith.evaluation.moments import Moments, moments_of, total

NUM_COUNTS = 15
LARGEST_DIM_WITH_REPLICATES = 512
"""Of `frechet_infinity_estimate`: 300 distances take about a second at 128 features, ten minutes at 2,048."""


def frechet_distance(real: Moments, fake: Moments) -> float:
    """Return |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)), at least 0 up to rounding.

    Dowson & Landau (1982); of Inception features it is the FID (Heusel et al. 2017). With S1 = H H', the eigenvalues of
    S1 S2 are those of H' S2 H, which is symmetric: exact for singular covariances, where others add to the diagonal.
    """
    return _distance(real, _root(real), fake)


def _root(moments: Moments) -> Tensor:
    """Return (D, D) H with H H' = the covariance."""
    values, vectors = torch.linalg.eigh(moments.covariance)
    root: Tensor = vectors * _cleaned(values).sqrt()
    return root


def _cleaned(values: Tensor) -> Tensor:
    """Return eigenvalues whose rounding errors are zero: their square roots would be a thousand times larger."""
    noise = len(values) * torch.finfo(values.dtype).eps * values.max()
    return torch.where(values > noise, values, 0.0)


def _distance(real: Moments, root: Tensor, fake: Moments) -> float:
    shift = real.mean - fake.mean
    overlap = _cleaned(torch.linalg.eigvalsh(root.T @ fake.covariance @ root)).sqrt().sum()
    traces = real.covariance.trace() + fake.covariance.trace()
    return float(shift @ shift + traces - 2 * overlap)


def frechet_obstacle(num_real: int, num_fake: int, dim: int) -> str | None:
    """Return why there is no Fréchet distance of so many samples with so many features, or None."""
    for num, name in ((num_real, "real images"), (num_fake, "samples")):
        if num <= dim:
            return f"{num:,} {name} and {dim:,} features: a covariance needs more than {dim:,}; see the kernel distance"
    return None


def frechet_estimate(real: Sequence[Moments], fake: Sequence[Moments]) -> Estimate:
    """Return the Fréchet distance of grouped moments; replicate g leaves group g out of both sides."""
    all_real, all_fake = total(real), total(fake)
    replicates = [
        frechet_distance(all_real.without(part), all_fake.without(other))
        for part, other in zip(real, fake, strict=True)
    ]
    return Estimate(frechet_distance(all_real, all_fake), tuple(replicates), (0.0, float("inf")))


def infinity_obstacle(num_real: int, num_fake: int, dim: int) -> str | None:
    """Return why the Fréchet distance cannot be extrapolated to infinitely many samples, or None."""
    if reason := frechet_obstacle(num_real, num_fake, dim):
        return reason
    if num_fake < (needed := 4 * dim):
        return f"{num_fake:,} samples and {dim:,} features: the extrapolation needs at least {needed:,}"
    return None


def frechet_infinity(real: Moments, fake: Tensor, seed: int = 0) -> float:
    """Return the Fréchet distance extrapolated to infinitely many fakes (Chong & Forsyth 2020).

    At few samples the distance is too high by about c / N, with a c that differs between generators. It is taken at 15
    counts, evenly from a tenth of the N fakes to all, and its line in 1 / N gives the value at 0. The paper draws each
    count anew from 50,000, from 5,000 up; here the counts are nested in one random order and scale with N, and none is
    below twice the number of features. As in the paper, only the bias of the fakes' count is removed, not the reals'.

    Args:
        real: of the real images.
        fake: (N, D) features.
        seed: of the order.
    """
    return _at_infinity(real, list(_prefixes([moments_of(part) for part in _shuffled_parts(fake, seed)])))


def frechet_infinity_estimate(real: Sequence[Moments], fake: Tensor, groups: Groups, seed: int = 0) -> Estimate:
    """Return `frechet_infinity` of grouped real moments and fakes (N, D) with group numbers (N,), with its replicates.

    Above 512 features there are no replicates, and so no interval: they would take many minutes.
    """
    numbers = torch.from_numpy(groups)
    parts, part_groups = _shuffled_parts(fake, seed), _shuffled_parts(numbers, seed, fake.shape[1])
    all_real, blocks = total(real), [moments_of(part) for part in parts]
    value = _at_infinity(all_real, _prefixes(blocks))
    replicates: list[float] = []
    for group in range(NUM_GROUPS if fake.shape[1] <= LARGEST_DIM_WITH_REPLICATES else 0):
        left_out = [moments_of(part[of == group]) for part, of in zip(parts, part_groups, strict=True)]
        kept = [block.without(part) for block, part in zip(blocks, left_out, strict=True)]
        replicates.append(_at_infinity(all_real.without(real[group]), _prefixes(kept)))
    return Estimate(value, tuple(replicates))


def _shuffled_parts(rows: Tensor, seed: int, dim: int | None = None) -> list[Tensor]:
    """Return the rows in random order, cut where the counts of the extrapolation end."""
    num, dim = len(rows), dim or rows.shape[1]
    order = torch.from_numpy(np.random.default_rng((seed, num)).permutation(num))
    counts = np.linspace(max(num / 10, 2 * dim + 1), num, NUM_COUNTS).round().astype(int)
    return list(torch.split(rows[order], [int(size) for size in np.diff(counts, prepend=0)]))


def _prefixes(blocks: Sequence[Moments]) -> list[Moments]:
    return [total(blocks[: end + 1]) for end in range(len(blocks))]


def _at_infinity(real: Moments, prefixes: Sequence[Moments]) -> float:
    """Return where the line through the distances over 1 / N meets 0."""
    root = _root(real)
    distances = [_distance(real, root, fake) for fake in prefixes]
    _, intercept = np.polyfit([1 / fake.count for fake in prefixes], distances, 1)
    return float(intercept)
