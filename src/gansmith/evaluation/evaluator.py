"""Evaluation from end to end: open samples and real images, choose the extractor, measure, and make the report."""

from __future__ import annotations

import datetime
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from gansmith import ranks, runtime
from gansmith.checkpoint import write_synced
from gansmith.data.sources import Split
from gansmith.errors import ResourceError
from gansmith.evaluation.context import Context
from gansmith.evaluation.exhibit import Exhibit
from gansmith.evaluation.opening import Asked, ExtractorChoice, Plan, open_context, plan_of
from gansmith.evaluation.page import report_page
from gansmith.evaluation.pictures import exhibit_of
from gansmith.evaluation.scores import SCORES
from gansmith.evaluation.subject import Samples
from gansmith.facts import FEW_IMAGES
from gansmith.report import DEFAULT_SCORES, Health, Report, Score
from gansmith.sizes import Fit
from gansmith.training.health import health_of
from gansmith.training.log import Display, Metrics
from gansmith.training.opening import METRICS
from gansmith.version import __version__

NUM_SAMPLES = 10_000
NUM_TRIED, LONG_SECONDS = 32, 30.0
REPORT, PAGE = "report.json", "report.html"


@dataclass(frozen=True)
class Evaluation:
    """A report and what it shows beside numbers.

    Attributes:
        report: the numbers and how they were measured.
        exhibit: grids, curves, recipe.
    """

    report: Report
    exhibit: Exhibit

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `report.json` and `report.html` into a folder, made if need be; return its path.

        Raises:
            ResourceError: it cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_synced(folder / REPORT, self.report.to_json().encode())
            write_synced(folder / PAGE, report_page(self.report, self.exhibit).encode())
        except OSError as error:
            raise ResourceError(f"{folder}: the report cannot be written ({error.strerror or error})") from error
        return folder


def evaluate(
    subject: Any,
    data: Any = None,
    *,
    scores: Sequence[str] | None = None,
    num_samples: int = NUM_SAMPLES,
    num_reals: int | None = None,
    seed: int = 0,
    split: Split = "train",
    fit: Fit | None = None,
    extractor: ExtractorChoice = None,
    weights: str | os.PathLike[str] | None = None,
    allow_bad: bool = False,
    device: str = "auto",
    quiet: bool = True,
) -> Evaluation:
    """Measure a generator, or anyone's images, against real images.

    Args:
        subject: path of a run, checkpoint or saved model; or a folder, zip, npz or object with images.
        data: the real images, as for `train`; by default those that a run was trained on.
        scores: names of scores (docs/metrics.md); by default those that train nothing.
        num_samples: how many to draw, or to read of a larger collection.
        num_reals: compare with so many of the real images, always the same ones; by default all, as papers do.
        seed: of latents and labels.
        split: of the real images to compare with, "train" or "test".
        fit: how real images of another shape are made to fit; by default as the run did, or "crop".
        extractor: "classifier", "random", "inception", "dinov2", or a module (images in [-1, 1] -> (N, D)); by default
            the classifier where there are classes, else random convolutions.
        weights: of the extractor, where they are not in their usual place.
        allow_bad: go on where more than 5 % of the real images cannot be read.
        device: "auto", "cpu", "cuda".
        quiet: print nothing.

    Raises:
        UsageError: a name is unknown, an extra is missing, or no real images are given for somebody's images.
        DataError: there are no usable images.
        CheckpointError: the run has no usable checkpoint.
        ResourceError: the cache cannot be written to.
    """
    asked = Asked(subject, data, plan_of(scores, extractor), num_samples, num_reals, seed, split, fit,
                  None if weights is None else Path(weights), allow_bad, device)  # fmt: skip
    found = measure(asked, quiet)
    assert found is not None, "this process is alone"
    return found


def measure(asked: Asked, quiet: bool, among_ranks: bool = False, display: Display | None = None) -> Evaluation | None:
    """Return what `evaluate` does.

    Args:
        asked: what is to be measured.
        quiet: print nothing.
        among_ranks: all ranks call this alike. Each draws and reads a part; then rank 0 measures, and the others
            have nothing more to do: for them it is None.
        display: told what happens, by default one of its own.
    """
    begun = time.perf_counter()
    display = display or Display(quiet or (among_ranks and not ranks.current().is_first))
    try:
        runtime.keep_large_allocations()
        context = open_context(asked, display, among_ranks)
        if among_ranks and not ranks.current().is_first:
            return None
        _say_what(context, display)
        measured = tuple(_measured(asked.plan, context, display))
        exhibit = exhibit_of(context, measured)
    finally:
        display.close()
    return Evaluation(_report(context, asked, measured, time.perf_counter() - begun), exhibit)


