"""Images decoded once into a memory-mapped uint8 array, and read from it by whole batches.

Where: `$GANSMITH_CACHE`, or `~/.cache/gansmith`. A folder per (source, split, size, channels, fit); deleting it is
safe, and one that is found damaged is decoded again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gansmith.data.decode import READ_ERRORS, decode, reason_of
from gansmith.data.inspection import check_bad, empty_class_folders
from gansmith.data.order import Batch, Indices, Order
from gansmith.data.parallel import in_threads
from gansmith.data.sources import Listing, Source, Split, open_source
from gansmith.data.storage import PARTIAL, ArrayWriter, check_room, remove_left_overs, short, told_as_resources
from gansmith.errors import DataError, ResourceError
from gansmith.images import Pixels
from gansmith.sizes import Fit, Size, size_text

log = logging.getLogger("gansmith")
VERSION = 2
"""Part of every cache key: raise it when decoding changes what comes out."""
ROWS_A_READ = 4096
Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


@dataclass(frozen=True)
class Form:
    """What images are decoded into.

    Attributes:
        size: (height, width).
        channels: their number.
        fit: how images of another size are made to fit.
    """

    size: Size
    channels: int
    fit: Fit = "crop"

    @property
    def fitting(self) -> tuple[Size, Fit]:
        """What an image of another size is made to fit, and how."""
        return self.size, self.fit

    @property
    def text(self) -> str:
        """For cache keys."""
        return f"{size_text(self.size)}x{self.channels}-{self.fit}"


@dataclass(frozen=True)
class DataSet:
    """Decoded images, indexed by whole batches.

    Attributes:
        name: of the source.
        images: (N, C, H, W) uint8, memory-mapped and read-only.
        labels: (N,) int64, or None where there are no classes.
        class_names: by label; empty where there are none.
        fingerprint: 16 hex digits, a hash of the pixels and labels: equal pixels, equal fingerprint.
        skipped: (name, reason) of every image that could not be used.
        num_refitted: images that had another size and were made to fit.
    """

    name: str
    images: Pixels
    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    fingerprint: str
    skipped: tuple[tuple[str, str], ...]
    num_refitted: int

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def batch(self, indices: Indices) -> Batch:
        """Return those images (uint8) and labels as one batch."""
        labels = None if self.labels is None else torch.from_numpy(self.labels[indices])
        return Batch(torch.from_numpy(self.images[indices]), labels)

    def order(self, seed: int, stream: str) -> Order:
        """Return the order in which they are shown."""
        return Order(seed, len(self), stream)

    @property
    def examples(self) -> DataSet:
        """What pictures of the data are made from: all of it."""
        return self

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Images of each class; empty where there are none."""
        labels = np.empty(0, np.int64) if self.labels is None else self.labels
        return tuple(np.bincount(labels, minlength=len(self.class_names)).tolist())


