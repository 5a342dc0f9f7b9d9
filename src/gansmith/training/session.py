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

from gansmith import runtime
from gansmith.budget import Budget
from gansmith.checkpoint import clean_up, read_newest
from gansmith.data import Batch, DataSet, StreamedSet
from gansmith.errors import DivergedError, Interrupted, ResourceError
from gansmith.facts import Classes
from gansmith.recipe import Recipe
from gansmith.restore import restore
from gansmith.training.evaluations import scalars_of
from gansmith.training.folder import CONFIG, RunConfig
from gansmith.training.graph import for_device
from gansmith.training.log import Display, Metrics, Progress
from gansmith.training.loop import Loop
from gansmith.training.memory import is_out_of_memory
from gansmith.training.objective import Objective
from gansmith.training.objectives import OBJECTIVES
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
        self.metrics = Metrics(folder / "metrics.jsonl")
        self.checkpoints = folder / "checkpoints"
        self.stop = StopSignal()
        if isinstance(data, StreamedSet):
            data.wait_only_while(lambda: self.stop.received is None)
        self._preview_seconds = math.inf  # not known yet
        self._tracker: Tracker | None = None
        self._saver = Saver(self.checkpoints, data.fingerprint, config.keep_every, in_background=device.type == "cuda")

    def train(self) -> Run:
        """Start or go on, until the budget is spent.

        A batch that does not fit into memory is computed in parts, once tried smaller, unless batch norm forbids it.
        """
        try:
            return self._train()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            half = (self.config.micro_batch or self.config.recipe.batch_size) // 2
            if half < 1:
                raise ResourceError("out of memory with a batch of 1; take a smaller --size") from error
            if mixes := self.config.recipe.needs_whole_batch:
                raise ResourceError(
                    f"out of memory with a batch of {self.config.recipe.batch_size}; {mixes} needs it whole: "
                    f"--set batch_size={half} and another --out, or a smaller --size"
                ) from error
        finally:
            self._close()
        self.config = dataclasses.replace(self.config, micro_batch=half)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.display.say(f"out of memory: from the last checkpoint on, batches are computed {half} images at a time")
        try:
            return self._train()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise ResourceError(f"out of memory even with {half} images at a time; take a smaller --size") from error
        finally:
            self._close()

    def _train(self) -> Run:
        recipe = self.config.recipe  # recordings belong to one state: a new one, where memory ran out
        self.objective = for_device(OBJECTIVES[recipe.objective], recipe, self.device, self.display.say)
        try:
            state, seconds = self._open()
            plan, say = self.options.plan, self.display.say
            watch = Watch(self.folder, self.objective, state, plan, self.stop, say, self._track)
        except OSError as error:
            raise self._not_writable(error) from error
        loop = Loop(
            self.objective, state, self.data, self.budget, self._record, lambda spent: self._snapshot(state, spent),
            self.stop, seconds, self.config.save_every, self.config.keep_every, watch,
        )  # fmt: skip
        if loop.is_spent or watch.why_over:
            finished = (
                f"finished already, {state.counters['images']:,} images seen; "
                "go on with a larger --images or --minutes, or start another with --seed or --out"
            )
            say(f"{self.folder}: {watch.why_over or finished}")
            watch.finish()
            return Run(self.folder, state.recipe, state.counters["images"], seconds)
        try:
            self._begin(state)
        except OSError as error:
            raise self._not_writable(error) from error
        watch.begin()
        with self.stop:
            loop.run()
            watch.finish()
            self._saver.wait()
        self.display.close()
        if (failure := self._saver.failure) is not None:
            raise ResourceError(
                f"{self.folder}: the end of the training could not be saved ({failure}); make room, then the "
                "same command goes on from the last checkpoint"
            )
        if self.stop.received is not None:
            raise Interrupted(
                f"stopped and saved at {loop.images:,} images in {self.folder}; the same command goes on from there",
                self.stop.received,
            )
        say(f"done: {loop.images:,} images in {loop.seconds:,.0f} s of training")
        for line in watch.summary(loop.seconds):
            say(line)
        say(f"pictures: {self.folder / 'samples'}   sample it: gansmith sample {shlex.quote(str(self.folder))}")
        return Run(self.folder, state.recipe, loop.images, loop.seconds)

    def _not_writable(self, error: OSError) -> ResourceError:
        return ResourceError(f"{self.folder}: cannot be written to ({error.strerror or error}); nothing was trained")

    def _open(self) -> tuple[TrainState, float]:
        clean_up(self.checkpoints)
        checkpoint, passed_over = read_newest(self.checkpoints)
        for reason in passed_over:
            log.warning("%s; going on from an earlier checkpoint", reason)
        state = self.objective.initialise(self.config.recipe, self.config.seed, self.device)
        state.micro_batch = self.config.micro_batch
        if self.config.recipe.num_classes:
            state.classes = _classes_of(self.data)
        if checkpoint is None:
            self.metrics.rewind(-1)
            return state, 0.0
        restore(state, checkpoint)
        self.metrics.rewind(state.counters["images"])
        self.display.say(f"{self.folder}: going on from {state.counters['images']:,} images")
        facts = runtime.machine_facts(self.device)
        for key, value in checkpoint.about["machine"].items():
            if facts.get(key) != value:
                self.display.say(f"  {key} was {value}, is {facts.get(key)}: the rest will not be bit for bit the same")
        return state, checkpoint.state.seconds

    def _begin(self, state: TrainState) -> None:
        self.config.save(self.folder / CONFIG)
        recipe, images = state.recipe, state.counters["images"]
        if self.options.track:
            self._tracker = Tracker(self.folder, recipe, images, [*self.metrics.read(), *scalars_of(self.folder)])
        self.display.say(
            f"{self.folder}: {self.config.request.name} ({recipe.id}), {recipe.loss}, "
            f"{runtime.precision_text(state.device, recipe.precision)}, seed {state.seed}, for {self.budget}"
        )
        reals = self._reals  # now: a stream that can no longer be read must not keep the last state from being saved
        if not (self.folder / "reals.png").exists():
            save_preview(reals.images, self.folder / "reals.png")
        if images == 0:
            self._show(state)

    @cached_property
    def _reals(self) -> Batch:
        return shown_reals(self.data.examples, self.config.recipe)

    def _record(self, progress: Progress) -> None:
        try:
            self.metrics.append(progress.record)
        except FileNotFoundError as error:
            raise ResourceError(
                f"{self.folder}: the run folder was removed while training; what was not copied before is lost"
            ) from error
        except OSError as error:
            log.warning("%s: a line of metrics is lost (%s)", self.metrics.path, error.strerror)
        self._track(lambda tracker: tracker.record(progress.record))
        self.display.training(progress)

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
            raise DivergedError(
                f"weights are no longer finite numbers at {state.counters['images']:,} images; not saved"
            )
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
        self.objective.settle(state)
        samples = self.objective.preview(state, PREVIEW_SEED, self._reals)
        images = state.counters["images"]
        path = save_preview(samples, self.folder / "samples" / f"{images:09d}.png")
        if path.suffix == ".png":
            self._track(lambda tracker: tracker.picture(path, images))
        self._preview_seconds = time.perf_counter() - started


def _classes_of(data: DataSet | StreamedSet) -> Classes | None:
    return Classes(data.class_names, data.class_counts) if data.class_names else None
