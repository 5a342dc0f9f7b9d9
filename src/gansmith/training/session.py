"""One process's work on one run folder: open or begin it, train, keep its pictures, checkpoints and metrics."""

from __future__ import annotations

import logging
import math
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gansmith import runtime
from gansmith.checkpoint import clean_up, read_newest, save_checkpoint
from gansmith.data import DataSet, Order
from gansmith.errors import DivergedError, Interrupted
from gansmith.images import save_grid, to_float
from gansmith.recipe import Recipe
from gansmith.restore import restore
from gansmith.training.adversarial import OBJECTIVES, PREVIEW_COUNT
from gansmith.training.folder import CONFIG, RunConfig
from gansmith.training.log import Display, Metrics, Progress
from gansmith.training.loop import Budget, Loop
from gansmith.training.objective import Objective
from gansmith.training.state import TrainState
from gansmith.training.stop import StopSignal

PREVIEW_SEED = 0
LONGEST_PREVIEW_AT_STOP = 3.0
"""Seconds that a stop by signal may spend on a last preview, judged by the one before."""
log = logging.getLogger("gansmith")


@dataclass(frozen=True)
class Run:
    """A finished stretch of training.

    Attributes:
        folder: of the run.
        recipe: the resolved method.
        images_seen: real images shown to D, over the whole run.
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
        data: decoded.
        budget: when to stop.
        device: where to.
        display: who to tell.
    """

    def __init__(
        self, folder: Path, config: RunConfig, data: DataSet, budget: Budget, device: torch.device, display: Display
    ) -> None:
        self.folder, self.config, self.data = folder, config, data
        self.budget, self.device, self.display = budget, device, display
        self.objective: Objective = OBJECTIVES[config.recipe.objective]
        self.metrics = Metrics(folder / "metrics.jsonl")
        self.checkpoints = folder / "checkpoints"
        self.stop = StopSignal()
        self._preview_seconds = math.inf  # not known yet

    def train(self) -> Run:
        """Start or go on, until the budget is spent."""
        state, seconds = self._open()
        loop = Loop(
            self.objective, state, self.data, self.budget, self._record, lambda spent: self._snapshot(state, spent),
            self.stop, seconds, self.config.save_every,
        )  # fmt: skip
        if loop.is_spent:
            self.display.say(
                f"{self.folder}: finished already, {state.counters['images']:,} images seen; "
                "go on with a larger --images or --minutes, or start another with --seed or --out"
            )
            return Run(self.folder, state.recipe, state.counters["images"], seconds)
        self._begin(state)
        with self.stop:
            loop.run()
        self.display.close()
        if self.stop.received is not None:
            raise Interrupted(
                f"stopped and saved at {loop.images:,} images in {self.folder}; the same command goes on from there",
                self.stop.received,
            )
        self.display.say(f"done: {loop.images:,} images in {loop.seconds:,.0f} s of training")
        self.display.say(
            f"pictures: {self.folder / 'samples'}   sample it: gansmith sample {shlex.quote(str(self.folder))}"
        )
        return Run(self.folder, state.recipe, loop.images, loop.seconds)

    def _open(self) -> tuple[TrainState, float]:
        clean_up(self.checkpoints)
        checkpoint, passed_over = read_newest(self.checkpoints)
        for reason in passed_over:
            log.warning("%s; going on from an earlier checkpoint", reason)
        state = self.objective.initialise(self.config.recipe, self.config.seed, self.device)
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
        recipe = state.recipe
        self.display.say(
            f"{self.folder}: {self.config.request.name} ({recipe.id}), {recipe.loss}, {recipe.precision} on "
            f"{state.device}, seed {state.seed}, for {self.budget}"
        )
        if not (self.folder / "reals.png").exists():
            places = Order(0, len(self.data), "grid of reals").indices(0, PREVIEW_COUNT)
            save_grid(to_float(self.data.batch(places).images), self.folder / "reals.png")
        if state.counters["images"] == 0:
            self._show(state)

    def _record(self, progress: Progress) -> None:
        self.metrics.append(progress.record)
        self.display.training(progress)

    def _snapshot(self, state: TrainState, seconds: float) -> None:
        if not state.is_finite():
            raise DivergedError(
                f"weights are no longer finite numbers at {state.counters['images']:,} images; not saved"
            )
        # A stop must not wait for pictures: a large network takes long to settle, and whoever loads it can do that.
        is_settled = self.stop.received is None or self._preview_seconds < LONGEST_PREVIEW_AT_STOP
        if is_settled:
            self._show(state)
        save_checkpoint(state, self.checkpoints, seconds, self.data.fingerprint, is_settled)

    def _show(self, state: TrainState) -> None:
        started = time.perf_counter()
        self.objective.settle(state)
        self._save_preview(state)
        self._preview_seconds = time.perf_counter() - started

    def _save_preview(self, state: TrainState) -> None:
        samples = self.objective.preview(state, PREVIEW_SEED)
        path = self.folder / "samples" / f"{state.counters['images']:09d}"
        if samples.ndim == 4:
            save_grid(samples, path.with_suffix(".png"))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path.with_suffix(".npz"), samples=samples.numpy())
