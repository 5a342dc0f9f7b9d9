"""Training on data that is never whole at hand: row groups are read and decoded as training needs them, some ahead.

Where the rows come from is `sources/stream.py`, in which order they are shown `windows.py`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterable

import numpy as np
import torch

from gansmith.data.ahead import Group, GroupReader
from gansmith.data.cache import DataSet, Form, Progress, fingerprint_of, open_data
from gansmith.data.conversion import BadImageError
from gansmith.data.decode import READ_ERRORS, decode, quiet_pillow, reason_of
from gansmith.data.inspection import FEWEST_BAD, LARGEST_BAD_SHARE
from gansmith.data.order import Batch, Indices
from gansmith.data.sources import HubSource, Source
from gansmith.data.sources.base import stamp_of
from gansmith.data.sources.stream import Row, StreamSource
from gansmith.data.windows import WindowOrder
from gansmith.errors import DataError, ResourceError
from gansmith.images import Pixels
from gansmith.sizes import Fit, Size, size_text

log = logging.getLogger("gansmith")
WINDOW_BYTES = 2**27
"""Of decoded images in a window. Part of the order: another value is another sequence. At most two windows are held for
each stream of batches, and a method has two streams at most: 512 MB."""
JUDGED_AFTER = 1_000
"""Rows read before a large share of bad ones among them is an error."""
MOST_SHOWN = 5


class StreamedSet:
    """Training data that is read by row groups while it is trained on.

    A row that cannot be used is replaced by the next of its group that can, always the same: leaving it out would move
    all rows after it to other places of the order.

    Args:
        source: where the rows are.
        form: what images are decoded into.
        with_labels: read the labels, where there are classes.
        allow_bad: go on however many rows cannot be used; else more than 5 % and at least 3 are an error.

    Attributes:
        name: of the source.
        fingerprint: 16 hex digits, of the files' identity and the form; no image is read for it.
        class_names: by label; empty where there are none, or they are not asked for.
        groups_per_window: row groups whose rows are shuffled among themselves.

    Raises:
        DataError: a row group alone is larger than a window.
    """

    def __init__(self, source: StreamSource, form: Form, *, with_labels: bool = False, allow_bad: bool = False) -> None:
        self._source, self._form = source, form
        self.name, self.class_names = source.name, source.class_names if with_labels else ()
        self.fingerprint = stamp_of(source.stamp, form.text)[:16]
        self._num_rows = np.array([group.num_rows for group in source.groups], np.int64)
        self._ends = np.cumsum(self._num_rows)
        self.groups_per_window = self._width()
        self._found = _Found(source.title, min(JUDGED_AFTER, source.num_rows), allow_bad)
        self._reader = GroupReader(self._decoded)
        self._quiet = contextlib.ExitStack()  # not in the threads: what silences warnings is the whole process's
        self._quiet.enter_context(quiet_pillow())
        atexit.register(self.close)  # threads that still read when Python ends would crash it

    def _width(self) -> int:
        row_bytes, largest = self._form.channels * self._form.size[0] * self._form.size[1], int(self._num_rows.max())
        if (fit := WINDOW_BYTES // (largest * row_bytes)) < 1:
            raise DataError(
                f"{self._source.title}: a row group of {largest:,} rows takes {largest * row_bytes / 1e6:,.0f} MB at "
                f"{size_text(self._form.size)}, a window holds {WINDOW_BYTES / 1e6:,.0f} MB; take a smaller --size, or "
                "write the files again with smaller row groups"
            )
        return min(fit, len(self._num_rows))

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._source.num_rows

    @property
    def mixing(self) -> str:
        """How well the order mixes, in words."""
        num_groups, width = len(self._num_rows), self.groups_per_window
        if width == num_groups:
            return f"streamed: all {num_groups:,} row groups fit into memory and are shuffled as a whole"
        about = round(len(self) * width / num_groups)
        return (
            f"streamed: {num_groups:,} row groups in random order, shuffled {width:,} at a time (about {about:,} "
            "images); that many are read before the first step"
        )

    def order(self, seed: int, stream: str) -> WindowOrder:
        """Return the order in which rows are shown; what it is asked for is read ahead."""
        return WindowOrder(seed, self._num_rows, self.groups_per_window, stream, self._reader.want)

    def batch(self, indices: Indices) -> Batch:
        """Return those rows (uint8) and labels as one batch; waits for what is not read yet.

        Raises:
            DataError: a file cannot be read, or too many rows cannot be used.
            WaitEnded: see `wait_only_while`.
        """
        images = np.empty((len(indices), self._form.channels, *self._form.size), np.uint8)
        labels = np.empty(len(indices), np.int64)
        numbers = np.searchsorted(self._ends, indices, side="right")
        for number in np.unique(numbers):
            group, chosen = self._reader.get(int(number)), numbers == number
            rows = indices[chosen] - (self._ends[number] - self._num_rows[number])
            images[chosen], labels[chosen] = group.images[rows], group.labels[rows]
        return Batch(torch.from_numpy(images), torch.from_numpy(labels) if self.class_names else None)

    def _decoded(self, number: int) -> Group:
        rows = self._source.rows(number, with_labels=bool(self.class_names))
        group, bad = self._decode(rows, int(self._num_rows[number]))
        self._found.add(number, len(group.images), bad)
        return group

    def _decode(self, rows: Iterable[Row], count: int) -> tuple[Group, dict[str, str]]:
        """Return the rows decoded, bad ones replaced, and name -> reason of these.

        Raises:
            DataError: none can be used.
        """
        images = np.empty((count, self._form.channels, *self._form.size), np.uint8)
        labels = np.full(count, -1, np.int64)
        bad: dict[str, str] = {}
        good = np.zeros(count, bool)
        for place, row in enumerate(rows):
            try:
                images[place], labels[place] = self._pixels(row), row.label
                good[place] = True
            except READ_ERRORS as error:
                bad[row.name] = reason_of(error)
        if bad and not good.any():
            name, reason = next(iter(bad.items()))
            raise DataError(f"{self._source.title}: no row of a row group can be used; {name}: {reason}")
        for missing in np.flatnonzero(~good) if good.any() else ():
            after = (missing + np.arange(count)) % count
            chosen = after[good[after]][0]
            images[missing], labels[missing] = images[chosen], labels[chosen]
        return Group(images, labels), bad

    def _pixels(self, row: Row) -> Pixels:
        if row.content is None:
            raise BadImageError("the row holds no image")
        if self.class_names and not 0 <= row.label < len(self.class_names):
            raise BadImageError(f"its label is {row.label}, there are {len(self.class_names)} classes")
        return decode(row.content, self._form.size, self._form.channels, self._form.fit)[0]

    @functools.cached_property
    def examples(self) -> DataSet:
        """Some of the images, for pictures: up to 256 from four places of the files."""
        rows = self._source.sample(with_labels=bool(self.class_names))
        group, _ = self._decode(rows, len(rows))
        labels = group.labels if self.class_names else None
        fingerprint = fingerprint_of(group.images, labels)
        return DataSet(self.name, group.images, labels, self.class_names, fingerprint, (), 0)

    @functools.cached_property
    def class_counts(self) -> tuple[int, ...]:
        """Rows of each class; the label column of all files is read for it."""
        labels = self._source.labels()
        known = labels[(labels >= 0) & (labels < len(self.class_names))]
        return tuple(np.bincount(known, minlength=len(self.class_names)).tolist())

    @property
    def num_bad(self) -> int:
        """Rows found so far that cannot be used and are replaced."""
        return self._found.num_bad

    @property
    def bytes_held(self) -> int:
        """Of the decoded images that are in memory now."""
        return self._reader.bytes_held

    def wait_only_while(self, is_wanted: Callable[[], bool]) -> None:
        """Have `batch` raise `WaitEnded` where it still waits and this says no."""
        self._reader.is_wanted = is_wanted

    def close(self) -> None:
        """End the reading; say how many rows were replaced where not each was named."""
        atexit.unregister(self.close)
        self._source.close()
        self._reader.close()
        self._quiet.close()
        self._found.close()


class _Found:
    """Counts the rows that cannot be used, and names the first of them."""

    def __init__(self, title: str, judged_after: int, allow_bad: bool) -> None:
        self._title, self._judged_after, self._allow_bad = title, judged_after, allow_bad
        self._bad: dict[int, int] = {}
        self.num_bad = self._num_rows = 0
        self._lock = threading.Lock()

    def add(self, number: int, count: int, bad: dict[str, str]) -> None:
        """Note a row group that was read, perhaps again."""
        with self._lock:
            if number in self._bad:
                return
            self._bad[number] = len(bad)
            shown = list(bad.items())[: max(0, MOST_SHOWN - self.num_bad)]
            self.num_bad, self._num_rows = self.num_bad + len(bad), self._num_rows + count
        for name, reason in shown:
            log.warning("%s: %s: %s; the next good row of its group is shown instead", self._title, name, reason)
        is_judged = self._num_rows >= self._judged_after and not self._allow_bad
        if is_judged and self.num_bad >= FEWEST_BAD and self.num_bad > LARGEST_BAD_SHARE * self._num_rows:
            raise DataError(
                f"{self._title}: {self.num_bad:,} of the {self._num_rows:,} rows read cannot be used; mend the files, "
                "or go on with others in their places: --allow-bad"
            )

    def close(self) -> None:
        """Say how many there were, where not each was named."""
        if self.num_bad > MOST_SHOWN:
            log.warning(
                "%s: %s of the %s rows read could not be used and were replaced",
                self._title, f"{self.num_bad:,}", f"{self._num_rows:,}",
            )  # fmt: skip


def open_for_training(
    source: Source, size: Size, channels: int, on_progress: Progress | None = None, *, fit: Fit = "crop",
    allow_bad: bool = False, with_labels: bool = False,
) -> DataSet | StreamedSet:  # fmt: skip
    """Return the train split of a source: decoded whole into the cache, or streamed where the source is a stream.

    Args:
        source: as `open_source` returns it.
        size: (height, width) every image is fitted to.
        channels: of the images.
        on_progress: called now and then while decoding into the cache.
        fit: how images of another size are made to fit.
        allow_bad: go on however many images cannot be used.
        with_labels: whether a stream reads labels; other data always has them.

    Raises:
        DataError: there is no usable image, too many are not, or a row group is too large to be streamed.
        ResourceError: the cache folder has no room or cannot be written to.
    """
    if isinstance(source, StreamSource):
        return StreamedSet(source, Form(size, channels, fit), with_labels=with_labels, allow_bad=allow_bad)
    try:
        return open_data(source, size, channels, on_progress=on_progress, fit=fit, allow_bad=allow_bad)
    except ResourceError as error:
        if isinstance(source, HubSource):
            raise ResourceError(f"{error}; or read it while training and keep nothing: stream: before it") from error
        raise
