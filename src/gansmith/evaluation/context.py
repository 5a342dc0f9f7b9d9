"""What the scores of one evaluation share: features, groups, statistics; each computed once, when first asked for."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gansmith.data import DataSet
from gansmith.data.cache import cache_folder
from gansmith.evaluation.extractor import Extractor
from gansmith.evaluation.extractors.module import ModuleExtractor
from gansmith.evaluation.features import Features, cached_features, chosen_rows, features_of
from gansmith.evaluation.intervals import Estimate, groups_of
from gansmith.evaluation.memorisation import Nearness, nearest_other_training, nearest_training, small_images
from gansmith.evaluation.moments import Moments, features_obstacle, grouped_moments
from gansmith.evaluation.neighbours import neighbourhood_estimates
from gansmith.evaluation.reference import RealImages
from gansmith.evaluation.subject import Samples

log = logging.getLogger("gansmith")
ROWS_A_READ = 4096
MOST_IN_PAIRS = 10_000
"""Images a side where every one is compared with every other; which ones is fixed."""
VERSION = 1
"""Part of the key of every number that is kept: raise it when a score changes."""
Progress = Callable[[str, int, int], None]
"""Called with (what, done, in all)."""


@dataclass(frozen=True)
class Context:
    """Samples, real images and the extractor between them.

    Attributes:
        samples: what is evaluated.
        real: what it is compared with.
        extractor: of features.
        classifier: that reads the data's classes, or None where there are none.
        device: for scores that train something.
        say, on_progress: told what happens.
        read: features of the samples, where they have been read already.
    """

    samples: Samples
    real: RealImages
    extractor: Extractor
    classifier: Extractor | None
    device: torch.device
    say: Callable[[str], None]
    on_progress: Progress
    read: Features | None = None

    def _progress(self, what: str) -> Callable[[int, int], None]:
        return lambda done, count: self.on_progress(what, done, count)

    @cached_property
    def fake(self) -> Features:
        """Features of the samples."""
        if self.read is not None:
            return self.read
        return features_of(self.samples.images.numpy(), None, self.extractor, self._progress("reading samples"))

    @cached_property
    def real_features(self) -> Features:
        """Features of every real image of the split, from the cache where they are there."""
        return cached_features(
            self.real.compared, self.real.facts.num_compared, self.extractor, self._progress("reading real images")
        )

    @cached_property
    def held_out_data(self) -> DataSet | None:
        """Real images beside the split, that nothing was trained on: the best a generator could do."""
        return self.real.test if self.real.facts.split == "train" else None

    @cached_property
    def held_out(self) -> Features | None:
        """Features of as many held-out real images as there are samples, or of all."""
        if self.held_out_data is None or len(self.held_out_data) < 2:
            return None
        what = self._progress("reading held-out images")
        return cached_features(self.held_out_data, self.num_samples, self.extractor, what)

    @cached_property
    def is_held_out_equal(self) -> bool:
        """Whether as many held-out real images as samples are read; scores that depend on the count need that."""
        return self.held_out_data is not None and len(self.held_out_data) >= self.num_samples

    @cached_property
    def class_probabilities(self) -> Tensor:
        """What the classifier of the data's classes reads in each sample: (N, K)."""
        return self._classes(self.fake, lambda: features_of(
            self.samples.images.numpy(), None, self._known_classifier, self._progress("reading classes of samples")
        ))  # fmt: skip

    @cached_property
    def held_out_class_probabilities(self) -> Tensor | None:
        """The same for as many held-out real images as there are samples, or all."""
        if self.held_out_data is None or not len(self.held_out_data):
            return None
        what = self._progress("reading classes of held-out images")
        return cached_features(self.held_out_data, self.num_samples, self._known_classifier, what).probabilities

    @property
    def _known_classifier(self) -> Extractor:
        assert self.classifier is not None, "asked for classes where there are none"
        return self.classifier

    def _classes(self, own: Features, other: Callable[[], Features]) -> Tensor:
        read = own if self.extractor is self.classifier else other()
        assert read.probabilities is not None
        return read.probabilities

    @cached_property
    def nearness(self) -> Nearness:
        """How near each sample is to the training images."""
        return nearest_training(self.samples.images, self.training_pixels)

    @cached_property
    def usual_nearness(self) -> Nearness:
        """How near held-out real images are to the training images; without any, training images to the others."""
        test = self.real.test
        key = ("nearness", self.real.train.fingerprint, "" if test is None else test.fingerprint)
        found = kept(key, lambda: _as_lists(
            nearest_other_training(self.training_pixels) if test is None
            else nearest_training(_small_images(test), self.training_pixels)
        ))  # fmt: skip
        return Nearness(
            torch.tensor(found["distances"]), torch.tensor(found["indices"]), torch.tensor(found["relative"]),
            test is None,
        )  # fmt: skip

    @cached_property
    def training_pixels(self) -> Tensor:
        """Every training image, sides over 32 averaged down: (N, C, h, w) uint8."""
        return _small_images(self.real.train)

    @cached_property
    def obstacle(self) -> str | None:
        """Why these features allow no number at all, or None."""
        for what, features in (("samples", self.fake), ("real images", self.real_features)):
            if reason := features_obstacle(features.values):
                return f"features of the {what}: {reason}"
        return None

    @property
    def num_samples(self) -> int:
        """How many images are evaluated."""
        return len(self.samples.images)

    @cached_property
    def fake_groups(self) -> NDArray[np.int64]:
        """Group of each sample."""
        return groups_of(self.num_samples)

    @cached_property
    def real_groups(self) -> NDArray[np.int64]:
        """Group of each real image: the same in every report on these data."""
        return groups_of(self.real.facts.num_compared)

    @cached_property
    def fake_moments(self) -> list[Moments]:
        """Mean and covariance of each group of samples."""
        return grouped_moments(self.fake.values, self.fake_groups)

    @cached_property
    def real_moments(self) -> list[Moments]:
        """Mean and covariance of each group of real images."""
        return grouped_moments(self.real_features.values, self.real_groups)

    @cached_property
    def pairs(self) -> Pairs:
        """Features where each is compared with each: up to ten thousand a side."""
        real, fake = (
            chosen_rows(len(values), MOST_IN_PAIRS) for values in (self.real_features.values, self.fake.values)
        )
        return Pairs(
            self.real_features.values[real], self.fake.values[fake], groups_of(len(real)), groups_of(len(fake))
        )

    @cached_property
    def held_out_pairs(self) -> Pairs | None:
        """The same with held-out real images in place of samples."""
        if self.held_out is None:
            return None
        places = chosen_rows(len(self.held_out.values), MOST_IN_PAIRS)
        return Pairs(self.pairs.real, self.held_out.values[places], self.pairs.real_groups, groups_of(len(places)))

    @cached_property
    def neighbourhoods(self) -> dict[str, Estimate]:
        """Precision, recall, density and coverage."""
        return neighbourhood_estimates(*self.pairs.arguments)

    @cached_property
    def held_out_neighbourhoods(self) -> dict[str, float]:
        """The same of held-out real images; empty where there are none."""
        held_out = self.held_out_pairs
        if held_out is None or not self.is_held_out_equal:
            return {}
        found: dict[str, float] = self.kept("neighbourhoods", lambda: {
            name: estimate.value for name, estimate in neighbourhood_estimates(*held_out.arguments).items()
        })  # fmt: skip
        return found

    def kept(self, what: str, compute: Callable[[], Any]) -> Any:
        """Return what `compute` gives for held-out real images in place of samples; kept in the cache."""
        assert self.held_out_data is not None
        if isinstance(self.extractor, ModuleExtractor):  # its code may change, and its checksum would not
            return compute()
        facts = self.extractor.facts
        counts = (self.real.facts.num_compared, self.num_samples)
        key = (what, self.real.facts.fingerprint, self.held_out_data.fingerprint, *counts, facts.checksum)
        return kept(key, compute)


