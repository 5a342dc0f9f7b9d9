"""The first stage: images -> features. In chunks, and for real data once: what was read is kept in the cache.

The second stage, features -> statistics, is `moments.py` and its neighbours; it knows no images.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gansmith import ranks, runtime
from gansmith.data import Batch
from gansmith.data.cache import Progress, cache_folder
from gansmith.data.order import Indices
from gansmith.evaluation.extractor import Extractor
from gansmith.evaluation.extractors.module import ModuleExtractor
from gansmith.images import Pixels

log = logging.getLogger("gansmith")
VERSION = 1
"""Part of every key: raise it when reading changes what comes out."""
IMAGES_AT_ONCE, BYTES_AT_ONCE = 1024, 2**25
PARTIAL = ".writing-"
DAMAGE = (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError)
"""What a zip says whose bytes were changed: also that it is encrypted, or of another method."""


class Images(Protocol):
    """What features are read from; `DataSet` and `LabelledData` are the usual ones."""

    @property
    def fingerprint(self) -> str:
        """Equal for equal content."""
        ...

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def batch(self, indices: Indices) -> Batch:
        """Return those images (uint8) as one batch."""
        ...


@dataclass(frozen=True)
class Features:
    """What an extractor read in some images.

    Attributes:
        values: (N, D) float32 features on the CPU.
        probabilities: (N, K) float32 class probabilities, or None where the extractor knows no classes.
    """

    values: Tensor
    probabilities: Tensor | None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.values)


def features_of(
    images: Images | Pixels, indices: Indices | None, extractor: Extractor, on_progress: Progress | None = None
) -> Features:
    """Return what an extractor reads in some images, in order. Memory beyond the result is bounded.

    Args:
        images: a data set, or an array (N, C, H, W) uint8.
        indices: which of them, at least one; None: all.
        extractor: see `extractors/`.
        on_progress: called with (images read, images in all) after each chunk.

    Raises:
        DataError: the extractor cannot read images of that shape.
        UsageError: what the user's own module returned are no features.
    """
    rows = np.arange(len(images), dtype=np.int64) if indices is None else indices
    at_once = _at_once(images, rows)
    values: Tensor | None = None
    probabilities: Tensor | None = None
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        features, classes = extractor.read(_read(images, part))
        if values is None:
            values = torch.empty(len(rows), features.shape[1])
            probabilities = None if classes is None else torch.empty(len(rows), classes.shape[1])
        values[start : start + len(part)] = features
        if probabilities is not None and classes is not None:
            probabilities[start : start + len(part)] = classes
        if on_progress:
            on_progress(start + len(part), len(rows))
    assert values is not None
    return Features(values, probabilities)


def features_among_ranks(
    images: Images | Pixels, indices: Indices | None, extractor: Extractor, on_progress: Progress | None = None
) -> Features:
    """Return what `features_of` does, bit for bit, each rank having read a part: all of them call it alike."""
    rows = np.arange(len(images), dtype=np.int64) if indices is None else indices
    start, stop = ranks.part_of(len(rows), _at_once(images, rows))
    own = features_of(images, rows[start:stop], extractor, on_progress) if start < stop else None
    values = ranks.gathered(torch.empty(0) if own is None else own.values)
    classes = None if own is None else own.probabilities
    if not ranks.largest(int(classes is not None)):
        return Features(values, None)
    return Features(values, ranks.gathered(torch.empty(0) if classes is None else classes))


def _at_once(images: Images | Pixels, rows: Indices) -> int:
    return min(IMAGES_AT_ONCE, max(1, BYTES_AT_ONCE // _read(images, rows[:1]).numel()))


def _read(images: Images | Pixels, rows: Indices) -> Tensor:
    return torch.from_numpy(images[rows]) if isinstance(images, np.ndarray) else images.batch(rows).images


def chosen_rows(num_images: int, count: int | None, seed: int = 0) -> Indices:
    """Return which `count` of so many images are used, rising; all where `count` is None or not less.

    They depend on (num_images, count, seed) alone, so equal sets are compared whatever is in them.
    """
    if count is None or count >= num_images:
        return np.arange(num_images, dtype=np.int64)
    random = np.random.Generator(np.random.Philox(key=runtime.seed_of(seed, "chosen rows", num_images)))
    return np.sort(random.permutation(num_images)[:count])


def cached_features(
    data: Images, count: int | None, extractor: Extractor, on_progress: Progress | None = None,
    among_ranks: bool = False,
) -> Features:  # fmt: skip
    """Return what an extractor reads in `count` images of a data set, from the cache if it was read before.

    Kept under `<cache>/features/`, by the data's fingerprint and length, the extractor's checksum, and the count. What
    is damaged is read again. Deleting the folder is safe. Of the user's own module nothing is kept: its code may change
    and its checksum would not.

    Args:
        data: the images.
        count: how many, chosen by `chosen_rows`; None: all.
        extractor: see `extractors/`.
        on_progress: called with (images read, images in all); not at all where they come from the cache.
        among_ranks: all ranks call this alike, and each reads a part; rank 0 keeps the whole.

    Raises:
        DataError, UsageError: as `features_of`.
    """
    rows, read = chosen_rows(len(data), count), features_among_ranks if among_ranks else features_of
    if isinstance(extractor, ModuleExtractor):
        return read(data, rows, extractor, on_progress)
    path = cache_folder() / "features" / f"{_key(data, len(rows), extractor)}.npz"
    kept = _load(path, len(rows), extractor.facts.dim) if path.exists() else None
    if kept is None and path.exists():
        log.warning("%s: damaged; its images are read again", path)
    is_missing = kept is None
    if among_ranks:  # where one has no such cache, all read
        is_missing = bool(ranks.largest(int(is_missing)))
    if kept is not None and not is_missing:
        return kept
    features = read(data, rows, extractor, on_progress)
    if among_ranks and not ranks.current().is_first:
        return features
    try:
        _save(features, path)
    except OSError as error:
        log.warning("%s: features are not kept and will be read again next time (%s)", path.parent, error.strerror)
    return features


def _key(data: Images, count: int, extractor: Extractor) -> str:
    # A part of a data set has the fingerprint of the whole; its length tells them apart.
    content = [data.fingerprint, len(data), extractor.facts.checksum, count, VERSION]
    return f"{extractor.facts.name}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]}"


def _save(features: Features, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No probabilities are an array of no classes: one that is missing is then always damage.
    classes = torch.empty(len(features), 0) if features.probabilities is None else features.probabilities
    descriptor, partial = tempfile.mkstemp(prefix=PARTIAL, suffix=".npz", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, values=features.values.numpy(), probabilities=classes.numpy())
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _load(path: Path, count: int, dim: int) -> Features | None:
    """Return what a file holds, or None if it is not whole; a zip has a checksum for each array, read with it."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            values, probabilities = arrays["values"], arrays["probabilities"]
    except DAMAGE:
        return None
    if values.shape != (count, dim) or len(probabilities) != count:
        return None
    return Features(torch.from_numpy(values), torch.from_numpy(probabilities) if probabilities.size else None)
