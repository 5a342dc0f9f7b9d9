"""Training from end to end: resolve the request, open the data, start or go on with a run, leave its folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import torch

from gansmith import ranks, runtime
from gansmith.budget import Budget
from gansmith.errors import UsageError
from gansmith.recipe import Recipe
from gansmith.recipes import DEFAULT_RECIPE
from gansmith.request import Request
from gansmith.sizes import Fit, Size
from gansmith.training.folder import Intervals, RunConfig
from gansmith.training.log import Display
from gansmith.training.preparation import Job, prepare
from gansmith.training.session import Options, Run, Session


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
    track: bool = False, sync_batch: bool = False, quiet: bool = False,
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
        device: "auto", "cpu", "cuda", "cuda:1"; processes that torchrun started train together, on a GPU each.
        save_every: images between checkpoints; by default twenty over the budget.
        keep_every: keep the checkpoint at each multiple of so many images; by default only the last two are kept.
        evaluate_every: images between scores, in at most a tenth of the time; the best generator is kept in `best/`.
        patience: stop after so many scores in a row that are no better.
        allow_bad: go on where more than 5 % of the images cannot be read.
        track: write TensorBoard events; needs the extra `track`.
        sync_batch: of several ranks, batch norm has the statistics of the whole batch, not those of each rank's share.
        quiet: print nothing.

    Raises:
        UsageError: the request is wrong, or `out` holds another run.
        DataError: there is no usable data.
        CheckpointError: the run has checkpoints and none is whole.
        ResourceError: memory or disk is too small, another process trains in the run, or it cannot be written to.
        DivergedError: losses or gradients stopped being finite, with lower rates too.
        Interrupted: Ctrl-C or SIGTERM; the state is saved and the same call goes on.
    """
    intervals = Intervals(save_every, keep_every, evaluate_every, patience)
    counts = {"channels": channels, **asdict(intervals)}
    if problems := call_problems(recipe, overrides, size, seed, counts, fit, device):
        raise UsageError(problems)
    request = Request(recipe, tuple(overrides), size, channels, conditional, fit)
    options = Options(allow_bad, track)
    job = Job(data, request, Budget.of(images, minutes), seed, out, intervals, sync_batch)
    return _train(job, device, options, quiet)


def call_problems(
    recipe: Any, overrides: Any, size: Any, seed: Any, counts: dict[str, Any], fit: Any, device: Any
) -> list[str]:
    """Return what a Python caller of `train` or `sweep` got wrong; the command line has checked its texts before."""
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
    sync_batch: bool = False,
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
        sync_batch: as in `train`; the file may say it too.
        quiet: print nothing.
    """
    config = RunConfig.load(config_file)
    budget = budget or Budget(config.images, config.minutes)
    given = {name: value for name, value in asdict(changes or Intervals()).items() if value is not None}
    intervals = dataclasses.replace(config.intervals, **given)
    job = Job(config.data, config.request, budget, config.seed, out, intervals, sync_batch or config.sync_batch, config)
    return _train(job, device, options or Options(), quiet)


def _train(job: Job, device_name: str, options: Options, quiet: bool) -> Run:
    """Train in this process, or in all that torchrun started, of which this is one."""
    if not ranks.were_launched():
        return train_in(job, runtime.choose_device(device_name), options, Display(quiet))
    uses_gpus = device_name != "cpu" and torch.cuda.is_available()
    with ranks.joined("cuda" if uses_gpus else "cpu"):
        is_own = uses_gpus and device_name in ("auto", "cuda")
        device = runtime.choose_device(f"cuda:{ranks.local_rank()}" if is_own else device_name)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        run = train_in(job, device, options, Display(quiet or not ranks.current().is_first))
        ranks.wait_for_all()
        return run


def train_in(job: Job, device: torch.device, options: Options, display: Display) -> Run:
    """Train in this process on a device, telling a display, which is closed; raises as `train`."""
    try:
        restarts, most = ranks.num_restarts()
        if restarts:
            display.say(f"a rank was killed: all have been started again ({restarts} of at most {most} times)")
        prepared = prepare(job, device, display, options)
        try:
            # Dropout draws from torch's global generator, which is the caller's again afterwards.
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                options = dataclasses.replace(options, plan=prepared.plan)
                session = Session(
                    prepared.folder, prepared.config, prepared.data, prepared.budget, device, display, options
                )
                return session.train()
        finally:
            prepared.release()
    finally:
        display.close()
