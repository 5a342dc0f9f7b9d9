"""The table of scores: from the features, statistics and images of a `Context` to numbers with how they were measured.

Those that train something are in `requested.py`. What each is and when not to trust it: docs/metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gansmith.evaluation.classes import class_coverage, reverse_kl
from gansmith.evaluation.context import Context
from gansmith.evaluation.frechet import (
    frechet_distance,
    frechet_estimate,
    frechet_infinity,
    frechet_infinity_estimate,
    frechet_obstacle,
    infinity_obstacle,
)
from gansmith.evaluation.intervals import NUM_GROUPS, Estimate
from gansmith.evaluation.kernel import kernel_distance, kernel_estimate
from gansmith.evaluation.memories import memorisation_score
from gansmith.evaluation.moments import moments_of, total
from gansmith.evaluation.neighbours import neighbourhood_obstacle
from gansmith.evaluation.requested import (
    adversarial,
    adversarial_seconds,
    inception,
    intra_class,
    stacked,
    worth_seconds,
    worth_to_a_classifier,
)
from gansmith.evaluation.results import (
    JACKKNIFE_OF_SAMPLES,
    counts_text,
    fd_names,
    is_published_inception,
    of_estimate,
    pairs_text,
    without_classes,
    without_value,
)
from gansmith.report import Score


def frechet(context: Context) -> list[Score]:
    """Return the Fréchet distance of the features (Heusel et al. 2017)."""
    real, fake = context.real_features.values, context.fake.values
    name, title = fd_names(context)
    if reason := context.obstacle or frechet_obstacle(len(real), len(fake), real.shape[1]):
        return [without_value(name, title, counts_text(context), reason)]
    estimate = frechet_estimate(context.real_moments, context.fake_moments)
    held_out = None
    if context.held_out is not None and context.is_held_out_equal:
        held_out = frechet_distance(total(context.real_moments), moments_of(context.held_out.values))
    return [of_estimate(context, name, title, estimate, "lower", held_out, counts_text(context))]


def infinity(context: Context) -> list[Score]:
    """Return the Fréchet distance extrapolated to infinitely many samples (Chong & Forsyth 2020)."""
    real, fake = context.real_features.values, context.fake.values
    name, title = fd_names(context)
    name, title = f"{name}_infinity", f"{title}, extrapolated to infinite samples"
    protocol = f"{counts_text(context)}; 15 sample counts, linear in 1/N"
    if reason := context.obstacle or infinity_obstacle(len(real), len(fake), real.shape[1]):
        return [without_value(name, title, protocol, reason)]
    estimate = frechet_infinity_estimate(context.real_moments, fake, context.fake_groups)
    if not estimate.replicates:
        protocol += f"; no interval: {NUM_GROUPS} x 15 distances of {real.shape[1]} features would take minutes"
    held_out, found = None, context.held_out
    if found is not None and not infinity_obstacle(len(real), len(found.values), real.shape[1]):
        held_out = context.kept("infinity", lambda: frechet_infinity(total(context.real_moments), found.values))
    return [of_estimate(context, name, title, estimate, "lower", held_out, protocol)]


def kernel(context: Context) -> list[Score]:
    """Return the kernel distance (Binkowski et al. 2018)."""
    is_kid = is_published_inception(context)
    name = "kid" if is_kid else f"kd_{context.extractor.facts.name}"
    title = "KID" if is_kid else f"Kernel distance ({context.extractor.facts.name} features)"
    protocol = f"{pairs_text(context)}; cubic polynomial kernel, unbiased, over all pairs"
    if context.obstacle:
        return [without_value(name, title, protocol, context.obstacle)]
    estimate = kernel_estimate(*context.pairs.arguments)
    held_out = None
    if pairs := context.held_out_pairs:
        held_out = context.kept("kernel", lambda: kernel_distance(pairs.real, pairs.fake))
    return [of_estimate(context, name, title, estimate, "lower", held_out, protocol)]


MOST_SHARES = 100
NEIGHBOURHOODS = {
    "precision": ("Precision", 3, "share of samples among the real images"),
    "recall": ("Recall", 3, "share of real images among the samples"),
    "density": ("Density", 5, "how many real images' neighbourhoods a sample lies in, over k"),
    "coverage": ("Coverage", 5, "share of real images with a sample in their neighbourhood"),
}


def neighbourhood(name: str) -> Callable[[Context], list[Score]]:
    """Return the function of precision, recall (Kynkäänniemi et al. 2019), density or coverage (Naeem et al. 2020)."""
    title, k, meaning = NEIGHBOURHOODS[name]

    def measure(context: Context) -> list[Score]:
        own = f"{name}_{context.extractor.facts.name}"
        shown = f"{title} ({context.extractor.facts.name} features)"
        protocol = f"{meaning}; {pairs_text(context)}; k = {k}"
        if context.obstacle:
            return [without_value(own, shown, protocol, context.obstacle, "higher")]
        if reason := neighbourhood_obstacle(len(context.pairs.real), len(context.pairs.fake)):
            return [without_value(own, shown, protocol, reason, "higher")]
        held_out = context.held_out_neighbourhoods.get(name)
        return [of_estimate(context, own, shown, context.neighbourhoods[name], "higher", held_out, protocol)]

    return measure


def classes(context: Context) -> list[Score]:
    """Return how many classes are hit, and the reverse KL divergence of the class shares."""
    titles = {"classes_hit": "Classes hit", "reverse_kl": "Reverse KL of class shares (nats)"}
    if context.classifier is None:
        reason = without_classes(context)
        return [without_value(name, title, "needs classes", reason) for name, title in titles.items()]
    probabilities, held_out = context.class_probabilities, context.held_out_class_probabilities
    labels = context.real.compared.labels
    assert labels is not None
    real_counts = np.bincount(labels, minlength=len(context.real.facts.class_names)).tolist()
    found = class_coverage(probabilities, real_counts)
    ideal = None if held_out is None else class_coverage(held_out, real_counts)
    protocol = f"{context.num_samples:,} samples read by the classifier, against the class shares of " \
               f"{context.real.facts.split}"  # fmt: skip
    read = probabilities.argmax(1).numpy()
    replicates = tuple(
        reverse_kl(np.bincount(read[context.fake_groups != group], minlength=len(real_counts)).tolist(), real_counts)
        for group in range(NUM_GROUPS)
    )
    shares = [count / context.num_samples for count in found.counts]
    by_class = dict(zip(context.real.facts.class_names, shares, strict=True)) if len(shares) <= MOST_SHARES else {}
    ideal_kl = ideal.reverse_kl if ideal is not None and context.is_held_out_equal else None
    shares_estimate = Estimate(found.reverse_kl, replicates, (0.0, math.inf))
    return [
        Score(
            name="classes_hit", title=titles["classes_hit"], value=float(found.hit), better="higher",
            held_out=None if ideal is None else float(ideal.hit), protocol=protocol,
            details={"of": found.of, "shares": by_class},
        ),
        of_estimate(
            context, "reverse_kl", titles["reverse_kl"], shares_estimate, "lower", ideal_kl, protocol,
            JACKKNIFE_OF_SAMPLES,
        ),
    ]  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """An entry of the table.

    Attributes:
        function: of a context; returns one score or several.
        summary: what it asks, for help and docs.
        needs_features: whether it reads images through the extractor.
        seconds: estimated beforehand, for those that train something; None: seconds.
    """

    function: Callable[[Context], list[Score]]
    summary: str
    seconds: Callable[[Context], float] | None = None
    needs_features: bool = True


SCORES: dict[str, Measure] = {
    "fd": Measure(frechet, "distance of the two distributions of features"),
    "fd-infinity": Measure(infinity, "the same, freed of the bias of few samples"),
    "kd": Measure(kernel, "distance without that bias"),
    "precision": Measure(neighbourhood("precision"), "are samples like real images?"),
    "recall": Measure(neighbourhood("recall"), "are real images like samples?"),
    "density": Measure(neighbourhood("density"), "precision that outliers cannot fool"),
    "coverage": Measure(neighbourhood("coverage"), "recall that outliers cannot fool"),
    "classes": Measure(classes, "is every class made, as often as it is in the data?"),
    "memorisation": Measure(memorisation_score, "are samples copies of training images?", needs_features=False),
    "is": Measure(inception, "sure of each sample, and many classes?"),
    "intra-fd": Measure(intra_class, "distance within each class"),
    "adversarial": Measure(adversarial, "can a fresh discriminator tell?", adversarial_seconds, False),
    "worth": Measure(worth_to_a_classifier, "do samples help a classifier?", worth_seconds, False),
    "modes": Measure(stacked, "how many of the 1,000 modes of Stacked-MNIST?", needs_features=False),
}
