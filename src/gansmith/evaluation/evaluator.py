"""Evaluation from end to end: open samples and real images, choose the extractor, measure, and make the report."""

from __future__ import annotations

import datetime
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from gansmith import runtime
from gansmith.checkpoint import write_synced
from gansmith.data.sources import Split
from gansmith.errors import DataError, ResourceError, UsageError, near_matches
from gansmith.evaluation.context import Context
from gansmith.evaluation.exhibit import Exhibit
from gansmith.evaluation.extractor import Extractor
from gansmith.evaluation.extractors import choose_extractor, require
from gansmith.evaluation.page import report_page
from gansmith.evaluation.pictures import exhibit_of
from gansmith.evaluation.reference import RealImages, open_real
from gansmith.evaluation.scores import SCORES
from gansmith.evaluation.subject import Samples, open_subject
from gansmith.report import DEFAULT_SCORES, INCEPTION_SCORES, Report, Score
from gansmith.sizes import Fit
from gansmith.training.log import Display
from gansmith.version import __version__

NUM_SAMPLES, FEWEST = 10_000, 2
NUM_TRIED, LONG_SECONDS = 32, 30.0
REPORT, PAGE = "report.json", "report.html"
ExtractorChoice = str | nn.Module | None


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


@dataclass(frozen=True)
class Plan:
    """What to measure and through what, checked.

    Attributes:
        scores: names of `SCORES`, in the order asked for.
        extractor: a name, the user's module, or None for the default.
    """

    scores: tuple[str, ...]
    extractor: ExtractorChoice


def plan_of(scores: Sequence[str] | None, extractor: ExtractorChoice) -> Plan:
    """Return what to measure; "fid", "kid" and "inception-score" mean Inception features.

    Raises:
        UsageError: a score is unknown, or two of them want different features.
    """
    asked = tuple(DEFAULT_SCORES if scores is None else scores)
    known = (*SCORES, *INCEPTION_SCORES)
    problems = [
        f"score {name!r} is unknown{near_matches(name, known)}; there are {', '.join(known)}"
        for name in asked
        if name not in known
    ]
    if not asked:
        problems.append("no score is asked for; leave scores out for the default ones")
    of_papers = [name for name in asked if name in INCEPTION_SCORES]
    if of_papers and extractor not in (None, "inception"):
        shown = extractor if isinstance(extractor, str) else type(extractor).__name__
        problems.append(f"{', '.join(of_papers)}: are of Inception features, not of {shown}; ask for "
                        f"{', '.join(INCEPTION_SCORES[name] for name in of_papers)} instead")  # fmt: skip
    if problems:
        raise UsageError(problems)
    names = dict.fromkeys(INCEPTION_SCORES.get(name, name) for name in asked)
    return Plan(tuple(names), "inception" if of_papers else extractor)


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
    counts = (num_samples,) if num_reals is None else (num_samples, num_reals)
    if any(type(count) is not int or count < FEWEST for count in counts) or not 0 <= seed < 2**63:
        raise UsageError(f"num_samples={num_samples}, num_reals={num_reals}, seed={seed}: at least {FEWEST} images, a "
                         "seed from 0 to 2^63 - 1")  # fmt: skip
    plan = plan_of(scores, extractor)
    weights = None if weights is None else Path(weights)
    require(plan.extractor, weights)
    display, begun = Display(quiet), time.perf_counter()
    try:
        runtime.keep_large_allocations()
        samples = open_subject(subject, num_samples, seed, device, _progress(display, "opening samples"))
        real = _real_side(samples, data, split, fit, num_reals, allow_bad, display)
        context = _context(samples, real, plan, weights, device, display)
        _say_what(context, display)
        measured = tuple(_measured(plan, context, display))
        exhibit = exhibit_of(context, measured)
    finally:
        display.close()
    return Evaluation(_report(context, plan, measured, weights, seed, time.perf_counter() - begun), exhibit)


