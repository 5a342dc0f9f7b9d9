"""What decoding does to one image, in words: for the odd ones that a person should know of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from gansmith.data.cache import Form
from gansmith.data.conversion import GREY_MODES, has_transparency
from gansmith.data.decode import (
    DRAFT_FORMATS,
    EXIF_ORIENTATION,
    PILLOW_ERRORS,
    UPRIGHT,
    array_of,
    decode,
    decode_file,
    open_image,
    orientation_of,
)
from gansmith.data.fitting import scales
from gansmith.images import Pixels
from gansmith.sizes import Fit, Size, size_text

TURNED = "turned by its EXIF orientation"
CHANNEL_NAMES = {1: "grey", 3: "RGB", 4: "RGBA"}
PILLOW_CONVERTS = {"CMYK": "CMYK", "YCbCr": "YCbCr", "LAB": "CIELAB", "HSV": "HSV"}
SMALLEST_KEPT = 0.5
"""Share of an image's area that cropping leaves, below which its name is given."""


def of_pixels(image: Image.Image, channels: int) -> list[str]:
    """Return what is done to the values of an opened image that is not yet decoded."""
    found = []
    if image.format == "TIFF" and getattr(image, "tag_v2", {}).get(EXIF_ORIENTATION) in UPRIGHT:
        found.append(TURNED)
    wanted = CHANNEL_NAMES.get(channels, "")
    if image.mode in PILLOW_CONVERTS:
        found.append(f"{PILLOW_CONVERTS[image.mode]}, converted to {wanted}")
    if image.mode.startswith("I;16") or ";16" in str(getattr(image, "tile", "")):
        found.append("16-bit, scaled to 8")
    elif image.mode in ("I", "F"):
        found.append("32-bit, scaled to 8" if image.mode == "I" else "floating point, scaled to 8 bits")
    if has_transparency(image) and channels != 4:
        found.append("transparent, laid on white")
    if image.format in ("GIF", "WEBP", "PNG", "TIFF") and _has_more_frames(image):
        found.append("several pages, the first is taken" if image.format == "TIFF" else "animated, first frame taken")
    if channels > 1 and image.mode in GREY_MODES:
        found.append(f"grey, made {wanted}")
    elif channels == 1 and image.mode not in GREY_MODES and image.mode != "P":
        found.append("colour, made grey")
    return found


def _has_more_frames(image: Any) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except PILLOW_ERRORS:  # the first frame may be whole though a later one is not
        return True


def of_size(shown: Size, size: Size, fit: Fit) -> str:
    """Return what is done to an image of a size (height, width) to make it `size`; "" where nothing is."""
    if shown == size:
        return ""
    down, across = scales(shown, size, fit)
    if fit == "stretch":
        done = "resized" if down == across else "stretched"
    elif down == size[0] / shown[0] and across == size[1] / shown[1]:
        done = "resized"
    else:
        done = "cropped to the middle and resized" if fit == "crop" else "resized, with bars,"
    return f"{done} to {size_text(size)}{', enlarged' if max(down, across) > 1 else ''}"


def loses_much(shown: Size, size: Size, fit: Fit) -> bool:
    """Return whether cropping removes so much of an image that a person should know its name."""
    down, across = scales(shown, size, fit)
    return fit == "crop" and (size[0] / down) * (size[1] / across) < SMALLEST_KEPT * shown[0] * shown[1]


@dataclass(frozen=True)
class Look:
    """What one good image is.

    Attributes:
        pixels: (C, H, W) uint8 as training sees it.
        shown: (height, width) when upright.
        mode: Pillow's, or "array".
        file_format: Pillow's name, or "object".
        treatments: what is done to it, its size apart.
    """

    pixels: Pixels
    shown: Size
    mode: str
    file_format: str
    treatments: list[str]


def look(raw: Any, form: Form) -> Look:
    """Return what one entry is and how training sees it.

    Raises:
        BadImageError: it cannot be used.
    """
    if isinstance(raw, bytes):
        image = open_image(raw)
        header, mode, file_format = (image.height, image.width), image.mode, image.format or ""
        done = of_pixels(image, form.channels)
        pixels, _ = decode_file(image, form.size, form.channels, form.fit)
        file_format = "JPEG" if file_format in DRAFT_FORMATS else file_format
    elif isinstance(raw, Image.Image):
        image = raw
        header, mode, file_format = (image.height, image.width), image.mode, "object"
        done = of_pixels(image, form.channels)
        pixels, _ = decode(raw, form.size, form.channels, form.fit)
    else:
        array = array_of(raw)
        pixels, _ = decode(raw, form.size, form.channels, form.fit)
        return Look(pixels, (array.shape[1], array.shape[2]), "array", "object", [])
    orientation = orientation_of(image)
    if orientation > 1:
        done = [TURNED, *done]
    shown = (header[1], header[0]) if orientation >= 5 else header
    return Look(pixels, shown, mode, file_format, done)
