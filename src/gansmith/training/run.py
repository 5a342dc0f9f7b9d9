"""Training from end to end: resolve the request, open the data, start or go on with a run, leave its folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import torch

from gansmith import runtime
from gansmith.budget import PATIENCE_ALONE, Budget
from gansmith.data import DataSet, Source, StreamedSet, facts_of, open_for_training, open_source
from gansmith.data.cache import cache_folder
from gansmith.errors import DataError, UsageError
from gansmith.evaluation.quick import check_evaluable, open_test, quick_score
from gansmith.recipe import Recipe
from gansmith.recipes import AUTO, DEFAULT_RECIPE
from gansmith.recipes.auto import Choice
from gansmith.request import Request
from gansmith.sizes import Fit, Size, size_text
from gansmith.training.folder import Intervals, RunConfig, find_run, lock
from gansmith.training.log import Display
from gansmith.training.memory import choose_micro_batch
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.session import Options, Run, Session
from gansmith.training.track import require_tensorboard
from gansmith.training.watch import Plan

MOST_SKIPPED_SHOWN, MOST_CLASSES_SHOWN = 5, 12


def train(
    data: Any = "digits",
    recipe: str | Recipe = DEFAULT_RECIPE,
    *,
    overrides: Sequence[str] = (),
    size: Size | None = None, channels: int | None = None,
    conditional: bool = False,
    fit: Fit = "crop",
    images: int | None = None, minutes: float | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    save_every: int | None = None, keep_every: int | None = None,
    evaluate_every: int | None = None, patience: int | None = None,
    allow_bad: bool = False,
    track: bool = False,
    quiet: bool = False,
) -> Run:  # fmt: skip
    """Train a GAN, or go on with the run that the same call began; return its folder and what was done.

    Args:
        data: a name ("digits", "mnist", "stream:hub:owner/name"), a path (folder, zip, IDX, npz, CIFAR), or an object
            with `__len__` and `__getitem__`.
        recipe: a name (see `gansmith.recipes`; "auto" chooses by data, machine and budget) or a `Recipe`.
        overrides: `field=value` changes to the recipe.
        size: (height, width) in pixels; by default the data's own where the recipe can make it.
        channels: by default the data's.
        conditional: tell the networks the class of each image, so that classes can be asked for.
        fit: how images of another shape become `size`: "crop" around the middle, "pad" or "stretch".
        images: stop at this many real images seen.
        minutes: stop after so many minutes of training alone; 10 if neither is given.
        seed: 0 or more; of weights, order and every draw.
        out: run folder; by default the newest of this request in `runs/`, or a new one there.
        device: "auto", "cpu", "cuda", "cuda:1".
        save_every: images between checkpoints; by default twenty over the budget.
        keep_every: keep the checkpoint at each multiple of so many images; by default only the last two are kept.
        evaluate_every: images between scores, in at most a tenth of the time; the best generator is kept in `best/`.
        patience: stop after so many scores in a row that are no better.
        allow_bad: go on where more than 5 % of the images cannot be read.
        track: write TensorBoard events into the run folder; needs the extra `track`.
        quiet: print nothing.

    Raises:
        UsageError: the request is wrong, or `out` holds another run.
        DataError: there is no usable data.
        CheckpointError: the run has checkpoints and none is whole.
        ResourceError: memory or disk is too small, another process trains in the run, or it cannot be written to.
        DivergedError: a loss stopped being finite.
        Interrupted: Ctrl-C or SIGTERM; the state is saved and the same call goes on.
    """
    intervals = Intervals(save_every, keep_every, evaluate_every, patience)
    counts = {"channels": channels, **asdict(intervals)}
    if problems := _call_problems(recipe, overrides, size, seed, counts, fit, device):
        raise UsageError(problems)
    request = Request(recipe, tuple(overrides), size, channels, conditional, fit)
    display, options = Display(quiet), Options(allow_bad, track)
    try:
        return _train(data, request, Budget.of(images, minutes), seed, out, device, intervals, display, options)
    finally:
        display.close()


def _call_problems(
    recipe: Any, overrides: Any, size: Any, seed: Any, counts: dict[str, Any], fit: Any, device: Any
) -> list[str]:
    """Return what a Python caller got wrong; the command line has checked its texts before."""
    problems = []
    if not isinstance(recipe, str | Recipe):
        problems.append(f"recipe={recipe!r}: give a name or a Recipe")
    if isinstance(overrides, str):
        problems.append(f"overrides={overrides!r}: give a list, such as [{overrides!r}]")
    elif not (isinstance(overrides, Sequence) and all(isinstance(text, str) for text in overrides)):
        problems.append(f"overrides={overrides!r}: give a list of texts, such as ['loss=hinge']")
    if not isinstance(device, str):
        problems.append(f"device={device!r}: give a text, such as 'cpu' or 'cuda:1'")
    if size is not None and not (isinstance(size, tuple | list) and len(size) == 2 and all(map(_is_count, size))):
        problems.append(f"size={size!r}: give (height, width) in pixels, such as (32, 32)")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        problems.append(f"seed={seed!r}: must be a whole number from 0 to 2^63 - 1")
    for name, value in counts.items():
        if value is not None and not _is_count(value):
            problems.append(f"{name}={value!r}: must be a whole number above 0")
    if fit not in get_args(Fit):
        problems.append(f"fit={fit!r}: must be one of {', '.join(get_args(Fit))}")
    return problems


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1  # True is an int, and no count


def rerun(
    config_file: Path,
    out: Path | None,
    budget: Budget | None = None,
    device: str = "auto",
    *,
    changes: Intervals | None = None,
    options: Options | None = None,
    quiet: bool = False,
) -> Run:
    """Run again what a `config.yaml` describes, with its resolved recipe. Raises as `train`.

    Args:
        config_file: of the run to repeat.
        out: run folder, or None for the newest of this request.
        budget: instead of the one in the file.
        device: as in `train`.
        changes: instead of those in the file, where they are not None.
        options: of this process.
        quiet: print nothing.
    """
    config = RunConfig.load(config_file)
    budget = budget or Budget(config.images, config.minutes)
    given = {name: value for name, value in asdict(changes or Intervals()).items() if value is not None}
    display, intervals = Display(quiet), dataclasses.replace(config.intervals, **given)
    try:
        return _train(
            config.data, config.request, budget, config.seed, out, device, intervals, display, options or Options(),
            config,
        )  # fmt: skip
    finally:
        display.close()


def _train(
    data: Any, request: Request, budget: Budget, seed: int, out: str | os.PathLike[str] | None, device_name: str,
    intervals: Intervals, display: Display, options: Options, original: RunConfig | None = None,
) -> Run:  # fmt: skip
    if problems := request.problems():
        raise UsageError(problems)
    if intervals.patience and not intervals.evaluate_every:
        raise UsageError(PATIENCE_ALONE)
    if options.track:
        require_tensorboard()
    device = runtime.choose_device(device_name)
    source = open_source(data)
    choice = Choice(original.recipe, ()) if original else resolve(request, source, device, budget, display)
    recipe = choice.recipe
    if intervals.evaluate_every:
        check_evaluable(recipe, source)
    data_set = open_for_training(
        source, recipe.size, recipe.channels, display.decoding, fit=request.fit, allow_bad=options.allow_bad,
        with_labels=recipe.num_classes > 0,
    )  # fmt: skip
    _describe_data(data_set, recipe, display)
    if original is not None and original.fingerprint != data_set.fingerprint:
        raise DataError(
            f"{original.data}: its images or classes are no longer those of the run to repeat (fingerprint "
            f"{data_set.fingerprint}, was {original.fingerprint}); train on them without --config"
        )
    data_text = os.fspath(data) if isinstance(data, str | os.PathLike) else source.name
    options = dataclasses.replace(
        options, plan=_plan(intervals, source, recipe, data_set, request.fit, device, display)
    )
    del source  # the directory of a large zip takes tens of megabytes
    runtime.keep_large_allocations()  # not before: decoding gives back what a large image took
    asked = RunConfig(
        data_text, request, recipe, data_set.fingerprint, seed, budget.images, budget.minutes,
        micro_batch=original.micro_batch if original else None, **asdict(intervals),
    )  # fmt: skip
    folder, stored = find_run(asked, None if out is None else Path(out), is_exact=original is not None)
    if stored is not None:
        asked = dataclasses.replace(
            asked, recipe=stored.recipe, micro_batch=stored.micro_batch,
            keep_every=intervals.keep_every or stored.keep_every,
        )  # fmt: skip
    elif choice.reasons:
        display.say("\n".join([f"{request.name} chose:", *(f"  {reason}" for reason in choice.reasons)]))
    budget = _within_schedule(budget, asked.recipe, display)
    held = lock(folder)
    try:
        # Dropout draws from torch's global generator, which is the caller's again afterwards.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            asked = _fitted_to_memory(asked, device, display)
            return Session(folder, asked, data_set, budget, device, display, options).train()
    finally:
        if isinstance(data_set, StreamedSet):
            data_set.close()
        held.release()


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
    fits = choose_micro_batch(config.recipe, OBJECTIVES[config.recipe.objective], device)
    if fits is None or (config.micro_batch is not None and config.micro_batch <= fits):
        return config
    display.say(f"a batch of {config.recipe.batch_size} does not fit into memory: computed {fits} images at a time")
    return dataclasses.replace(config, micro_batch=fits)


def _describe_data(data: DataSet | StreamedSet, recipe: Recipe, display: Display) -> None:
    shape = f"{size_text(recipe.size)}, {recipe.channels} channel{'s' if recipe.channels > 1 else ''}"
    display.say(f"{data.name}: {len(data):,} images, {shape}, fingerprint {data.fingerprint}")
    if data.class_names:
        display.say(f"  {len(data.class_names)} classes: {class_balance(data.class_names, data.class_counts)}")
    if isinstance(data, StreamedSet):
        display.say(f"  {data.mixing}")
    else:
        if data.num_refitted:
            display.say(f"  {data.num_refitted:,} of them brought to {size_text(recipe.size)}")
        for name, reason in data.skipped[:MOST_SKIPPED_SHOWN]:
            display.say(f"  skipped {name}: {reason}")
        if len(data.skipped) > MOST_SKIPPED_SHOWN:
            display.say(f"  and {len(data.skipped) - MOST_SKIPPED_SHOWN:,} more skipped")
    if len(data) < recipe.batch_size:
        display.say(
            f"  fewer images than one batch of {recipe.batch_size}: each batch shows some of them more than once"
        )
    if recipe.batch_size == 1 and recipe.has_batch_norm:
        display.say("  a batch of one image: batch norm of dense layers uses its running averages; --set batch_size=8")


def class_balance(names: Sequence[str], counts: Sequence[int]) -> str:
    """Return "cats 62 %, dogs 38 %": the share of each class, of up to twelve."""
    total = max(sum(counts), 1)
    shown = [f"{name} {count / total:.1%}" for name, count in zip(names, counts, strict=False)]
    more = [f"and {len(shown) - MOST_CLASSES_SHOWN} more"] if len(shown) > MOST_CLASSES_SHOWN else []
    return ", ".join([*shown[:MOST_CLASSES_SHOWN], *more])
