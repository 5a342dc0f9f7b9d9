"""Whether two numbers differ by more than chance: two-sided tests, and Holm's correction for many of them.

Pure numbers; `comparison.py` chooses the test. A test without any spread to judge by returns None, not a sure answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev, variance

MOST_TERMS, ENOUGH, SMALLEST = 500, 1e-15, 1e-300
LEVEL = 0.05
"""Below which a difference is called significant."""


def student_p(t: float, freedom: float) -> float:
    """Return the probability that |T| >= |t| for Student's T with `freedom` (above 0, whole or not) degrees of freedom.

    The regularised incomplete beta function I_x(freedom / 2, 1 / 2) at x = freedom / (freedom + t^2) (Abramowitz &
    Stegun 1964, 26.7.1).
    """
    if math.isinf(t):
        return 0.0
    a, b, x = freedom / 2, 0.5, freedom / (freedom + t * t)
    if x < (a + 1) / (a + b + 2):
        return _beta_tail(a, b, x)
    return 1 - _beta_tail(b, a, t * t / (freedom + t * t))


def _beta_tail(a: float, b: float, x: float) -> float:
    """Return I_x(a, b) by its continued fraction (Abramowitz & Stegun 26.5.8; evaluated as in Lentz 1976)."""
    if x == 0:
        return 0.0
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, MOST_TERMS):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _nonzero(1 + numerator * d)
            c = _nonzero(1 + numerator / c)
            fraction *= c * d
        if abs(c * d - 1) < ENOUGH:
            break
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) * fraction / a


def _nonzero(value: float) -> float:
    return value if abs(value) > SMALLEST else SMALLEST


def _p_of(difference: float, error: float, freedom: float) -> float | None:
    if error == 0 or not math.isfinite(error):
        return 1.0 if difference == 0 and error == 0 else None
    return student_p(difference / error, freedom)


def paired_jackknife(first: Sequence[float], second: Sequence[float], difference: float) -> float | None:
    """Return p of the difference of two numbers, from both without each of the same G groups of real images.

    The delete-a-group jackknife of the difference (Kott 2001), t with G - 1 degrees of freedom: what the real images
    add to both cancels.

    Args:
        first: G replicates, group by group.
        second: as many of the other.
        difference: of the two numbers.
    """
    num = len(first)
    differences = [a - b for a, b in zip(first, second, strict=True)]
    return _p_of(difference, stdev(differences) * (num - 1) / math.sqrt(num), num - 1)


def two_shares(first: float, second: float, num_first: int, num_second: int) -> float | None:
    """Return p of the difference of two shares of so many samples: the z test with the pooled share."""
    pooled = (first * num_first + second * num_second) / (num_first + num_second)
    error = math.sqrt(pooled * (1 - pooled) * (1 / num_first + 1 / num_second))
    if error == 0:  # both are 0 or both are 1
        return 1.0
    return math.erfc(abs(first - second) / error / math.sqrt(2))


def welch(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return p of the difference of two means over seeds, two or more each (Welch 1947)."""
    parts = [variance(values) / len(values) for values in (first, second)]
    if sum(parts) == 0:
        return _p_of(fmean(first) - fmean(second), 0.0, 1)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)
    )
    return _p_of(fmean(first) - fmean(second), math.sqrt(sum(parts)), freedom)


def one_against_seeds(one: float, seeds: Sequence[float]) -> float | None:
    """Return p of one training against several of a method (Crawford & Howell 1998): is it one of theirs?"""
    num = len(seeds)
    return _p_of(one - fmean(seeds), stdev(seeds) * math.sqrt((num + 1) / num), num - 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values corrected for there being many (Holm 1979), in the order given."""
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = highest
    return adjusted