def kept(key: tuple[str | int, ...], compute: Callable[[], Any]) -> Any:
    """Return the plain values that `compute` gives, kept in the cache; where that cannot be written, it is said."""
    name = hashlib.sha256(repr((VERSION, *key)).encode()).hexdigest()[:24]
    path = cache_folder() / "statistics" / f"{name}.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # not there, or damaged: computed again
        values = compute()
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(values))
        partial.replace(path)
    except OSError as error:
        log.warning("%s: what was measured is not kept (%s)", path.parent, error.strerror or error)
    return values


def _as_lists(nearness: Nearness) -> dict[str, list[float]]:
    return {name: getattr(nearness, name).tolist() for name in ("distances", "indices", "relative")}


def _small_images(data: DataSet) -> Tensor:
    starts = range(0, len(data), ROWS_A_READ)
    return torch.cat(
        [small_images(data.batch(np.arange(at, min(at + ROWS_A_READ, len(data)))).images) for at in starts]
    )


@dataclass(frozen=True)
class Pairs:
    """Features that are compared each with each, and their groups."""

    real: Tensor
    fake: Tensor
    real_groups: NDArray[np.int64]
    fake_groups: NDArray[np.int64]

    @property
    def arguments(self) -> tuple[Tensor, Tensor, NDArray[np.int64], NDArray[np.int64]]:
        """As the maths takes them."""
        return self.real, self.fake, self.real_groups, self.fake_groups
