"""One encoded image, Pillow image or array into pixels of the wanted size and channels. Says why when it cannot.

The EXIF orientation is applied and the first frame is taken; modes are `conversion.py`, sizes are `fitting.py`.
"""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from gansmith.data.conversion import BadImageError, converter
from gansmith.data.fitting import converted_and_reduced, draft, fitted
from gansmith.images import MODES, Pixels
from gansmith.runtime import return_free_memory
from gansmith.sizes import Fit, Size

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
DRAFT_FORMATS = ("JPEG", "MPO")
"""Those that can be decoded at a fraction of their size; MPO is the JPEG of some cameras."""
MOST_PIXELS = 100_000_000
MOST_BYTES = 160_000_000
"""Of one image while it is decoded, and of all that are being decoded together."""
LARGE_BYTES = 30_000_000
EXIF_ORIENTATION = 0x0112
PNG_EXIF_MARKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""EXIF orientation -> what makes the image upright."""
SIDES_SWAPPED = (5, 6, 7, 8)

PILLOW_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, TypeError, LookupError, OverflowError, struct.error,
    AttributeError, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises for files that are damaged in one way or another, its metadata included."""
READ_ERRORS = (BadImageError, OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading and decoding one bad entry can raise; RuntimeError is an encrypted zip entry."""


def reason_of(error: BaseException) -> str:
    """Return why an image cannot be used, in one line."""
    if isinstance(error, FileNotFoundError):
        return "the file is gone"
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's own warnings about damaged and large files from the screen: they are counted and named instead."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


class MemoryGate:
    """Lets threads go on as long as what they hold together stays within a number of bytes.

    Args:
        num_bytes: that all may hold together; one that wants more than that alone waits until it is alone.
    """

    def __init__(self, num_bytes: int) -> None:
        self._limit, self._held = num_bytes, 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, num_bytes: int) -> Iterator[None]:
        """Wait for so many bytes and hold them."""
        num_bytes = min(num_bytes, self._limit)
        with self._changed:
            self._changed.wait_for(lambda: self._held + num_bytes <= self._limit)
            self._held += num_bytes
        if num_bytes > LARGE_BYTES:
            return_free_memory()  # that the last large image left
        try:
            yield
        finally:
            with self._changed:
                self._held -= num_bytes
                self._changed.notify_all()


GATE = MemoryGate(MOST_BYTES)


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
    if image.format not in DRAFT_FORMATS:
        _check_memory(image)
    return image


def _check_memory(image: Image.Image) -> None:
    needed = memory_to_decode(image)
    if needed > MOST_BYTES:
        shape = f"{image.width}x{image.height}"
        raise BadImageError(
            f"{shape} pixels of {image.format} take {needed // 10**6} MB to decode, over {MOST_BYTES // 10**6} MB"
        )


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8.

    Raises:
        BadImageError: the EXIF data cannot be read.
    """
    if image.format == "TIFF" or not _may_have_exif(image):  # Pillow itself turns a TIFF
        return 1
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION)
    except PILLOW_ERRORS as error:
        raise BadImageError(f"its EXIF data cannot be read ({error})") from error
    return orientation if orientation in UPRIGHT else 1


def _may_have_exif(image: Image.Image) -> bool:
    """Return whether asking for EXIF data is worth it: of a PNG that has none at its start, Pillow decodes it all."""
    file = getattr(image, "fp", None)
    if image.format != "PNG" or not isinstance(file, io.BytesIO):
        return True
    content = file.getvalue()
    return any(mark in content for mark in PNG_EXIF_MARKS)


def shown_size(image: Image.Image) -> Size:
    """Return the (height, width) of an image once it is turned upright."""
    with GATE.hold(memory_to_decode(image)):
        return _turned((image.height, image.width), orientation_of(image))


def decode(raw: Any, size: Size, channels: int, fit: Fit = "crop") -> tuple[Pixels, bool]:
    """Return (C, H, W) uint8 pixels, and whether the image had another size and was refitted.

    Args:
        raw: what a source's `read` returned: encoded bytes, a Pillow image, an array or a tensor.
        size: wanted (height, width).
        channels: wanted number; images have 1 (grey), 3 (RGB) or 4 (RGBA), arrays may have any.
        fit: how an image of another size is made to fit.

    Raises:
        BadImageError: with the reason.
    """
    if isinstance(raw, bytes):
        return decode_file(open_image(raw), size, channels, fit)
    if isinstance(raw, Image.Image):
        return _decode_image(raw, size, channels, fit)
    return _from_array(array_of(raw), size, channels, fit)


def decode_file(image: Image.Image, size: Size, channels: int, fit: Fit = "crop") -> tuple[Pixels, bool]:
    """Return what `decode` does for an image that `open_image` opened; it may be decoded at a fraction of its size.

    Raises:
        BadImageError: with the reason.
    """
    header = image.height, image.width
    if image.format in DRAFT_FORMATS:
        draft(image, _turned(size, orientation_of(image)), fit)
        _check_memory(image)
    return _decode_image(image, size, channels, fit, header)


def _decode_image(
    image: Image.Image, size: Size, channels: int, fit: Fit, header: Size | None = None
) -> tuple[Pixels, bool]:
    if channels not in MODES:
        raise BadImageError(f"an image file has 1, 3 or 4 channels, not {channels}")
    header = header or (image.height, image.width)
    try:
        with GATE.hold(memory_to_decode(image)):
            orientation = orientation_of(image)  # to find EXIF data at its end, a PNG is decoded
            pixels = np.asarray(_upright(image, orientation, MODES[channels], size, fit))
    except PILLOW_ERRORS as error:
        raise BadImageError(str(error) or type(error).__name__) from error
    return (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)), _turned(header, orientation) != size


def _upright(image: Image.Image, orientation: int, mode: str, size: Size, fit: Fit) -> Image.Image:
    image.load()
    image = converted_and_reduced(image, converter(image, mode), mode, _turned(size, orientation), fit)
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    return image if (image.height, image.width) == size else fitted(image, size, fit)


def _turned(size: Size, orientation: int) -> Size:
    return (size[1], size[0]) if orientation in SIDES_SWAPPED else size


def memory_to_decode(image: Image.Image) -> int:
    """Return about how many bytes decoding takes: those of the pixels, and what the format's decoder holds beside."""
    pixels = image.width * image.height
    own = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    beside = 0
    if image.format == "WEBP":
        beside = 12  # two canvases and a copy
    elif image.format == "TIFF" and image.info.get("compression") != "raw":
        beside = 8  # a strip may hold the whole image, at 16 bits a channel
    elif image.format in DRAFT_FORMATS and image.info.get("progressive"):
        beside = 6  # all coefficients
    return pixels * (own + beside)


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


def _from_array(pixels: NDArray[np.uint8], size: Size, channels: int, fit: Fit) -> tuple[Pixels, bool]:
    if pixels.shape == (channels, *size):
        return pixels, False
    if pixels.shape[0] in MODES and channels in MODES:
        image = Image.fromarray(pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        return decode(image, size, channels, fit)
    raise BadImageError(f"an array (C, H, W) of {pixels.shape} does not fit ({channels}, {size[0]}, {size[1]})")
