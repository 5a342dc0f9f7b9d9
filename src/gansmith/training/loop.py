"""The loop: batches, steps, records, snapshots, until the budget is spent or a signal comes.

It knows objectives only by their protocol, and reads nothing back from the device but at the log interval. What
depends on a clock is decided by rank 0, for all ranks, before every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from gansmith import ranks, runtime
from gansmith.budget import Budget
from gansmith.data import Batch, TrainingData
from gansmith.data.feed import Feed
from gansmith.data.order import Indices, WaitEnded
from gansmith.errors import DataError
from gansmith.images import to_float
from gansmith.training.divergence import RollBack
from gansmith.training.log import Progress
from gansmith.training.objective import Objective
from gansmith.training.state import TrainState
from gansmith.training.stop import StopSignal
from gansmith.training.totals import PERSISTING, Totals
from gansmith.training.watch import Watch

LOG_INTERVAL_SECONDS = 1.0
SNAPSHOTS = 20
SHORTEST_SNAPSHOT_SECONDS, LONGEST_SNAPSHOT_SECONDS = 5.0, 300.0


class Batches:
    """Reads what each step eats, as float32 in [-1, 1] on the device, in an order fixed by (seed, images seen).

    Args:
        objective: says how much of what a step eats.
        state: its recipe, seed and device.
        data: to read from.
    """

    def __init__(self, objective: Objective, state: TrainState, data: TrainingData) -> None:
        self._sizes = objective.batches(state.recipe)
        self._orders = {name: data.order(state.seed, name) for name in self._sizes}
        self._feed, self._state = Feed(data, state.device), state

    def indices(self) -> dict[str, Any]:
        """Return name -> item numbers (N,) int64 of this rank's part of the next step's batches."""
        step = self._state.counters["steps"]
        return {
            name: self._part(name, self._orders[name].indices(step * size, size)) for name, size in self._sizes.items()
        }

    def _part(self, name: str, indices: Indices) -> Indices:
        """Return this rank's part of each of the batches that lie behind one another in `real_d`."""
        batches = indices.reshape(self._state.recipe.discriminator_steps if name == "real_d" else 1, -1)
        start, stop = ranks.share_of(batches.shape[1])
        return batches[:, start:stop].flatten()

    def next(self) -> dict[str, Batch]:
        """Return the next step's batches; nothing is consumed until the step has counted itself."""
        batches = {name: self._feed.batch(places) for name, places in self.indices().items()}
        return {name: Batch(to_float(b.images), b.labels, b.condition) for name, b in batches.items()}


class Due(IntFlag):
    """What is to be done between two steps."""

    NOTHING = 0
    RECORD = 1
    SNAPSHOT = 2
    EVALUATION = 4
    END = 8


