"""A trained classifier: what it reads in images, how good it is, and its saved folder.

A folder holds `model.safetensors` and `config.json`; nothing in it is unpickled. `training/classify.py` trains one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from gansmith import runtime
from gansmith.checkpoint import write_synced
from gansmith.data.order import Batch, Indices
from gansmith.errors import CheckpointError, DataError, GansmithError, ResourceError
from gansmith.evaluation.intervals import wilson_interval
from gansmith.images import to_float
from gansmith.networks.classifier import ClassifierNetwork, Pooling
from gansmith.recipe import Settings
from gansmith.restore import copy_tensors
from gansmith.version import __version__

FORMAT = 1
KIND = "classifier"
PIXELS_AT_ONCE = 400_000
"""Of a batch that is judged, whatever the size of its images: bounds the memory."""


class LabelledData(Protocol):
    """What a classifier is trained and tested on; `DataSet` is the usual one."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """(N,) class numbers."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """By number."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal for equal content."""
        ...

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def batch(self, indices: Indices) -> Batch:
        """Return those images (uint8) and labels as one batch."""
        ...


@dataclass(frozen=True)
class Accuracy:
    """How a classifier reads labelled images.

    Attributes:
        confusions: (num_classes, num_classes) int64: row is the true class, column the one that was read.
        class_names: by number.
    """

    confusions: NDArray[np.int64]
    class_names: tuple[str, ...]

    @property
    def num_images(self) -> int:
        """How many were read."""
        return int(self.confusions.sum())

    @property
    def share(self) -> float:
        """Of images that were read right, 0 to 1."""
        return float(self.confusions.trace() / self.num_images)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share (Wilson 1927)."""
        return wilson_interval(int(self.confusions.trace()), self.num_images)

    @property
    def by_class(self) -> dict[str, float]:
        """Share read right of each class that has images."""
        totals = self.confusions.sum(1)
        return {
            name: float(self.confusions[number, number] / totals[number])
            for number, name in enumerate(self.class_names)
            if totals[number]
        }

    def most_confused(self, count: int = 5) -> list[tuple[str, str, int]]:
        """Return up to `count` pairs (true class, read as, how often), the most frequent first; never 0 times."""
        wrong = self.confusions.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        pairs = [(int(place) // len(wrong), int(place) % len(wrong)) for place in order]
        return [(self.class_names[a], self.class_names[b], int(wrong[a, b])) for a, b in pairs if wrong[a, b]]


@dataclass(frozen=True)
class Classifier:
    """A trained classifier and how good it is.

    Attributes:
        network: images (N, C, H, W) in [-1, 1] -> (N, num_classes) logits, in eval mode.
        class_names: by number.
        accuracy: share of held-out images read right, 0 to 1.
        num_held_out: how many images that was measured on.
        images_seen: training images shown, with repetition.
        data_fingerprint: of the training images.
    """

    network: ClassifierNetwork
    class_names: tuple[str, ...]
    accuracy: float
    num_held_out: int
    images_seen: int
    data_fingerprint: str

    def probabilities(self, images: Tensor) -> Tensor:
        """Return (N, num_classes) float32 probabilities on the CPU.

        Args:
            images: (N, C, H, W), float in [-1, 1] or uint8, of the size and channels it was trained on; any N.

        Raises:
            DataError: they have another shape.
        """
        return self._batched(images, lambda part: self.network(part).softmax(1))

    def features(self, images: Tensor) -> Tensor:
        """Return (N, D) float32 penultimate activations on the CPU, D = 128. Arguments and errors as above."""
        return self._batched(images, self.network.features)

    def test(self, data: LabelledData) -> Accuracy:
        """Return how it reads labelled images.

        Raises:
            DataError: they have no labels, other classes, or another shape.
        """
        if data.labels is None:
            raise DataError(f"{data.name}: has no labels to compare with (sub-folders are classes)")
        if data.class_names != self.class_names:
            theirs, ours = (_names_text(names) for names in (data.class_names, self.class_names))
            raise DataError(f"{data.name}: its classes are {theirs}; the classifier was trained on {ours}")
        read = [self.probabilities(images).argmax(1).numpy() for images in self._images_of(data)]
        confusions = np.zeros((len(self.class_names),) * 2, np.int64)
        np.add.at(confusions, (data.labels, np.concatenate(read)), 1)
        return Accuracy(confusions, self.class_names)

    def _images_of(self, data: LabelledData) -> Iterator[Tensor]:
        for start in range(0, len(data), self._at_once):
            yield data.batch(np.arange(start, min(start + self._at_once, len(data)))).images

    @property
    def _at_once(self) -> int:
        return max(1, PIXELS_AT_ONCE // math.prod(self.network.size))

    @torch.no_grad()
    def _batched(self, images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        shape = (self.network.channels, *self.network.size)
        if images.ndim != 4 or tuple(images.shape[1:]) != shape:
            raise DataError(f"images are {_shape_text(images.shape[1:])}; this classifier takes {_shape_text(shape)}")
        device = next(self.network.parameters()).device
        parts = []
        for part in torch.split(images, self._at_once):
            values = to_float(part) if part.dtype == torch.uint8 else part.float()
            parts.append(function(values.to(device)).cpu())
        return torch.cat(parts)


def _shape_text(shape: Any) -> str:
    return " x ".join(map(str, shape)) or "no images"


def _names_text(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:10])
    return f"{len(names)} ({shown}{', ...' if len(names) > 10 else ''})"


class _Config(Settings):
    """What config.json holds, checked field by field."""

    kind: str
    format: PositiveInt
    version: str
    sha256: str
    class_names: tuple[str, ...] = Field(min_length=2)
    size: tuple[PositiveInt, PositiveInt]
    channels: PositiveInt
    pooling: Pooling
    accuracy: float = Field(ge=0, le=1)
    num_held_out: NonNegativeInt
    images_seen: NonNegativeInt
    data_fingerprint: str


def save_classifier(classifier: Classifier, path: str | os.PathLike[str]) -> Path:
    """Write `model.safetensors` and `config.json` into a folder, made if need be; return its path.

    Raises:
        ResourceError: it cannot be written.
    """
    path, network = Path(path), classifier.network
    content = safetensors.torch.save({key: value.cpu().contiguous() for key, value in network.state_dict().items()})
    config = _Config(
        kind=KIND,
        format=FORMAT,
        version=__version__,
        sha256=hashlib.sha256(content).hexdigest(),
        class_names=classifier.class_names,
        size=network.size,
        channels=network.channels,
        pooling=network.pooling,
        accuracy=classifier.accuracy,
        num_held_out=classifier.num_held_out,
        images_seen=classifier.images_seen,
        data_fingerprint=classifier.data_fingerprint,
    )
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_synced(path / "model.safetensors", content)
        write_synced(path / "config.json", json.dumps(config.model_dump(mode="json"), indent=1).encode())
    except OSError as error:
        raise ResourceError(f"{path}: the classifier could not be saved ({error.strerror})") from error
    return path


def load_classifier(path: str | os.PathLike[str], device: str = "cpu") -> Classifier:
    """Return the classifier in a folder that `save_classifier` wrote, in eval mode.

    Args:
        path: of the folder.
        device: "cpu", "cuda", "auto".

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    path = Path(path)
    if not (path / "config.json").exists():
        raise CheckpointError(f"{path}: holds no classifier; `gansmith classify train DATA --out {path}` trains one")
    try:
        values = json.loads((path / "config.json").read_bytes())
        if values.get("kind") != KIND:
            raise CheckpointError(f"{path}: holds a saved generator, not a classifier")
        if values["format"] > FORMAT:
            raise CheckpointError(f"{path}: written by gansmith {values['version']}; upgrade gansmith to read it")
        config = _Config.model_validate(values)
        content = (path / "model.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != config.sha256:
            raise CheckpointError(f"{path / 'model.safetensors'}: damaged (its sha256 is not the one recorded)")
        tensors = safetensors.torch.load(content)
        network = ClassifierNetwork(config.size, config.channels, len(config.class_names), config.pooling)
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError, SafetensorError,
            GansmithError) as error:  # fmt: skip
        raise CheckpointError(f"{path}: not a readable saved classifier ({error})") from error
    copy_tensors(network.state_dict(), tensors, path / "model.safetensors")
    network.to(runtime.choose_device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Classifier(
        network.requires_grad_(False).eval(), config.class_names, config.accuracy, config.num_held_out,
        config.images_seen, config.data_fingerprint,
    )  # fmt: skip
