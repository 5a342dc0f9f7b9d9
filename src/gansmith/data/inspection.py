"""A first look at a source: how many images, what size and channels, which classes. Decodes headers, not pixels."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from gansmith.data.conversion import GREY_MODES, BadImageError
from gansmith.data.decode import READ_ERRORS, array_of, open_image, quiet_pillow, reason_of, shown_size
from gansmith.data.sources import FolderSource, Source, Split, StreamSource, is_image_name
from gansmith.data.storage import told_as_resources
from gansmith.errors import DataError
from gansmith.facts import DataFacts
from gansmith.sizes import Size

MOST_HEADERS = 256
VERSION = 2
"""Part of the name of what is kept: raise it when `DataFacts` changes."""
LARGEST_KEPT = 100_000
FEWEST_BAD, LARGEST_BAD_SHARE, MOST_BAD_SHOWN = 3, 0.05, 5


def facts_of(source: Source, cache: Path | None = None) -> DataFacts:
    """Return the facts of a source's train split, from up to 256 images spread evenly over it.

    Args:
        source: as `open_source` returns it.
        cache: folder where the answer is kept by the source's stamp.

    Raises:
        DataError: there are no images, or none of those looked at can be read.
    """
    kept = cache / f"{source.stamp[:16]}-{VERSION}.json" if cache and source.stamp else None
    if kept and (facts := _read_kept(kept)):
        return facts
    with quiet_pillow():
        facts = _look(source)
    if cache and kept:
        with told_as_resources(cache, LARGEST_KEPT):
            cache.mkdir(parents=True, exist_ok=True)
            partial = kept.with_suffix(f".{os.getpid()}-{id(facts)}.tmp")
            try:
                partial.write_text(json.dumps(asdict(facts)))
                partial.replace(kept)
            finally:
                partial.unlink(missing_ok=True)
    return facts


def _read_kept(path: Path) -> DataFacts | None:
    try:
        values = json.loads(path.read_text())
        return DataFacts(**{**values, "size": tuple(values["size"]), "class_counts": tuple(values["class_counts"])})
    except (OSError, ValueError, LookupError, TypeError):  # not there, or damaged: looked up again
        return None


def _look(source: Source) -> DataFacts:
    if isinstance(source, StreamSource):
        rows = {row.name: row.content for row in source.sample()}
        size, one_size, channels = _shape(source.name, list(rows), rows.__getitem__)
        return DataFacts(source.num_rows, len(source.class_names), size, one_size, channels)
    listing = source.listing("train")
    count = len(listing.names)
    if count == 0:
        raise DataError(f"{source.name}: no images found in it (looked for JPEG, PNG, WEBP, BMP, GIF, TIFF by suffix)")
    places = sorted({round(step * (count - 1) / (MOST_HEADERS - 1)) for step in range(MOST_HEADERS)})
    size, one_size, channels = _shape(source.name, [listing.names[place] for place in places], source.read)
    counts = () if listing.labels is None else tuple(np.bincount(listing.labels, minlength=len(listing.class_names)))
    return DataFacts(count, len(listing.class_names), size, one_size, channels, tuple(int(number) for number in counts))


def _shape(name: str, entries: list[str], read: Callable[[str], Any]) -> tuple[Size, bool, int]:
    """Return the common or median size of some entries, whether it is common, and the most channels."""
    sizes, channels, reasons = [], [], []
    for entry in entries:
        try:
            size, channel_count = _header(read(entry))
        except READ_ERRORS as error:
            reasons.append(f"{entry}: {reason_of(error)}")
            continue
        sizes.append(size)
        channels.append(channel_count)
    if not sizes:
        raise DataError(f"{name}: none of {len(entries)} images looked at can be read; the first: {reasons[0]}")
    if len(set(sizes)) == 1:
        return sizes[0], True, max(channels)
    return (round(median(s[0] for s in sizes)), round(median(s[1] for s in sizes))), False, max(channels)


def _header(raw: Any) -> tuple[Size, int]:
    if raw is None:
        raise BadImageError("the row holds no image")
    if isinstance(raw, bytes):
        raw = open_image(raw)
    if isinstance(raw, Image.Image):
        return shown_size(raw), 1 if raw.mode in GREY_MODES else 3
    pixels = array_of(raw)
    return (pixels.shape[1], pixels.shape[2]), pixels.shape[0]


def empty_class_folders(source: Source, split: Split = "train") -> tuple[str, ...]:
    """Return the folders beside a folder's classes that hold no images, and so are none."""
    if not isinstance(source, FolderSource):
        return ()
    listing = source.listing(split)
    if listing.labels is None or not len(listing.names):
        return ()
    parts = listing.names[0].split("/")
    first = listing.class_names[listing.labels[0]]
    if first not in parts:
        return ()
    folder = source.path.joinpath(*parts[: parts.index(first)])
    beside = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    return tuple(name for name in beside if name not in listing.class_names and _is_bare(folder / name))


def _is_bare(folder: Path) -> bool:
    return not any(is_image_name(name) for _, _, names in os.walk(folder) for name in names)


def check_bad(name: str, skipped: Sequence[tuple[str, str]], count: int) -> None:
    """Refuse data of which too much is broken: more than 5 % and at least 3 of `count` images.

    Raises:
        DataError: with the first names and reasons.
    """
    if len(skipped) < FEWEST_BAD or len(skipped) <= LARGEST_BAD_SHARE * count:
        return
    shown = [f"{entry}: {reason}" for entry, reason in skipped[:MOST_BAD_SHOWN]]
    more = len(skipped) - len(shown)
    listed = "; ".join([*shown, f"and {more:,} more"] if more else shown)
    raise DataError(
        f"{name}: {len(skipped):,} of its {count:,} images cannot be used ({listed}); mend or remove them, or go on"
        " without them: --allow-bad"
    )
