"""A zip of image files, read in place: nothing is extracted, so no entry's name can reach outside."""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
from pathlib import Path

from gansmith.data.sources.base import (
    LARGEST_FILE,
    Listing,
    Split,
    file_stamp,
    is_image_name,
    kinds_of,
    list_entries,
    stamp_of,
)
from gansmith.errors import DataError

ENCRYPTED = 1
ZIP_ERRORS = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, OverflowError)
"""What a damaged directory of a zip raises."""


class ZipSource:
    """A zip of images, read in place; folders inside as in `FolderSource`. Links inside are left out."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.path = path
        self.stamp = stamp_of(path.resolve(), file_stamp(path))
        self._archive: zipfile.ZipFile | None = None

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None:
            try:
                self._archive = zipfile.ZipFile(self.path)
            except ZIP_ERRORS as error:
                raise DataError(f"{self.path}: not a readable zip ({error}); was it downloaded whole?") from error
        return self._archive

    def listing(self, split: Split) -> Listing:
        """Return the image entries of a split.

        Raises:
            DataError: the zip is damaged, has no image, or all its images are encrypted.
        """
        entries = {info.filename: info for info in self._open().infolist() if not info.is_dir()}
        images = [info for name, info in entries.items() if is_image_name(name) and not _is_link(info)]
        if not images:
            found = f"; found {kinds_of(entries)}" if kinds_of(entries) else "; it is empty"
            nested = "; unpack the zip inside it" if any(name.lower().endswith(".zip") for name in entries) else ""
            raise DataError(
                f"{self.path}: no images found in it (looked for JPEG, PNG, WEBP, BMP, GIF, TIFF by suffix)"
                f"{found}{nested}"
            )
        if all(info.flag_bits & ENCRYPTED for info in images):
            raise DataError(f"{self.path}: its images are encrypted; unpack it with the password, give the folder")
        return list_entries([info.filename for info in images], split)

    def read(self, name: str) -> bytes:
        """Return the entry's bytes."""
        archive = self._open()
        if archive.getinfo(name).file_size > LARGEST_FILE:
            raise ValueError(f"the entry is larger than {LARGEST_FILE >> 20} MB")
        try:
            return archive.read(name)  # never more than the size in the directory
        except (EOFError, struct.error, lzma.LZMAError) as error:
            raise ValueError(f"the entry cannot be unpacked ({str(error) or 'it ends too early'})") from error


def _is_link(info: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(info.external_attr >> 16)
