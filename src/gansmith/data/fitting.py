"""An image of any size into the size wanted: cropped, padded or stretched, and large ones without taking much memory.

* crop: the middle, as large as it goes in the wanted shape.
* pad: the whole image; each bar is plain, in the mean colour of the edge that it goes on from.
* stretch: the whole image, whatever that does to its shape.

All resample by Lanczos.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageOps

from gansmith.data.conversion import Convert
from gansmith.images import Pixels
from gansmith.sizes import Fit, Size

LARGE_PIXELS = 4_000_000
"""An image with more is reduced by whole factors, a band at a time, before it is resampled."""
BAND_PIXELS = 1_000_000
MARGIN = 4
"""Reducing leaves at least so many times the sides wanted; Lanczos does the rest and no difference can be seen."""


def scales(shown: Size, size: Size, fit: Fit) -> tuple[float, float]:
    """Return the factors (down, across) by which fitting an image of size `shown` changes it."""
    down, across = size[0] / shown[0], size[1] / shown[1]
    if fit == "stretch":
        return down, across
    both = max(down, across) if fit == "crop" else min(down, across)
    return both, both


def fitted(image: Image.Image, size: Size, fit: Fit) -> Image.Image:
    """Return an 8-bit image at the size (height, width)."""
    height, width = size
    if fit == "crop":
        return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    if fit == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    scale, _ = scales((image.height, image.width), size, fit)
    inner = (min(width, max(1, round(image.width * scale))), min(height, max(1, round(image.height * scale))))
    return _padded(image.resize(inner, Image.Resampling.LANCZOS), size)


def _padded(image: Image.Image, size: Size) -> Image.Image:
    pixels: Pixels = np.asarray(image)
    for axis, side in enumerate(size):
        missing = side - pixels.shape[axis]
        if missing:
            edges = [pixels.take([place], axis) for place in (0, -1)]
            plain = [np.round(edge.mean((0, 1), keepdims=True)).astype(np.uint8) for edge in edges]
            bars = []
            for colour, edge, length in zip(plain, edges, (missing // 2, missing - missing // 2), strict=True):
                shape = list(edge.shape)
                shape[axis] = length
                bars.append(np.broadcast_to(colour, shape))
            pixels = np.concatenate([bars[0], pixels, bars[1]], axis)
    return Image.fromarray(np.ascontiguousarray(pixels))


def draft(image: Image.Image, size: Size, fit: Fit) -> None:
    """Have a large JPEG decoded at a half, a quarter or an eighth of its sides where that is still ample."""
    if image.width * image.height > LARGE_PIXELS:
        down, across = scales((image.height, image.width), size, fit)
        wanted = (math.ceil(MARGIN * across * image.width), math.ceil(MARGIN * down * image.height))
        if wanted[0] <= image.width and wanted[1] <= image.height:
            image.draft(image.mode, wanted)


def converted_and_reduced(image: Image.Image, convert: Convert, mode: str, size: Size, fit: Fit) -> Image.Image:
    """Return a decoded image converted to `mode`; a large one cut to what is used of it and reduced meanwhile."""
    if image.width * image.height <= LARGE_PIXELS:
        return convert(image)
    down, across = scales((image.height, image.width), size, fit)
    left, top, right, bottom = _used(image, down, across, size)
    factors = max(1, int(1 / (MARGIN * across))), max(1, int(1 / (MARGIN * down)))
    factor_down = factors[1]
    result = Image.new(mode, (math.ceil((right - left) / factors[0]), math.ceil((bottom - top) / factor_down)))
    rows = max(1, BAND_PIXELS // (right - left) // factor_down) * factor_down
    for start in range(top, bottom, rows):
        band = convert(image.crop((left, start, right, min(start + rows, bottom))))
        result.paste(band.reduce(factors) if factors != (1, 1) else band, (0, (start - top) // factor_down))
    return result


def _used(image: Image.Image, down: float, across: float, size: Size) -> tuple[int, int, int, int]:
    """Return the box (left, top, right, bottom) around the middle that holds all that fitting uses."""
    width = min(image.width, math.ceil(size[1] / across))
    height = min(image.height, math.ceil(size[0] / down))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return left, top, left + width, top + height
