"""When checkpoints are written: at once, or behind the back of a training that goes on. What is written is
`checkpoint.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from gansmith.checkpoint import write_checkpoint
from gansmith.errors import ResourceError
from gansmith.training.snapshot import HostCopies, Snapshot
from gansmith.training.state import TrainState

log = logging.getLogger("gansmith")


class Saver:
    """Saves one run's states, one at a time; a save that fails is said and remembered, and training goes on.

    In the background the state is copied to host memory, which takes milliseconds, and a thread hashes, writes and
    syncs the copy: the checkpoint is the same, byte for byte. That thread calls nothing of a GPU, which would spoil the
    recording of a CUDA graph. On a CPU it would take the cores that training needs.

    Args:
        folder: `checkpoints` of a run.
        fingerprint: of the data.
        keep_every: as in `write_checkpoint`.
        in_background: whether training goes on while a checkpoint is written.

    Attributes:
        failure: why the last finished save failed, or None where it did not.
    """

    def __init__(self, folder: Path, fingerprint: str, keep_every: int | None, in_background: bool) -> None:
        self.failure: ResourceError | None = None
        self._folder, self._fingerprint, self._keep_every = folder, fingerprint, keep_every
        self._copies = HostCopies() if in_background else None
        self._thread = ThreadPoolExecutor(1, "checkpoint") if in_background else None
        self._under_way: Future[Path] | None = None

    def save(self, state: TrainState, seconds: float, is_settled: bool) -> None:
        """Save the state as it is between two steps; in the background, return once it is copied.

        Waits for the save before. Arguments as in `Snapshot.of`.
        """
        self.wait()
        snapshot = Snapshot.of(state, seconds, self._fingerprint, is_settled, self._copies)
        write = partial(write_checkpoint, snapshot, self._folder, self._keep_every)
        if self._thread is None:
            self._finish(write)
        else:
            self._under_way = self._thread.submit(write)

    def wait(self) -> None:
        """Return once nothing is being written; say so if that failed."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            self._finish(under_way.result)

    def _finish(self, result: Callable[[], Path]) -> None:
        try:
            result()
            self.failure = None
        except ResourceError as error:
            self.failure = error
            log.warning("%s; training goes on, and tries again later", error)
