"""Scores that are measured only when asked for: most of them train something. The others are in `scores.py`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gansmith.data.sources.stacked import StackedSource
from gansmith.errors import DataError
from gansmith.evaluation.classes import inception_score
from gansmith.evaluation.context import Context
from gansmith.evaluation.detection import FEWEST_IMAGES, detect
from gansmith.evaluation.detection import estimate_seconds as seconds_to_detect
from gansmith.evaluation.extractors.classifier import make_classifier
from gansmith.evaluation.extractors.preparation import Setting
from gansmith.evaluation.features import chosen_rows
from gansmith.evaluation.modes import intra_class_distance, stacked_modes
from gansmith.evaluation.reference import open_real
from gansmith.evaluation.results import is_published_inception, labels_of_samples, of_estimate, without_value
from gansmith.evaluation.worth import estimate_seconds as seconds_of_worth
from gansmith.evaluation.worth import worth
from gansmith.report import Interval, Score

IS_SPLITS, MOST_SHOWN = 10, 3


def inception(context: Context) -> list[Score]:
    """Return the Inception score (Salimans et al. 2016): of Inception's classes, or of the data's."""
    features = context.extractor.facts
    is_published = is_published_inception(context)
    name = "inception_score" if is_published else f"is_{features.name}"
    title = "Inception score" if is_published else f"Inception score of the {features.name}'s classes"
    protocol = f"{context.num_samples:,} samples in {IS_SPLITS} splits, mean (spread in the details)"
    probabilities = context.fake.probabilities
    if probabilities is None:
        reason = f"{features.name} knows no classes; --extractor classifier or inception does"
        return [without_value(name, title, protocol, reason)]
    if len(probabilities) < IS_SPLITS:
        return [without_value(name, title, protocol, f"{len(probabilities)} samples cannot be {IS_SPLITS} splits")]
    mean, spread = inception_score(_shuffled(probabilities), IS_SPLITS)
    held_out = context.held_out.probabilities if context.held_out and context.is_held_out_equal else None
    ideal = None if held_out is None else inception_score(_shuffled(held_out), IS_SPLITS)[0]
    return [
        Score(name=name, title=title, value=mean, better="higher", held_out=ideal, protocol=protocol,
              details={"standard_deviation_of_splits": spread})
    ]  # fmt: skip


def _shuffled(rows: Tensor) -> Tensor:
    """Return the rows in a fixed random order: images of folders come class by class, and so would the splits."""
    random = np.random.Generator(np.random.Philox(key=len(rows)))
    return rows[torch.from_numpy(random.permutation(len(rows)))]


def intra_class(context: Context) -> list[Score]:
    """Return the mean Fréchet distance within each class (Miyato & Koyama 2018)."""
    name, title = (
        f"intra_fd_{context.extractor.facts.name}",
        f"Distance within a class ({context.extractor.facts.name})",
    )
    found = labels_of_samples(context)
    protocol = f"mean over classes; {context.num_samples:,} samples, labels {found[1]}"
    if found[0] is None:
        return [without_value(name, title, protocol, found[1])]
    real_labels = context.real.compared.labels
    assert real_labels is not None
    names = context.real.facts.class_names
    result = intra_class_distance(
        context.fake.values,
        found[0].numpy(),
        context.real_features.values,
        real_labels[chosen_rows(len(real_labels), context.real.facts.num_compared)],
        len(names),
    )
    by_class = {names[number]: value for number, value in enumerate(result.by_class)}
    if result.estimate is None:
        missing = [name for name, value in by_class.items() if value is None]
        shown = ", ".join(missing[:MOST_SHOWN]) + (", ..." if len(missing) > MOST_SHOWN else "")
        first = (result.reason or "").split("; ")[0].partition(": ")[2]
        reason = f"{len(missing)} of {len(names)} classes have no distance ({shown}); {missing[0]}: {first}"
        score = without_value(name, title, protocol, reason)
    else:
        score = of_estimate(context, name, title, result.estimate, "lower", None, protocol)
    return [score.model_copy(update={"details": {"by_class": by_class}})]


def adversarial(context: Context) -> list[Score]:
    """Return how well a fresh discriminator tells samples from held-out real images."""
    real, what = _unseen(context)
    name, title = "adversarial_accuracy", "Adversarial accuracy (0.5: cannot be told)"
    try:
        found = detect(
            real, context.samples.images, device=str(context.device),
            on_progress=lambda share: context.on_progress("telling samples from reals", round(100 * share), 100),
        )  # fmt: skip
    except DataError as error:  # too few images
        return [without_value(name, title, f"a fresh discriminator on samples and {what}", str(error), "none")]
    low, high = found.interval
    return [
        Score(
            name=name, title=title, value=found.accuracy,
            interval=Interval(low=low, high=high, method=f"Wilson, {found.num_test:,} images"), better="none",
            verdict=found.verdict,
            protocol=f"a fresh discriminator, {found.num_steps:,} steps on {found.num_train:,} images, tested on "
                     f"{found.num_test:,} others, half of each samples and {what}",
        )
    ]  # fmt: skip


def adversarial_seconds(context: Context) -> float:
    """Return about how long that takes here."""
    real, _ = _unseen(context)
    return seconds_to_detect(real, str(context.device)) if len(real) >= FEWEST_IMAGES else 0.0


def worth_to_a_classifier(context: Context) -> list[Score]:
    """Return how much better a classifier becomes by learning from samples too, in points of accuracy."""
    title = "Worth to a classifier: gain in accuracy"
    labels, how = labels_of_samples(context)
    if labels is None:
        return [without_value("worth", title, "needs classes", how)]
    found = worth(
        *context.real.for_a_classifier(), context.samples.images, labels, device=str(context.device),
        on_progress=lambda share: context.on_progress("training classifiers", round(100 * share), 100),
    )  # fmt: skip
    low, high = found.gain.interval
    return [
        Score(
            name="worth", title=title, value=found.gain.mean, better="higher", verdict=found.verdict,
            interval=Interval(low=low, high=high, method=f"Student's t over {len(found.seeds)} seeds"),
            protocol=f"accuracy on {found.num_held_out:,} held-out images, trained on {found.num_real:,} real images "
                     f"and {found.num_fake:,} samples less trained on real alone; {found.num_steps:,} steps each; "
                     f"labels of samples {how}",
            details={"real": list(found.real.values), "fake": list(found.fake.values), "both": list(found.both.values)},
        )
    ]  # fmt: skip


def worth_seconds(context: Context) -> float:
    """Return about how long that takes here; nothing where there are no classes."""
    return seconds_of_worth(context.real.train, device=str(context.device)) if context.classifier else 0.0


def stacked(context: Context) -> list[Score]:
    """Return how many modes of stacked images the samples have (Metz et al. 2017)."""
    source = context.real.source
    if not isinstance(source, StackedSource):
        reason = f"{source.name} is not stacked; give --data stacked:DATA"
        return [without_value("modes", "Modes of stacked images", "needs stacked images", reason, "higher")]
    digits = open_real(source.inner, context.samples.facts.size, 1, say=context.say)
    setting = Setting(*digits.for_a_classifier(), None, context.device, context.say, None)
    reader = make_classifier(setting).classifier
    found = stacked_modes(context.samples.images, reader)
    protocol = f"{found.num_samples:,} samples, each channel read by a classifier of {source.inner.name}"
    title = f"Modes of {found.of:,}"
    return [
        Score(name="modes", title=title, value=float(found.num_read), better="higher", details={"of": found.of},
              protocol=f"{protocol}; modes with at least one sample, as papers count"),
        Score(name="modes_beyond_misreading", title=f"{title}, less those that misreading makes", better="higher",
              value=float(found.num_modes), details={"of": found.of}, protocol=protocol),
        Score(name="modes_kl", title="Reverse KL of modes (nats)", value=found.kl, protocol=protocol,
              details={"of_a_perfect_generator": round(found.kl_of_perfect, 5)}),
    ]  # fmt: skip


def _unseen(context: Context) -> tuple[Tensor, str]:
    """Return real images to tell samples from: held-out ones where there are any."""
    data = context.real.test or context.real.train
    most = min(len(data), context.num_samples)
    what = "held-out real images" if context.real.test else "training images, which have no test split"
    return data.batch(chosen_rows(len(data), most)).images, what
