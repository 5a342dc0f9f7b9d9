"""The order of rows that come in groups: random groups, and rows shuffled within windows of a few groups.

A permutation of all rows would read a whole group for each row of a batch. Here a pass is a random permutation of the
groups, cut into windows of as many groups as memory holds; the rows of a window are permuted among themselves. Still a
function of (seed, stream, index) alone, and each pass shows each row once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from gansmith import runtime
from gansmith.data.order import Indices

Ahead = Callable[[str, Sequence[int]], None]
"""Told (stream, numbers of the groups that it needs now and next, soonest first)."""


class WindowOrder:
    """An endless sequence of row numbers; `Order` for data that is read by groups.

    Args:
        seed: of the permutations.
        num_rows: (G,) int64, rows of each group, at least 1; group g has the numbers after those of group g - 1.
        groups_per_window: at least 1; the last window of a pass may have fewer.
        stream: streams of one seed are independent ("real_d", "real_g").
        ahead: told which groups the numbers that are returned are in, and those of the window after, when they change.
    """

    def __init__(self, seed: int, num_rows: Indices, groups_per_window: int, stream: str, ahead: Ahead) -> None:
        self._seed, self._stream, self._ahead = seed, stream, ahead
        self._num_rows, self._width = num_rows, groups_per_window
        self._firsts = np.cumsum(num_rows) - num_rows
        self.num_items = int(num_rows.sum())
        self.num_windows = -(-len(num_rows) // groups_per_window)
        self._told: list[tuple[int, int]] = []
        self._pass = functools.lru_cache(2)(self._new_pass)
        self._window = functools.lru_cache(2)(self._new_window)

    def indices(self, start: int, count: int) -> Indices:
        """Return places start .. start + count - 1 of the sequence as (count,) int64."""
        parts, windows = [], list[tuple[int, int]]()
        while count > 0:
            pass_number, offset = divmod(start, self.num_items)
            _, ends = self._pass(pass_number)
            place = int(np.searchsorted(ends, offset, side="right"))
            rows = self._window(pass_number, place)
            begin = offset - (int(ends[place]) - len(rows))
            parts.append(rows[begin : begin + count])
            windows.append((pass_number, place))
            start, count = start + len(parts[-1]), count - len(parts[-1])
        if len(windows) == 1:  # a batch across two windows needs both: the one after them has to wait
            windows.append(self._after(*windows[0]))
        if windows != self._told:
            self._told = windows
            groups = dict.fromkeys(group for window in windows for group in self._groups(*window))
            self._ahead(self._stream, list(groups))
        return np.concatenate(parts)

    def _after(self, pass_number: int, place: int) -> tuple[int, int]:
        return (pass_number, place + 1) if place + 1 < self.num_windows else (pass_number + 1, 0)

    def _groups(self, pass_number: int, place: int) -> list[int]:
        groups, _ = self._pass(pass_number)
        return [int(group) for group in groups[place * self._width : (place + 1) * self._width]]

    def _new_pass(self, number: int) -> tuple[Indices, Indices]:
        """Return the groups in the order of a pass, and the place after each of its windows."""
        groups = self._random(number).permutation(len(self._num_rows))
        ends = np.cumsum(self._num_rows[groups])
        return groups, ends[np.minimum(np.arange(1, self.num_windows + 1) * self._width, len(groups)) - 1]

    def _new_window(self, pass_number: int, place: int) -> Indices:
        """Return the row numbers of a window, shuffled."""
        groups = self._groups(pass_number, place)
        rows = [self._firsts[group] + np.arange(self._num_rows[group]) for group in groups]
        return self._random(pass_number, place).permutation(np.concatenate(rows))

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=runtime.seed_of(self._seed, "windows", self._stream, *key)))