def cache_folder() -> Path:
    """Return where decoded data is kept: `$GANSMITH_CACHE`, else `gansmith` in the user's cache folder."""
    if chosen := os.environ.get("GANSMITH_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gansmith"


def open_data(
    data: Any,
    size: Size,
    channels: int,
    split: Split = "train",
    on_progress: Progress | None = None,
    *,
    fit: Fit = "crop",
    allow_bad: bool = False,
) -> DataSet:
    """Return a data set at one size, decoding it into the cache unless it is there already.

    Args:
        data: a name ("digits"), a folder, a zip, an object with `__len__` and `__getitem__`, or an open `Source`.
        size: (height, width) every image is fitted to.
        channels: 1, 3 or 4 (any number for arrays that have it).
        split: "train" or "test".
        on_progress: called now and then while decoding.
        fit: how images of another size are made to fit: "crop" (around the middle), "pad" or "stretch".
        allow_bad: go on however many images cannot be used; else more than 5 % and at least 3 are an error.

    Raises:
        DataError: there is no such data, no usable image in it, or too many that are not.
        ResourceError: the cache folder has no room or cannot be written to.
    """
    source: Source = data if hasattr(data, "listing") and hasattr(data, "read") else open_source(data)
    opened = _open(source, split, Form(size, channels, fit), on_progress)
    if not allow_bad:
        check_bad(opened.name, opened.skipped, len(opened) + len(opened.skipped))
    return opened


def _open(source: Source, split: Split, form: Form, on_progress: Progress | None) -> DataSet:
    for empty in empty_class_folders(source, split):
        log.warning("%s: the folder %s holds no images; it is no class", source.name, empty)
    folder = None if source.stamp is None else _entry(source, f"{source.stamp}-{split}-{form.text}-v{VERSION}")
    if folder and folder.exists():
        if kept := _load(source.name, folder, form):
            return kept
        log.warning("%s: damaged; decoding again", folder)
    decoded = _decode(source, split, form, folder, on_progress)
    kept = _load(source.name, decoded, form)
    if kept is None:
        raise ResourceError(f"{decoded}: what was just decoded cannot be read back; is the disk sound?")
    return kept


def _entry(source: Source, key: str) -> Path:
    return cache_folder() / f"{short(source.name)}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _decode(source: Source, split: Split, form: Form, folder: Path | None, on_progress: Progress | None) -> Path:
    """Decode into the cache and return the entry's folder: `folder`, or one named by what came out."""
    cache = cache_folder()
    listing = source.listing(split)
    if not listing.names:
        raise DataError(f"{source.name}: no images found in its {split} split")
    num_bytes = len(listing.names) * form.channels * form.size[0] * form.size[1]
    with told_as_resources(cache, num_bytes):
        cache.mkdir(parents=True, exist_ok=True)
        remove_left_overs(cache)
        check_room(cache, num_bytes)
        partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{os.getpid()}-", dir=cache))
        try:
            about = _decode_into(partial, source, listing, form, on_progress)
            folder = folder or _entry(source, json.dumps(about))
            try:
                os.rename(partial, folder)
            except OSError:  # there is something: what another process put there meanwhile, or a damaged entry
                if _load(source.name, folder, form) is None:
                    shutil.rmtree(folder, ignore_errors=True)
                    os.rename(partial, folder)
            return folder
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _load(name: str, folder: Path, form: Form) -> DataSet | None:
    """Return what an entry of the cache holds, or None if it is not there whole."""
    try:
        about = json.loads((folder / "about.json").read_text())
        class_names = tuple(about["class_names"])
        images = np.load(folder / "images.npy", mmap_mode="r")
        labels = np.load(folder / "labels.npy") if class_names else None
        data = DataSet(
            name=name,
            images=images,
            labels=labels,
            class_names=class_names,
            fingerprint=about["fingerprint"],
            skipped=tuple((entry, reason) for entry, reason in about["skipped"]),
            num_refitted=about["num_refitted"],
        )
    except (OSError, ValueError, LookupError, TypeError, EOFError):
        return None
    wanted = (about.get("count"), form.channels, *form.size)
    is_whole = images.shape == wanted and (labels is None or len(labels) == len(images))
    return data if is_whole else None


def _decode_into(
    folder: Path, source: Source, listing: Listing, form: Form, on_progress: Progress | None
) -> dict[str, Any]:
    count = len(listing.names)
    writer = ArrayWriter(folder / "images.npy", (count, form.channels, *form.size))
    try:
        bad, num_refitted = _fill(writer, source, listing, form, on_progress)
        if len(bad) == count:
            place, reason = min(bad.items())
            raise DataError(
                f"{source.name}: none of its {count:,} images can be read; {listing.names[place]}: {reason}"
            )
        good = np.setdiff1d(np.arange(count), list(bad))
        images = writer.finish(good)
    finally:
        writer.close()
    labels = None if listing.labels is None else listing.labels[good]
    if labels is not None:
        np.save(folder / "labels.npy", labels)
    about = {
        "count": len(images),
        "fingerprint": fingerprint_of(images, labels),
        "class_names": list(listing.class_names),
        "skipped": [(listing.names[place], reason) for place, reason in sorted(bad.items())],
        "num_refitted": num_refitted,
    }
    (folder / "about.json").write_text(json.dumps(about, ensure_ascii=True))
    return about


def _fill(
    writer: ArrayWriter, source: Source, listing: Listing, form: Form, on_progress: Progress | None
) -> tuple[dict[int, str], int]:
    """Decode every entry into its row; return the reasons of the bad rows, and how many were refitted."""
    count = len(listing.names)

    def fill(places: Iterable[int]) -> tuple[dict[int, str], int, int]:
        bad, num_refitted, num_done = {}, 0, 0
        for place in places:
            num_done += 1
            try:
                pixels, refitted = decode(source.read(listing.names[place]), form.size, form.channels, form.fit)
            except READ_ERRORS as error:
                bad[place] = reason_of(error)
                continue
            writer.put(place, pixels)
            num_refitted += refitted
        return bad, num_refitted, num_done

    all_bad: dict[int, str] = {}
    refitted_total = done = 0
    for bad, num_refitted, num_done in in_threads(source, fill, count):
        all_bad |= bad
        refitted_total += num_refitted
        done += num_done
        if on_progress:
            on_progress(done, count)
    return all_bad, refitted_total


def fingerprint_of(images: Pixels, labels: NDArray[np.int64] | None) -> str:
    """Return 16 hex digits, a hash of pixels (N, C, H, W) and labels: equal for equal content."""
    digest = hashlib.sha256(f"{images.shape}".encode())
    for start in range(0, len(images), ROWS_A_READ):
        digest.update(images[start : start + ROWS_A_READ].tobytes())
    digest.update(b"" if labels is None else labels.astype("<i8").tobytes())
    return digest.hexdigest()[:16]
