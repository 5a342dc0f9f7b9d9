"""Row groups, decoded: those that training needs now and next are read by threads and kept, no others."""

from __future__ import annotations

import concurrent.futures
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gansmith.data.order import WaitEnded
from gansmith.data.parallel import MOST_THREADS
from gansmith.images import Pixels

LOOK_SECONDS = 0.2
"""Between two looks at whether to go on waiting."""
CLOSE_SECONDS = 2.0


@dataclass(frozen=True)
class Group:
    """The rows of one row group.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64; -1 where there are no classes.
    """

    images: Pixels
    labels: NDArray[np.int64]


class GroupReader:
    """Reads row groups ahead.

    Args:
        read: returns one, decoded; called from several threads.

    Attributes:
        is_wanted: asked while `get` waits whether to go on waiting.
    """

    def __init__(self, read: Callable[[int], Group]) -> None:
        self.is_wanted: Callable[[], bool] = lambda: True
        self._read = read
        self._wanted: dict[str, Sequence[int]] = {}
        self._kept: dict[int, Future[Group]] = {}
        self._queue: queue.SimpleQueue[tuple[int, Future[Group]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def want(self, stream: str, groups: Sequence[int]) -> None:
        """Have these read if they are not here, soonest first, and let go of what no stream wants."""
        if self._wanted.get(stream) == groups:
            return
        self._wanted[stream] = groups
        wanted = {group for some in self._wanted.values() for group in some}
        for group in [group for group in self._kept if group not in wanted]:
            self._kept.pop(group).cancel()
        for group in groups:
            if group not in self._kept:
                self._kept[group] = Future()
                self._queue.put((group, self._kept[group]))
        if not self._threads:
            self._begin()

    def _begin(self) -> None:
        # Not an executor: at the end of the process it would wait for a connection that is lost.
        count = min(os.cpu_count() or 1, MOST_THREADS)
        self._threads = [threading.Thread(target=self._work, name="stream", daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            group, future = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._read(group))
                except BaseException as error:  # noqa: BLE001  (raised again by whoever needs the group)
                    future.set_exception(error)

    def get(self, group: int) -> Group:
        """Return a row group, once it is here; one that no stream wants is read and not kept.

        Raises:
            WaitEnded: it is not here, and no longer wanted.
            Exception: what `read` raised.
        """
        if group not in self._kept:
            return self._read(group)
        while True:
            try:
                return self._kept[group].result(LOOK_SECONDS)
            except concurrent.futures.TimeoutError:
                if not self.is_wanted():
                    raise WaitEnded from None

    @property
    def bytes_held(self) -> int:
        """Of the images in memory now."""
        done = [future for future in self._kept.values() if future.done() and not future.exception()]
        return sum(future.result().images.nbytes for future in done)

    def close(self) -> None:
        """Stop; what is not begun is not read, and what hangs is not waited for."""
        for future in self._kept.values():
            future.cancel()
        for _ in self._threads:
            self._queue.put(None)
        until = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
