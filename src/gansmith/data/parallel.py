"""Threads over the entries of a source. Threads, not processes: Pillow lets others run while it decodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from gansmith.data.decode import quiet_pillow
from gansmith.data.sources import ObjectSource, Source

T = TypeVar("T")
MOST_THREADS = 16


def in_threads(source: Source, work: Callable[[int], T], starts: Iterable[int]) -> Iterator[T]:
    """Yield what `work` returns for each start, as it is done; one error stops all."""
    # A user's object need not be safe to index from two threads.
    workers = 1 if isinstance(source, ObjectSource) else min(os.cpu_count() or 1, MOST_THREADS)
    with quiet_pillow(), ThreadPoolExecutor(workers, "decode") as pool:
        futures = [pool.submit(work, start) for start in starts]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
