"""What steps measured, kept on the device until it is read; and whether training goes on failing."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from gansmith import ranks

PERSISTING = 10
"""By how many steps failures outnumber good steps, counted from when they were last even, where failing is no accident:
ten in a row, or most steps of a longer time.
"""
STEPS_A_BLOCK = 256


class Totals:
    """What steps measured, kept on the device until it is read: a few bytes a step.

    A step *failed* where something it measured is no finite number. The norms of the gradients are among that, so a
    step in which a descent was skipped failed. What it measured counts for nothing, its finite values neither: of
    logits that are NaN, the accuracy would be 0.

    Attributes:
        num_failed: steps that failed, of those of the last reading.
        trouble: as of the last reading, by how many steps failures outnumber good steps, counted from when they were
            last even; the same on all ranks.
        fails_mostly: whether most steps of the last reading failed.
        worst: the largest that `trouble` was in the steps of the last reading.
    """

    def __init__(self) -> None:
        self.num_failed, self.trouble, self.worst = 0, 0.0, 0.0
        self.fails_mostly = False
        self._names: list[tuple[str, ...]] = []
        self._blocks, self._rows = list[Tensor](), list[Tensor]()
        self._own_trouble = 0

    def add(self, measured: dict[str, Tensor]) -> None:
        """Add one step's 0-d tensors."""
        self._names.append(tuple(measured))
        self._rows.append(torch.stack(list(measured.values())))
        if len(self._rows) == STEPS_A_BLOCK:
            self._blocks, self._rows = [*self._blocks, torch.cat(self._rows)], []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added since the last reading."""
        return not self._names

    def means(self) -> dict[str, float]:
        """Return the mean of each name since the last reading, over the good steps of all ranks; waits for the device.

        Without a name where no step that has it was good.
        """
        values = iter(torch.cat([*self._blocks, *self._rows]).tolist() if self._names else [])
        sums, counts, num_good, worst = dict[str, float](), dict[str, int](), 0, self._own_trouble
        for names in self._names:
            row = [next(values) for _ in names]
            is_good = all(map(math.isfinite, row))
            num_good += is_good
            self._own_trouble = max(0, self._own_trouble + (-1 if is_good else 1))
            worst = max(worst, self._own_trouble)
            for name, value in zip(names, row, strict=True):
                sums[name] = sums.get(name, 0.0) + (value if is_good else 0.0)
                counts[name] = counts.get(name, 0) + is_good
        own: dict[str, Mapping[str, float]] = {
            "sum": sums,
            "count": counts,
            "of": {"good": num_good, "trouble": self._own_trouble, "worst": worst},
        }
        shared = ranks.means({f"{kind} {name}": value for kind, some in own.items() for name, value in some.items()})
        self.num_failed = len(self._names) - round(shared["of good"])
        self.fails_mostly = 2 * self.num_failed > len(self._names)
        self.trouble, self.worst = shared["of trouble"], shared["of worst"]
        self._names, self._blocks, self._rows = [], [], []
        return {name: shared[f"sum {name}"] / shared[f"count {name}"] for name in sums if shared[f"count {name}"]}
