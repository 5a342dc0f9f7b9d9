"""Parquet files of the hub, or of a folder in its layout, read by row groups and never kept: for sets beyond the disk.

A row group is what a parquet file can give on its own. Only the ends of the files are read at first: they say how many
rows each group has. What is made of the rows is `data/streaming.py`. Needs the extra `hub`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from gansmith.data.sources.base import Listing, Split, stamp_of
from gansmith.data.sources.hub import NAMED, image_column, label_column
from gansmith.data.sources.hub_files import HubName, library, quiet
from gansmith.errors import DataError, UsageError

log = logging.getLogger("gansmith")
PREFIX = "stream:"
PAUSES = (1.0, 3.0, 10.0)
"""Seconds before each new try to read from the hub; its client has tried some times before each."""
BUFFER_BYTES = 2**22
ROWS_AT_ONCE = 32
SAMPLE_GROUPS, SAMPLE_ROWS = 4, 64
MOST_THREADS = 16
NO_LABEL = -1


@dataclass(frozen=True)
class RowGroup:
    """Rows that are read together.

    Attributes:
        file: number of the file.
        number: in the file.
        num_rows: at least 1.
        place: of its images in the file: (offset, bytes).
    """

    file: int
    number: int
    num_rows: int
    place: tuple[int, int]


@dataclass(frozen=True)
class Row:
    """One row as it is stored.

    Attributes:
        name: for messages: file, row group, row in it.
        content: the encoded image, or None where there is none.
        label: class number, or -1 where there is none or it was not asked for.
    """

    name: str
    content: bytes | None
    label: int


class StreamSource:
    """The train split of a data set in the hub's layout, read by row groups.

    Args:
        spec: what `HubSource` takes, with or without "hub:", or one of `NAMED`.

    Attributes:
        name: for run folders.
        title: for messages.
        files: paths of the parquet files, in order.
        groups: all row groups, in order.
        num_rows: of all groups.
        class_names: of the class-label column, whose names the files hold; a column of plain numbers or texts would
            have to be read whole to know its classes, and is left out.
        stamp: changes with the files' identity on the hub (or their sizes, in a folder), names and row groups.

    Raises:
        DataError: there is no such data set, it cannot be reached, has no parquet files or no image column.
        UsageError: the extra is not installed.
    """

    def __init__(self, spec: str) -> None:
        self._spec = spec
        self._asked = HubName(NAMED.get(spec, spec.removeprefix("hub:")), f"{PREFIX}{spec}")
        self.name, self.title = self._asked.last_part, self._asked.title
        self._closed = threading.Event()
        with self._asked.errors_named():
            urls, features = self._found()
            placed = [library("fsspec.core").url_to_fs(url) for url in urls]
            self._system, self.files = placed[0][0], [path for _, path in placed]
            folders = {os.path.dirname(file) for file in self.files}  # one question to the hub for each
            infos = {info["name"]: info for folder in folders for info in self._system.ls(folder, detail=True)}
        schema = self._schema()
        features = features or library("datasets").Features.from_arrow_schema(schema)
        column = image_column(features, self._asked)
        is_struct = hasattr(schema.field(column).type, "fields")
        self._image = f"{column}.bytes" if is_struct else column
        chosen = label_column(features)
        names = getattr(features[chosen], "names", None) if chosen else None
        self._label = chosen if names else None
        self.class_names: tuple[str, ...] = tuple(names or ())
        self.groups = self._row_groups()
        self.num_rows = sum(group.num_rows for group in self.groups)
        if not self.num_rows:
            raise DataError(f"{self.title}: no rows in its train split")
        self.stamp = stamp_of(
            PREFIX, self._image, self._label, self.class_names,
            *(f"{os.path.basename(file)}\0{_identity(infos[file])}" for file in self.files),
            *((group.file, group.number, group.num_rows, group.place) for group in self.groups),
        )  # fmt: skip

    def _found(self) -> tuple[list[str], Any]:
        """Return the addresses of the train split's files, their revision in them, and the columns where known."""
        datasets, local = library("datasets"), self._asked.local
        with quiet(datasets):
            where = str(local.resolve()) if local else self._asked.where
            known = datasets.get_dataset_config_names(where)
            chosen = self._asked.configuration or datasets.get_dataset_default_config_name(where)
            if chosen not in known:
                self._asked.refuse_configuration(known)
            builder = datasets.load_dataset_builder(where, chosen)
        splits = {str(split): list(files) for split, files in (builder.config.data_files or {}).items()}
        if "train" not in splits:
            raise DataError(f"{self.title}: no train split; its splits are {', '.join(splits) or 'none'}")
        if others := [url for url in splits["train"] if not url.endswith(".parquet")]:
            raise DataError(
                f"{self.title}: {os.path.basename(others[0])} is no parquet file, and only those can be read in parts; "
                f"leave out {PREFIX} to download it whole"
            )
        return splits["train"], builder.info.features

    def _schema(self) -> Any:
        with self._errors_of(self.files[0]), self._open(self.files[0]) as file:
            return library("pyarrow.parquet").read_schema(file)

    def _row_groups(self) -> list[RowGroup]:
        """Return the row groups of all files, from the ends of the files."""
        with ThreadPoolExecutor(MOST_THREADS, "footers") as pool:
            try:
                return list(itertools.chain.from_iterable(pool.map(self._row_groups_of, range(len(self.files)))))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _row_groups_of(self, number: int) -> list[RowGroup]:
        path = self.files[number]
        with self._errors_of(path), self._open(path) as file:
            footer = library("pyarrow.parquet").read_metadata(file)
        groups = [footer.row_group(place) for place in range(footer.num_row_groups)]
        found = []
        for place, group in enumerate(groups):
            chunks = [group.column(column) for column in range(group.num_columns)]
            images = [chunk for chunk in chunks if chunk.path_in_schema == self._image]
            if not images:
                raise DataError(f"{self.title}: {path} has no column {self._image}, as {self.files[0]} has")
            extent = images[0].data_page_offset, images[0].total_compressed_size
            if group.num_rows:
                found.append(RowGroup(number, place, group.num_rows, extent))
        return found

    def _open(self, path: str) -> Any:
        return self._system.open(path, "rb", cache_type="none")  # else as much again is read beyond each part

    @contextlib.contextmanager
    def _errors_of(self, path: str) -> Iterator[None]:
        try:
            yield
        except self._faults as error:
            raise DataError(f"{self.title}: {path} cannot be read ({' '.join(str(error).split())[:300]})") from error

    @functools.cached_property
    def _faults(self) -> tuple[type[BaseException], ...]:
        return (OSError, library("pyarrow").ArrowException, library("huggingface_hub.errors").HTTPError)

    def rows(self, number: int, most: int | None = None, *, with_labels: bool = False) -> Iterator[Row]:
        """Yield the rows of a row group, or the first few of them; a lost connection is waited for.

        Args:
            number: in `groups`.
            most: of the rows; None: all.
            with_labels: read the label column too, where there is one.

        Raises:
            DataError: the file is damaged, has changed, or the connection stays lost.
        """
        group = self.groups[number]
        path, wanted = self.files[group.file], min(most or group.num_rows, group.num_rows)
        pauses = (*PAUSES, None) if self._asked.local is None else (None,)
        done = 0
        for pause in pauses:
            try:
                for content, label in itertools.islice(self._read(group, with_labels), done, wanted):
                    yield Row(f"{os.path.basename(path)}, row group {group.number}, row {done}", content, label)
                    done += 1
                break
            except self._faults as error:
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                if pause is None:
                    raise DataError(f"{path}: row group {group.number} cannot be read ({reason})") from error
                log.warning("%s: row group %s: %s; trying again in %.0f s", path, group.number, reason, pause)
                self._closed.wait(pause)
        if done < wanted and not self._closed.is_set():
            raise DataError(f"{path}: row group {group.number} has {done} rows, had {wanted}; has the file changed?")

    def _read(self, group: RowGroup, with_labels: bool) -> Iterator[tuple[bytes | None, int]]:
        label = self._label if with_labels else None
        columns = [self._image] if label is None else [self._image, label]
        with self._open(self.files[group.file]) as opened:
            file = library("pyarrow.parquet").ParquetFile(opened, buffer_size=BUFFER_BYTES)
            if group.number >= file.num_row_groups:
                return
            for batch in file.iter_batches(ROWS_AT_ONCE, [group.number], columns, use_threads=False):
                cells = batch.column(self._image.partition(".")[0]).to_pylist()
                labels = [NO_LABEL] * len(cells) if label is None else batch.column(label).to_pylist()
                for cell, number in zip(cells, labels, strict=True):
                    if self._closed.is_set():
                        return
                    yield cell["bytes"] if isinstance(cell, dict) else cell, NO_LABEL if number is None else number

    def sample(self, *, with_labels: bool = False) -> list[Row]:
        """Return up to 256 rows for a first look: the first 64 of four row groups that are spread evenly."""
        last = len(self.groups) - 1
        chosen = sorted({round(step * last / (SAMPLE_GROUPS - 1)) for step in range(SAMPLE_GROUPS)})
        return [row for number in chosen for row in self.rows(number, SAMPLE_ROWS, with_labels=with_labels)]

    def labels(self) -> NDArray[np.int64]:
        """Return (num_rows,) the label of every row: the label column alone is read, of all files."""
        parquet = library("pyarrow.parquet")

        def labels_of(path: str) -> NDArray[np.int64]:
            with self._errors_of(path), self._open(path) as file:
                column = parquet.read_table(file, columns=[self._label]).column(0)
                return np.asarray(column.fill_null(NO_LABEL).to_numpy(), np.int64)

        with ThreadPoolExecutor(MOST_THREADS, "labels") as pool:
            return np.concatenate(list(pool.map(labels_of, self.files)))

    def close(self) -> None:
        """Let what is being read end soon."""
        self._closed.set()

    def listing(self, split: Split) -> Listing:
        """Refuse: a listing is of what is at hand."""
        self._refuse()

    def read(self, name: str) -> Any:
        """Refuse, as `listing`."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UsageError(
            f"{self.title}: is read row group by row group while training, and never at hand as a whole, which this "
            f"needs; give {self._spec}, which downloads it all, or a folder with some of its parquet files"
        )


def _identity(info: dict[str, Any]) -> str:
    """Return what tells a file's content: its checksum on the hub, the size of one in a folder."""
    lfs = info.get("lfs")
    return str((lfs and lfs["sha256"]) or info.get("blob_id") or info["size"])