def _say_what(context: Context, display: Display) -> None:
    facts, real, extractor = context.samples.facts, context.real.facts, context.extractor.facts
    seen = "" if facts.images_seen is None else f" at {facts.images_seen:,} images seen, seed {facts.seed}"
    display.say(f"{facts.name}: {facts.num_samples:,} {'samples' if facts.kind == 'generator' else 'images'}{seen}")
    display.say(f"against {real.num_compared:,} images of {real.name} ({real.split}, fingerprint {real.fingerprint})")
    if len(context.real.train) < FEW_IMAGES:
        display.say(
            f"  {len(context.real.train):,} training images are few: copies of them do well by every score but "
            "memorisation; read that one first"
        )
    note = f": {extractor.note}" if extractor.note and extractor.name != "classifier" else ""  # which has said so
    display.say(f"features: {extractor.name} ({extractor.checksum}), {extractor.dim} numbers an image{note}")
    held_out = context.held_out_data
    if held_out is not None and len(held_out) < facts.num_samples:
        display.say(
            f"  {len(held_out):,} held-out images beside {facts.num_samples:,} samples: no held-out value for "
            f"scores that depend on the count (--samples {len(held_out)} gives them)"
        )
    few = context.samples.images[:NUM_TRIED]
    started = time.perf_counter()
    context.extractor.read(few)
    seconds = (time.perf_counter() - started) / len(few)
    if seconds * facts.num_samples > LONG_SECONDS:
        display.say(
            f"  it reads {1 / seconds:,.0f} images a second: about {_duration(seconds * facts.num_samples)} for the "
            f"samples, {_duration(seconds * real.num_compared)} for the real ones, once (--reals takes fewer)"
        )


def _measured(plan: Plan, context: Context, display: Display) -> Iterator[Score]:
    for name in plan.scores:
        if estimate := SCORES[name].seconds:
            display.say(f"{name}: about {_duration(estimate(context))}")
    for name in plan.scores:
        started = time.perf_counter()
        display.working(plan.scores.index(name) / len(plan.scores), f"measuring {name}")
        found = SCORES[name].function(context)
        seconds = round((time.perf_counter() - started) / max(len(found), 1), 3)
        for score in found:
            yield score.model_copy(update={"seconds": seconds})


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _report(context: Context, asked: Asked, scores: tuple[Score, ...], seconds: float) -> Report:
    return Report(
        gansmith=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        subject=context.samples.facts,
        reference=context.real.facts,
        extractor=context.extractor.facts,
        scores=scores,
        health=_health_of(context.samples),
        environment=runtime.machine_facts(context.device),
        command=_command(context, asked),
        seconds=round(seconds, 2),
    )


def _health_of(samples: Samples) -> Health | None:
    """Return how the run stood at the images seen of what was evaluated; a user's images are of no run."""
    if samples.run is None or samples.config is None:
        return None
    records = Metrics(samples.run / METRICS).read()
    return health_of(samples.config.recipe, records, samples.facts.images_seen)


def _command(context: Context, asked: Asked) -> str:
    facts, real, plan = context.samples.facts, context.real.facts, asked.plan
    if isinstance(plan.extractor, nn.Module):
        return f"in Python: gansmith.evaluate({facts.path!r}, {real.path!r}, extractor=..., scores={plan.scores!r})"
    words = ["gansmith", "evaluate", facts.path, "--data", real.path, "--samples", str(facts.num_samples)]
    if plan.scores != DEFAULT_SCORES:
        words += ["--scores", ",".join(plan.scores)]
    words += ["--extractor", context.extractor.facts.name] if plan.extractor is not None else []
    words += ["--weights", os.fspath(asked.weights)] if asked.weights is not None else []
    words += ["--reals", str(real.num_compared)] if real.num_compared != real.num_images else []
    words += ["--split", real.split] if real.split != "train" else []
    words += ["--fit", real.fit] if real.fit != "crop" else []
    words += ["--seed", str(asked.seed)] if asked.seed else []
    return shlex.join(words)
