"""Threads over the entries of a source. Threads, not processes: Pillow lets others run while it decodes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from gansmith.data.decode import quiet_pillow
from gansmith.data.sources import ObjectSource, Source

T = TypeVar("T")
MOST_THREADS = 16
CHUNK = 256


def in_threads(source: Source, work: Callable[[Iterable[int]], T], count: int) -> Iterator[T]:
    """Yield what `work` returns for each 256 of `count` places, as it is done.

    One error stops all, and so does Ctrl-C: the places that a thread is working on end after the one it is at.
    """
    # A user's object need not be safe to index from two threads.
    workers = 1 if isinstance(source, ObjectSource) else min(os.cpu_count() or 1, MOST_THREADS)
    is_over = threading.Event()

    def places(start: int) -> Iterator[int]:
        for place in range(start, min(start + CHUNK, count)):
            if is_over.is_set():
                return
            yield place

    with quiet_pillow(), ThreadPoolExecutor(workers, "decode") as pool:
        try:
            futures = [pool.submit(work, places(start)) for start in range(0, count, CHUNK)]
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            is_over.set()
            pool.shutdown(cancel_futures=True)
            raise
