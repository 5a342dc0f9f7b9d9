"""What comes before training, done once for all ranks: the recipe, the data, the run folder, what fits into memory."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from gansmith import ranks, runtime
from gansmith.budget import PATIENCE_ALONE, Budget
from gansmith.data import DataSet, Source, StreamedSet, facts_of, open_for_training, open_source
from gansmith.data.cache import cache_folder
from gansmith.errors import DataError, UsageError
from gansmith.evaluation.quick import check_evaluable, open_test, quick_score
from gansmith.recipe import Recipe
from gansmith.recipes import AUTO
from gansmith.recipes.auto import Choice
from gansmith.request import Request
from gansmith.sizes import Fit, size_text
from gansmith.training.description import describe_data
from gansmith.training.folder import Intervals, RunConfig, find_run, lock
from gansmith.training.log import Display
from gansmith.training.memory import choose_micro_batch
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.session import Options
from gansmith.training.track import require_tensorboard
from gansmith.training.watch import Plan


@dataclass(frozen=True)
class Job:
    """What is to be trained.

    Attributes:
        data: a name, path or object, as `gansmith.train` takes it.
        request: the recipe asked for.
        budget: when to stop.
        seed: of everything random.
        out: run folder, or None for the newest of this request.
        intervals: what is done now and then.
        sync_batch: batch norm has the statistics of the batch of all ranks.
        original: the config to run again, or None.
    """

    data: Any
    request: Request
    budget: Budget
    seed: int
    out: str | os.PathLike[str] | None
    intervals: Intervals
    sync_batch: bool = False
    original: RunConfig | None = None


@dataclass(frozen=True)
class Prepared:
    """Training that can begin.

    Attributes:
        folder: of the run.
        config: of the run, with the resolved recipe.
        budget: when to stop.
        data: decoded, or streamed.
        plan: of evaluations while training, or None; on rank 0 alone.
        held: the lock of the folder; on rank 0 alone.
    """

    folder: Path
    config: RunConfig
    budget: Budget
    data: DataSet | StreamedSet
    plan: Plan | None = None
    held: FileLock | None = None

    def release(self) -> None:
        """Let other processes train in the folder, and end the reading of a stream."""
        if isinstance(self.data, StreamedSet):
            self.data.close()
        if self.held is not None:
            self.held.release()


def prepare(job: Job, device: torch.device, display: Display, options: Options) -> Prepared:
    """Return training that can begin; rank 0 finds out everything, the others are told.

    Raises:
        UsageError, DataError, ResourceError: as `gansmith.train`.
    """
    if not ranks.current().is_first:
        return _told(job, options)
    prepared = _prepare(job, device, display, options)
    try:
        ranks.of_first((prepared.folder, prepared.config, prepared.budget))
        for _ in range(TURNS):
            ranks.wait_for_all()
    except BaseException:
        prepared.release()
        raise
    return prepared


TURNS = 2
"""In which the other ranks open the data: first one of each machine, which may have to decode them there."""


def _told(job: Job, options: Options) -> Prepared:
    told: tuple[Path, RunConfig, Budget] = ranks.of_first(None)  # type: ignore[assignment]
    folder, config, budget = told
    recipe, request = config.recipe, config.request
    for turn in range(TURNS):
        if turn == min(ranks.current().local, TURNS - 1):
            data = open_for_training(
                open_source(job.data), recipe.size, recipe.channels, fit=request.fit, allow_bad=True,
                with_labels=recipe.num_classes > 0,
            )  # fmt: skip
        ranks.wait_for_all()
    if data.fingerprint != config.fingerprint:
        raise DataError(
            f"{job.data}: rank {ranks.current().rank} finds other images than rank 0 (fingerprint "
            f"{data.fingerprint}, not {config.fingerprint}); give every machine the same data"
        )
    runtime.keep_large_allocations()
    return Prepared(folder, config, budget, data)


def _prepare(job: Job, device: torch.device, display: Display, options: Options) -> Prepared:
    request, intervals, original, budget = job.request, job.intervals, job.original, job.budget
    if problems := request.problems():
        raise UsageError(problems)
    if intervals.patience and not intervals.evaluate_every:
        raise UsageError(PATIENCE_ALONE)
    if options.track:
        require_tensorboard()
    source = open_source(job.data)
    choice = Choice(original.recipe, ()) if original else resolve(request, source, device, budget, display)
    recipe = choice.recipe
    _check_divides(recipe)
    if intervals.evaluate_every:
        check_evaluable(recipe, source)
    data_set = open_for_training(
        source, recipe.size, recipe.channels, display.decoding, fit=request.fit, allow_bad=options.allow_bad,
        with_labels=recipe.num_classes > 0,
    )  # fmt: skip
    describe_data(data_set, recipe, display)
    if original is not None and original.fingerprint != data_set.fingerprint:
        raise DataError(
            f"{original.data}: its images or classes are no longer those of the run to repeat (fingerprint "
            f"{data_set.fingerprint}, was {original.fingerprint}); train on them without --config"
        )
    data_text = os.fspath(job.data) if isinstance(job.data, str | os.PathLike) else source.name
    with ranks.alone():
        plan = _plan(intervals, source, recipe, data_set, request.fit, device, display)
    del source  # the directory of a large zip takes tens of megabytes
    runtime.keep_large_allocations()  # not before: decoding gives back what a large image took
    asked = RunConfig(
        data_text, request, recipe, data_set.fingerprint, job.seed, budget.images, budget.minutes,
        micro_batch=original.micro_batch if original else None, sync_batch=job.sync_batch, **asdict(intervals),
    )  # fmt: skip
    folder, stored = find_run(asked, None if job.out is None else Path(job.out), is_exact=original is not None)
    if stored is not None:
        asked = _going_on(asked, stored)
    elif choice.reasons:
        display.say("\n".join([f"{request.name} chose:", *(f"  {reason}" for reason in choice.reasons)]))
    budget = _within_schedule(budget, asked.recipe, display)
    held = lock(folder)
    try:
        return Prepared(folder, _fitted_to_memory(asked, device, display), budget, data_set, plan, held)
    except BaseException:
        held.release()
        raise


def _going_on(asked: RunConfig, stored: RunConfig) -> RunConfig:
    """Return the config to go on with: the stored recipe, which may have been chosen by another machine or budget."""
    _check_divides(stored.recipe)
    return dataclasses.replace(
        asked, recipe=stored.recipe, micro_batch=stored.micro_batch, keep_every=asked.keep_every or stored.keep_every,
        sync_batch=asked.sync_batch or stored.sync_batch,
    )  # fmt: skip


def _check_divides(recipe: Recipe) -> None:
    """Raise a UsageError where a batch cannot be shared by the ranks."""
    for name, size in (("batch_size", recipe.batch_size), ("generator_batch_size", recipe.size_of_generator_batch)):
        ranks.share_of(size, name)


def _plan(
    intervals: Intervals, source: Source, recipe: Recipe, train: DataSet | StreamedSet, fit: Fit,
    device: torch.device, display: Display,
) -> Plan | None:  # fmt: skip
    if intervals.evaluate_every is None:
        return None
    assert isinstance(train, DataSet), "check_evaluable refuses streams"
    test = open_test(source, recipe, fit, display)
    precision = runtime.supported_precision(recipe.precision, device)
    return Plan(
        intervals.evaluate_every, intervals.patience, lambda: quick_score(train, test, precision, device, display)
    )


def resolve(request: Request, source: Source, device: torch.device, budget: Budget, display: Display) -> Choice:
    """Return the recipe for this data, machine and budget; say so where the size is not the data's own."""
    facts = facts_of(source, cache_folder())
    choice = request.resolve(facts, runtime.measure_machine(device, request.recipe == AUTO), budget)
    recipe = choice.recipe
    if recipe.size != facts.size or not facts.one_size:
        theirs = f"all {size_text(facts.size)}" if facts.one_size else f"of mixed sizes around {size_text(facts.size)}"
        display.say(f"images are {theirs}; training at {size_text(recipe.size)} (--size changes it)")
    return choice


