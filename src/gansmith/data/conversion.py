"""Any Pillow mode into grey, RGB or RGBA of 8 bits.

Transparency is laid on white; 16 bits are scaled to 8; whole numbers of 32 bits that need more than 16 are scaled from
their whole range; floats are taken as [0, 1] where all lie in it, else as 0 to 255. What Pillow converts itself
(palettes, CMYK, YCbCr) it converts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
ALPHA_MODES = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
LARGEST_16_BITS, LARGEST_31_BITS, LARGEST_32_BITS = 2**16 - 1, 2**31 - 1, 2**32 - 1
TIFF_SAMPLE_FORMAT, UNSIGNED = 339, 1

Convert = Callable[[Image.Image], Image.Image]


class BadImageError(ValueError):
    """An image that cannot be used; the message is the reason, in a few words."""


def has_transparency(image: Image.Image) -> bool:
    """Return whether some of an image may be transparent."""
    return image.mode in ALPHA_MODES or "transparency" in image.info


def converter(image: Image.Image, mode: str) -> Convert:
    """Return the conversion of this image, or of any part cut out of it, to "L", "RGB" or "RGBA".

    Raises:
        BadImageError: it holds values that are no numbers.
    """
    to_8_bits = _to_8_bits(image)

    def convert(part: Image.Image) -> Image.Image:
        if part.mode == mode and "transparency" not in part.info:
            return part
        part = to_8_bits(part)
        if mode != "RGBA" and has_transparency(part):
            part = part.convert("RGBA")
            part = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part)
        return part.convert(mode)

    return convert


def _to_8_bits(image: Image.Image) -> Convert:
    """Return what makes an image of a mode that Pillow converts wrongly or not at all into one that it converts."""
    if image.mode.startswith("I"):
        return _from_whole_numbers(image)
    if image.mode == "F":
        return _from_floats(image)
    if image.mode in ("La", "RGBa"):
        return lambda part: part.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        return ImageChops.invert  # Pillow takes all for Adobe's, which are inverted
    if image.mode == "LAB":
        transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        return lambda part: ImageCms.applyTransform(part, transform) or part
    clear = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        return lambda part: _with_clear_colour(part, tuple(value >> 8 for value in clear))  # of a 16-bit PNG
    return lambda part: part


def _with_clear_colour(image: Image.Image, colour: tuple[int, ...]) -> Image.Image:
    image = image.copy()
    image.info["transparency"] = colour
    return image


def _from_whole_numbers(image: Image.Image) -> Convert:
    lowest, highest = _extremes(image) if image.mode == "I" else (0, 0)
    tags: Any = getattr(image, "tag_v2", None)
    unsigned = image.mode == "I" and tags is not None and tags.get(TIFF_SAMPLE_FORMAT, (UNSIGNED,)) in ((UNSIGNED,), 1)
    full = LARGEST_16_BITS
    if highest > LARGEST_16_BITS or (unsigned and lowest < 0):
        full = LARGEST_32_BITS if unsigned else LARGEST_31_BITS
    clear = image.info.get("transparency")

    def convert(part: Image.Image) -> Image.Image:
        values = np.asarray(part).astype(np.int64)
        if unsigned:
            values &= LARGEST_32_BITS
        grey = Image.fromarray(np.round(values.clip(0, full) * (255 / full)).astype(np.uint8))
        if not isinstance(clear, int):
            return grey
        alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
        return Image.merge("LA", (grey, alpha))

    return convert


def _extremes(image: Image.Image) -> tuple[float, float]:
    lowest, highest = cast(tuple[float, float], image.getextrema())
    return lowest, highest


def _from_floats(image: Image.Image) -> Convert:
    lowest, highest = _extremes(image)
    scale = 255.0 if lowest >= 0 and highest <= 1 else 1.0

    def convert(part: Image.Image) -> Image.Image:
        values: NDArray[np.float32] = np.asarray(part)
        if not np.isfinite(values).all():
            raise BadImageError("its values are not all finite numbers")
        return Image.fromarray(np.round((values * scale).clip(0, 255)).astype(np.uint8))

    return convert
