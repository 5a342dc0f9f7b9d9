"""What an evaluation is asked for, checked, and opened: samples, real images, the extractor between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from gansmith import ranks, runtime
from gansmith.data.sources import Split
from gansmith.errors import DataError, UsageError, near_matches
from gansmith.evaluation.context import Context
from gansmith.evaluation.extractor import Extractor
from gansmith.evaluation.extractors import choose_extractor, require
from gansmith.evaluation.features import cached_features, features_among_ranks
from gansmith.evaluation.reference import RealImages, open_real
from gansmith.evaluation.scores import SCORES
from gansmith.evaluation.subject import Samples, open_subject
from gansmith.report import DEFAULT_SCORES, INCEPTION_SCORES
from gansmith.sizes import Fit
from gansmith.training.log import Display

FEWEST = 2
ExtractorChoice = str | nn.Module | None


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


@dataclass(frozen=True)
class Asked:
    """What is to be measured: the arguments of `evaluate`, which describes them.

    Raises:
        UsageError: a number is out of range, or the extractor lacks an extra or weights.
    """

    subject: Any
    data: Any
    plan: Plan
    num_samples: int
    num_reals: int | None
    seed: int
    split: Split
    fit: Fit | None
    weights: Path | None
    allow_bad: bool
    device: str

    def __post_init__(self) -> None:
        """Check it."""
        counts = (self.num_samples,) if self.num_reals is None else (self.num_samples, self.num_reals)
        if any(type(count) is not int or count < FEWEST for count in counts) or not 0 <= self.seed < 2**63:
            raise UsageError(
                f"num_samples={self.num_samples}, num_reals={self.num_reals}, seed={self.seed}: at least {FEWEST} "
                "images, a seed from 0 to 2^63 - 1"
            )
        require(self.plan.extractor, self.weights)


def open_context(asked: Asked, display: Display, among_ranks: bool = False) -> Context:
    """Return the samples and real images of an evaluation with what reads them; raises as `evaluate`.

    Args:
        asked: what is to be measured.
        display: told what happens.
        among_ranks: all ranks call this alike. Samples are drawn and read by all, and so are real images whose features
            are not in the cache; the rest is for rank 0.
    """
    progress = _progress(display, "opening samples")
    samples = open_subject(asked.subject, asked.num_samples, asked.seed, asked.device, progress, among_ranks)
    if not among_ranks:
        return _context(samples, _real_side(samples, asked, display), asked, display)
    with ranks.first_before_others():  # which find decoded data and a trained classifier in the cache
        context = _context(samples, _real_side(samples, asked, display), asked, display)
    if not any(SCORES[name].needs_features for name in asked.plan.scores):
        return context
    for data, count in ((context.real.compared, asked.num_reals), (context.held_out_data, asked.num_samples)):
        if data is not None and len(data) >= FEWEST:
            what = _progress(display, "reading real images")
            cached_features(data, count, context.extractor, what, among_ranks=True)
    what = _progress(display, "reading samples")
    read = features_among_ranks(samples.images.numpy(), None, context.extractor, what)
    return dataclasses.replace(context, read=read)


def _real_side(samples: Samples, asked: Asked, display: Display) -> RealImages:
    config, data = samples.config, asked.data
    if data is None and config is None:
        raise UsageError(f"{samples.facts.path}: say which real images to compare with: --data DATA")
    fit = asked.fit or (config.request.fit if config else "crop")
    chosen = config.data if data is None and config else data
    try:
        real = open_real(
            chosen, samples.facts.size, samples.facts.channels, asked.split, fit, display.decoding,
            num_compared=asked.num_reals, allow_bad=asked.allow_bad, say=display.say,
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


def _context(samples: Samples, real: RealImages, asked: Asked, display: Display) -> Context:
    target, plan = runtime.choose_device(asked.device), asked.plan
    splits = real.for_a_classifier() if real.has_classes else (real.train, real.train)

    def chosen(name: ExtractorChoice) -> Extractor:
        return choose_extractor(
            name, *splits, weights=asked.weights if name == plan.extractor else None, device=target, say=display.say,
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


def _progress(display: Display, what: str) -> Callable[[int, int], None]:
    return lambda done, count: display.working(done / count, f"{what}: {done:,} of {count:,}")
