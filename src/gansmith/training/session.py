"""One process's work on one run folder: open or begin it, train, keep its pictures, checkpoints and metrics."""

from __future__ import annotations

import dataclasses
import logging
import math
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from gansmith import ranks, runtime
from gansmith.budget import Budget
from gansmith.data import Batch, DataSet, StreamedSet
from gansmith.errors import DivergedError, Interrupted, ResourceError
from gansmith.recipe import Recipe
from gansmith.training.checkup import Checkup
from gansmith.training.divergence import MOST_RETRIES, RollBack
from gansmith.training.evaluations import scalars_of
from gansmith.training.folder import CONFIG, RunConfig
from gansmith.training.graph import for_device
from gansmith.training.log import Display, Metrics, Progress
from gansmith.training.loop import Loop
from gansmith.training.memory import free_what_failed, is_out_of_memory, next_micro_batch
from gansmith.training.objective import Objective
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.opening import CHECKPOINTS, METRICS, open_state
from gansmith.training.pictures import save_preview, shown_reals
from gansmith.training.saver import Saver
from gansmith.training.state import TrainState
from gansmith.training.stop import StopSignal
from gansmith.training.track import Tracker
from gansmith.training.watch import Plan, Watch

PREVIEW_SEED = 0
LONGEST_PREVIEW_AT_STOP = 3.0
"""Seconds that a stop by signal may spend on a last preview, judged by the one before."""
log = logging.getLogger("gansmith")


@dataclass(frozen=True)
class Options:
    """What one process does beside training; the run is the same without it.

    Attributes:
        allow_bad: go on where more than 5 % of the images cannot be read.
        track: write TensorBoard events.
        plan: of evaluations while training, or None.
    """

    allow_bad: bool = False
    track: bool = False
    plan: Plan | None = None


@dataclass(frozen=True)
class Run:
    """A finished stretch of training.

    Attributes:
        folder: of the run.
        recipe: the resolved method.
        images_seen: real images, over the whole run.
        seconds: of training, over the whole run.
    """

    folder: Path
    recipe: Recipe
    images_seen: int
    seconds: float


