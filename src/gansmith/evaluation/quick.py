"""The score of evaluations while training: a Fréchet distance of few samples, opened once, measured often.

Of the offline default extractor, between samples of the averaged generator and all real images of the train split. With
fewer samples than `gansmith evaluate` draws it comes out higher: it is to be compared with itself along a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gansmith import sampling
from gansmith.data import DataSet, Source, open_data
from gansmith.errors import DataError, UsageError
from gansmith.evaluation.extractor import Extractor
from gansmith.evaluation.extractors import choose_extractor
from gansmith.evaluation.features import cached_features
from gansmith.evaluation.frechet import frechet_distance, frechet_obstacle
from gansmith.evaluation.moments import Moments, features_obstacle, moments_of
from gansmith.facts import Classes
from gansmith.images import POINT_SHAPE, to_uint8
from gansmith.recipe import Recipe
from gansmith.settings import Precision
from gansmith.sizes import Fit
from gansmith.training.classify import has_test_split
from gansmith.training.log import Display

NUM_SAMPLES = 5_000
SEED = 0
AT_ONCE = 250
"""Samples between two looks at whether to stop."""


@dataclass(frozen=True)
class QuickScore:
    """A Fréchet distance to the real images (Heusel et al. 2017), of 5,000 samples from fixed latents.

    Attributes:
        reader: turns images into features.
        real: moments of the real images' features.
        precision: that samples are computed in.
    """

    reader: Extractor
    real: Moments
    precision: Precision

    @property
    def name(self) -> str:
        """What it is: "fd_classifier"."""
        return f"fd_{self.reader.facts.name}"

    @property
    def num_samples(self) -> int:
        """How many samples are drawn."""
        return NUM_SAMPLES

    @property
    def extractor(self) -> str:
        """Checksum of what turns images into features."""
        return self.reader.facts.checksum

    def value(self, generator: nn.Module, classes: Classes | None, should_stop: Callable[[], bool]) -> float | None:
        """Return the distance, a function of the generator's weights; or None, soon, once `should_stop` says so.

        Args:
            generator: (latents, labels) -> samples (N, C, H, W) in [-1, 1], of the size of the real images.
            classes: of a conditional generator; labels are drawn as often as they occur.
            should_stop: asked every 250 samples.

        Raises:
            DataError: samples or features are not finite numbers.
        """
        latents = sampling.latents_of(SEED, NUM_SAMPLES, sampling.latent_dim_of(generator))
        labels = None if classes is None else sampling.labels_of(SEED, NUM_SAMPLES, classes)
        features = []
        drawn = sampling.batches(generator, latents, labels, precision=self.precision, batch_size=AT_ONCE)
        while not should_stop():
            samples = next(drawn, None)
            if samples is None:
                break
            features.append(self._features(samples))
        else:
            return None
        read = torch.cat(features)
        if reason := features_obstacle(read):
            raise DataError(reason)
        return frechet_distance(self.real, moments_of(read))

    def _features(self, samples: Tensor) -> Tensor:
        if not samples.isfinite().all():  # as uint8 they would pass for black
            raise DataError("the samples are not finite numbers")
        return self.reader.read(to_uint8(samples))[0]

    def estimate_seconds(self, generator: nn.Module, classes: Classes | None) -> float:
        """Return about how long `value` takes, from two of its twenty parts and one distance."""
        count = 2 * AT_ONCE
        latents = sampling.latents_of(SEED, count, sampling.latent_dim_of(generator))
        labels = None if classes is None else sampling.labels_of(SEED, count, classes)
        drawn = sampling.batches(generator, latents, labels, precision=self.precision, batch_size=AT_ONCE)
        self._features(next(drawn))  # what only a first call takes
        started = time.perf_counter()
        self._features(next(drawn))
        one_part = time.perf_counter() - started
        started = time.perf_counter()
        frechet_distance(self.real, self.real)
        return one_part * NUM_SAMPLES / AT_ONCE + time.perf_counter() - started


def quick_score(
    train: DataSet, held_out: DataSet | None, precision: Precision, device: torch.device, display: Display
) -> QuickScore:
    """Return the score of generators of these images; the first time, features (and a classifier) are made for it.

    Args:
        train: the real images.
        held_out: real images that tell how good the classifier is; None: a fifth of `train`.
        precision: that samples are computed in.
        device: that images are read on.
        display: told what is done.

    Raises:
        UsageError: there are too few real images for a covariance of the features.
        DataError: the images cannot be read.
        ResourceError: the cache cannot be written to.
    """
    reader = choose_extractor(None, train, held_out, device=device, say=display.say, on_progress=display.working)
    if frechet_obstacle(len(train), NUM_SAMPLES, reader.facts.dim):
        raise UsageError(
            f"--evaluate-every: {train.name} has {len(train):,} images; its score is of {reader.facts.dim} features "
            "and needs more images than that. Leave it out"
        )
    real = cached_features(
        train, None, reader, lambda done, count: display.working(done / count, f"reading {done:,} of {count:,} images")
    )
    display.close()
    return QuickScore(reader, moments_of(real.values), precision)


def check_evaluable(recipe: Recipe, source: Source) -> None:
    """Raise a UsageError where the samples of a recipe are no images."""
    if (recipe.channels, *recipe.size) == POINT_SHAPE:
        raise UsageError(
            f"--evaluate-every: {source.name} holds points of the plane; the score is of images. Leave it out"
        )


def open_test(source: Source, recipe: Recipe, fit: Fit, display: Display) -> DataSet | None:
    """Return the test split at the size of a recipe, bad images left out, or None where there is none."""
    if not has_test_split(source):
        return None
    return open_data(
        source, recipe.size, recipe.channels, "test", on_progress=display.decoding, fit=fit, allow_bad=True
    )
