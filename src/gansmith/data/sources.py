"""Where images come from: embedded digits, a folder, a zip, any Python object. Read in place, nothing is extracted.

A source lists its entries and reads one; decoding is `decode.py`, keeping the result is `cache.py`.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gansmith.errors import DataError, near_matches

Split = Literal["train", "test"]
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
SPLIT_NAMES = frozenset({"train", "test", "val", "valid", "validation"})
"""A folder of these alone is splits; beside others, `train` may be a class. Only train and test are used."""
NO_LABEL = -(2**62)
LARGEST_FILE = 256 * 2**20
"""Bytes of one image file; a larger one is refused before it is read."""


@dataclass(frozen=True)
class Listing:
    """The entries of one split.

    Attributes:
        names: of the entries, sorted: paths inside the source.
        labels: class number of each entry, or None where there are no classes.
        class_names: sorted; the label is the index.
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


class DigitsSource:
    """1,797 real handwritten digits (UCI Optical Recognition of Handwritten Digits, Alpaydin & Kaynak 1998, CC BY 4.0).

    Presented as MNIST's are: 8x8 enlarged to 20x20, in the middle of 28x28. Every fifth image is the test split.
    """

    name = "digits"
    stamp = "digits-1"

    def __init__(self) -> None:
        with resources.files("gansmith.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
            self._images, self._labels = arrays["images"], arrays["labels"]

    def listing(self, split: Split) -> Listing:
        """Return the fixed 80 % (train) or 20 % (test) of the digits."""
        places = [place for place in range(len(self._labels)) if (place % 5 == 4) == (split == "test")]
        labels = self._labels[places].astype(np.int64)
        return Listing([str(place) for place in places], labels, tuple("0123456789"))

    def read(self, name: str) -> Image.Image:
        """Return one digit, 28x28, grey."""
        small = np.round(self._images[int(name)] * (255 / 16)).astype(np.uint8)
        frame = Image.new("L", (28, 28))
        frame.paste(Image.fromarray(small).resize((20, 20), Image.Resampling.BICUBIC), (4, 4))
        return frame


class FolderSource:
    """A folder of images; sub-folders are classes,
    `train/` and `test/` are splits. Links to folders are not followed.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.resolve().name
        self.path = path
        digest = hashlib.sha256(os.fsencode(path.resolve()))
        self._names = []
        for folder, folders, files in os.walk(path):
            folders.sort()
            for file in sorted(files):
                full = os.path.join(folder, file)
                name = os.path.relpath(full, path).replace(os.sep, "/")
                if is_image_name(name):
                    digest.update(os.fsencode(f"{name}\0{_file_stamp(full)}\0"))
                    self._names.append(name)
        self.stamp = digest.hexdigest()

    def listing(self, split: Split) -> Listing:
        """Return the image files of a split."""
        return list_entries(self._names, split)

    def read(self, name: str) -> bytes:
        """Return the file's bytes."""
        path = self.path / name
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"the file is larger than {LARGEST_FILE >> 20} MB")
        return path.read_bytes()


class ZipSource:
    """A zip of images, read in place; folders inside as in `FolderSource`."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.path = path
        status = path.stat()
        key = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
        self.stamp = hashlib.sha256(os.fsencode(key)).hexdigest()
        self._archive: zipfile.ZipFile | None = None

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None:
            try:
                self._archive = zipfile.ZipFile(self.path)
            except zipfile.BadZipFile as error:
                raise DataError(f"{self.path}: not a readable zip ({error}); was it downloaded whole?") from error
        return self._archive

    def listing(self, split: Split) -> Listing:
        """Return the image entries of a split."""
        return list_entries([name for name in self._open().namelist() if is_image_name(name)], split)

    def read(self, name: str) -> bytes:
        """Return the entry's bytes."""
        archive = self._open()
        if archive.getinfo(name).file_size > LARGEST_FILE:
            raise ValueError(f"the entry is larger than {LARGEST_FILE >> 20} MB")
        return archive.read(name)


