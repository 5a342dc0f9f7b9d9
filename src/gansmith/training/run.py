"""Training from end to end: resolve the request, open the data, start or go on with a run, leave its folder."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gansmith import runtime
from gansmith.checkpoint import clean_up, read_newest, save_checkpoint
from gansmith.data import DataSet, Order, Source, facts_of, open_data, open_source
from gansmith.data.cache import cache_folder
from gansmith.errors import DivergedError, Interrupted, UsageError
from gansmith.images import save_grid, to_float
from gansmith.recipe import Recipe
from gansmith.request import Request
from gansmith.restore import restore
from gansmith.sizes import Size, size_text
from gansmith.training.adversarial import OBJECTIVES, PREVIEW_COUNT
from gansmith.training.folder import CONFIG, RunConfig, find_run, lock
from gansmith.training.log import Display, Metrics, Progress
from gansmith.training.loop import Budget, Loop
from gansmith.training.objective import Objective
from gansmith.training.state import TrainState
from gansmith.training.stop import StopSignal

DEFAULT_MINUTES = 10.0
PREVIEW_SEED = 0
MOST_SKIPPED_SHOWN = 5
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


def train(
    data: Any = "digits",
    recipe: str | Recipe = "dcgan-small",
    *,
    overrides: Sequence[str] = (),
    size: Size | None = None,
    channels: int | None = None,
    images: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    save_every: int | None = None,
    quiet: bool = False,
) -> Run:
    """Train a GAN, or go on with the run that the same call began; return its folder and what was done.

    Args:
        data: "digits", a folder or zip of images, or an object with `__len__` and `__getitem__`.
        recipe: a name (see `gansmith.recipes`) or a `Recipe`.
        overrides: `field=value` changes to the recipe.
        size: (height, width) in pixels; by default the data's own where the recipe can make it.
        channels: by default the data's.
        images: stop at this many real images seen.
        minutes: stop after so many minutes of training alone; 10 if neither is given.
        seed: 0 or more; of weights, order and every draw.
        out: run folder; by default the newest of this request in `runs/`, or a new one there.
        device: "auto", "cpu", "cuda", "cuda:1".
        save_every: images between checkpoints; by default twenty over the budget.
        quiet: print nothing.

    Raises:
        UsageError: the request is wrong, or `out` holds another run.
        DataError: there is no usable data.
        CheckpointError: the run has checkpoints and none is whole.
        ResourceError: another process trains in the run, or it cannot be written to.
        DivergedError: a loss stopped being finite.
        Interrupted: Ctrl-C or SIGTERM; the state is saved and the same call goes on.
    """
    request = Request(recipe, tuple(overrides), size, channels)
    if images is None and minutes is None:
        minutes = DEFAULT_MINUTES
    display = Display(quiet)
    try:
        return _train(data, request, Budget(images, minutes), seed, out, device, save_every, display)
    finally:
        display.close()


def rerun(
    config_file: Path, out: Path | None, budget: Budget | None = None, device: str = "auto", quiet: bool = False
) -> Run:
    """Run again what a `config.yaml` describes, with its resolved recipe. Raises as `train`.

    Args:
        config_file: of the run to repeat.
        out: run folder, or None for the newest of this request.
        budget: instead of the one in the file.
        device: as in `train`.
        quiet: print nothing.
    """
    config = RunConfig.load(config_file)
    budget = budget or Budget(config.images, config.minutes)
    display = Display(quiet)
    try:
        return _train(
            config.data, config.request, budget, config.seed, out, device, config.save_every, display, config.recipe
        )
    finally:
        display.close()


def _train(
    data: Any, request: Request, budget: Budget, seed: int, out: str | os.PathLike[str] | None, device_name: str,
    save_every: int | None, display: Display, recipe: Recipe | None = None,
) -> Run:  # fmt: skip
    if problems := request.problems():
        raise UsageError(problems)
    runtime.keep_large_allocations()
    device = runtime.choose_device(device_name)
    source = open_source(data)
    recipe = recipe or resolve(request, source, device, display)
    data_set = open_data(source, recipe.size, recipe.channels, on_progress=display.decoding)
    _describe_data(data_set, recipe, display)
    data_text = os.fspath(data) if isinstance(data, str | os.PathLike) else source.name
    asked = RunConfig(data_text, request, recipe, data_set.fingerprint, seed, budget.images, budget.minutes, save_every)
    folder, stored = find_run(asked, None if out is None else Path(out))
    if stored is not None:
        asked = RunConfig(**{**vars(asked), "recipe": stored.recipe})
    with lock(folder):
        session = Session(folder, asked, data_set, budget, device, display)
        with torch.random.fork_rng(devices=[]):
            return session.train()


def resolve(request: Request, source: Source, device: torch.device, display: Display) -> Recipe:
    """Return the recipe for this data and machine, and say so where the size is not the data's own."""
    facts = facts_of(source, cache_folder())
    size = request.size or request.default_size(facts.size, facts.one_size)
    recipe = request.resolve(size, facts.channels, runtime.best_precision(device))
    if recipe.size != facts.size or not facts.one_size:
        theirs = f"all {size_text(facts.size)}" if facts.one_size else f"of mixed sizes around {size_text(facts.size)}"
        display.say(f"images are {theirs}; training at {size_text(recipe.size)} (--size changes it)")
    return recipe


