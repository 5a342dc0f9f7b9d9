"""Data sets of the Hugging Face Hub, and folders of parquet files in its layout. Needs the extra `hub`.

Files are downloaded by `huggingface_hub` into its own cache ($HF_HOME) and unpacked there by `datasets`; images stay
encoded, so one that is damaged is one bad row. Nothing of a data set is executed.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansmith.data.sources.base import Listing, Split, file_stamp, numbered_classes, stamp_of
from gansmith.data.sources.hub_files import HubFiles, HubName, library, quiet
from gansmith.errors import DataError

NAMED = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
}
LABEL_COLUMNS = ("label", "labels", "fine_label")


class HubSource:
    """A data set in the hub's layout: parquet files with an image column, read row by row.

    Args:
        spec: `owner/name` or the path of a folder; then `@configuration` and `#column` where there are several.
        name: for messages and run folders; by default the last part of the spec.

    The image column is the one of type image; the labels are the class-label column, else a column of numbers or texts
    called `label`, `labels` or `fine_label`; without one, or with -1 for all, there are no classes.

    Raises:
        DataError: there is no such data set, here or on the hub, or it cannot be reached.
        UsageError: the extra is not installed.
    """

    def __init__(self, spec: str, name: str | None = None) -> None:
        self._files = HubFiles(spec, name)
        self.folder = self._files.folder
        self.name = name or self._files.last_part
        parts = [*self._files.files, self.folder / "README.md"]
        self.stamp = stamp_of(
            self.folder.resolve(), self._files.configuration, self._files.column,
            *(f"{file.relative_to(self.folder)}\0{file_stamp(file)}" for file in parts),
        )  # fmt: skip

    @functools.cached_property
    def _splits(self) -> dict[str, Any]:
        """The splits by name, images not decoded."""
        datasets, folder = library("datasets"), str(self.folder)
        with self._files.errors_named(), quiet(datasets):
            known = datasets.get_dataset_config_names(folder)
            chosen = self._files.configuration or datasets.get_dataset_default_config_name(folder)
            if chosen not in known:
                self._files.refuse_configuration(known)
            # As they are: a README may promise more rows than a part of the data set has.
            return dict(datasets.load_dataset(folder, chosen, verification_mode="no_checks"))

    @functools.cached_property
    def _image_column(self) -> str:
        return image_column(self._features, self._files)

    @property
    def _features(self) -> dict[str, Any]:
        if "train" not in self._splits:
            there = ", ".join(self._splits) or "none"
            raise DataError(f"{self._files.title}: no train split; its splits are {there}")
        return dict(self._splits["train"].features)

    @functools.cached_property
    def _rows(self) -> dict[str, Any]:
        image = library("datasets").Image(decode=False)
        column = self._image_column
        kept = {split: self._splits[split] for split in ("train", "test") if split in self._splits}
        return {split: rows.select_columns([column]).cast_column(column, image) for split, rows in kept.items()}

    def listing(self, split: Split) -> Listing:
        """Return the rows of a split, in their order.

        Raises:
            DataError: the data set cannot be read, or has no or several image columns.
        """
        if split not in self._rows:
            return Listing([])
        names = [f"{split}/{row}" for row in range(len(self._rows[split]))]
        labels, class_names = self._labels
        own = labels.get(split)
        return Listing(names) if own is None else Listing(names, own, class_names)

    @functools.cached_property
    def _labels(self) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
        """The labels of each split that has them, and the class names."""
        column = label_column(self._features)
        if column is None:
            return {}, ()
        values = {
            split: self._splits[split].data.column(column).to_pylist()
            for split in self._rows if column in self._splits[split].features
        }  # fmt: skip
        values = {split: some for split, some in values.items() if set(some) - {-1, None}}
        everything = {value for some in values.values() for value in some}
        if everything & {-1, None}:
            raise DataError(
                f"{self._files.title}: some rows have no {column}, others have; use those that have in a copy of it"
            )
        names = getattr(self._features[column], "names", None)
        if names is None and any(isinstance(value, str) for value in everything):
            names = sorted(everything)
            numbers = {name: number for number, name in enumerate(names)}
            values = {split: [numbers[value] for value in some] for split, some in values.items()}
        labels = {split: np.array(some, np.int64) for split, some in values.items()}
        known = numbered_classes(f"{self._files.title} ({column})", list(labels.values()))
        if names is not None and len(known) > len(names):
            raise DataError(
                f"{self._files.title}: {column} goes up to {len(known) - 1}, it has {len(names)} class names"
            )
        return labels, known if names is None else tuple(names)

    def read(self, name: str) -> bytes:
        """Return one encoded image.

        Raises:
            ValueError: the row holds none.
        """
        split, _, row = name.partition("/")
        cell = self._rows[split][int(row)][self._image_column]
        content = None if cell is None else cell["bytes"]
        if not isinstance(content, bytes):  # a path alone might be any file of this machine: not followed
            raise ValueError("the row holds no image")
        return content


def image_column(features: dict[str, Any], asked: HubName) -> str:
    """Return the name of the column of type image.

    Raises:
        DataError: there is none, or several and none is asked for, or the one asked for is none.
    """
    found = [name for name, feature in features.items() if _kind(feature) == "Image"]
    shown = ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
    if asked.column is not None:
        if asked.column in found:
            return asked.column
        raise DataError(f"{asked.title}: {asked.column!r} is no image column; it has {shown}")
    if not found:
        raise DataError(f"{asked.title}: no image column; it has {shown}")
    if len(found) > 1:
        choice = f"'hub:{asked.where}#{found[0]}'"
        raise DataError(f"{asked.title}: several image columns; it has {shown}; choose one, such as {choice}")
    return found[0]


def label_column(features: dict[str, Any]) -> str | None:
    """Return the name of the column of classes: the one of that type, else one whose name says so; None without."""
    kinds = {name: _kind(feature) for name, feature in features.items()}
    classes = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    if len(classes) == 1:
        return classes[0]
    usable = [name for name, kind in kinds.items() if kind.startswith(("ClassLabel", "int", "uint", "str"))]
    return next((name for name in LABEL_COLUMNS if name in usable), None)


def _kind(feature: Any) -> str:
    return str(feature.dtype) if type(feature).__name__ == "Value" else type(feature).__name__
