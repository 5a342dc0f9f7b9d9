"""Training from end to end: resolve the request, open the data, start or go on with a run, leave its folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gansmith import runtime
from gansmith.data import DataSet, Source, facts_of, open_data, open_source
from gansmith.data.cache import cache_folder
from gansmith.errors import UsageError
from gansmith.recipe import Recipe
from gansmith.request import Request
from gansmith.sizes import Size, size_text
from gansmith.training.folder import RunConfig, find_run, lock
from gansmith.training.log import Display
from gansmith.training.loop import Budget
from gansmith.training.session import Run, Session

DEFAULT_MINUTES = 10.0
MOST_SKIPPED_SHOWN = 5


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
    if problems := _call_problems(overrides, size, seed, save_every):
        raise UsageError(problems)
    request = Request(recipe, tuple(overrides), size, channels)
    if images is None and minutes is None:
        minutes = DEFAULT_MINUTES
    display = Display(quiet)
    try:
        return _train(data, request, Budget(images, minutes), seed, out, device, save_every, display)
    finally:
        display.close()


def _call_problems(overrides: Any, size: Any, seed: Any, save_every: Any) -> list[str]:
    """Return what a Python caller got wrong; the command line has checked its texts before."""
    problems = []
    if isinstance(overrides, str):
        problems.append(f"overrides={overrides!r}: give a list, such as [{overrides!r}]")
    if size is not None and not (isinstance(size, tuple | list) and len(size) == 2 and all(map(_is_count, size))):
        problems.append(f"size={size!r}: give (height, width) in pixels, such as (32, 32)")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        problems.append(f"seed={seed!r}: must be a whole number from 0 to 2^63 - 1")
    if save_every is not None and not _is_count(save_every):
        problems.append(f"save_every={save_every!r}: must be a whole number above 0")
    return problems


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


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
    is_rerun = recipe is not None
    recipe = recipe or resolve(request, source, device, display)
    data_set = open_data(source, recipe.size, recipe.channels, on_progress=display.decoding)
    _describe_data(data_set, recipe, display)
    data_text = os.fspath(data) if isinstance(data, str | os.PathLike) else source.name
    del source  # the directory of a large zip takes tens of megabytes
    asked = RunConfig(data_text, request, recipe, data_set.fingerprint, seed, budget.images, budget.minutes, save_every)
    folder, stored = find_run(asked, None if out is None else Path(out), is_exact=is_rerun)
    if stored is not None:
        asked = dataclasses.replace(asked, recipe=stored.recipe)
    held = lock(folder)
    try:
        # Dropout draws from torch's global generator, which is the caller's again afterwards.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            return Session(folder, asked, data_set, budget, device, display).train()
    finally:
        held.release()


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
