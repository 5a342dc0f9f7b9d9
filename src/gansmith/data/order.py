"""Batches, and the endless order in which items are shown: a function of (seed, stream, index)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gansmith import runtime

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Some items of a data set.

    Attributes:
        images: (N, C, *space), uint8 as read or float32 in [-1, 1] as networks take it.
        labels: (N,) int64 or None.
        condition: (N, ...) what the samples are to be made from, for objectives that translate; or None.
    """

    images: Tensor
    labels: Tensor | None = None
    condition: Tensor | None = None

    def part(self, start: int, stop: int) -> Batch:
        """Return items start to stop."""
        return Batch(*(None if value is None else value[start:stop] for value in self._values()))  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(*(None if value is None else value.to(device, non_blocking=True) for value in self._values()))  # type: ignore[arg-type]

    def _values(self) -> tuple[Tensor | None, ...]:
        return self.images, self.labels, self.condition


class WaitEnded(Exception):
    """Items were waited for, and are no longer wanted: training is to stop."""


class TrainingData(Protocol):
    """What the loop needs of data; `DataSet` is the usual one."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal for equal content."""
        ...

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def batch(self, indices: Indices) -> Batch:
        """Return those items as one batch; images as uint8. It may raise `WaitEnded`."""
        ...

    def order(self, seed: int, stream: str) -> ItemOrder:
        """Return the order in which items are shown, a function of (seed, stream, index); `Order` is the usual one."""
        ...


class ItemOrder(Protocol):
    """An endless sequence of item numbers, each of them once in a pass."""

    def indices(self, start: int, count: int) -> Indices:
        """Return places start .. start + count - 1 of the sequence as (count,) int64."""
        ...


class Order:
    """An endless sequence of item numbers: one random permutation of all items after another.

    Args:
        seed: of the permutations.
        num_items: at least 1; may be smaller than a batch.
        stream: streams of one seed are independent ("real_d", "real_g").
    """

    def __init__(self, seed: int, num_items: int, stream: str) -> None:
        self.num_items = num_items
        self._seed, self._stream = seed, stream
        self._pass_number, self._permutation = -1, np.empty(0, np.int64)

    def indices(self, start: int, count: int) -> Indices:
        """Return places start .. start + count - 1 of the sequence as (count,) int64."""
        parts = []
        while count > 0:
            pass_number, offset = divmod(start, self.num_items)
            part = self._pass(pass_number)[offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(parts)

    def _pass(self, number: int) -> Indices:
        if number != self._pass_number:
            key = runtime.seed_of(self._seed, "order", self._stream, number)
            self._permutation = np.random.Generator(np.random.Philox(key=key)).permutation(self.num_items)
            self._pass_number = number
        return self._permutation
