"""Scores of class probabilities: which classes are made and how often, and the Inception score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassCoverage:
    """Which classes the fakes are of.

    Attributes:
        hit: classes of `of` with at least one fake.
        of: classes with at least one real image.
        reverse_kl: see `reverse_kl`, in nats.
        counts: fakes of each class, by its most probable class.
    """

    hit: int
    of: int
    reverse_kl: float
    counts: tuple[int, ...]


def class_coverage(fake_probabilities: Tensor, real_counts: Sequence[int]) -> ClassCoverage:
    """Return the class coverage of fakes with class probabilities (N, K), against how many reals each class has."""
    counts = torch.bincount(fake_probabilities.argmax(1), minlength=len(real_counts)).tolist()
    hit = sum(count > 0 and real > 0 for count, real in zip(counts, real_counts, strict=True))
    return ClassCoverage(hit, sum(n > 0 for n in real_counts), reverse_kl(counts, real_counts), tuple(counts))


def reverse_kl(counts: Sequence[int], real_counts: Sequence[int]) -> float:
    """Return KL(class shares of fakes || class shares of reals) in nats (Metz et al. 2017); 0 where they are equal.

    Infinite where there are fakes of a class that has no reals. A class without fakes adds nothing by itself: log K is
    what one class of K equally frequent ones gets.

    Raises:
        ValueError: the lengths differ, or one side is empty.
    """
    if len(counts) != len(real_counts) or not sum(counts) or not sum(real_counts):
        raise ValueError(
            f"counts of {len(counts)} and {len(real_counts)} classes, {sum(counts)} and {sum(real_counts)} in all"
        )
    shares = [(n / sum(counts), m / sum(real_counts)) for n, m in zip(counts, real_counts, strict=True) if n]
    return math.inf if any(q == 0 for _, q in shares) else sum(p * math.log(p / q) for p, q in shares)


def inception_score(probabilities: Tensor, num_splits: int = 10) -> tuple[float, float]:
    """Return mean and standard deviation over splits of exp(mean KL(p(y|x) || p(y))) (Salimans et al. 2016).

    1 at worst, the number of classes at best. p(y) is that of the split; splits are stretches of the given order.

    Args:
        probabilities: (N, K), rows add up to 1.
        num_splits: as in papers, 10; their sizes differ by at most one.

    Raises:
        ValueError: fewer rows than splits.
    """
    if len(probabilities) < num_splits:
        raise ValueError(f"{len(probabilities)} samples cannot be {num_splits} splits")
    scores = torch.stack([_inception_score(part) for part in probabilities.double().tensor_split(num_splits)])
    return float(scores.mean()), float(scores.std(correction=0))


def _inception_score(p: Tensor) -> Tensor:
    q = p.mean(0)
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(1).mean().exp()
