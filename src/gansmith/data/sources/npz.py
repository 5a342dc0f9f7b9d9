"""NumPy's `.npz` and `.npy`. Arrays of objects are pickles: they are refused, and nothing is ever unpickled."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gansmith.data.sources.base import Split, file_stamp, stamp_of
from gansmith.data.sources.rows import FileRows, Rows, RowsSource, spooled
from gansmith.errors import DataError

IMAGE_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("images", "x", "x_train", "train_images", "arr_0"),
    "test": ("x_test", "test_images"),
}
LABEL_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("labels", "y", "y_train", "train_labels", "arr_1"),
    "test": ("y_test", "test_labels"),
}
"""Accepted names of arrays, in any case."""
MOST_CHANNELS = 4
NPZ_ERRORS = (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError, zlib.error)
"""What a damaged or encrypted npz raises."""


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    """Bytes of the file before the first value."""

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


class NpzSource(RowsSource):
    """An `.npz`, or an `.npy` of images alone.

    Images are (N, H, W) or (N, H, W, C) of 1 to 4 channels, uint8 or float in [0, 1], and called `images`, `x`,
    `x_train`, `train_images` or `arr_0`; labels are (N,) or (N, 1) integers called `labels`, `y`, `y_train`,
    `train_labels` or `arr_1`. A test split is `x_test` and `y_test`, or `test_images` and `test_labels`.
    What `gansmith sample --out x.npz` writes is one.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.name = path.stem
        self.stamp = stamp_of(path.resolve(), file_stamp(path))
        self._members = {"images": path.name} if path.suffix.lower() == ".npy" else self._read_directory()

    def open_images(self, split: Split) -> list[Rows]:
        """Return the images array of a split; out of an npz it is unpacked once, into a temporary file."""
        if (name := self._choose(IMAGE_NAMES[split])) is None:
            if split == "test":
                return []
            there = ", ".join(f"{name} {self._header(name)}" for name in sorted(self._members)) or "no array"
            raise DataError(f"{self.path}: holds {there}; images must be called {' or '.join(IMAGE_NAMES['train'])}")
        header = self._header(name)
        self._check_images(name, header)
        return [self._rows(name, header)]

    def read_labels(self, split: Split) -> NDArray[np.int64] | None:
        """Return the labels array of a split."""
        images, labels = self._choose(IMAGE_NAMES[split]), self._choose(LABEL_NAMES[split])
        if images is None or labels is None:
            return None
        count, header = self._header(images).shape[0], self._header(labels)
        if header.dtype.kind not in "iu" or header.shape not in ((count,), (count, 1)):
            raise DataError(f"{self.path}: {labels} is {header}; expected ({count},) integers, one for each image")
        return self._rows(labels, header).whole().astype(np.int64).reshape(count)

    def where(self, split: Split) -> str:
        """Return the path."""
        return str(self.path)

    def _read_directory(self) -> dict[str, str]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = archive.namelist()
        except NPZ_ERRORS as error:
            raise DataError(f"{self.path}: not a readable npz ({error}); was it copied whole?") from error
        return {name.removesuffix(".npy"): name for name in names if name.endswith(".npy")}

    def _choose(self, accepted: tuple[str, ...]) -> str | None:
        found = sorted(name for name in self._members if name.lower() in accepted)
        if len(found) > 1:
            raise DataError(f"{self.path}: {' and '.join(found)} could each be the array; save it with one of them")
        return found[0] if found else None

    def _header(self, name: str) -> _Header:
        with self._opened(name) as (file, size):
            return self._read_header(name, file, size)

    def _read_header(self, name: str, file: IO[bytes], size: int) -> _Header:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"npy format {version} is not known")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
        if dtype.hasobject:
            raise DataError(
                f"{self.path}: {name} holds Python objects, which are pickles and never opened; save numbers"
            )
        header = _Header(shape, dtype, file.tell())
        if header.start + header.num_bytes != size:
            raise ValueError(
                f"{name} is {size:,} bytes, its header {header} asks for {header.start + header.num_bytes:,}"
            )
        if is_fortran and len(shape) > 1:
            raise DataError(f"{self.path}: {name} is in Fortran order; save numpy.ascontiguousarray of it")
        return header

    def _check_images(self, name: str, header: _Header) -> None:
        shape, dtype = header.shape, header.dtype
        if dtype != np.uint8 and dtype.kind != "f":
            raise DataError(f"{self.path}: {name} is {header}; expected uint8, or floats in [0, 1]")
        if len(shape) == 3 or (len(shape) == 4 and shape[3] <= MOST_CHANNELS):
            if 0 in shape:
                raise DataError(f"{self.path}: {name} is {header}: it is empty")
            return
        hint = "; move the channels to the end" if len(shape) == 4 and shape[1] <= MOST_CHANNELS else ""
        raise DataError(f"{self.path}: {name} is {header}; expected (N, H, W) or (N, H, W, C), C from 1 to 4{hint}")

    def _rows(self, name: str, header: _Header) -> FileRows:
        if self.path.suffix.lower() == ".npy":
            return FileRows(self.path.open("rb"), header.start, header.shape[0], header.shape[1:], header.dtype)
        with self._opened(name) as (file, _):
            file.read(header.start)
            content = spooled(file, header.num_bytes, f"{self.path}: {name}")
        return FileRows(content, 0, header.shape[0], header.shape[1:], header.dtype)

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """Give the file of an array from its first byte, and its size; make errors name both."""
        try:
            if self.path.suffix.lower() == ".npy":
                with self.path.open("rb") as file:
                    yield file, self.path.stat().st_size
            else:
                with zipfile.ZipFile(self.path) as archive, archive.open(self._members[name]) as member:
                    yield member, archive.getinfo(self._members[name]).file_size
        except NPZ_ERRORS as error:
            raise DataError(f"{self.path}: {name} cannot be read ({error})") from error
