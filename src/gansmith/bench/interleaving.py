"""Two contenders in turn, so that what else the machine does falls on both, and the ratio of their speeds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

CONFIDENCE = 0.95
PAIRS = 6
"""The fewest of which lowest and highest are a 95 % interval of the median."""


class TakesTurns(Protocol):
    """One of two that do the same work."""

    def rate(self, seconds: float) -> float:
        """Return images per second over one stretch of so many seconds at least; idle before and after."""
        ...


@dataclass(frozen=True)
class Contender:
    """One that works in this process.

    Attributes:
        step: does a piece of it.
        images: in a step.
        prepare: called before each stretch; sets what belongs to the process, such as how it gets memory.
        agree: called before each step with whether the stretch is over by this process's clock; returns whether it is.
    """

    step: Callable[[], object]
    images: int
    prepare: Callable[[], None] = lambda: None
    agree: Callable[[bool], bool] = bool

    def rate(self, seconds: float) -> float:
        """Return images per second over one stretch; a short step is taken once before, unmeasured."""
        self.prepare()
        begun = time.perf_counter()
        self.step()
        first = time.perf_counter() - begun
        if self.agree(first > seconds / 2):  # long enough to measure, and too long to take for nothing
            return self._rate(seconds, begun, 1)
        return self._rate(seconds, time.perf_counter(), 0)

    def _rate(self, seconds: float, begun: float, steps: int) -> float:
        while not self.agree((passed := time.perf_counter() - begun) >= seconds and steps > 0):
            self.step()
            steps += 1
        return steps * self.images / passed


@dataclass(frozen=True)
class Ratio:
    """How many times faster the first contender is.

    Attributes:
        first, second: images per second, medians.
        ratio: median of the ratios of pairs.
        low, high: an interval of that median with at least 95 % confidence, if there are 6 pairs or more; with fewer,
            the lowest and the highest.
    """

    first: float
    second: float
    ratio: float
    low: float
    high: float


def interleave(
    first: TakesTurns,
    second: TakesTurns,
    seconds: float,
    pairs: int = PAIRS,
    between: Callable[[], object] | None = None,
) -> Ratio:
    """Return the ratio of two contenders that take turns; who begins alternates from pair to pair.

    Args:
        first: the one whose speed is the numerator.
        second: the other.
        seconds: of a stretch, at least; it is one step at least.
        pairs: of stretches.
        between: called before each pair.
    """
    rates: list[tuple[float, float]] = []
    for pair in range(pairs):
        if between is not None:
            between()
        order = (first, second) if pair % 2 == 0 else (second, first)
        measured = [contender.rate(seconds) for contender in order]
        rates.append((measured[0], measured[1]) if pair % 2 == 0 else (measured[1], measured[0]))
    ratios = [mine / other for mine, other in rates]
    low, high = interval_of_median(ratios)
    return Ratio(median(mine for mine, _ in rates), median(other for _, other in rates), median(ratios), low, high)


def interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Return the narrowest pair of order statistics that holds the median with 95 % confidence, whatever the
    distribution (David & Nagaraja 2003, section 7.1): the lowest and highest of six; of fewer, which cannot, too.
    """
    ordered, count = sorted(values), len(values)
    skipped = 0
    while skipped + 1 < count - 1 - skipped and _outside(count, skipped + 1) <= 1 - CONFIDENCE:
        skipped += 1
    return ordered[skipped], ordered[count - 1 - skipped]


def _outside(count: int, skipped: int) -> float:
    """How often the median lies outside, if so many values are left out on either side."""
    return 2.0 * sum(math.comb(count, number) for number in range(skipped + 1)) / 2.0**count
