"""A whole look at a source before anything is trained: every image is decoded once, and nothing is written."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansmith.data.cache import Form, Progress
from gansmith.data.decode import READ_ERRORS, reason_of
from gansmith.data.inspection import empty_class_folders, facts_of
from gansmith.data.parallel import in_threads
from gansmith.data.sources import Listing, Source, Split, open_source
from gansmith.data.treatment import Look, look, loses_much, of_size
from gansmith.errors import DataError
from gansmith.facts import DataFacts
from gansmith.images import Pixels
from gansmith.recipes import DEFAULT_RECIPE
from gansmith.request import Request
from gansmith.sizes import Fit, Size

SPLITS: tuple[Split, Split] = ("train", "test")
MOST_CELLS, MOST_COLUMNS = 64, 8
CROPPED = "over half of it is cropped away (--fit pad keeps it whole)"
DIGEST_BYTES = 16


@dataclass(frozen=True)
class Survey:
    """What is in a source and what training would make of it.

    Attributes:
        name: of the source.
        facts: of the train split, as training goes by them.
        form: size, channels and fit that training would use.
        num_images: split -> entries listed, bad ones included.
        bad: (name, reason) of every image that cannot be used.
        sizes: (height, width) as shown -> images, the most frequent first.
        modes: Pillow's mode or "array" -> images, the most frequent first.
        formats: file format, or "object" -> images, the most frequent first.
        class_names: by label; empty where there are no classes.
        class_counts: split -> usable images of each class.
        empty_classes: folders beside the classes that hold no images.
        duplicates: names of images that show the same pixels, a group each.
        treatments: what is done to odd images -> their names.
        resizing: what is done to the size -> number of images.
        seconds: that decoding all took here.
        cells: (N, C, H, W) uint8, up to 64 images as training will see them, a row per class where there are classes.
        columns: of the contact sheet.
    """

    name: str
    facts: DataFacts
    form: Form
    num_images: dict[Split, int]
    bad: tuple[tuple[str, str], ...]
    sizes: dict[Size, int]
    modes: dict[str, int]
    formats: dict[str, int]
    class_names: tuple[str, ...]
    class_counts: dict[Split, tuple[int, ...]]
    empty_classes: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    treatments: dict[str, tuple[str, ...]]
    resizing: dict[str, int]
    seconds: float
    cells: Pixels
    columns: int

    @property
    def num_usable(self) -> int:
        """Images of all splits that can be used."""
        return sum(self.num_images.values()) - len(self.bad)

    @property
    def bytes_decoded(self) -> int:
        """What the train split takes in the cache, and at most in memory."""
        per_image = self.form.channels * self.form.size[0] * self.form.size[1]
        return self.num_images["train"] * per_image


def survey(
    data: Any,
    size: Size | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    recipe: str = DEFAULT_RECIPE,
    on_progress: Progress | None = None,
) -> Survey:
    """Return what is in a source, by decoding every image of it once.

    Args:
        data: as for `open_data`.
        size: (height, width) to train at; by default what training would choose.
        channels: by default the data's.
        fit: how images of another size are made to fit.
        recipe: that is to be trained; it limits the sizes.
        on_progress: called now and then.

    Raises:
        DataError: there is no such data, or no usable image in it.
    """
    source: Source = data if hasattr(data, "listing") and hasattr(data, "read") else open_source(data)
    facts = facts_of(source)
    request = Request(recipe, size=size, channels=channels)
    form = Form(size or request.default_size(facts), channels or facts.channels, fit)
    listings = {split: source.listing(split) for split in SPLITS}
    notes = _Notes(listings, *_contact_places(listings["train"]))
    started = time.perf_counter()
    _look_at_all(source, form, notes, on_progress)
    seconds = time.perf_counter() - started
    if notes.num_good == 0:
        name, reason = notes.bad_in_order()[0]
        raise DataError(f"{source.name}: none of its {len(notes.names):,} images can be read; {name}: {reason}")
    return notes.survey(source, facts, form, seconds)


def _look_at_all(source: Source, form: Form, notes: _Notes, on_progress: Progress | None) -> None:
    def look_at(places: Iterable[int]) -> int:
        num_done = 0
        for place in places:
            num_done += 1
            try:
                found = look(source.read(notes.names[place]), form)
            except READ_ERRORS as error:
                notes.bad[place] = reason_of(error)
                continue
            notes.add(place, found, form)
        return num_done

    done = 0
    for num_done in in_threads(source, look_at, len(notes.names)):
        done += num_done
        if on_progress:
            on_progress(done, len(notes.names))


class _Notes:
    """What is gathered while threads look at images. Memory grows by some tens of bytes an image."""

    def __init__(self, listings: dict[Split, Listing], cells: list[int | None], columns: int) -> None:
        self.listings = listings
        self.names = [name for split in SPLITS for name in listings[split].names]
        self.bad: dict[int, str] = {}
        self.num_good = 0
        self._sizes: Counter[Size] = Counter()
        self._modes: Counter[str] = Counter()
        self._formats: Counter[str] = Counter()
        self._resizing: Counter[str] = Counter()
        self._treatments: dict[str, list[int]] = defaultdict(list)
        self._digests = np.zeros((len(self.names), DIGEST_BYTES), np.uint8)
        self._cells = cells
        self._columns = columns
        self._kept: dict[int, Pixels] = {}
        self._wanted = {place for place in cells if place is not None}
        self._lock = threading.Lock()

    def add(self, place: int, found: Look, form: Form) -> None:
        """Note one good image."""
        digest = hashlib.blake2b(f"{found.shown}".encode() + found.pixels.tobytes(), digest_size=DIGEST_BYTES).digest()
        self._digests[place] = np.frombuffer(digest, np.uint8)
        resized = of_size(found.shown, *form.fitting)
        odd = [CROPPED, *found.treatments] if loses_much(found.shown, *form.fitting) else found.treatments
        with self._lock:
            self.num_good += 1
            self._sizes[found.shown] += 1
            self._modes[found.mode] += 1
            self._formats[found.file_format] += 1
            if resized:
                self._resizing[resized] += 1
            for done in odd:
                self._treatments[done].append(place)
            if place in self._wanted:
                self._kept[place] = found.pixels

    def bad_in_order(self) -> tuple[tuple[str, str], ...]:
        """Return (name, reason) of the bad images."""
        return tuple((self.names[place], reason) for place, reason in sorted(self.bad.items()))

    def survey(self, source: Source, facts: DataFacts, form: Form, seconds: float) -> Survey:
        """Return all that was noted."""
        return Survey(
            name=source.name,
            facts=facts,
            form=form,
            num_images={split: len(self.listings[split].names) for split in SPLITS},
            bad=self.bad_in_order(),
            sizes=dict(self._sizes.most_common()),
            modes=dict(self._modes.most_common()),
            formats=dict(self._formats.most_common()),
            class_names=self.listings["train"].class_names,
            class_counts=self._class_counts(),
            empty_classes=empty_class_folders(source),
            duplicates=() if form.size == (1, 1) else self._duplicates(),  # points held in 8 bits meet by chance
            treatments={
                done: tuple(self.names[place] for place in sorted(places))
                for done, places in sorted(self._treatments.items())
            },
            resizing=dict(self._resizing.most_common()),
            seconds=seconds,
            cells=self._contact_cells(form),
            columns=self._columns,
        )

    def _class_counts(self) -> dict[Split, tuple[int, ...]]:
        counts: dict[Split, tuple[int, ...]] = {}
        offset = 0
        for split in SPLITS:
            listing = self.listings[split]
            if listing.labels is not None:
                bad = [place - offset for place in self.bad if 0 <= place - offset < len(listing.names)]
                good = np.delete(listing.labels, bad)
                counts[split] = tuple(int(count) for count in np.bincount(good, minlength=len(listing.class_names)))
            offset += len(listing.names)
        return counts

    def _duplicates(self) -> tuple[tuple[str, ...], ...]:
        places = np.setdiff1d(np.arange(len(self.names)), list(self.bad))
        if not len(places):
            return ()
        _, inverse, counts = np.unique(self._digests[places], axis=0, return_inverse=True, return_counts=True)
        groups: dict[int, list[str]] = defaultdict(list)
        for place, group in zip(places, inverse.ravel(), strict=True):
            if counts[group] > 1:
                groups[int(group)].append(self.names[place])
        return tuple(sorted(tuple(names) for names in groups.values()))

    def _contact_cells(self, form: Form) -> Pixels:
        """Return the cells; those of images that could not be used are empty, at the end of their row."""
        cells = np.full((len(self._cells), form.channels, *form.size), 255, np.uint8)
        width = self._columns if self.listings["train"].class_names else len(cells)
        for start in range(0, len(cells), width):
            row = [place for place in self._cells[start : start + width] if place in self._kept]
            for cell, place in enumerate(row, start):
                cells[cell] = self._kept[place]
        return cells


def _contact_places(listing: Listing) -> tuple[list[int | None], int]:
    """Return which images go into which cell (None: an empty one), and the number of columns."""
    count = len(listing.names)
    if listing.labels is None:
        places = _evenly(np.arange(count), MOST_CELLS)
        return list(places), min(MOST_COLUMNS, len(places))
    shown = np.unique(listing.labels)[:MOST_CELLS]
    columns = max(1, min(MOST_COLUMNS, MOST_CELLS // len(shown)))
    cells: list[int | None] = []
    for label in shown:
        row = _evenly(np.flatnonzero(listing.labels == label), columns)
        cells += [*row, *[None] * (columns - len(row))]
    return cells, columns


def _evenly(places: NDArray[np.int64], most: int) -> list[int]:
    steps = np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(np.int64))
    return [int(place) for place in places[steps]]
