"""Data sets of the Hugging Face Hub, and folders of parquet files in its layout. Needs the extra `hub`.

Files are downloaded by `huggingface_hub` into its own cache ($HF_HOME) and unpacked there by `datasets`; images stay
encoded, so one that is damaged is one bad row. Nothing of a data set is executed.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import yaml
from numpy.typing import NDArray

from gansmith.data.sources.base import Listing, Split, file_stamp, numbered_classes, stamp_of
from gansmith.errors import DataError, UsageError

NAMED = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
}
LABEL_COLUMNS = ("label", "labels", "fine_label")
REPOSITORY = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
PART = re.compile(r".*-\d{5}-of-\d{5}\.parquet")
FORM = "hub:owner/name or hub:./folder, then @configuration and #image-column where there are several"


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
        self._where, self._configuration, self._column = _parsed(spec)
        local = Path(self._where).expanduser()
        is_local = bool(self._where) and local.is_dir()
        self._spec = name or (spec if is_local else f"hub:{spec}")
        self.folder = local if is_local else self._download()
        files = _parquet_files(self.folder)
        if not files:
            raise DataError(f"{self.folder}: no parquet files in it; expected the hub's layout, data/train-*.parquet")
        self.name = name or Path(self._where).resolve().name
        self.stamp = stamp_of(
            self.folder.resolve(), self._configuration, self._column,
            *(f"{file.relative_to(self.folder)}\0{file_stamp(file)}" for file in [*files, self.folder / "README.md"]),
        )  # fmt: skip

    @functools.cached_property
    def _splits(self) -> dict[str, Any]:
        """The splits by name, images not decoded."""
        datasets = _library("datasets")
        folder = str(self.folder)
        with self._errors_named(), _quiet(datasets):
            known = datasets.get_dataset_config_names(folder)
            chosen = self._configuration or datasets.get_dataset_default_config_name(folder)
            if chosen not in known:
                self._refuse_configuration(known)
            # As they are: a README may promise more rows than a part of the data set has.
            return dict(datasets.load_dataset(folder, chosen, verification_mode="no_checks"))

    @functools.cached_property
    def _image_column(self) -> str:
        features = self._features
        found = [name for name, feature in features.items() if _kind(feature) == "Image"]
        shown = ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
        if self._column is not None:
            if self._column in found:
                return self._column
            raise DataError(f"{self._spec}: {self._column!r} is no image column; it has {shown}")
        if not found:
            raise DataError(f"{self._spec}: no image column; it has {shown}")
        if len(found) > 1:
            choice = f"'hub:{self._where}#{found[0]}'"
            raise DataError(f"{self._spec}: several image columns; it has {shown}; choose one, such as {choice}")
        return found[0]

    @property
    def _features(self) -> dict[str, Any]:
        if "train" not in self._splits:
            there = ", ".join(self._splits) or "none"
            raise DataError(f"{self._spec}: no train split; its splits are {there}")
        return dict(self._splits["train"].features)

    @functools.cached_property
    def _rows(self) -> dict[str, Any]:
        image = _library("datasets").Image(decode=False)
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
        column = self._label_column()
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
                f"{self._spec}: some rows have no {column}, others have; use those that have in a copy of it"
            )
        names = getattr(self._features[column], "names", None)
        if names is None and any(isinstance(value, str) for value in everything):
            names = sorted(everything)
            numbers = {name: number for number, name in enumerate(names)}
            values = {split: [numbers[value] for value in some] for split, some in values.items()}
        labels = {split: np.array(some, np.int64) for split, some in values.items()}
        known = numbered_classes(f"{self._spec} ({column})", list(labels.values()))
        if names is not None and len(known) > len(names):
            raise DataError(f"{self._spec}: {column} goes up to {len(known) - 1}, it has {len(names)} class names")
        return labels, known if names is None else tuple(names)

    def _label_column(self) -> str | None:
        kinds = {name: _kind(feature) for name, feature in self._features.items()}
        classes = [name for name, kind in kinds.items() if kind == "ClassLabel"]
        if len(classes) == 1:
            return classes[0]
        usable = [
            name for name, kind in kinds.items() if kind == "ClassLabel" or kind.startswith(("int", "uint", "str"))
        ]
        return next((name for name in LABEL_COLUMNS if name in usable), None)

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

    def _download(self) -> Path:
        """Return the folder of the data set's parquet files and README in the hub's cache, up to date if online."""
        if not REPOSITORY.fullmatch(self._where):
            raise DataError(f"hub:{self._where}: no such folder, and not a name on the hub; expected {FORM}")
        hub = _library("huggingface_hub")
        download: Callable[..., str] = functools.partial(hub.snapshot_download, self._where, repo_type="dataset")
        with self._errors_named():
            readme = Path(download(allow_patterns=["README.md"])) / "README.md"
            patterns = ["*.parquet"]
            if self._configuration is not None and readme.is_file():
                known = _configurations(hub.DatasetCard.load(readme).data.get("configs"))
                if known and self._configuration not in known:
                    self._refuse_configuration(known)
                patterns = known.get(self._configuration, patterns)
            return Path(download(allow_patterns=["README.md", *patterns]))

    def _refuse_configuration(self, known: Iterable[str]) -> NoReturn:
        names = sorted(known)
        choice = f"'hub:{self._where}@{names[0]}'"
        raise DataError(f"{self._spec}: has the configurations {', '.join(names)}; choose one, such as {choice}")

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Turn what the libraries raise into one line with a hint."""
        errors = _library("huggingface_hub").errors
        datasets_errors = _library("datasets").exceptions.DatasetsError
        try:
            yield
        except errors.LocalEntryNotFoundError as error:
            raise DataError(
                f"{self._title}: the hub cannot be reached and it is not in its cache here; go online, or copy the "
                f"data set's folder of parquet files here and give its path{self._shadowed}"
            ) from error
        except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
            raise DataError(
                f"{self._title}: not found on the hub, or it needs an account (`hf auth login`){self._shadowed}"
            ) from error
        except (datasets_errors, yaml.YAMLError, OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
            text = " ".join(str(_cause_of(error)).split())[:300]
            raise DataError(f"{self._title}: cannot be read ({text}); expected {FORM}") from error

    @property
    def _title(self) -> str:
        return self._spec if self._where in self._spec else f"{self._spec} ({self._where})"

    @property
    def _shadowed(self) -> str:
        return f"; for the folder here write ./{self._spec}" if Path(self._spec).exists() else ""


def is_hub_folder(path: Path, surely: bool) -> bool:
    """Return whether a folder holds parquet files; sure are those with the names that the hub gives to parts."""
    return any(not surely or PART.fullmatch(file.name) for file in _parquet_files(path))


def _parquet_files(folder: Path) -> list[Path]:
    return sorted({*folder.glob("*.parquet"), *folder.glob("*/*.parquet")})


def _parsed(spec: str) -> tuple[str, str | None, str | None]:
    """Return (name or path, configuration, column); a folder may have @ and # in its name."""
    rest, column, configuration = spec, "", ""
    if not Path(rest).expanduser().is_dir():
        rest, _, column = rest.partition("#") if "#" in rest else (rest, "", "")
    if not Path(rest).expanduser().is_dir():
        rest, _, configuration = rest.partition("@")
    return rest, configuration or None, column or None


def _configurations(entries: Any) -> dict[str, list[str]]:
    """Return the patterns of each configuration's files, as a README's header lists them in one of several forms."""
    known: dict[str, list[str]] = {}
    for entry in entries or []:
        name = entry["config_name"]
        files = entry.get("data_files") or f"{name}/*.parquet"
        splits = files if isinstance(files, list) else [files]
        paths = [split["path"] if isinstance(split, dict) else split for split in splits]
        known[name] = [path for some in paths for path in (some if isinstance(some, list) else [some])]
    return known


def _kind(feature: Any) -> str:
    return str(feature.dtype) if type(feature).__name__ == "Value" else type(feature).__name__


def _cause_of(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def _quiet(datasets: ModuleType) -> Iterator[None]:
    """Keep the library's progress bars and log off the terminal: our one line says what is wrong."""
    were_hidden, verbosity = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if not were_hidden:
            datasets.enable_progress_bars()


def _library(name: str) -> ModuleType:
    """Return a library of the extra, imported when first needed: together they take over a second.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(f"{name} is not installed; data of the hub needs: pip install 'gansmith[hub]'") from error
