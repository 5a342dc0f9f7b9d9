"""Training the small classifier that judges generated images.

What a trained one does is `classifiers.py`. Adam with weight decay, a cosine rate, batches of 128, each image moved by
up to two pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from gansmith import runtime
from gansmith.classifiers import Classifier, LabelledData
from gansmith.data import Batch, Order, Source, facts_of, open_data, open_source
from gansmith.data.cache import Progress as DecodingProgress
from gansmith.data.cache import cache_folder
from gansmith.data.order import Indices
from gansmith.errors import DataError, UsageError
from gansmith.images import POINT_SHAPE, to_float
from gansmith.networks.classifier import SMALLEST_SIDE, ClassifierNetwork, Pooling
from gansmith.request import LARGEST_DEFAULT_SIDE
from gansmith.sizes import Fit, Size

BATCH, LEARNING_RATE, WEIGHT_DECAY, WARM_UP_STEPS = 128, 3e-3, 1e-2, 20
LONGEST_SHIFT, SIDES_A_SHIFT = 2, 8
DEFAULT_PASSES, FEWEST_DEFAULT_IMAGES = 5, 100_000
PROGRESS_SECONDS = 1.0
HELD_OUT_ONE_IN = 5


@dataclass(frozen=True)
class ClassifierProgress:
    """How far training is.

    Attributes:
        share: of the budget, 0 to 1.
        images: training images shown so far.
        seconds: of training so far.
        loss: mean cross-entropy since the last report.
    """

    share: float
    images: int
    seconds: float
    loss: float


@dataclass(frozen=True)
class Rows:
    """Some rows of labelled data, read through it: a large one is not copied.

    Attributes:
        data: whose rows they are.
        rows: (N,) int64 row numbers.
    """

    data: LabelledData
    rows: NDArray[np.int64]

    @property
    def name(self) -> str:
        """That of the data."""
        return self.data.name

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """(N,) class numbers of the rows."""
        return None if self.data.labels is None else self.data.labels[self.rows]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the data."""
        return self.data.class_names

    @property
    def fingerprint(self) -> str:
        """That of the data as a whole."""
        return self.data.fingerprint

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def batch(self, indices: Indices) -> Batch:
        """Return those rows (uint8) and their labels as one batch."""
        return self.data.batch(self.rows[indices])


@dataclass(frozen=True)
class Splits:
    """What a classifier is trained and tested on.

    Attributes:
        train, held_out: with the same classes.
        has_test: whether the source has a test split of its own; otherwise a fixed fifth is held out.
        skipped: (name, reason) of every image that could not be used.
    """

    train: LabelledData
    held_out: LabelledData
    has_test: bool
    skipped: tuple[tuple[str, str], ...]


def hold_out(data: LabelledData) -> tuple[LabelledData, LabelledData]:
    """Return four fifths of a data set to train on, and every fifth image of it to test on; always the same ones.

    Raises:
        DataError: there are fewer than five images.
    """
    if len(data) < HELD_OUT_ONE_IN:
        raise DataError(f"{data.name}: {len(data)} images are too few to hold a fifth out; add more or a test/ folder")
    is_held_out = np.arange(len(data)) % HELD_OUT_ONE_IN == HELD_OUT_ONE_IN - 1
    return Rows(data, np.flatnonzero(~is_held_out)), Rows(data, np.flatnonzero(is_held_out))


def open_labelled(
    data: Any, size: Size | None = None, channels: int | None = None, on_progress: DecodingProgress | None = None,
    *, fit: Fit = "crop", allow_bad: bool = False,
) -> Splits:  # fmt: skip
    """Return what to train a classifier on and what to test it on.

    Args:
        data: as for `open_data`.
        size: (height, width); by default the data's own, squares for mixed sizes, at most 64 a side.
        channels: by default the data's.
        on_progress: called now and then while decoding.
        fit: as for `open_data`.
        allow_bad: as for `open_data`.

    Raises:
        DataError: there is no such data, or no usable image in it, or it holds points of the plane.
    """
    source = open_source(data)
    facts = facts_of(source, cache_folder())
    if (facts.channels, *facts.size) == POINT_SHAPE:
        raise DataError(f"{source.name}: holds points of the plane; a classifier reads images")
    size, channels = size or _default_size(facts.size, facts.one_size), channels or facts.channels
    train = open_data(source, size, channels, "train", on_progress, fit=fit, allow_bad=allow_bad)
    if has_test_split(source):
        test = open_data(source, size, channels, "test", on_progress, fit=fit, allow_bad=allow_bad)
        return Splits(train, test, True, (*train.skipped, *test.skipped))
    return Splits(*hold_out(train), False, train.skipped)


def open_held_out(
    data: Any, size: Size, channels: int, on_progress: DecodingProgress | None = None
) -> tuple[LabelledData, bool]:
    """Return only what `open_labelled` tests on, and whether it is a test split of its own. Raises as that."""
    source = open_source(data)
    if has_test_split(source):
        return open_data(source, size, channels, "test", on_progress), True
    return hold_out(open_data(source, size, channels, "train", on_progress))[1], False


def has_test_split(source: Source) -> bool:
    """Return whether the source has images to test on beside those to train on."""
    return bool(source.listing("test").names)


def _default_size(size: Size, one_size: bool) -> Size:
    target = size if one_size else (min(size), min(size))
    scale = min(1.0, LARGEST_DEFAULT_SIDE / max(target))
    height, width = (max(SMALLEST_SIDE, round(side * scale)) for side in target)
    return height, width