def _within_schedule(budget: Budget, recipe: Recipe, display: Display) -> Budget:
    """Return the budget, ending where the learning rates reach 0.

    Raises:
        UsageError: more images are asked for than that.
    """
    schedule = recipe.learning_rate_schedule
    if schedule is None or schedule.final_factor > 0:
        return budget
    last = schedule.length_images
    if budget.images is not None and budget.images > last:
        raise UsageError(
            f"--images {budget.images}: the learning rates fall to 0 at {last:,} images, and a rate of 0 trains "
            f"nothing; --set learning_rate_schedule.length_images={budget.images}, or final_factor above 0"
        )
    return dataclasses.replace(budget, images=budget.images or last)


def _fitted_to_memory(config: RunConfig, device: torch.device, display: Display) -> RunConfig:
    """Return the config with the number of images that are computed at once, where a batch does not fit."""
    size = ranks.current().size
    # The draws of dropout here are from torch's global generator, which is the caller's again afterwards.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        fits = choose_micro_batch(config.recipe, OBJECTIVES[config.recipe.objective], device, size)
    if fits is None or (config.micro_batch is not None and config.micro_batch <= fits):
        return config
    share = f"a share of {config.recipe.batch_size // size}" if size > 1 else f"a batch of {config.recipe.batch_size}"
    display.say(f"{share} does not fit into memory: computed {fits} images at a time")
    return dataclasses.replace(config, micro_batch=fits)
