"""Where images come from: one file for each kind of source, and `open_source`, which chooses.

A source lists its entries and reads one, in place; decoding is `decode.py`, keeping the result is `cache.py`.
"""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gansmith.data.sources.base import (
    LARGEST_FILE,
    SUFFIXES,
    Listing,
    Source,
    Split,
    data_sets_in,
    is_image_name,
    kinds_of,
    list_entries,
)  # fmt: skip
from gansmith.data.sources.cifar import CifarSource, is_cifar_folder, refuse_pickles
from gansmith.data.sources.digits import DigitsSource
from gansmith.data.sources.folder import FolderSource
from gansmith.data.sources.gaussians import GaussiansSource, grid, ring
from gansmith.data.sources.hub import NAMED, HubSource
from gansmith.data.sources.hub_files import is_hub_layout
from gansmith.data.sources.idx import IdxSource, idx_folder, is_idx
from gansmith.data.sources.npz import NpzSource
from gansmith.data.sources.object import ObjectSource
from gansmith.data.sources.stacked import StackedSource
from gansmith.data.sources.stream import StreamSource
from gansmith.data.sources.zip import ZipSource
from gansmith.errors import DataError, near_matches

__all__ = [
    "EMBEDDED", "LARGEST_FILE", "NAMED", "PREFIXES", "SUFFIXES", "CifarSource", "DigitsSource", "FolderSource",
    "GaussiansSource", "HubSource", "IdxSource", "Listing", "NpzSource", "ObjectSource", "Source", "Split",
    "StackedSource", "StreamSource", "ZipSource", "is_image_name", "list_entries", "open_source",
]  # fmt: skip

log = logging.getLogger("gansmith")
EMBEDDED: dict[str, Callable[[], Source]] = {
    "digits": DigitsSource,
    "ring": ring,
    "grid": grid,
}
PREFIXES: dict[str, Callable[[str], Source]] = {
    "ring": ring,
    "grid": grid,
    "hub": HubSource,
    "stacked": lambda spec: StackedSource(open_source(spec)),
    "stream": StreamSource,
}
"""What stands before a colon."""
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
LOOKED_FOR = "looked for JPEG, PNG, WEBP, BMP, GIF, TIFF by suffix, and for IDX, CIFAR .bin and parquet files"
MOST_NAMES_SHOWN = 5


def open_source(data: Any) -> Source:
    """Return the source for a name, a path, or any object with `__len__` and `__getitem__`.

    A name is "digits", "ring", "ring:12", "grid", "grid:7", "mnist" and others of the hub, "hub:owner/name" or
    "stacked:" before any of these or a path; "stream:" before a name of the hub, or a folder in its layout.
    A text that is a name is the name, whatever is in the working folder:
    "./mnist" is the path. A `Path` is always a path: of a folder of images, a zip, IDX files, an .npz or .npy, CIFAR's
    binary files, or parquet files in the hub's layout.

    Raises:
        DataError: there is no such name or path, or it is not something that holds images.
        UsageError: it needs an extra that is not installed.
    """
    if not isinstance(data, str | os.PathLike):
        if hasattr(data, "listing") and hasattr(data, "read"):
            return data  # type: ignore[no-any-return]
        if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
            return ObjectSource(data)
        raise DataError(
            f"data is a {type(data).__name__}; give a path, a name, or an object with __len__ and __getitem__"
        )
    if isinstance(data, str) and (source := _named(data)) is not None:
        return source
    try:
        path = Path(os.path.expanduser(data))
        if path.is_dir():
            return _folder(path)
        if path.is_file():
            return _file(path)
        hint = _near(path)
    except OSError as error:  # a name too long, no permission
        raise DataError(f"{data}: cannot be opened ({error})") from error
    if "://" in str(data):
        hint = "; it is an address, download it first"
    names = f"embedded data: {', '.join(EMBEDDED)}; from the hub: {', '.join(NAMED)}, hub:owner/name"
    raise DataError(f"{path}: no such folder or zip{hint}; {names}")


def _named(text: str) -> Source | None:
    if text in (*EMBEDDED, *NAMED) and os.path.exists(text):
        log.warning("%s: taken as the name of a data set; for the file or folder here write ./%s", text, text)
    if text in EMBEDDED:
        return EMBEDDED[text]()
    if text in NAMED:
        return HubSource(NAMED[text], text)
    prefix, colon, rest = text.partition(":")
    return PREFIXES[prefix](rest) if colon and prefix in PREFIXES else None


def _folder(path: Path) -> Source:
    """Return the source for a folder: names that only one format has go first, so that a picture beside is no data."""
    if idx_folder(path) is not None:
        return IdxSource(path)
    if is_cifar_folder(path, surely=True):
        return CifarSource(path)
    source = FolderSource(path)
    if is_hub_layout(source.others, surely=True):
        return HubSource(str(path))
    if data_sets := data_sets_in(source.names):
        raise DataError(f"{path}: holds several data sets, each with train/ inside; give one of {_some(data_sets)}")
    if source.names:
        return source
    if is_cifar_folder(path, surely=False):
        return CifarSource(path)
    refuse_pickles(path)
    if is_hub_layout(source.others, surely=False):
        return HubSource(str(path))
    raise DataError(f"{path}: no images found in it ({LOOKED_FOR}); {_instead(path, source.others)}")


def _instead(path: Path, others: list[str]) -> str:
    """Return what a folder without images holds, and which of it could be given."""
    if not others:
        return "it is empty" if not any(path.iterdir()) else "its folders are empty"
    usable = [name for name in others if name.lower().endswith((".zip", ".npz", ".npy"))]
    folders = {name.rpartition("/")[0] for name in others if name.endswith((".parquet", "ubyte", "ubyte.gz", ".bin"))}
    usable += sorted({folder.removesuffix("/data") for folder in folders} - {""})
    advice = f"; give one of {_some(usable)}" if usable else ""
    return f"found {kinds_of(others) or 'hidden files alone'}{advice}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES_SHOWN} more" if len(names) > MOST_NAMES_SHOWN else ""
    return ", ".join(names[:MOST_NAMES_SHOWN]) + more


def _file(path: Path) -> Source:
    suffix = path.suffix.lower()
    if suffix in (".npz", ".npy"):
        return NpzSource(path)
    if zipfile.is_zipfile(path) or suffix == ".zip":
        return ZipSource(path)
    if is_idx(path):
        return IdxSource(path)
    if suffix == ".bin":
        return CifarSource(path)
    if path.name.lower().endswith(ARCHIVES):
        raise DataError(f"{path}: neither a folder nor a zip, but another archive; unpack it and give the folder")
    if suffix == ".parquet":
        raise DataError(f"{path}: one file of a data set in the hub's layout; give the folder")
    with path.open("rb") as file:
        if file.read(1) == b"\x80":  # where every pickle since Python 2.3 begins
            raise DataError(f"{path}: neither a folder nor a zip, but a Python pickle, which is never opened")
    raise DataError(
        f"{path}: neither a folder nor a zip; put the images into one (IDX, .npz, .npy and CIFAR .bin files work too)"
    )


def _near(path: Path) -> str:
    """Return near matches of the first part of a path that is not there."""
    part = path
    while not part.parent.is_dir() and part.parent != part:
        part = part.parent
    siblings = [entry.name for entry in part.parent.iterdir()] if part.parent.is_dir() else []
    missing = "" if part == path else f" ({part} is not there)"
    return missing + near_matches(part.name, [*siblings, *EMBEDDED, *NAMED])
