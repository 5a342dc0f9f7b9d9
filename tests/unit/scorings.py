"""Scores of generators for tests of what is done with scores: given values instead of measured ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn

from gansmith.facts import Classes


@dataclass
class GivenScores:
    """Returns the given values in turn, the last one for ever; an exception among them is raised.

    Attributes:
        values: None stands for an evaluation that was abandoned.
        seconds: each one is said to take.
        on_value: called each time before the value is given.
    """

    values: Sequence[float | Exception | None]
    seconds: float = 0.0
    extractor: str = "0123456789abcdef"
    on_value: Callable[[], None] = lambda: None
    name: str = "fd_given"
    num_samples: int = 5
    num_calls: int = field(default=0)

    def value(self, generator: nn.Module, classes: Classes | None, should_stop: Callable[[], bool]) -> float | None:
        self.on_value()
        value = None if should_stop() else self.values[min(self.num_calls, len(self.values) - 1)]
        self.num_calls += 1
        if isinstance(value, Exception):
            raise value
        return value

    def estimate_seconds(self, generator: nn.Module, classes: Classes | None) -> float:
        return self.seconds