def _describe_data(data: DataSet, recipe: Recipe, display: Display) -> None:
    classes = f", {len(data.class_names)} classes" if data.class_names else ""
    shape = f"{size_text(recipe.size)}, {recipe.channels} channel{'s' if recipe.channels > 1 else ''}"
    display.say(f"{data.name}: {len(data):,} images{classes}, {shape}, fingerprint {data.fingerprint}")
    if data.num_refitted:
        display.say(
            f"  {data.num_refitted:,} of them cropped around the middle and resized to {size_text(recipe.size)}"
        )
    for name, reason in data.skipped[:MOST_SKIPPED_SHOWN]:
        display.say(f"  skipped {name}: {reason}")
    if len(data.skipped) > MOST_SKIPPED_SHOWN:
        display.say(f"  and {len(data.skipped) - MOST_SKIPPED_SHOWN:,} more skipped")
    if len(data) < recipe.batch_size:
        display.say(
            f"  fewer images than one batch of {recipe.batch_size}: each batch shows some of them more than once"
        )


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

    def train(self) -> Run:
        """Start or go on, until the budget is spent."""
        state, seconds = self._open()
        loop = Loop(
            self.objective, state, self.data, self.budget, self._record, lambda seconds: self._snapshot(state, seconds),
            StopSignal(), seconds, self.config.save_every,
        )  # fmt: skip
        if loop.is_spent:
            self.display.say(
                f"{self.folder}: finished already, {state.counters['images']:,} images seen; "
                "go on with a larger --images or --minutes, or start another with --seed or --out"
            )
            return Run(self.folder, state.recipe, state.counters["images"], seconds)
        self._begin(state)
        with loop.stop:
            loop.run()
        self.display.close()
        if loop.stop.received is not None:
            raise Interrupted(
                f"stopped and saved at {loop.images:,} images in {self.folder}; the same command goes on from there",
                loop.stop.received,
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
            self.objective.settle(state)
            self._save_preview(state)

    def _record(self, progress: Progress) -> None:
        self.metrics.append(progress.record)
        self.display.training(progress)

    def _snapshot(self, state: TrainState, seconds: float) -> None:
        if not state.is_finite():
            raise DivergedError(
                f"weights are no longer finite numbers at {state.counters['images']:,} images; not saved"
            )
        self.objective.settle(state)
        self._save_preview(state)
        save_checkpoint(state, self.checkpoints, seconds, self.data.fingerprint)

    def _save_preview(self, state: TrainState) -> None:
        samples = self.objective.preview(state, PREVIEW_SEED)
        path = self.folder / "samples" / f"{state.counters['images']:09d}"
        if samples.ndim == 4:
            save_grid(samples, path.with_suffix(".png"))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path.with_suffix(".npz"), samples=samples.numpy())
