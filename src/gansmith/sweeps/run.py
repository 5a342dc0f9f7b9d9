"""A sweep from end to end: one recipe, some of its fields varied, short runs of equal images, ranked with intervals."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gansmith import runtime
from gansmith.budget import Budget
from gansmith.data import open_data, open_source
from gansmith.data.sources import StreamSource
from gansmith.errors import DataError, UsageError
from gansmith.evaluation.evaluator import NUM_SAMPLES
from gansmith.evaluation.extractors import require
from gansmith.evaluation.opening import plan_of
from gansmith.images import POINT_SHAPE
from gansmith.recipe import Recipe
from gansmith.recipes import DEFAULT_RECIPE
from gansmith.report import RANKED_SCORES
from gansmith.request import Request
from gansmith.sizes import Fit, Size
from gansmith.sweeps.conclusion import Sweep
from gansmith.sweeps.folder import SweepPlan, find_sweep
from gansmith.sweeps.grid import Axis, parse_axis, problems_of
from gansmith.sweeps.runner import Runner
from gansmith.training.description import describe_data
from gansmith.training.log import Display
from gansmith.training.preparation import resolve
from gansmith.training.run import call_problems

DEFAULT_IMAGES, DEFAULT_SCORE = 20_000, "fd"


def sweep(
    data: Any = "digits",
    over: Mapping[str, Sequence[Any]] | Sequence[str] = (),
    recipe: str | Recipe = DEFAULT_RECIPE,
    *,
    overrides: Sequence[str] = (),
    size: Size | None = None, channels: int | None = None,
    conditional: bool = False,
    fit: Fit = "crop",
    images: int = DEFAULT_IMAGES,
    seeds: int = 1,
    score: str = DEFAULT_SCORE,
    num_samples: int = NUM_SAMPLES,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Sweep:  # fmt: skip
    """Train every combination of some fields' values on equally many images, and rank them by a score.

    Args:
        data: as for `train`, but no stream: a score is of all real images.
        over: field -> values to try: {"loss": ["hinge", "relativistic"], "gamma": [0.05, 0.5]}; or texts as on the
            command line: ["loss=hinge,relativistic"]. Fields are those of `overrides`, and "gamma" (the weight of R1,
            and of R2 where the recipe has it) and "rate" (the generator's; the discriminator's stays in proportion).
        recipe: as for `train`; "auto" is resolved once, so that the runs differ in nothing else.
        overrides: `field=value` changes that all runs share.
        size: (height, width) in pixels, as for `train`.
        channels: as for `train`.
        conditional: tell the networks the classes.
        fit: how images of another shape become `size`.
        images: real images that each run sees.
        seeds: runs of each setting; from 2 on intervals are over seeds.
        score: to rank by, one of `report.RANKED_SCORES`.
        num_samples: that a score is of.
        out: folder; by default the newest of this sweep in `sweeps/`, or a new one there.
        device: "auto", "cpu", "cuda".
        quiet: print nothing.

    Raises:
        UsageError: something is wrong in the request, or `out` holds another sweep.
        DataError: there is no usable data.
        DivergedError: every run diverged.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    counts = {"channels": channels, "images": images, "seeds": seeds, "num_samples": num_samples}
    problems = call_problems(recipe, overrides, size, 0, counts, fit, device)
    if score not in RANKED_SCORES:
        problems.append(f"score={score!r}: cannot be ranked by; there are {', '.join(RANKED_SCORES)}")
    if problems:
        raise UsageError(problems)
    axes, request = _axes(over), Request(recipe, tuple(overrides), size, channels, conditional, fit)
    if problems := problems_of(request, axes):
        raise UsageError(problems)
    display = Display(quiet)
    try:
        runner = _opened(data, request, axes, (images, seeds), score, num_samples, out, device, display)
        return runner.run()
    finally:
        display.close()


def _axes(over: Mapping[str, Sequence[Any]] | Sequence[str]) -> tuple[Axis, ...]:
    if not over:
        raise UsageError("there is nothing to sweep; give over, such as {'loss': ['hinge', 'relativistic']}")
    try:
        if isinstance(over, Mapping):
            texts = [f"{field}={','.join(map(_text, values))}" for field, values in over.items()]
        else:
            texts = list(over)
        return tuple(parse_axis(text) for text in texts)
    except (ValueError, TypeError) as error:
        raise UsageError(f"over={over!r}: {error}") from error


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _opened(
    data: Any, request: Request, axes: tuple[Axis, ...], counts: tuple[int, int], score: str, num_samples: int,
    out: str | os.PathLike[str] | None, device: str, display: Display,
) -> Runner:  # fmt: skip
    """Return a sweep that can begin: what fails for every run fails here, before any of them."""
    require(plan_of((score,), None).extractor, None)
    source, target = open_source(data), runtime.choose_device(device)
    if isinstance(source, StreamSource):
        raise UsageError(f"{source.name}: a sweep's score is of all real images, and these are streamed; name a folder")
    bare = dataclasses.replace(request, overrides=())
    choice = resolve(bare, source, target, Budget(images=counts[0]), display)
    text = os.fspath(data) if isinstance(data, str | os.PathLike) else source.name
    plan = SweepPlan(text, request, choice.recipe, "", axes, *counts)
    recipe = plan.trials(Path())[0].recipe
    if (recipe.channels, *recipe.size) == POINT_SHAPE:
        raise DataError(f"{source.name}: holds points of the plane; the scores of a sweep are of images")
    train = open_data(source, recipe.size, recipe.channels, "train", display.decoding, fit=request.fit)
    describe_data(train, recipe, display)
    plan = dataclasses.replace(plan, fingerprint=train.fingerprint)
    folder, stored = find_sweep(plan, None if out is None else Path(out))
    if stored is not None:
        plan = dataclasses.replace(plan, base=stored.base)
    for reason in choice.reasons if stored is None else ():
        display.say(f"{request.name}: {reason}")
    return Runner(data, source, plan, score, num_samples, folder, target, display)
