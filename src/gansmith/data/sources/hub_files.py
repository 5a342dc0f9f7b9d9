"""Finding and downloading the files of a data set in the hub's layout. Needs the extra `hub`, imported when used."""

from __future__ import annotations

import functools
import importlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import yaml

from gansmith.errors import DataError, ResourceError, UsageError

REPOSITORY = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
PART = re.compile(r".*-\d{5}-of-\d{5}\.parquet")
"""The names that the hub gives to the parts of a split."""
FORM = "hub:owner/name or hub:./folder, then @configuration and #image-column where there are several"


class HubName:
    """What a user names: a data set on the hub, or a folder in its layout; and how its errors are told.

    Args:
        spec: `owner/name` or the path of a folder, then perhaps `@configuration` and `#column`.
        name: what the user typed, where that is not the spec.

    Attributes:
        where: the spec without configuration and column.
        configuration: or None.
        column: or None.
        title: for messages.
        local: the folder, or None for the hub.

    Raises:
        DataError: it is neither a folder nor a name.
    """

    def __init__(self, spec: str, name: str | None = None) -> None:
        self.where, self.configuration, self.column = _parsed(spec)
        local = Path(self.where).expanduser()
        self.local = local if self.where and local.is_dir() else None
        self._typed = name or (spec if self.local else f"hub:{spec}")
        self.title = self._typed if self.where in self._typed else f"{self._typed} ({self.where})"
        if self.local is None and not REPOSITORY.fullmatch(self.where):
            raise DataError(f"{self.title}: no such folder, and not a name on the hub; expected {FORM}")

    @property
    def last_part(self) -> str:
        """The name of the folder, or of the data set without its owner."""
        return Path(self.where).resolve().name

    def refuse_configuration(self, known: Iterable[str]) -> NoReturn:
        """Raise the error that lists the configurations."""
        names = sorted(known)
        choice = f"'hub:{self.where}@{names[0]}'"
        raise DataError(f"{self.title}: has the configurations {', '.join(names)}; choose one, such as {choice}")

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Turn what the libraries raise into one line with a hint."""
        errors, datasets_errors = library("huggingface_hub.errors"), library("datasets").exceptions
        here = f"; for the folder here write ./{self._typed}" if Path(self._typed).exists() else ""
        try:
            yield
        except (errors.LocalEntryNotFoundError, ConnectionError) as error:
            raise DataError(
                f"{self.title}: the hub cannot be reached and it is not in its cache here; go online, or copy the "
                f"data set's folder of parquet files here and give its path{here}"
            ) from error
        except (
            errors.GatedRepoError, errors.RepositoryNotFoundError, datasets_errors.DatasetNotFoundError,
        ) as error:  # fmt: skip
            raise DataError(
                f"{self.title}: not found on the hub, or it needs an account (`hf auth login`){here}"
            ) from error
        except (
            datasets_errors.DatasetsError, errors.HTTPError, yaml.YAMLError, OSError, ValueError, TypeError,
            LookupError, RuntimeError,
        ) as error:  # fmt: skip
            text = " ".join(str(_cause_of(error)).split())[:300]
            raise DataError(
                f"{self.title}: cannot be read ({text}); expected whole parquet files and their README"
            ) from error


class HubFiles(HubName):
    """The folder of a data set's parquet files: here, or downloaded into the hub's cache ($HF_HOME).

    Args:
        spec, name: as for `HubName`.

    Raises:
        DataError: there is no such data set, here or on the hub, or it cannot be reached.
        ResourceError: the disk has no room for it.
        UsageError: the extra is not installed.
    """

    def __init__(self, spec: str, name: str | None = None) -> None:
        super().__init__(spec, name)
        self.folder = self.local or self._download()
        self.files = sorted(self.folder.rglob("*.parquet"))
        if not self.files:
            raise DataError(f"{self.title}: no parquet files in it; expected the hub's layout, data/train-*.parquet")

    def _download(self) -> Path:
        """Return the folder of the parquet files and README in the hub's cache, up to date if the hub is reached."""
        hub = library("huggingface_hub")
        download: Callable[..., str] = functools.partial(hub.snapshot_download, self.where, repo_type="dataset")
        with self.errors_named():
            readme = Path(download(allow_patterns=["README.md"])) / "README.md"
            patterns = ["*.parquet"]
            if readme.is_file() and (entries := hub.DatasetCard.load(readme).data.get("configs")):
                patterns = self._patterns(entries)
            self._check_room(patterns)
            return Path(download(allow_patterns=["README.md", *patterns]))

    def _check_room(self, patterns: list[str]) -> None:
        """Refuse at once what will not fit: the files, and as much again for what `datasets` unpacks from them."""
        hub, constants = library("huggingface_hub"), library("huggingface_hub.constants")
        if constants.HF_HUB_OFFLINE:
            return
        find = functools.partial(hub.try_to_load_from_cache, self.where, repo_type="dataset")
        try:
            tree = list(hub.HfApi().list_repo_tree(self.where, recursive=True, repo_type="dataset"))
        except (OSError, library("huggingface_hub.errors").HTTPError):
            return  # without a connection all of it may still be in the cache
        sizes = {entry.path: entry.size for entry in tree if isinstance(entry, hub.RepoFile)}
        wanted = library("huggingface_hub.utils").filter_repo_objects(list(sizes), allow_patterns=patterns)
        missing = sum(sizes[path] for path in wanted if not isinstance(find(path), str))
        cache = Path(constants.HF_HUB_CACHE)
        free = shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.exists())).free
        if 2 * missing > free:
            raise ResourceError(
                f"{self.title}: {missing / 1e9:,.1f} GB are to be downloaded, and as much again unpacked, and "
                f"{free / 1e9:,.1f} GB are free in {cache}; set HF_HOME to a folder that has the room, or read it "
                f"while training, keeping nothing: stream:{self._typed}"
            )

    def _patterns(self, entries: list[dict[str, Any]]) -> list[str]:
        """Return the patterns of the files to download, so that configurations not asked for are not."""
        known = {entry["config_name"]: entry for entry in entries}
        default = [
            name for name, entry in known.items() if entry.get("default") or name == "default" or len(known) == 1
        ]
        chosen = self.configuration or (default[0] if default else None)
        if chosen not in known:
            self.refuse_configuration(known)
        files = known[chosen].get("data_files") or f"{chosen}/*.parquet"
        splits = files if isinstance(files, list) else [files]
        paths = [split["path"] if isinstance(split, dict) else split for split in splits]
        return [path for some in paths for path in (some if isinstance(some, list) else [some])]


def is_hub_layout(names: Iterable[str], surely: bool) -> bool:
    """Return whether these files of a folder are a data set of the hub: parquet files in it or in its folders.

    Args:
        names: paths inside the folder.
        surely: only if parts have the names that the hub gives them.
    """
    names = list(names)
    deepest = 9 if "README.md" in names else 1
    found = [name for name in names if name.endswith(".parquet") and name.count("/") <= deepest]
    return any(PART.fullmatch(name) or not surely for name in found)


def library(name: str) -> ModuleType:
    """Return a library of the extra, imported when first needed: together they take over a second.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = name.partition(".")[0]
        raise UsageError(f"{missing} is not installed; data of the hub needs: pip install 'gansmith[hub]'") from error


@contextmanager
def quiet(datasets: ModuleType) -> Iterator[None]:
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


def _parsed(spec: str) -> tuple[str, str | None, str | None]:
    """Return (name or path, configuration, column); a folder may have @ and # in its name."""
    rest, column, configuration = spec, "", ""
    if not Path(rest).expanduser().is_dir():
        rest, _, column = rest.partition("#")
    if not Path(rest).expanduser().is_dir():
        rest, _, configuration = rest.partition("@")
    return rest, configuration or None, column or None


def _cause_of(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
