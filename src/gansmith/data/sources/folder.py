"""A folder of image files."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NoReturn

from gansmith.data.sources.base import LARGEST_FILE, Listing, Split, file_stamp, is_image_name, list_entries
from gansmith.errors import DataError


class FolderSource:
    """A folder of images; sub-folders are classes,
    `train/` and `test/` are splits. Links to folders are not followed.

    Attributes:
        others: the files in it that are no images, by path inside the folder.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.resolve().name
        self.path = path
        digest = hashlib.sha256(os.fsencode(path.resolve()))
        self._names: list[str] = []
        self.others: list[str] = []
        for folder, folders, files in os.walk(path, onerror=_refuse):
            folders.sort()
            for file in sorted(files):
                full = os.path.join(folder, file)
                name = os.path.relpath(full, path).replace(os.sep, "/")
                if is_image_name(name):
                    digest.update(os.fsencode(f"{name}\0{file_stamp(full)}\0"))
                    self._names.append(name)
                else:
                    self.others.append(name)
        self.stamp = digest.hexdigest()

    @property
    def names(self) -> list[str]:
        """All image files, of both splits, by path inside the folder."""
        return self._names

    def listing(self, split: Split) -> Listing:
        """Return the image files of a split."""
        return list_entries(self._names, split)

    def read(self, name: str) -> bytes:
        """Return the file's bytes."""
        path = self.path / name
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise ValueError("not a regular file")
        if status.st_size > LARGEST_FILE:
            raise ValueError(f"the file is larger than {LARGEST_FILE >> 20} MB")
        return path.read_bytes()


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: the folder cannot be listed ({error.strerror})") from error
