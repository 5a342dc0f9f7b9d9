"""A first look at a source: how many images, what size and channels, which classes. Decodes headers, not pixels."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from gansmith.data.decode import GREY_MODES, PILLOW_ERRORS, READ_ERRORS, BadImageError, array_of, open_image
from gansmith.data.sources import Source
from gansmith.errors import DataError
from gansmith.facts import DataFacts
from gansmith.sizes import Size

MOST_HEADERS = 256
EXIF_ORIENTATION, SIDES_SWAPPED = 0x0112, (5, 6, 7, 8)


def facts_of(source: Source, cache: Path | None = None) -> DataFacts:
    """Return the facts of a source's train split, from up to 256 images spread evenly over it.

    Args:
        source: as `open_source` returns it.
        cache: folder where the answer is kept by the source's stamp.

    Raises:
        DataError: there are no images, or none of those looked at can be read.
    """
    kept = cache / f"{source.stamp[:16]}.json" if cache and source.stamp else None
    if kept and kept.exists():
        values = json.loads(kept.read_text())
        return DataFacts(**{**values, "size": tuple(values["size"])})
    facts = _look(source)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{id(facts)}.tmp")
        partial.write_text(json.dumps(asdict(facts)))
        partial.replace(kept)
    return facts


def _look(source: Source) -> DataFacts:
    listing = source.listing("train")
    count = len(listing.names)
    if count == 0:
        raise DataError(f"{source.name}: no images found in it (looked for JPEG, PNG, WEBP, BMP, GIF, TIFF by suffix)")
    places = sorted({round(step * (count - 1) / (MOST_HEADERS - 1)) for step in range(MOST_HEADERS)})
    sizes, channels, reasons = [], [], []
    for place in places:
        try:
            size, channel_count = _header(source.read(listing.names[place]))
        except READ_ERRORS as error:
            reasons.append(f"{listing.names[place]}: {error}")
            continue
        sizes.append(size)
        channels.append(channel_count)
    if not sizes:
        raise DataError(f"{source.name}: none of {len(places)} images looked at can be read; the first: {reasons[0]}")
    one_size = len(set(sizes)) == 1
    size = sizes[0] if one_size else (round(median(s[0] for s in sizes)), round(median(s[1] for s in sizes)))
    return DataFacts(count, len(listing.class_names), size, one_size, max(channels))


def _header(raw: Any) -> tuple[Size, int]:
    if isinstance(raw, bytes):
        raw = open_image(raw)
    if isinstance(raw, Image.Image):
        return _shown_size(raw), 1 if raw.mode in GREY_MODES else 3
    pixels = array_of(raw)
    return (pixels.shape[1], pixels.shape[2]), pixels.shape[0]


def _shown_size(image: Image.Image) -> Size:
    try:
        turned = image.getexif().get(EXIF_ORIENTATION) in SIDES_SWAPPED
    except PILLOW_ERRORS as error:
        raise BadImageError(f"its EXIF data cannot be read ({error})") from error
    return (image.width, image.height) if turned else (image.height, image.width)
