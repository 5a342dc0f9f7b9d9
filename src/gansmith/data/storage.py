"""One large array written to disk row by row, and what to say when the disk will not have it.

Rows are written with plain writes, never through a memory map: a full disk is then an error, where a map would kill
the process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gansmith.errors import ResourceError
from gansmith.images import Pixels

SPARE_BYTES = 2**20
"""Left free beside the array: labels, names of skipped images, the file system's own."""
LONGEST_NAME = 80
PARTIAL = ".decoding-"
"""Begins the name of a folder that is being decoded into; then comes the number of the process."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ADVICE = "set GANSMITH_CACHE to a folder that has the room and can be written to"


@contextlib.contextmanager
def told_as_resources(folder: Path, num_bytes: int) -> Iterator[None]:
    """Turn what the file system says while something is written into the cache into one `ResourceError`.

    Args:
        folder: of the cache.
        num_bytes: that are to be written into it.
    """
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno in FULL else f"it cannot be written to ({error.strerror or error})"
        raise ResourceError(
            f"{folder}: {reason}; decoded data needs {_megabytes(num_bytes)} there; {ADVICE}"
        ) from error


def check_room(folder: Path, num_bytes: int) -> None:
    """Refuse at once what will not fit.

    Raises:
        ResourceError: fewer bytes than that are free, with both numbers.
    """
    free = shutil.disk_usage(folder).free
    if free < num_bytes + SPARE_BYTES:
        raise ResourceError(
            f"{folder}: decoded data needs {_megabytes(num_bytes)} there and {_megabytes(free)} are free; {ADVICE}"
        )


def remove_left_overs(folder: Path) -> None:
    """Remove what killed processes were decoding."""
    for left in folder.glob(f"{PARTIAL}*-*"):
        owner = left.name.removeprefix(PARTIAL).split("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's, or this system cannot tell
        return True
    return True


def short(name: str) -> str:
    """Return a source's name as part of the name of its cache folder: 80 bytes at most."""
    whole_characters = os.fsencode(name)[:LONGEST_NAME].decode(errors="ignore")
    return os.fsdecode(whole_characters.encode())  # as this system writes names, also where that is not UTF-8


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


class ArrayWriter:
    """Writes the rows of a uint8 array into a `.npy` file, in any order and from any thread.

    Args:
        path: of the file.
        shape: of the array.

    Raises:
        OSError: the disk is full, or something else that the file system says; of every method.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._path, self._row_shape = path, shape[1:]
        self._row_bytes = int(np.prod(self._row_shape))
        self._lock = threading.Lock()
        self._file = path.open("w+b", buffering=0)
        self._write_header(shape[0])
        self._start = self._file.tell()

    def _write_header(self, count: int) -> None:
        # NumPy leaves room in a header for the first number to change.
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *self._row_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def put(self, place: int, row: Pixels) -> None:
        """Write one row."""
        with self._lock:
            self._file.seek(self._start + place * self._row_bytes)
            _write_whole(self._file.fileno(), np.ascontiguousarray(row).tobytes())

    def finish(self, rows: NDArray[np.int64]) -> Pixels:
        """Keep these rows (rising numbers) alone, close the file, and return it memory-mapped and read-only."""
        for place, row in enumerate(rows):
            if place != row:
                self._file.seek(self._start + int(row) * self._row_bytes)
                content = self._file.read(self._row_bytes)
                self._file.seek(self._start + place * self._row_bytes)
                _write_whole(self._file.fileno(), content)
        self._file.truncate(self._start + len(rows) * self._row_bytes)
        self._file.seek(0)
        self._write_header(len(rows))
        os.fsync(self._file.fileno())
        self.close()
        images: Pixels = np.load(self._path, mmap_mode="r")
        return images

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _write_whole(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:  # a nearly full disk takes a part first
        view = view[os.write(descriptor, view) :]
