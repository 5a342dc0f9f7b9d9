"""How often a 95 % interval holds the expectation, in simulated trials: for `metrics.py`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from gansmith.evaluation.frechet import frechet_estimate, frechet_infinity_estimate
from gansmith.evaluation.intervals import Estimate, groups_of
from gansmith.evaluation.kernel import kernel_estimate
from gansmith.evaluation.moments import grouped_moments
from gansmith.evaluation.neighbours import neighbourhood_estimates

Estimates = dict[str, Estimate]
Groups = np.ndarray[tuple[int], np.dtype[np.int64]]


def features(num: int, dim: int, seed: int) -> Tensor:
    """Return correlated normal features."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(dim)) / dim**0.5
    return torch.randn(num, dim, generator=generator) @ mix


def frechet(real: Tensor, fake: Tensor, groups: Groups) -> Estimates:
    """Return the estimate of the Fréchet distance."""
    return {"Fréchet distance": frechet_estimate(grouped_moments(real, groups), grouped_moments(fake, groups))}


def infinity(real: Tensor, fake: Tensor, groups: Groups) -> Estimates:
    """Return the estimate of its extrapolation."""
    return {"its extrapolation": frechet_infinity_estimate(grouped_moments(real, groups), fake, groups)}


def kernel(real: Tensor, fake: Tensor, groups: Groups) -> Estimates:
    """Return the estimate of the kernel distance."""
    return {"kernel distance": kernel_estimate(real, fake, groups, groups)}


def neighbourhoods(real: Tensor, fake: Tensor, groups: Groups) -> Estimates:
    """Return the estimates of precision, recall, density and coverage."""
    return neighbourhood_estimates(real, fake, groups, groups)


def coverages(
    dim: int, num: int, trials: int, estimators: tuple[Callable[[Tensor, Tensor, Groups], Estimates], ...]
) -> dict[str, float]:
    """Return by name the share of trials whose interval holds the mean value of all other trials."""
    groups = groups_of(num)
    found: dict[str, list[Estimate]] = {}
    for trial in range(trials):
        real, fake = features(num, dim, 2 * trial), 1.05 * features(num, dim, 2 * trial + 1) + 0.1
        for estimator in estimators:
            for name, estimate in estimator(real, fake, groups).items():
                found.setdefault(name, []).append(estimate)
    return {name: share_held(estimates) for name, estimates in found.items()}


def share_held(estimates: list[Estimate]) -> float:
    """Return the share of estimates whose interval holds the mean value of the others."""
    total, held = sum(estimate.value for estimate in estimates), []
    for estimate in estimates:
        low, high = estimate.interval or (np.nan, np.nan)
        held.append(low <= (total - estimate.value) / (len(estimates) - 1) <= high)
    return fmean(held)
