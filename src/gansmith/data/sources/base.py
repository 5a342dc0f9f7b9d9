"""What a source is, and which entries of a folder or zip are images, splits and classes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from gansmith.errors import DataError

Split = Literal["train", "test"]
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
SPLIT_NAMES = frozenset({"train", "test", "val", "valid", "validation"})
"""A folder of these alone is splits; beside others, `train` may be a class. Only train and test are used."""
LARGEST_FILE = 256 * 2**20
"""Bytes of one image file; a larger one is refused before it is read."""
MOST_CLASSES = 1_000_000
MOST_KINDS_SHOWN = 4


@dataclass(frozen=True)
class Listing:
    """The entries of one split.

    Attributes:
        names: of the entries, in a fixed order: paths inside the source, or "train/17" for row 17.
        labels: class number of each entry, or None where there are no classes.
        class_names: the label is the index.
    """

    names: Sequence[str]
    labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()


class Source(Protocol):
    """A place that holds images."""

    @property
    def name(self) -> str:
        """For messages and run folders."""
        ...

    @property
    def stamp(self) -> str | None:
        """Changes whenever the content may have changed, and is cheap to take; None where nothing cheap tells."""
        ...

    def listing(self, split: Split) -> Listing:
        """Return the entries of a split; the test split may be empty."""
        ...

    def read(self, name: str) -> Any:
        """Return an entry as encoded bytes, a Pillow image, or an array."""
        ...


def stamp_of(*parts: object) -> str:
    """Return 64 hex digits that stand for these parts."""
    return hashlib.sha256(os.fsencode("\0".join(str(part) for part in parts))).hexdigest()


def file_stamp(path: str | os.PathLike[str]) -> str:
    """Return size and time of a file, or why they cannot be had (reading it will say so again)."""
    try:
        status = os.stat(path)
    except OSError as error:  # a link that leads nowhere
        return str(error)
    return f"{status.st_size}\0{status.st_mtime_ns}"


def is_image_name(name: str) -> bool:
    """Return whether a path inside a source names an image: a known suffix, nothing hidden, no `__MACOSX`."""
    return is_shown(name) and os.path.splitext(name)[1].lower() in SUFFIXES


def is_shown(name: str) -> bool:
    """Return whether a path inside a source is neither hidden nor in `__MACOSX`."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def kinds_of(names: Iterable[str]) -> str:
    """Return what these files are by suffix ("3 .heic files, 1 .txt file"), commonest first; "" for none."""
    suffixes = Counter(os.path.splitext(name)[1].lower() or "suffixless" for name in names if is_shown(name))
    shown = [f"{count:,} {suffix} file{'s' * (count > 1)}" for suffix, count in suffixes.most_common(MOST_KINDS_SHOWN)]
    return ", ".join(shown) + (", and others" if len(suffixes) > MOST_KINDS_SHOWN else "")


def numbered_classes(where: str, labels: Sequence[NDArray[np.int64]]) -> tuple[str, ...]:
    """Return class names "0" to the largest label of all splits.

    Raises:
        DataError: a label is negative, or over a million.
    """
    values = np.concatenate(labels) if labels else np.empty(0, np.int64)
    if not len(values):
        return ()
    lowest, highest = int(values.min()), int(values.max())
    if not 0 <= lowest <= highest < MOST_CLASSES:
        raise DataError(f"{where}: labels go from {lowest} to {highest}; expected 0 to {MOST_CLASSES - 1:,} at most")
    return tuple(str(label) for label in range(highest + 1))


def list_entries(names: Sequence[str], split: Split) -> Listing:
    """Return the entries of a split: an outer folder is ignored, `train/` and `test/` select, sub-folders are classes.

    Images beside sub-folders mean that there are no classes.
    """
    inner = _without_common_folder(list(names))
    tops = {path.split("/", 1)[0] for path in inner.values()}
    if tops & {"train", "test"} and tops <= SPLIT_NAMES:
        places = {name: path.partition("/") for name, path in inner.items()}
        splits = {name: (top, rest) for name, (top, _, rest) in places.items() if top in get_args(Split) and rest}
    else:
        splits = {name: ("train", path) for name, path in inner.items()}
    # Classes are numbered over both splits, so that a class that one of them lacks does not move the others.
    folders = {name: path.split("/", 1)[0] if "/" in path else None for name, (_, path) in splits.items()}
    chosen = sorted(name for name, (own, _) in splits.items() if own == split)
    class_names = tuple(sorted({folder for folder in folders.values() if folder is not None}))
    if not chosen or not class_names or None in folders.values():
        return Listing(chosen)
    numbers = {name: number for number, name in enumerate(class_names)}
    return Listing(chosen, np.array([numbers[folders[name] or ""] for name in chosen], np.int64), class_names)


def _without_common_folder(names: list[str]) -> dict[str, str]:
    inner = {name: name for name in names}
    while inner:
        tops = {path.split("/", 1)[0] if "/" in path else None for path in inner.values()}
        if len(tops) != 1 or tops & {None, "train", "test"}:
            break
        inner = {name: path.split("/", 1)[1] for name, path in inner.items()}
    return inner


def data_sets_in(names: Iterable[str]) -> list[str]:
    """Return the top folders if each is a data set of its own, with `train/` inside; else nothing."""
    inside: dict[str, set[str]] = {}
    for path in _without_common_folder(list(names)).values():
        top, _, rest = path.partition("/")
        inside.setdefault(top, set()).add(rest.partition("/")[0] if "/" in rest else "")
    if len(inside) > 1 and all("train" in folders and folders <= SPLIT_NAMES for folders in inside.values()):
        return sorted(inside)
    return []