def default_num_steps(num_images: int) -> int:
    """Return how long to train by default: five passes over the images, and at least 100,000 images shown."""
    return math.ceil(max(DEFAULT_PASSES * num_images, FEWEST_DEFAULT_IMAGES) / BATCH)


def train_classifier(
    train: LabelledData,
    held_out: LabelledData,
    num_steps: int | None = None,
    seed: int = 0,
    *,
    minutes: float | None = None,
    pooling: Pooling = "max",
    device: str = "auto",
    on_progress: Callable[[ClassifierProgress], None] | None = None,
) -> Classifier:
    """Return a trained classifier with its held-out accuracy; the same data, seed and threads give the same weights.

    Args:
        train: with labels.
        held_out: with the same classes; never trained on.
        num_steps: of the optimiser, each on a batch of 128; by default five passes, at least 100,000 images.
        seed: of weights, order, shifts and dropout.
        minutes: of training alone; whichever of the two comes first. The weights then depend on the machine's speed.
        pooling: "max" or "average".
        device: "auto", "cpu", "cuda".
        on_progress: called about once a second.

    Raises:
        DataError: there are no labels, fewer than two classes, or the two splits have different classes or shapes.
        UsageError: the budget is not above 0, or the images are smaller than 4x4.
    """
    check_splits(train, held_out)
    if (num_steps is not None and num_steps < 1) or (minutes is not None and not minutes > 0):
        raise UsageError(f"num_steps={num_steps}, minutes={minutes}: must be above 0")
    if num_steps is None and minutes is None:
        num_steps = default_num_steps(len(train))
    runtime.keep_large_allocations()
    target = runtime.choose_device(device)
    channels, height, width = shape_of(train)
    with torch.random.fork_rng(devices=[target] if target.type == "cuda" else []):
        torch.manual_seed(runtime.seed_of(seed, "classifier"))
        network = ClassifierNetwork((height, width), channels, len(train.class_names), pooling)
        network.to(target, memory_format=torch.channels_last)  # type: ignore[call-overload]
        steps = _Training(network, train, seed, num_steps, minutes, target).run(on_progress)
    network.requires_grad_(False).eval()
    classifier = Classifier(network, train.class_names, 0.0, len(held_out), steps * BATCH, train.fingerprint)
    return replace(classifier, accuracy=classifier.test(held_out).share)


def check_splits(train: LabelledData, held_out: LabelledData) -> None:
    """Raise a DataError unless both have labels of the same two or more classes and images of one shape."""
    if train.labels is None or held_out.labels is None or len(train.class_names) < 2:
        raise DataError(f"{train.name}: a classifier needs labelled images of two classes or more (sub-folders)")
    if train.class_names != held_out.class_names:
        raise DataError(f"{train.name}: the splits have different classes: {train.class_names}, {held_out.class_names}")
    if shape_of(train) != shape_of(held_out):
        raise DataError(f"{train.name}: the splits have different shapes: {shape_of(train)}, {shape_of(held_out)}")


def shape_of(data: LabelledData) -> tuple[int, int, int]:
    """Return (channels, height, width) of its images."""
    channels, height, width = data.batch(np.zeros(1, np.int64)).images.shape[1:]
    return channels, height, width


@dataclass
class _Training:
    """The loop; `run` returns the number of steps taken."""

    network: ClassifierNetwork
    data: LabelledData
    seed: int
    num_steps: int | None
    minutes: float | None
    device: torch.device

    def run(self, on_progress: Callable[[ClassifierProgress], None] | None) -> int:
        optimizer = torch.optim.AdamW(self.network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
        order = Order(self.seed, len(self.data), "classifier")
        precision = runtime.best_precision(self.device)
        begun, reported, total, step, counted = time.perf_counter(), 0.0, torch.zeros((), device=self.device), 0, 0
        while (share := self._share(step, time.perf_counter() - begun)) < 1.0:
            warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * warm_up * (1 + math.cos(math.pi * share)) / 2
            batch = self.data.batch(order.indices(step * BATCH, BATCH))
            images = to_float(shifted(batch.images)).to(self.device, memory_format=torch.channels_last)
            with runtime.autocast(self.device, precision):
                logits = self.network(images)
            assert batch.labels is not None
            loss = cross_entropy(logits.float(), batch.labels.to(self.device))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            step, total = step + 1, total + loss.detach()
            seconds = time.perf_counter() - begun
            if on_progress and seconds - reported >= PROGRESS_SECONDS:
                mean = float(total) / (step - counted)
                on_progress(ClassifierProgress(self._share(step, seconds), step * BATCH, seconds, mean))
                reported, total, counted = seconds, torch.zeros_like(total), step
        return step

    def _share(self, step: int, seconds: float) -> float:
        shares = [step / self.num_steps] if self.num_steps else []
        shares += [seconds / (60 * self.minutes)] if self.minutes else []
        return min(1.0, max(shares))


def shifted(images: Tensor) -> Tensor:
    """Return a batch (N, C, H, W) of which each image is moved by its own 0 to 2 pixels in each direction.

    The edge is repeated into the gap. Images under 16 pixels move by 1, under 8 not at all.
    """
    num, channels, height, width = images.shape
    longest = min(LONGEST_SHIFT, min(height, width) // SIDES_A_SHIFT)
    down, right = (torch.randint(-longest, longest + 1, (num, 1)) for _ in range(2))
    rows = (torch.arange(height) + down).clamp_(0, height - 1)[:, None, :, None]
    columns = (torch.arange(width) + right).clamp_(0, width - 1)[:, None, None, :]
    return images[torch.arange(num)[:, None, None, None], torch.arange(channels)[:, None, None], rows, columns]
