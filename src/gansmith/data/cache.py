"""Images decoded once into a memory-mapped uint8 array, and read from it by whole batches.

Where: `$GANSMITH_CACHE`, or `~/.cache/gansmith`. A folder per (source, split, size, channels); deleting it is safe.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gansmith.data.decode import READ_ERRORS, decode
from gansmith.data.order import Batch, Indices
from gansmith.data.sources import Listing, ObjectSource, Source, Split, open_source
from gansmith.errors import DataError
from gansmith.images import Pixels
from gansmith.sizes import Size, size_text

VERSION = 1
"""Part of every cache key: raise it when decoding changes what comes out."""
CHUNK = 256
ROWS_A_READ = 4096
LONGEST_NAME = 80
PARTIAL = ".decoding-"
"""Bytes of a source's name in the name of its cache folder."""
Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


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
        num_refitted: images that had another size and were cropped and resampled.
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


def cache_folder() -> Path:
    """Return where decoded data is kept: `$GANSMITH_CACHE`, else `gansmith` in the user's cache folder."""
    if chosen := os.environ.get("GANSMITH_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gansmith"


def open_data(
    data: Any, size: Size, channels: int, split: Split = "train", on_progress: Progress | None = None
) -> DataSet:
    """Return a data set at one size, decoding it into the cache unless it is there already.

    Args:
        data: a name ("digits"), a folder, a zip, an object with `__len__` and `__getitem__`, or an open `Source`.
        size: (height, width) every image is fitted to.
        channels: 1, 3 or 4 (any number for arrays that have it).
        split: "train" or "test".
        on_progress: called now and then while decoding.

    Raises:
        DataError: there is no such data, or no usable image in it.
    """
    source: Source = data if hasattr(data, "listing") and hasattr(data, "read") else open_source(data)
    key = f"{source.stamp}-{split}-{size_text(size)}x{channels}-v{VERSION}"
    folder = cache_folder() / f"{_short(source.name)}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if source.stamp is not None and (folder / "about.json").exists():
        return _load(source.name, folder)
    cache_folder().mkdir(parents=True, exist_ok=True)
    _remove_left_overs(cache_folder())
    partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{os.getpid()}-", dir=cache_folder()))
    try:
        about = _decode_into(partial, source, split, size, channels, on_progress)
        if source.stamp is None:
            described = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
            folder = cache_folder() / f"{_short(source.name)}-{described}"
        if not folder.exists():
            os.rename(partial, folder)
        return _load(source.name, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_left_overs(folder: Path) -> None:
    """Remove what killed processes were decoding."""
    for left in folder.glob(f"{PARTIAL}*-*"):
        owner = left.name.removeprefix(PARTIAL).split("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's, or this system cannot tell
        return True
    return True


def _short(name: str) -> str:
    return os.fsencode(name)[:LONGEST_NAME].decode(errors="ignore")


def _load(name: str, folder: Path) -> DataSet:
    about = json.loads((folder / "about.json").read_text())
    labels = np.load(folder / "labels.npy") if about["class_names"] else None
    return DataSet(
        name=name,
        images=np.load(folder / "images.npy", mmap_mode="r"),
        labels=labels,
        class_names=tuple(about["class_names"]),
        fingerprint=about["fingerprint"],
        skipped=tuple((entry, reason) for entry, reason in about["skipped"]),
        num_refitted=about["num_refitted"],
    )


def _decode_into(
    folder: Path, source: Source, split: Split, size: Size, channels: int, on_progress: Progress | None
) -> dict[str, Any]:
    listing = source.listing(split)
    if not listing.names:
        raise DataError(f"{source.name}: no images found in its {split} split")
    shape = (len(listing.names), channels, *size)
    images: Pixels = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    bad, num_refitted = _fill(images, source, listing, on_progress)
    if len(bad) == len(listing.names):
        place, reason = min(bad.items())
        raise DataError(f"{source.name}: none of its {len(bad)} images can be read; {listing.names[place]}: {reason}")
    good = np.setdiff1d(np.arange(len(images)), list(bad))
    if bad:
        images = _keep_rows(folder, images, good)
    labels = None if listing.labels is None else listing.labels[good]
    if labels is not None:
        np.save(folder / "labels.npy", labels)
    about = {
        "fingerprint": _fingerprint(images, labels),
        "class_names": list(listing.class_names),
        "skipped": [(listing.names[place], reason) for place, reason in sorted(bad.items())],
        "num_refitted": num_refitted,
    }
    (folder / "about.json").write_text(json.dumps(about, ensure_ascii=True))
    return about


def _fill(images: Pixels, source: Source, listing: Listing, on_progress: Progress | None) -> tuple[dict[int, str], int]:
    """Decode every entry into its row; return the reasons of the bad rows, and how many were refitted."""
    count, size, channels = len(images), (images.shape[2], images.shape[3]), images.shape[1]

    def fill_chunk(start: int) -> tuple[dict[int, str], int, int]:
        bad, num_refitted = {}, 0
        stop = min(start + CHUNK, count)
        for place in range(start, stop):
            try:
                images[place], refitted = decode(source.read(listing.names[place]), size, channels)
                num_refitted += refitted
            except READ_ERRORS as error:
                bad[place] = str(error) or type(error).__name__
        return bad, num_refitted, stop - start

    all_bad: dict[int, str] = {}
    refitted_total = done = 0
    # A user's object need not be safe to index from two threads.
    workers = 1 if isinstance(source, ObjectSource) else (os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, "decode") as pool:
        futures = [pool.submit(fill_chunk, start) for start in range(0, count, CHUNK)]
        try:
            for future in as_completed(futures):
                bad, num_refitted, num_done = future.result()
                all_bad |= bad
                refitted_total += num_refitted
                done += num_done
                if on_progress:
                    on_progress(done, count)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return all_bad, refitted_total


def _keep_rows(folder: Path, images: Pixels, rows: NDArray[np.int64]) -> Pixels:
    shape = (len(rows), *images.shape[1:])
    kept: Pixels = np.lib.format.open_memmap(folder / "kept.npy", mode="w+", dtype=np.uint8, shape=shape)
    for start in range(0, len(rows), ROWS_A_READ):
        kept[start : start + ROWS_A_READ] = images[rows[start : start + ROWS_A_READ]]
    (folder / "kept.npy").replace(folder / "images.npy")
    return kept


def _fingerprint(images: Pixels, labels: NDArray[np.int64] | None) -> str:
    digest = hashlib.sha256(f"{images.shape}".encode())
    for start in range(0, len(images), ROWS_A_READ):
        digest.update(images[start : start + ROWS_A_READ].tobytes())
    if labels is not None:
        digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()[:16]
