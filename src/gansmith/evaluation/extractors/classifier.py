"""The offline default where there are labels: our classifier, trained once on the real data by a fixed recipe.

The recipe is that of `gansmith classify train`: default steps, seed 0, on one CPU thread, so that the same machine type
gives the same weights. They are kept under `<cache>/classifiers/`. Features are the 128 penultimate activations.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from gansmith.classifiers import (
    PIXELS_AT_ONCE,
    Classifier,
    LabelledData,
    load_classifier,
    save_classifier,
    wilson_interval,
)
from gansmith.data import Batch
from gansmith.data.cache import cache_folder
from gansmith.data.order import Indices
from gansmith.data.storage import ADVICE
from gansmith.errors import CheckpointError, DataError, ResourceError, UsageError
from gansmith.evaluation.extractors.preparation import (
    Setting,
    check_shape,
    checksum_of,
    exact_reading,
    preparation_text,
    resized,
    size_within,
)
from gansmith.images import to_float
from gansmith.networks.classifier import DENSE_WIDTH
from gansmith.report import ExtractorFacts
from gansmith.request import LARGEST_DEFAULT_SIDE
from gansmith.sizes import Size
from gansmith.training.classify import (
    BATCH,
    ClassifierProgress,
    check_splits,
    default_num_steps,
    hold_out,
    shape_of,
    train_classifier,
)

VERSION = 1
"""Of the recipe: part of the name a classifier is kept under."""
POOR_ACCURACY = 0.8
PARTIAL = ".training-"


@dataclass(frozen=True)
class ClassifierExtractor:
    """A trained classifier that reads images of one shape, made smaller first where they are large.

    Attributes:
        facts: its name, checksum, accuracy.
        classifier: in eval mode, on the device it reads on.
        shape: (channels, height, width) of the images it takes.
        folder: where it is kept.
    """

    facts: ExtractorFacts
    classifier: Classifier
    shape: tuple[int, int, int]
    folder: Path

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, 128) features, not negative, and (N, K) probabilities of the data's classes, for uint8 images.

        Raises:
            DataError: they have another shape than the data it was trained on.
        """
        check_shape(images, self.shape, "classifier")
        network = self.classifier.network
        device = next(network.parameters()).device
        features, probabilities = [], []
        with exact_reading():
            for part in torch.split(images, max(1, PIXELS_AT_ONCE // math.prod(network.size))):
                values = to_float(resized(part, network.size)).to(device, memory_format=torch.channels_last)
                features.append(network.features(values))
                probabilities.append(network.last(features[-1]).softmax(1))
        return torch.cat(features).cpu(), torch.cat(probabilities).cpu()


def make_classifier(setting: Setting) -> ClassifierExtractor:
    """Return the classifier of these data, from the cache or trained now.

    Raises:
        UsageError: weights are given, which it has no use for, or the images are smaller than 4x4.
        DataError: there are no labels, fewer than two classes, or held-out images with other ones.
        ResourceError: it cannot be written to the cache.
    """
    if setting.weights is not None:
        raise UsageError(
            f"--weights {setting.weights}: classifier trains its own; weights are for inception and dinov2"
        )
    train, held_out = setting.train, setting.held_out
    if train.labels is None or len(train.class_names) < 2:
        raise DataError(f"{train.name}: a classifier needs images of two classes or more (sub-folders); use random")
    if held_out is None:
        train, held_out = hold_out(train)
    shape = shape_of(train)
    size = size_within(shape[1:], LARGEST_DEFAULT_SIDE)
    train, held_out = _Smaller(train, size), _Smaller(held_out, size)
    check_splits(train, held_out)
    folder = cache_folder() / "classifiers" / _key(train, held_out)
    with _locked(folder, setting):
        classifier = _kept(folder, setting)
        if classifier is None:
            classifier = _trained(folder, train, held_out, setting)
    facts = _facts(classifier, shape[1:])
    setting.say(f"classifier {facts.checksum}: {facts.note}")
    classifier.network.to(setting.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ClassifierExtractor(facts, classifier, shape, folder)


@dataclass(frozen=True)
class _Smaller:
    """Labelled data whose images are read at another size."""

    data: LabelledData
    size: Size

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def labels(self) -> NDArray[np.int64] | None:
        return self.data.labels

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.data.class_names

    @property
    def fingerprint(self) -> str:
        return self.data.fingerprint

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: Indices) -> Batch:
        batch = self.data.batch(indices)
        return Batch(resized(batch.images, self.size), batch.labels)


def _key(train: LabelledData, held_out: LabelledData) -> str:
    # The stored accuracy depends on the held-out images; a part of a data set has the fingerprint of the whole.
    content = [train.fingerprint, len(train), held_out.fingerprint, len(held_out)]
    return f"{train.fingerprint}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]}-v{VERSION}"


@contextmanager
def _locked(folder: Path, setting: Setting) -> Iterator[None]:
    """Hold the lock of one classifier, so that two processes do not train it twice."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f"{folder.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            setting.say("another process is training the classifier of these data; waiting for it")
            lock.acquire()
    except OSError as error:
        raise ResourceError(f"{folder.parent}: cannot be written to ({error.strerror or error}); {ADVICE}") from error
    try:
        yield
    finally:
        lock.release()


def _kept(folder: Path, setting: Setting) -> Classifier | None:
    """Return the classifier of an earlier time, or None if it is not there whole."""
    if not folder.exists():
        return None
    try:
        return load_classifier(folder)
    except CheckpointError as error:
        setting.say(f"{error}; training it again")
        return None


def _trained(folder: Path, train: LabelledData, held_out: LabelledData, setting: Setting) -> Classifier:
    """Train on one thread, and put it in its place whole."""
    num_images = default_num_steps(len(train)) * BATCH
    setting.say(f"training the classifier that reads {train.name}, once: {num_images:,} images shown, on one thread")

    def show(progress: ClassifierProgress) -> None:
        if setting.on_progress:
            speed = progress.images / progress.seconds
            setting.on_progress(progress.share, f"training the classifier · {speed:,.0f} img/s")

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        classifier = train_classifier(train, held_out, seed=0, device="cpu", on_progress=show)
    finally:
        torch.set_num_threads(threads)
    partial = folder.with_name(f"{PARTIAL}{folder.name}")
    for left in (partial, folder):  # of a killed process; damaged
        shutil.rmtree(left, ignore_errors=True)
    save_classifier(classifier, partial)
    os.rename(partial, folder)
    return classifier


def _facts(classifier: Classifier, size: Size) -> ExtractorFacts:
    network, share, num = classifier.network, classifier.accuracy, classifier.num_held_out
    preparation = preparation_text(size, network.size)
    low, high = wilson_interval(round(share * num), num)
    note = f"{share:.2%} ({low:.2%} to {high:.2%}) of {num:,} held-out images read right"
    if share < POOR_ACCURACY:
        note += "; it reads these data poorly, so its features may miss what matters in them: compare with random"
    return ExtractorFacts(
        name="classifier",
        checksum=checksum_of(network.state_dict(), preparation),
        dim=DENSE_WIDTH,
        preparation=preparation,
        note=note,
    )
