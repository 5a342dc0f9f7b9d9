"""IDX: the format of MNIST's own files (LeCun, Cortes & Burges 1998), gzipped or not.

Big-endian: 00 00, type of the values (08: unsigned bytes), number of dimensions, each size as 4 bytes, the values.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from gansmith.data.sources.base import Split, file_stamp, stamp_of
from gansmith.data.sources.rows import FileRows, Rows, RowsSource, spooled
from gansmith.errors import DataError

NAME = re.compile(r"(?P<prefix>.*?)(?P<kind>images|labels)[-.]idx[0-9](-ubyte)?(?P<gz>\.gz)?", re.IGNORECASE)
TYPES = {0x08: "unsigned bytes", 0x09: "signed bytes", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
UNSIGNED_BYTES = 0x08
GZIP_MAGIC = b"\x1f\x8b"
LARGEST_GZIP_RATIO = 1032
"""No deflate stream unpacks to more than this many bytes for each of its own (zlib's technical notes)."""
LAYOUT = "train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz], t10k-images-..., t10k-labels-..."


class IdxSource(RowsSource):
    """IDX files, (N, H, W) grey images and (N,) labels.

    A folder holds `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, and for the test split the same with `t10k`
    (or `test`); `.idx3` for `-idx3` and `.gz` at the end are fine. The path of one images file is a train split.
    Labels are found by name; without them there are no classes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._files = _files_of(path)
        self.name = path.resolve().name if path.is_dir() else path.name.partition(".")[0]
        self.stamp = stamp_of(
            *(f"{file.resolve()}\0{file_stamp(file)}" for pair in self._files.values() for file in pair)
        )

    def open_images(self, split: Split) -> list[Rows]:
        """Return the images file of a split."""
        return [idx_rows(self._files[split][0], 3)] if split in self._files else []

    def read_labels(self, split: Split) -> NDArray[np.int64] | None:
        """Return the labels of a split."""
        files = self._files.get(split, ())
        if len(files) < 2:
            return None
        return idx_rows(files[1], 1).whole().astype(np.int64)

    def where(self, split: Split) -> str:
        """Return the names of the files of a split."""
        return " and ".join(str(file) for file in self._files[split])


def is_idx(path: Path) -> bool:
    """Return whether a file is IDX by its name or its first bytes."""
    if NAME.fullmatch(path.name):
        return True
    try:
        with _opened(path) as file:
            head = file.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in TYPES and 1 <= head[3] <= 4


def idx_folder(path: Path) -> Path | None:
    """Return the folder that holds IDX images: this one or `raw` inside it, where torchvision puts them; else None."""
    for folder in (path, path / "raw"):
        if folder.is_dir() and any(_matched(file)["kind"] == "images" for file in _named(folder)):
            return folder
    return None


def idx_rows(path: Path, dimensions: int) -> FileRows:
    """Return the rows of an IDX file of unsigned bytes; a gzipped one is unpacked into a temporary file.

    Raises:
        DataError: the file is no such IDX, or shorter or longer than its header says.
    """
    size = path.stat().st_size
    with _opened(path) as file:
        try:
            start = 4 + 4 * dimensions
            shape = _shape(path, file.read(start), dimensions)
            wanted = math.prod(shape)
            if isinstance(file, gzip.GzipFile):
                if wanted > size * LARGEST_GZIP_RATIO:
                    raise DataError(f"{path}: its header {_by(shape)} asks for {wanted:,} bytes, more than it can hold")
                content = spooled(file, wanted, f"{path}: header {_by(shape)}")
                return FileRows(content, 0, shape[0], shape[1:], np.dtype(np.uint8))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: a truncated or damaged gzip ({error}); was it downloaded whole?") from error
    if size != start + wanted:
        raise DataError(
            f"{path}: {size:,} bytes, but its header {_by(shape)} asks for {start + wanted:,}; was it downloaded whole?"
        )
    return FileRows(path.open("rb"), start, shape[0], shape[1:], np.dtype(np.uint8))


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        if is_gzip:
            with gzip.GzipFile(fileobj=raw) as file:
                yield file  # type: ignore[misc]
        else:
            yield raw


def _shape(path: Path, header: bytes, dimensions: int) -> tuple[int, ...]:
    expected = f"00 00 08 {dimensions:02x}"
    if len(header) < 4 or header[:2] != b"\0\0" or header[2] not in TYPES:
        raise DataError(f"{path}: begins with {header[:4].hex(' ') or 'nothing'}, expected {expected} (IDX of bytes)")
    if header[2] != UNSIGNED_BYTES:
        raise DataError(f"{path}: values are {TYPES[header[2]]} ({header[2]:02x}), expected unsigned bytes (08)")
    if header[3] != dimensions:
        kind = "images (N, H, W)" if dimensions == 3 else "labels (N)"
        raise DataError(f"{path}: has {header[3]} dimensions, expected {dimensions} for {kind}")
    if len(header) < 4 + 4 * dimensions:
        raise DataError(f"{path}: ends inside its header, after {len(header)} bytes; was it downloaded whole?")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if 0 in shape:
        raise DataError(f"{path}: its header {_by(shape)} says that it is empty")
    return shape


def _by(shape: tuple[int, ...]) -> str:
    return f"({' x '.join(map(str, shape))})"


def _matched(path: Path) -> dict[str, str]:
    match = NAME.fullmatch(path.name)
    assert match is not None
    return {key: (value or "").lower() for key, value in match.groupdict().items()}


def _named(folder: Path) -> list[Path]:
    """Return the files with IDX names, unpacked before gzipped."""
    files = [file for file in sorted(folder.iterdir()) if NAME.fullmatch(file.name) and file.is_file()]
    return sorted(files, key=lambda file: file.name.lower().endswith(".gz"))


def _files_of(path: Path) -> dict[Split, tuple[Path, ...]]:
    """Return (images, labels) or (images,) of each split."""
    if path.is_file():
        return {"train": _with_labels(path)}
    images: dict[str, Path] = {}
    for file in _named(idx_folder(path) or path):
        if _matched(file)["kind"] == "images":
            images.setdefault(_matched(file)["prefix"], file)
    splits: dict[Split, list[Path]] = {"train": [], "test": []}
    for prefix, file in images.items():
        is_test = prefix.rstrip("-_.").endswith(("t10k", "test"))
        splits["test" if is_test else "train"].append(file)
    for split, files in splits.items():
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise DataError(f"{path}: several IDX files could be the {split} images ({names}); give the path of one")
    if not splits["train"]:
        raise DataError(f"{path}: has {splits['test'][0].name} but no train images; expected {LAYOUT}")
    return {split: _with_labels(files[0]) for split, files in splits.items() if files}


def _with_labels(images: Path) -> tuple[Path, ...]:
    if not NAME.fullmatch(images.name):
        return (images,)
    own = _matched(images)
    if own["kind"] == "labels":
        raise DataError(f"{images}: these are labels; give the images file beside it, or the folder ({LAYOUT})")
    for file in _named(images.parent):
        if (_matched(file)["kind"], _matched(file)["prefix"]) == ("labels", own["prefix"]):
            return (images, file)
    return (images,)