class ObjectSource:
    """Any Python object with `__len__` and `__getitem__`, such as a list of arrays or a torchvision data set.

    An item is an image, or a tuple whose first two values are an image and an integer label. An image is a Pillow
    image, a uint8 array (H, W) or (H, W, C), or a tensor (C, H, W), uint8 or float in [0, 1].
    """

    def __init__(self, items: Any) -> None:
        self.items = items
        self.name = type(items).__name__.lower()
        self.stamp = None  # nothing cheap tells whether it changed, so it is read anew each time
        self._train: Listing | None = None

    def listing(self, split: Split) -> Listing:
        """Return all items as the train split; reading their labels takes a pass over them. There is no test split."""
        if split == "test":
            return Listing([])
        self._train = self._train or self._list_all()
        return self._train

    def _list_all(self) -> Listing:
        names = [str(index) for index in range(len(self.items))]
        if not names or self._label(0) == NO_LABEL:
            return Listing(names)
        found = [self._label(index) for index in range(len(names))]
        labels = [label for label in found if label is not None]
        if NO_LABEL in labels:
            raise DataError(f"{self.name}: item {found.index(NO_LABEL)} has no label, others have")
        if not labels:
            return Listing(names)
        known = getattr(self.items, "classes", None) or [str(label) for label in range(max(labels) + 1)]
        if not 0 <= min(labels) <= max(labels) < len(known):
            raise DataError(
                f"{self.name}: labels go from {min(labels)} to {max(labels)}, classes from 0 to {len(known) - 1}"
            )
        filled = np.array([0 if label is None else label for label in found], np.int64)
        return Listing(names, filled, tuple(str(name) for name in known))

    def _label(self, index: int) -> int | None:
        """Return the label, `NO_LABEL` if the item has none, or None if it cannot be read (and so will be skipped)."""
        try:
            item = self.items[index]
        except (OSError, ValueError):
            return None
        if not isinstance(item, tuple) or len(item) < 2:
            return NO_LABEL
        try:
            return int(item[1])
        except (TypeError, ValueError):
            raise DataError(f"{self.name}: the label of item {index} is {item[1]!r}, not a whole number") from None

    def read(self, name: str) -> Any:
        """Return the image of an item."""
        item = self.items[int(name)]
        return item[0] if isinstance(item, tuple) else item


def _file_stamp(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:  # a link that leads nowhere; reading it will say so
        return str(error)
    return f"{status.st_size}\0{status.st_mtime_ns}"


def is_image_name(name: str) -> bool:
    """Return whether a path inside a source names an image: a known suffix, nothing hidden, no `__MACOSX`."""
    parts = name.split("/")
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return False
    return os.path.splitext(parts[-1])[1].lower() in SUFFIXES


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


EMBEDDED: dict[str, Callable[[], Source]] = {
    "digits": DigitsSource,
}


def open_source(data: Any) -> Source:
    """Return the source for a name ("digits"), a path (folder or zip), or any object with `__len__` and `__getitem__`.

    Raises:
        DataError: there is no such name or path, or it is not something that holds images.
    """
    if not isinstance(data, str | os.PathLike):
        if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
            return ObjectSource(data)
        raise DataError(
            f"data is a {type(data).__name__}; give a path, a name, or an object with __len__ and __getitem__"
        )
    if data in EMBEDDED:
        return EMBEDDED[str(data)]()
    path = Path(data).expanduser()
    if path.is_dir():
        return FolderSource(path)
    if path.is_file():
        if zipfile.is_zipfile(path) or path.suffix.lower() == ".zip":
            return ZipSource(path)
        raise DataError(f"{path}: neither a folder nor a zip; put the images into one")
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = near_matches(path.name, [*siblings, *EMBEDDED])
    raise DataError(f"{path}: no such folder or zip{hint}; embedded data: {', '.join(EMBEDDED)}")