def _real_side(
    samples: Samples, data: Any, split: Split, fit: Fit | None, num_reals: int | None, allow_bad: bool, display: Display
) -> RealImages:
    config = samples.config
    if data is None and config is None:
        raise UsageError(f"{samples.facts.path}: say which real images to compare with: --data DATA")
    fit = fit or (config.request.fit if config else "crop")
    chosen = config.data if data is None and config else data
    try:
        real = open_real(
            chosen, samples.facts.size, samples.facts.channels, split, fit, display.decoding, num_compared=num_reals,
            allow_bad=allow_bad, say=display.say,
        )  # fmt: skip
    except DataError as error:
        if data is None:
            raise DataError(f"{error}; the run was trained on it: where it is now, say with --data") from error
        raise
    if config and real.train.fingerprint != config.fingerprint:
        display.say(
            f"{real.facts.name}: not what the run was trained on (fingerprint {real.train.fingerprint}, the run's is "
            f"{config.fingerprint})"
        )
    return real


def _context(
    samples: Samples, real: RealImages, plan: Plan, weights: Path | None, device: str, display: Display
) -> Context:
    target = runtime.choose_device(device)
    splits = real.for_a_classifier() if real.has_classes else (real.train, real.train)

    def chosen(name: ExtractorChoice) -> Extractor:
        return choose_extractor(
            name, *splits, weights=weights if name == plan.extractor else None, device=target, say=display.say,
            on_progress=lambda share, text: display.working(share, text),
        )  # fmt: skip

    needs_features = any(SCORES[name].needs_features for name in plan.scores)
    extractor = chosen("random" if plan.extractor is None and not needs_features else plan.extractor)
    is_classifier = extractor.facts.name == "classifier"
    needs_classes = {"classes", "intra-fd", "worth"} & set(plan.scores)
    classifier = extractor if is_classifier else None
    if classifier is None and real.has_classes and needs_classes:
        classifier = chosen("classifier")
    return Context(
        samples, real, extractor, classifier, target, display.say,
        lambda what, done, count: display.working(done / count, f"{what}: {done:,} of {count:,}"),
    )  # fmt: skip


def _say_what(context: Context, display: Display) -> None:
    facts, real, extractor = context.samples.facts, context.real.facts, context.extractor.facts
    seen = "" if facts.images_seen is None else f" at {facts.images_seen:,} images seen, seed {facts.seed}"
    display.say(f"{facts.name}: {facts.num_samples:,} {'samples' if facts.kind == 'generator' else 'images'}{seen}")
    display.say(f"against {real.num_compared:,} images of {real.name} ({real.split}, fingerprint {real.fingerprint})")
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


def _report(context: Context, plan: Plan, scores: tuple[Score, ...], weights: Any, seed: int, seconds: float) -> Report:
    return Report(
        gansmith=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        subject=context.samples.facts,
        reference=context.real.facts,
        extractor=context.extractor.facts,
        scores=scores,
        environment=runtime.machine_facts(context.device),
        command=_command(context, plan, weights, seed),
        seconds=round(seconds, 2),
    )


def _command(context: Context, plan: Plan, weights: Any, seed: int) -> str:
    facts, real = context.samples.facts, context.real.facts
    if isinstance(plan.extractor, nn.Module):
        return f"in Python: gansmith.evaluate({facts.path!r}, {real.path!r}, extractor=..., scores={plan.scores!r})"
    words = ["gansmith", "evaluate", facts.path, "--data", real.path, "--samples", str(facts.num_samples)]
    if plan.scores != DEFAULT_SCORES:
        words += ["--scores", ",".join(plan.scores)]
    words += ["--extractor", context.extractor.facts.name] if plan.extractor is not None else []
    words += ["--weights", os.fspath(weights)] if weights is not None else []
    words += ["--reals", str(real.num_compared)] if real.num_compared != real.num_images else []
    words += ["--split", real.split] if real.split != "train" else []
    words += ["--fit", real.fit] if real.fit != "crop" else []
    words += ["--seed", str(seed)] if seed else []
    return shlex.join(words)


def _progress(display: Display, what: str) -> Callable[[int, int], None]:
    return lambda done, count: display.working(done / count, f"{what}: {done:,} of {count:,}")
