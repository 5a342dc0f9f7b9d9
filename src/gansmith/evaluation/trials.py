"""What scores that train something have in common: made and joined labelled data, checks of images, the time it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gansmith.classifiers import LabelledData
from gansmith.data import Batch, DataSet
from gansmith.data.cache import fingerprint_of
from gansmith.data.order import Indices
from gansmith.errors import DataError
from gansmith.images import Pixels
from gansmith.training.classify import ClassifierProgress, Rows, train_classifier

Share = Callable[[float], None]
"""Called now and then with how much is done, 0 to 1."""
TRIED_STEPS, TRIED_IMAGES = 6, 128


def as_pixels(images: Pixels | Tensor, name: str) -> Pixels:
    """Return images (N, C, H, W) as a uint8 array, not copied; `name` is for messages.

    Raises:
        DataError: they are not uint8 or have not four dimensions.
    """
    pixels = images.cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    if pixels.dtype != np.uint8 or pixels.ndim != 4:
        raise DataError(f"{name}: {pixels.dtype} of shape {pixels.shape}; must be uint8 (N, C, H, W)")
    return pixels


def labelled(images: Pixels, labels: NDArray[np.int64], class_names: tuple[str, ...], name: str) -> DataSet:
    """Return images (N, C, H, W) in memory and their classes (N,) as a data set."""
    return DataSet(name, images, labels, class_names, fingerprint_of(images, labels), (), 0)


@dataclass(frozen=True)
class Joined:
    """Two labelled data sets of the same classes as one, the first one's rows first; read through, not copied.

    Attributes:
        first, second: both with labels.
    """

    first: LabelledData
    second: LabelledData

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.first.name} and {self.second.name}"

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class numbers."""
        assert self.first.labels is not None and self.second.labels is not None
        return np.concatenate([self.first.labels, self.second.labels])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the first."""
        return self.first.class_names

    @property
    def fingerprint(self) -> str:
        """Both fingerprints."""
        return f"{self.first.fingerprint}+{self.second.fingerprint}"

    def __len__(self) -> int:
        """Return the number of images of both."""
        return len(self.first) + len(self.second)

    def batch(self, indices: Indices) -> Batch:
        """Return those images (uint8) and labels as one batch, in the order of the indices."""
        is_second = indices >= len(self.first)
        parts = self.first.batch(indices[~is_second]), self.second.batch(indices[is_second] - len(self.first))
        assert parts[0].labels is not None and parts[1].labels is not None
        place = torch.from_numpy(np.argsort(np.argsort(is_second, kind="stable")))
        images = torch.cat([part.images for part in parts])[place]
        return Batch(images, torch.cat([parts[0].labels, parts[1].labels])[place])


def seconds_a_step(data: LabelledData, device: str = "cpu") -> float:
    """Return how long a training step of a classifier of these images takes here, in seconds; tried, not guessed."""
    few = Rows(data, np.arange(min(TRIED_IMAGES, len(data))))
    train_classifier(few, few, 1, device=device)  # the first step of a process is slow
    begun = time.perf_counter()
    train_classifier(few, few, TRIED_STEPS, device=device)
    return (time.perf_counter() - begun) / TRIED_STEPS


def part_of(on_progress: Share | None, number: int, count: int) -> Callable[[ClassifierProgress], None] | None:
    """Return what tells `on_progress` of training `number` (from 0) of `count`."""
    return on_progress and (lambda progress: on_progress((number + progress.share) / count))
