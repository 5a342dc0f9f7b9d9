"""One encoded image, Pillow image or array into pixels of the wanted size and channels. Says why when it cannot.

Transparency is laid on white, 16-bit grey is scaled, the EXIF orientation is applied, the first frame is taken;
an image of another size is cropped to the wanted shape around its middle and resampled (Lanczos).
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gansmith.images import MODES, Pixels
from gansmith.sizes import Size

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MOST_PIXELS = 100_000_000
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})


class BadImageError(ValueError):
    """An image that cannot be used; the message is the reason, in a few words."""


PILLOW_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, TypeError, LookupError, OverflowError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises for files that are damaged in one way or another, its metadata included."""
READ_ERRORS = (BadImageError, OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading and decoding one bad entry can raise; RuntimeError is an encrypted zip entry."""


def open_image(raw: bytes) -> Image.Image:
    """Return the image with its header read and its pixels not yet decoded.

    Raises:
        BadImageError: not an image of a known format, or over 100 megapixels.
    """
    if not raw:
        raise BadImageError("the file is empty")
    try:
        image = Image.open(io.BytesIO(raw), formats=FORMATS)
    except UnidentifiedImageError:
        raise BadImageError(f"not an image in a known format ({', '.join(FORMATS)})") from None
    except PILLOW_ERRORS as error:
        raise BadImageError(str(error) or type(error).__name__) from error
    if image.width * image.height > MOST_PIXELS:
        raise BadImageError(f"{image.width}x{image.height} pixels are more than {MOST_PIXELS // 1_000_000} million")
    return image


def decode(raw: Any, size: Size, channels: int) -> tuple[Pixels, bool]:
    """Return (C, H, W) uint8 pixels, and whether the image had another size and was refitted.

    Args:
        raw: what a source's `read` returned: encoded bytes, a Pillow image, an array or a tensor.
        size: wanted (height, width).
        channels: wanted number; images have 1 (grey), 3 (RGB) or 4 (RGBA), arrays may have any.

    Raises:
        BadImageError: with the reason.
    """
    if isinstance(raw, bytes):
        raw = open_image(raw)
    if not isinstance(raw, Image.Image):
        return _from_array(array_of(raw), size, channels)
    if channels not in MODES:
        raise BadImageError(f"an image file has 1, 3 or 4 channels, not {channels}")
    try:
        image = _converted(ImageOps.exif_transpose(raw), MODES[channels])
        refitted = (image.height, image.width) != size
        if refitted:
            image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
    except PILLOW_ERRORS as error:
        raise BadImageError(str(error) or type(error).__name__) from error
    pixels = np.asarray(image)
    return (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)), refitted


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.round(values.clip(0, 65535) / 257).astype(np.uint8))
    elif image.mode == "F":
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise BadImageError("its values are not all finite numbers")
        image = Image.fromarray(np.round(values.clip(0, 255)).astype(np.uint8))
    if mode != "RGBA" and (image.mode in ("RGBA", "LA", "La", "PA") or "transparency" in image.info):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def array_of(item: Any) -> NDArray[np.uint8]:
    """Return (C, H, W) uint8 for an array (H, W) or (H, W, C), or a tensor (C, H, W) or (H, W).

    Raises:
        BadImageError: the shape is none of these, or values are neither uint8 nor floats in [0, 1].
    """
    is_tensor = hasattr(item, "detach")
    if is_tensor:
        item = item.detach().cpu()
        item = item.float() if item.is_floating_point() else item  # NumPy knows no bfloat16
    values = np.asarray(item)
    if values.ndim not in (2, 3) or values.size == 0:
        raise BadImageError(f"an array of shape {values.shape} is not an image")
    if values.dtype != np.uint8:
        if values.dtype.kind != "f" or not (values.min() >= 0 and values.max() <= 1):
            raise BadImageError(f"{values.dtype} values are neither uint8 nor floats in [0, 1]")
        values = np.round(values * 255).astype(np.uint8)
    if values.ndim == 2:
        return values[None]
    return values if is_tensor else values.transpose(2, 0, 1)


def _from_array(pixels: NDArray[np.uint8], size: Size, channels: int) -> tuple[Pixels, bool]:
    if pixels.shape == (channels, *size):
        return pixels, False
    if pixels.shape[0] in MODES and channels in MODES:
        image = Image.fromarray(pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        return decode(image, size, channels)
    raise BadImageError(f"an array (C, H, W) of {pixels.shape} does not fit ({channels}, {size[0]}, {size[1]})")
