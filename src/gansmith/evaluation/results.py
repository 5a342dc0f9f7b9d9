"""Entries of a report: a score of an estimate, or the reason why there is none; and what every protocol says."""

from __future__ import annotations

import math

from torch import Tensor

from gansmith.evaluation.context import MOST_IN_PAIRS, Context
from gansmith.evaluation.intervals import NUM_GROUPS, Estimate
from gansmith.report import Better, Interval, Score

FEW_SAMPLES = 2_000
JACKKNIFE = (
    f"delete-a-group jackknife over {NUM_GROUPS} groups of samples and of real images, Student's t with "
    f"{NUM_GROUPS - 1} degrees of freedom; of the score's expectation at these counts"
)
JACKKNIFE_OF_SAMPLES = (
    f"delete-a-group jackknife over {NUM_GROUPS} groups of samples, Student's t with {NUM_GROUPS - 1} degrees of "
    "freedom; of the score's expectation at this count"
)


def fd_names(context: Context) -> tuple[str, str]:
    """Return name and title of the Fréchet distance: "fid" only with the published Inception weights."""
    if is_published_inception(context):
        return "fid", "FID"
    name = context.extractor.facts.name
    return f"fd_{name}", f"Fréchet distance ({name} features)"


def is_published_inception(context: Context) -> bool:
    """Return whether the features are those of papers."""
    return context.extractor.facts.name == "inception" and bool(context.extractor.facts.is_published)


def counts_text(context: Context) -> str:
    """Return "10,000 samples against 60,000 real images (train)"."""
    return f"{context.num_samples:,} samples against {context.real.facts.num_compared:,} real images " \
           f"({context.real.facts.split})"  # fmt: skip


def pairs_text(context: Context) -> str:
    """Return how many are compared each with each."""
    fake, real = min(context.num_samples, MOST_IN_PAIRS), min(context.real.facts.num_compared, MOST_IN_PAIRS)
    return f"{fake:,} samples against {real:,} real images ({context.real.facts.split})"


def without_value(name: str, title: str, protocol: str, reason: str, better: Better = "lower") -> Score:
    """Return a score that says why it has no value."""
    return Score(name=name, title=title, value=None, protocol=protocol, reason=reason, better=better)


def labels_of_samples(context: Context) -> tuple[Tensor | None, str]:
    """Return the class of each sample (N,) and how it is known; or None and why it is not."""
    names, samples = context.real.facts.class_names, context.samples
    if samples.labels is not None and samples.class_names == names and len(names) > 1:
        return samples.labels, "as the generator was asked for" if samples.model else "by folder"
    if context.classifier is None:
        return None, without_classes(context)
    return context.class_probabilities.argmax(1), "as the classifier reads them"


def without_classes(context: Context) -> str:
    """Return why there are no scores of classes."""
    count = len(context.real.facts.class_names)
    has = "1 class, and 2 are needed" if count == 1 else "no classes"
    return f"{context.real.facts.name} has {has} (sub-folders are classes)"


def of_estimate(
    context: Context, name: str, title: str, estimate: Estimate, better: Better, held_out: float | None, protocol: str,
    method: str = JACKKNIFE,
) -> Score:  # fmt: skip
    """Return the score of an estimate; one that is no number has none, and says so."""
    if not math.isfinite(estimate.value):
        return without_value(name, title, protocol, f"the result is {estimate.value}, which is no number", better)
    warnings, bounds = [], estimate.interval
    if context.num_samples < FEW_SAMPLES:
        warnings.append(f"only {context.num_samples:,} samples: compare it with nothing measured on another number")
    if estimate.replicates and bounds is None:
        warnings.append("no interval: without a group it is the same each time, or cannot be computed")
    interval = None if bounds is None else Interval(low=bounds[0], high=bounds[1], method=method)
    replicates = () if interval is None else estimate.replicates
    return Score(
        name=name, title=title, value=estimate.value, interval=interval, better=better, held_out=held_out,
        protocol=protocol, replicates=replicates, warnings=tuple(warnings),
    )  # fmt: skip