@dataclass
class Loop:
    """One stretch of training; `run` returns when the budget is spent or `stop` has received a signal.

    Attributes:
        objective, state, data, budget: what is trained, on what, how long.
        on_record: called with each record of numbers and the progress.
        on_snapshot: called when a preview and a checkpoint are due, with the seconds of training so far.
            When `stop` has received a signal, only the checkpoint matters, and soon.
        stop: asked before every step.
        seconds: of training before this stretch, and then in all.
        save_every: images between snapshots; None: twenty over the budget, 5 s to 5 min apart.
        keep_every: a snapshot is also due at each multiple of so many images.
        watch: asked before every step whether to evaluate; what that takes is not counted as training. Of rank 0.
    """

    objective: Objective
    state: TrainState
    data: TrainingData
    budget: Budget
    on_record: Callable[[Progress], None]
    on_snapshot: Callable[[float], None]
    stop: StopSignal
    seconds: float = 0.0
    save_every: int | None = None
    keep_every: int | None = None
    watch: Watch | None = None

    def run(self) -> None:
        """Train.

        Raises:
            RollBack: steps go on failing; what came after the last checkpoint is not saved.
            DataError: data that is read while training can no longer be read; what was trained is saved (by several
                ranks: the last checkpoint stays).
        """
        batches, totals = Batches(self.objective, self.state, self.data), Totals()
        self._waited, self._recorded, self._snapped = 0.0, (self.seconds, self.images), (self.seconds, self.images)
        begun, before, self._is_enough = time.perf_counter(), self.seconds, False
        self._put_off, self._is_stopped = -1, False  # at so many images, a snapshot was
        while Due.END not in (due := self._agreed()):
            if due & (Due.SNAPSHOT | Due.EVALUATION):
                paused = time.perf_counter()
                self._pause(due, totals)
                begun += time.perf_counter() - paused
                continue  # a signal may have come meanwhile
            if Due.RECORD in due:
                self._record(totals)
            started = time.perf_counter()
            batch = self._next(batches, totals)
            if batch is None:
                break
            self._waited += time.perf_counter() - started
            totals.add(self.objective.step(self.state, batch))
            self.seconds = before + time.perf_counter() - begun
        if self.images == 0 or self.images != self._snapped[1]:
            self._snapshot(totals, is_last=True)

    def _agreed(self) -> Due:
        """Return what is due on every rank: by the clock of rank 0, or because of a signal to any."""
        self._is_stopped, due = self.stop.agree(self._due() if ranks.current().is_first else Due.NOTHING)
        return Due.END if self._is_stopped else Due(due)

    def _due(self) -> Due:
        if self.is_spent or self._is_enough:
            return Due.END
        due = Due.NOTHING
        if self.state.counters["steps"] == 1 or self.seconds - self._recorded[0] >= LOG_INTERVAL_SECONDS:
            due |= Due.RECORD
        if self._snapshot_is_due() and self._put_off != self.images:
            due |= Due.SNAPSHOT
        if self.watch is not None and self.watch.is_due(self.seconds):
            due |= Due.EVALUATION
        return due

    def _pause(self, due: Due, totals: Totals) -> None:
        if Due.SNAPSHOT in due:
            self._snapshot(totals)
        if Due.EVALUATION in due and self.watch is not None and self.stop.received is None:
            self._is_enough = self.watch.evaluate()

    @property
    def images(self) -> int:
        """Real images seen so far."""
        return self.state.counters["images"]

    @property
    def is_spent(self) -> bool:
        """Whether the budget is spent."""
        return self.budget.share(self.images, self.seconds) >= 1.0

    def _next(self, batches: Batches, totals: Totals) -> dict[str, Batch] | None:
        """Return the next batches, or None where a signal came while they were waited for."""
        try:
            return batches.next()
        except WaitEnded:
            return None
        except DataError as error:
            if ranks.current().size > 1:
                raise  # the other ranks are on their way into the next step, and take no part in a snapshot
            self._snapshot(totals, is_last=True)
            raise DataError(
                f"{error}; stopped at {self.images:,} images, and the same command goes on from the last checkpoint"
            ) from error

    def _snapshot_is_due(self) -> bool:
        since_seconds, since_images = self.seconds - self._snapped[0], self.images - self._snapped[1]
        if self.keep_every and self.images // self.keep_every > self._snapped[1] // self.keep_every:
            return True
        if self.save_every:
            return since_images >= self.save_every
        if since_seconds >= LONGEST_SNAPSHOT_SECONDS:
            return True
        share = self.budget.share(self.images, self.seconds) - self.budget.share(self._snapped[1], self._snapped[0])
        return share >= 1 / SNAPSHOTS and since_seconds >= SHORTEST_SNAPSHOT_SECONDS

    def _snapshot(self, totals: Totals, is_last: bool = False) -> None:
        self._record(totals, is_last)
        if totals.trouble and not is_last:  # who goes back is to find a state whose next steps were good
            self._put_off = self.images
            return
        self.on_snapshot(self.seconds)
        self._snapped = (self.seconds, self.images)

    def _record(self, totals: Totals, is_last: bool = False) -> None:
        if totals.is_empty:
            return
        means = totals.means()
        ends_failing = is_last and not self._is_stopped and totals.trouble > 0 and totals.fails_mostly
        if totals.worst >= PERSISTING or ends_failing:
            raise RollBack(self.state, "steps go on having a loss or gradient that is no finite number")
        seconds, images = self.seconds - self._recorded[0], self.images - self._recorded[1]
        memory = runtime.memory_in_use(self.state.device)
        record = {
            "images": self.images,
            "steps": self.state.counters["steps"],
            "seconds": round(self.seconds, 3),
            "time": round(time.time(), 3),
            "images_per_second": round(images / max(seconds, 1e-9), 1),
            "wait_share": round(self._waited / max(seconds, 1e-9), 5),
            "memory_mb": None if memory is None else round(memory / 1e6),
            "num_skipped": totals.num_failed,
            **{name: round(value, 6) for name, value in means.items()},
        }
        share = self.budget.share(self.images, self.seconds)
        remaining = self.seconds * (1 - share) / share if share else 0.0
        self._recorded, self._waited = (self.seconds, self.images), 0.0
        self.on_record(Progress(share, remaining, record))