class Session:
    """One process's work on a run folder that it holds the lock of.

    Args:
        folder: of the run.
        config: with the recipe to train.
        data: decoded, or streamed.
        budget: when to stop.
        device: where to.
        display: who to tell.
        options: of this process, not of the run.
    """

    def __init__(
        self, folder: Path, config: RunConfig, data: DataSet | StreamedSet, budget: Budget, device: torch.device,
        display: Display, options: Options,
    ) -> None:  # fmt: skip
        self.folder, self.config, self.data = folder, config, data
        self.budget, self.device, self.display, self.options = budget, device, display, options
        self.objective: Objective = OBJECTIVES[config.recipe.objective]
        self.metrics = Metrics(folder / METRICS)
        self.checkpoints = folder / CHECKPOINTS
        self.stop = StopSignal()
        if (
            isinstance(data, StreamedSet) and ranks.current().size == 1
        ):  # several agree on a stop, and none leaves alone
            data.wait_only_while(lambda: self.stop.received is None)
        self._preview_seconds = math.inf  # not known yet
        self._tracker: Tracker | None = None
        self._retries, self._has_told_skipped = 0, False
        self._checkup = Checkup(config.recipe, data)
        self._saver = Saver(self.checkpoints, data.fingerprint, config.keep_every, in_background=device.type == "cuda")

    def train(self) -> Run:
        """Start or go on, until the budget is spent.

        A batch that does not fit into memory is computed in parts, once tried smaller, unless it is needed whole.
        Training that goes on failing begins again at the last checkpoint with lower rates, at most three times.
        """
        has_halved = False
        while True:
            try:
                return self._train()
            except RollBack as failed:
                if failed.retries >= MOST_RETRIES:
                    raise DivergedError(failed.advice(self.config.recipe)) from None
                self._retries = failed.retries + 1
                free_what_failed(failed, self.device)
                self.display.say(failed.announcement())
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(error, has_halved)
                has_halved = True
            finally:
                self._close()

    def _halve(self, error: BaseException, has_halved: bool) -> None:
        """Have batches computed in smaller parts from now on.

        Raises:
            ResourceError: that was tried, or cannot be done; with what to do.
        """
        at_once, recipe = self.config.micro_batch, self.config.recipe
        self.objective = OBJECTIVES[recipe.objective]  # recordings hold memory
        free_what_failed(error, self.device)
        if has_halved:
            raise ResourceError(f"out of memory even with {at_once} images at a time; take a smaller --size") from error
        try:
            half = next_micro_batch(recipe, at_once, OBJECTIVES[recipe.objective], self.device, ranks.current().size)
        except ResourceError as hopeless:
            raise hopeless from error
        self.config = dataclasses.replace(self.config, micro_batch=half)
        self.display.say(f"out of memory: from the last checkpoint on, batches are computed {half} images at a time")

    def _train(self) -> Run:
        say, watch = self.display.say, None
        recipe = self.config.recipe  # recordings belong to one state: a new one, where memory ran out
        self.objective = for_device(OBJECTIVES[recipe.objective], recipe, self.device, self.display.say)
        try:
            state, seconds = open_state(self.config, self.data, self.device, self.folder, say)
            state.counters["retries"] = max(state.counters["retries"], self._retries)
            if ranks.current().is_first:
                plan = self.options.plan
                watch = Watch(self.folder, self.objective, state, plan, self.stop, say, self._track)
        except OSError as error:
            raise self._not_writable(error) from error
        loop = Loop(
            self.objective, state, self.data, self.budget, self._record, lambda spent: self._snapshot(state, spent),
            self.stop, seconds, self.config.save_every, self.config.keep_every, watch,
        )  # fmt: skip
        why_over = watch.why_over if watch else None
        if ranks.of_first(loop.is_spent or why_over is not None):
            finished = (
                f"finished already, {state.counters['images']:,} images seen; "
                "go on with a larger --images or --minutes, or start another with --seed or --out"
            )
            say(f"{self.folder}: {why_over or finished}")
            if watch:
                watch.finish()
            return Run(self.folder, state.recipe, state.counters["images"], seconds)
        if watch:
            try:
                self._begin(state)
            except OSError as error:
                raise self._not_writable(error) from error
            watch.begin()
        with self.stop:
            ranks.wait_for_all()  # from here on a signal to one is one to all
            loop.run()
            if watch:
                watch.finish()
            self._saver.wait()
            self.stop.agree()
        self.display.close()
        failure = self._saver.failure
        if (failed := ranks.of_first(None if failure is None else str(failure))) is not None:  # rank 0 alone saves
            raise ResourceError(
                f"{self.folder}: the end of the training could not be saved ({failed}); make room, then the "
                "same command goes on from the last checkpoint"
            )
        if self.stop.received is not None:
            raise Interrupted(
                f"stopped and saved at {loop.images:,} images in {self.folder}; the same command goes on from there",
                self.stop.received,
            )
        say(f"done: {loop.images:,} images in {loop.seconds:,.0f} s of training")
        for line in [*self._checkup.summary(), *(watch.summary(loop.seconds) if watch else [])]:
            say(line)
        say(f"pictures: {self.folder / 'samples'}   sample it: gansmith sample {shlex.quote(str(self.folder))}")
        return Run(self.folder, state.recipe, loop.images, loop.seconds)

    def _not_writable(self, error: OSError) -> ResourceError:
        return ResourceError(f"{self.folder}: cannot be written to ({error.strerror or error}); nothing was trained")

    def _begin(self, state: TrainState) -> None:
        self.config.save(self.folder / CONFIG)
        self._checkup.begin(self.metrics.read())
        recipe, images, size = state.recipe, state.counters["images"], ranks.current().size
        if self.options.track:
            self._tracker = Tracker(self.folder, recipe, images, [*self.metrics.read(), *scalars_of(self.folder)])
        where = f" by {size} ranks" if size > 1 else ""
        if self._retries:  # all of it was said
            return
        self.display.say(
            f"{self.folder}: {self.config.request.name} ({recipe.id}), {recipe.loss}, "
            f"{runtime.precision_text(state.device, recipe.precision)}{where}, seed {state.seed}, for {self.budget}"
        )
        if size > 1 and recipe.has_batch_norm and not self.config.sync_batch:
            self.display.say("batch norm uses each rank's own statistics (--sync-batch: those of the whole batch)")
        reals = self._reals  # now: a stream that can no longer be read must not keep the last state from being saved
        if not (self.folder / "reals.png").exists():
            save_preview(reals.images, self.folder / "reals.png")
        if images == 0:
            self._show(state)

    @cached_property
    def _reals(self) -> Batch:
        return shown_reals(self.data.examples, self.config.recipe)

    def _record(self, progress: Progress) -> None:
        if not ranks.current().is_first:
            return
        said = self._checkup.judge(progress.record)
        try:
            self.metrics.append(progress.record)
        except FileNotFoundError as error:
            raise ResourceError(
                f"{self.folder}: the run folder was removed while training; what was not copied before is lost"
            ) from error
        except OSError as error:
            log.warning("%s: a line of metrics is lost (%s)", self.metrics.path, error.strerror)
        self._track(lambda tracker: tracker.record(progress.record))
        if (skipped := progress.record["num_skipped"]) and not self._has_told_skipped:
            self._has_told_skipped = True
            self.display.say(
                f"at {progress.record['images']:,} images: {skipped:,} of the last steps skipped, because a loss or "
                "gradient was no finite number; later ones are counted in num_skipped of metrics.jsonl"
            )
        self.display.training(progress)
        for line in said:
            self.display.say(line)

    def _track(self, act: Callable[[Tracker], None]) -> None:
        """Do something with the tracker, if there is one; where its files cannot be written, go on without it."""
        if self._tracker is not None:
            try:
                act(self._tracker)
            except ResourceError as error:
                self._tracker = None
                log.warning("%s; training goes on without TensorBoard events", error)

    def _close(self) -> None:
        """End what goes on beside training; after it, the checkpoints are those of the last snapshot."""
        self._saver.wait()
        self._track(Tracker.close)
        self._tracker = None

    def _snapshot(self, state: TrainState, seconds: float) -> None:
        if not state.is_finite():
            raise RollBack(state, "weights are no longer finite numbers")
        if not ranks.current().is_first:
            return
        # A stop must not wait for pictures: a large network takes long to settle, and whoever loads it can do that.
        is_settled = self.stop.received is None or self._preview_seconds < LONGEST_PREVIEW_AT_STOP
        if is_settled:
            try:
                self._show(state)
            except OSError as error:
                log.warning("%s: a picture is lost (%s)", self.folder / "samples", error.strerror or error)
        self._saver.save(state, seconds, is_settled)

    def _show(self, state: TrainState) -> None:
        started = time.perf_counter()
        with ranks.alone():
            self.objective.settle(state)
            samples = self.objective.preview(state, PREVIEW_SEED, self._reals)
        images = state.counters["images"]
        path = save_preview(samples, self.folder / "samples" / f"{images:09d}.png")
        if path.suffix == ".png":
            self._track(lambda tracker: tracker.picture(path, images))
        self._checkup.look(samples, images)
        self._preview_seconds = time.perf_counter() - started
