"""What steps measured, summed on the device until it is read; and whether training goes on failing."""

from __future__ import annotations

import torch
from torch import Tensor

from gansmith import ranks

PERSISTING = 10
"""Failed steps in a row, or so many more failed than good ones of late, after which failing is no accident."""


class Totals:
    """Sums of what steps measured, kept on the device until they are read.

    A step *failed* where something it measured is no finite number. The norms of the gradients are among that, so a
    step in which a descent was skipped failed. What it measured counts for nothing, its finite values neither: of
    logits that are NaN, the accuracy would be 0.

    Attributes:
        num_failed: steps that failed, of those of the last reading.
        trouble: as of the last reading, how many more steps failed than were good, counted from when they last were
            even; the same on all ranks.
        worst: the largest that `trouble` was between the last two readings.
    """

    def __init__(self) -> None:
        self.num_failed, self.trouble, self.worst = 0, 0.0, 0.0
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._num_steps = 0
        self._trouble: Tensor | None = None

    def add(self, measured: dict[str, Tensor]) -> None:
        """Add one step's 0-d tensors."""
        values = torch.stack(list(measured.values()))
        is_good = values.isfinite().all()
        row = torch.cat([torch.where(is_good, values, 0.0), is_good.to(values.dtype)[None]])
        names = tuple(measured)
        self._sums[names] = self._sums[names] + row if names in self._sums else row
        self._num_steps += 1
        if self._trouble is None:
            self._trouble = values.new_zeros(2)  # now, and the largest since the last reading
        now = self._trouble[0].add(torch.where(is_good, -1.0, 1.0)).clamp_(min=0.0)
        self._trouble = torch.stack([now, torch.maximum(now, self._trouble[1])])

    def means(self) -> dict[str, float]:
        """Return the mean of each name since the last call, over the good steps of all ranks; waits for the device.

        Empty where no step was good, or there was none: `num_steps` says which.
        """
        sums, counts, num_good = dict[str, float](), dict[str, float](), 0.0
        for names, row in self._sums.items():
            *values, good = row.tolist()
            num_good += good
            for name, value in zip(names, values, strict=True):
                sums[name] = sums.get(name, 0.0) + value
                counts[name] = counts.get(name, 0.0) + good
        now, worst = (0.0, 0.0) if self._trouble is None else self._trouble.tolist()
        own = {"sum": sums, "count": counts, "": {"good": num_good, "trouble": now, "worst": worst}}
        shared = ranks.means({f"{kind} {name}": value for kind, some in own.items() for name, value in some.items()})
        self.num_failed = self._num_steps - round(shared[" good"])
        self.trouble, self.worst = shared[" trouble"], shared[" worst"]
        self._sums, self._num_steps = {}, 0
        if self._trouble is not None:
            self._trouble = self._trouble[:1].repeat(2)
        return {name: shared[f"sum {name}"] / shared[f"count {name}"] for name in sums if shared[f"count {name}"]}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added since the last reading."""
        return self._num_steps == 0
