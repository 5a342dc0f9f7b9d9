"""Sources that are arrays in files: rows of one shape and type, one after another, read one at a time.

Files are read, not memory-mapped: a file that becomes shorter under a map ends the process, here it gives bad rows.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from abc import ABC, abstractmethod
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gansmith.data.sources.base import Listing, Split, numbered_classes
from gansmith.errors import DataError

CHUNK_BYTES = 2**20


class Rows(Protocol):
    """A sequence of images."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __getitem__(self, row: int, /) -> Any:
        """Return one as (H, W) or (H, W, C)."""
        ...


class FileRows:
    """Arrays of one shape, one after another in a file.

    Args:
        file: open for reading; it is closed with this object.
        start: bytes before the first.
        count: of the rows.
        shape: of a row.
        dtype: of its values.
        stride: bytes from one row to the next; by default they touch.
    """

    def __init__(
        self, file: IO[bytes], start: int, count: int, shape: tuple[int, ...], dtype: np.dtype[Any], stride: int = 0
    ) -> None:
        self._file, self._start, self._count = file, start, count
        self._shape, self._dtype = shape, dtype
        self._bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._stride = stride or self._bytes
        self._lock = threading.Lock()
        weakref.finalize(self, file.close)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self._count

    def __getitem__(self, row: int) -> NDArray[Any]:
        """Return one row.

        Raises:
            ValueError: the file has become shorter than it was.
        """
        with self._lock:
            self._file.seek(self._start + row * self._stride)
            content = self._file.read(self._bytes)
        if len(content) < self._bytes:
            raise ValueError("the file became shorter after it was opened")
        return np.frombuffer(content, self._dtype).reshape(self._shape)

    def whole(self) -> NDArray[Any]:
        """Return all rows, (N, *shape), for labels."""
        return np.stack([self[row] for row in range(self._count)])


class RowsSource(ABC):
    """Base of the sources whose images are rows. Entries are called "train/0", "train/1", ...

    A subclass sets `name` and `stamp`, and `class_names` where it knows them; labels are numbers otherwise.
    """

    name: str
    stamp: str
    class_names: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._kept: dict[Split, list[Rows]] = {}

    @abstractmethod
    def open_images(self, split: Split) -> list[Rows]:
        """Return the images of a split, in parts; empty if it has none. Called once."""

    @abstractmethod
    def read_labels(self, split: Split) -> NDArray[np.int64] | None:
        """Return (N,) labels of a split, or None if it has none."""

    @abstractmethod
    def where(self, split: Split) -> str:
        """Return the files of a split, for messages."""

    def listing(self, split: Split) -> Listing:
        """Return the rows of a split, in the order of the file.

        Raises:
            DataError: a file is damaged or of another kind, or labels do not fit the images.
        """
        try:
            count = sum(len(part) for part in self._images(split))
            labels = self.read_labels(split)
        except OSError as error:  # gone since it was found, or no space to unpack it
            raise DataError(f"{self.where(split)}: cannot be read ({error})") from error
        names = [f"{split}/{row}" for row in range(count)]
        if labels is None or not count:
            return Listing(names)
        if len(labels) != count:
            raise DataError(f"{self.where(split)}: {count:,} images but {len(labels):,} labels; they must be as many")
        return Listing(names, labels, self.class_names or self._numbered(split, labels))

    def _numbered(self, split: Split, labels: NDArray[np.int64]) -> tuple[str, ...]:
        other = self.read_labels("test" if split == "train" else "train")
        return numbered_classes(self.where(split), [labels] if other is None else [labels, other])

    def read(self, name: str) -> NDArray[Any]:
        """Return one image, (H, W) or (H, W, C)."""
        split, _, text = name.partition("/")
        row = int(text)
        for part in self._images("test" if split == "test" else "train"):
            if row < len(part):
                image: NDArray[Any] = part[row]
                return image
            row -= len(part)
        raise ValueError(f"there is no row {text}")

    def _images(self, split: Split) -> list[Rows]:
        with self._lock:
            if split not in self._kept:
                self._kept[split] = self.open_images(split)
            return self._kept[split]


def spooled(stream: IO[bytes], size: int, where: str) -> IO[bytes]:
    """Return a temporary file with the rest of a compressed stream, which must be `size` bytes.

    It goes when it is closed. Its space is taken as the content comes, so a size that lies takes none.

    Raises:
        DataError: the stream is shorter or longer, or there is too little space for temporary files.
    """
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if size > free:
        raise DataError(
            f"{where}: unpacked it is {size:,} bytes, {tempfile.gettempdir()} has {free:,} free; set TMPDIR to another"
        )
    file = tempfile.TemporaryFile()  # noqa: SIM115  (FileRows closes it)
    try:
        done = 0
        while chunk := stream.read(min(CHUNK_BYTES, size + 1 - done)):
            file.write(chunk)
            done += len(chunk)
        if done != size:
            raise DataError(f"{where}: {'over ' * (done > size)}{min(done, size):,} bytes of values, expected {size:,}")
    except BaseException:
        file.close()
        raise
    return file
