"""Images at the border: the two conversions between uint8 and [-1, 1], grids, and files.

Everything inside is float32 (N, C, H, W) in [-1, 1]; everything on disk is uint8. Decoding a user's files is
`data/decode.py`.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.uint8]
GAP = 2
GAP_VALUE = 255
SMALLEST_CELL = 48
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
NO_ALPHA = (".jpg", ".jpeg")
POINT_SHAPE = (2, 1, 1)
"""Of a sample that is a point in the plane."""
SCATTER_SIDE, DOT = 400, 3
GRID_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
ANIMATION_SUFFIXES = (".webp", ".gif", ".png")


def to_float(pixels: Tensor) -> Tensor:
    """Return float32 in [-1, 1] for uint8 of any shape: 0 -> -1, 255 -> 1."""
    return pixels.float().div_(127.5).sub_(1.0)


def to_uint8(samples: Tensor) -> Tensor:
    """Return uint8 for float samples in [-1, 1] of any shape, rounded to nearest; values outside are clamped."""
    return samples.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def to_pixels(samples: Tensor) -> Pixels:
    """Return a uint8 array (N, H, W, C) for samples (N, C, H, W) in [-1, 1]."""
    return np.ascontiguousarray(to_uint8(samples).permute(0, 2, 3, 1).cpu().numpy())


def to_pillow(pixels: Pixels) -> Image.Image:
    """Return one image (H, W, C) uint8 as Pillow's: grey, RGB or RGBA; other channel counts side by side in grey."""
    channels = pixels.shape[2]
    if channels not in MODES:
        pixels = np.concatenate([pixels[:, :, i : i + 1] for i in range(channels)], axis=1)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def tile(pixels: Pixels, columns: int | None = None) -> Pixels:
    """Return one picture (rows, C-preserving) of all images, with white gaps between the cells.

    Args:
        pixels: (N, H, W, C) uint8, N >= 1.
        columns: cells a row; by default the square root of N, rounded up.
    """
    count, height, width, channels = pixels.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    picture = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), GAP_VALUE, np.uint8)
    for index, cell in enumerate(pixels):
        top, left = (
            GAP + place * (side + GAP) for place, side in zip(divmod(index, columns), (height, width), strict=True)
        )
        picture[top : top + height, left : left + width] = cell
    return picture


def save_grid(samples: Tensor, path: str | os.PathLike[str], columns: int | None = None) -> Path:
    """Write samples (N, C, H, W) in [-1, 1] as one picture with gaps between the cells; return its path.

    Small images are enlarged by a whole factor (nearest), so that a cell is at least 48 pixels wide on the screen.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    grid_picture(to_pixels(samples), columns).save(path)
    return path


def grid_picture(pixels: Pixels, columns: int | None = None) -> Image.Image:
    """Return images (N, H, W, C) uint8 as one picture with gaps, small ones enlarged as `save_grid` says."""
    picture, factor = to_pillow(tile(pixels, columns)), _enlargement(pixels.shape[1:3])
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def grid_png(images: Tensor, columns: int | None = None) -> bytes:
    """Return images (N, C, H, W) uint8 as the bytes of a PNG: one picture, as `grid_picture` makes it."""
    buffer = io.BytesIO()
    grid_picture(np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy()), columns).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _enlargement(size: Sequence[int]) -> int:
    return math.ceil(SMALLEST_CELL / max(size))


def save_scatter(samples: Tensor, path: str | os.PathLike[str]) -> Path:
    """Write points (N, 2, 1, 1) in [-1, 1] as dots on white, x to the right and y upwards; return the path."""
    canvas = np.full((SCATTER_SIDE, SCATTER_SIDE), 255, np.uint8)
    places = ((samples[:, :, 0, 0].clamp(-1, 1) + 1) / 2 * (SCATTER_SIDE - DOT)).round().long().numpy()
    for x, y in places:
        top = SCATTER_SIDE - DOT - y
        canvas[top : top + DOT, x : x + DOT] = 0
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(canvas).save(path)
    return path


def save_images(samples: Tensor, path: str | os.PathLike[str], columns: int | None = None) -> Path:
    """Write samples (N, C, H, W) in [-1, 1] in the form the path's suffix names; return the path.

    `.png`, `.webp`, `.jpg`: one grid. `.zip`: a PNG each. `.npz`: array `images`, (N, H, W, C) uint8. No suffix: a
    folder with a PNG each. `columns` is for a grid.

    Raises:
        ValueError: another suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in GRID_SUFFIXES and samples.shape[1:] == POINT_SHAPE:
        return save_scatter(samples, path)
    if suffix in GRID_SUFFIXES:
        if samples.shape[1] == 4 and suffix in NO_ALPHA:
            raise ValueError(f"{path.name}: {suffix} holds no transparency; use .png")
        return save_grid(samples, path, columns)
    pixels = to_pixels(samples)
    names = [f"{index:06d}.png" for index in range(len(pixels))]
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".npz":
        with path.open("wb") as file:
            np.savez_compressed(file, images=pixels)
    elif suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, cell in zip(names, pixels, strict=True):
                archive.writestr(name, _png_bytes(cell))
    elif not suffix:
        path.mkdir(exist_ok=True)
        for name, cell in zip(names, pixels, strict=True):
            (path / name).write_bytes(_png_bytes(cell))
    else:
        raise ValueError(f"{path.name}: cannot write {suffix}; use .png (a grid), .zip, .npz, or a folder name")
    return path


def _png_bytes(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    to_pillow(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def save_animation(frames: Sequence[Tensor], path: str | os.PathLike[str], frames_per_second: float = 25) -> Path:
    """Write frames, each samples (N, C, H, W) in [-1, 1] shown as a grid, as an animation that loops for ever.

    Raises:
        ValueError: the suffix is not .webp, .gif or .png (animated PNG).
    """
    path = Path(path)
    if path.suffix.lower() not in ANIMATION_SUFFIXES:
        raise ValueError(f"{path.name}: cannot write an animation as {path.suffix or 'a folder'}; use .webp or .gif")
    pictures = [to_pillow(tile(to_pixels(frame))) for frame in frames]
    factor = _enlargement(frames[0].shape[2:])
    pictures = [
        picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
        for picture in pictures
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "loop": 0}
    if path.suffix.lower() == ".webp":
        options["lossless"] = True
    pictures[0].save(path, duration=round(1000 / frames_per_second), **options)
    return path
