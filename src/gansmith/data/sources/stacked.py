"""Stacked images: three random grey images as the channels of one, so that 10 classes make 1,000 modes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gansmith.data.conversion import BadImageError
from gansmith.data.decode import PILLOW_ERRORS, array_of, decode, open_image
from gansmith.data.sources.base import MOST_CLASSES, Listing, Source, Split, stamp_of
from gansmith.errors import DataError

SEEDS: dict[str, int] = {"train": 0, "test": 1}


class StackedSource:
    """Three images of another source in each, as red, green and blue (Srivastava et al. 2017; Metz et al. 2017).

    Item i of n is made of the images `Philox(key=seed).integers(0, n, (n, 3))[i]`, with seed 0 for the train split and
    1 for the test split: always the same, and as many as the other source has. Colour images are made grey. With K
    classes the label of (a, b, c) is K^2 a + K b + c. An item with an image that cannot be used is not used.

    Args:
        inner: the other source, with labels.
    """

    def __init__(self, inner: Source) -> None:
        self.inner = inner
        self.name = f"stacked-{inner.name}"
        self.stamp = None if inner.stamp is None else stamp_of("stacked-1", inner.stamp)
        self._kept: dict[Split, tuple[Listing, NDArray[np.int64]]] = {}
        self._lock = threading.RLock()

    def listing(self, split: Split) -> Listing:
        """Return as many items as the inner split has.

        Raises:
            DataError: there are no labels, or more than a million combinations.
        """
        listing, chosen = self._chosen(split)
        if not listing.names:
            return Listing([])
        num_classes = len(listing.class_names)
        if listing.labels is None or not 0 < num_classes**3 <= MOST_CLASSES:
            raise DataError(f"{self.name}: {self.inner.name} has {num_classes} classes; stacking needs from 1 to 100")
        labels = listing.labels[chosen] @ np.array([num_classes**2, num_classes, 1])
        joint = "" if all(len(name) == 1 for name in listing.class_names) else "+"
        names = listing.class_names
        return Listing(
            [f"{split}/{item}" for item in range(len(chosen))], labels,
            tuple(joint.join((a, b, c)) for a in names for b in names for c in names),
        )  # fmt: skip

    def read(self, name: str) -> NDArray[np.uint8]:
        """Return one item, (H, W, 3); H and W are those of its first image.

        Raises:
            ValueError: one of its three images cannot be used; the message names it.
        """
        split, _, item = name.partition("/")
        listing, chosen = self._chosen("test" if split == "test" else "train")
        channels: list[NDArray[np.uint8]] = []
        for place in chosen[int(item)]:
            inner = listing.names[place]
            try:
                raw, size = _opened(self.inner.read(inner))
                channels.append(decode(raw, channels[0].shape if channels else size, 1)[0][0])
            except BadImageError as error:
                raise BadImageError(f"{inner}: {error}") from error
        return np.stack(channels, axis=2)

    def _chosen(self, split: Split) -> tuple[Listing, NDArray[np.int64]]:
        with self._lock:
            if split not in self._kept:
                listing = self.inner.listing(split)
                count = len(listing.names)
                random = np.random.Generator(np.random.Philox(key=SEEDS[split]))
                chosen = random.integers(0, max(count, 1), (count, 3))
                self._kept[split] = listing, chosen
            return self._kept[split]


def _opened(raw: Any) -> tuple[Any, tuple[int, int]]:
    """Return what `decode` takes, and its (height, width) as shown."""
    if isinstance(raw, bytes):
        raw = open_image(raw)
    if isinstance(raw, Image.Image):
        try:
            raw = ImageOps.exif_transpose(raw)
        except PILLOW_ERRORS as error:
            raise BadImageError(str(error) or type(error).__name__) from error
        return raw, (raw.height, raw.width)
    pixels = array_of(raw)
    return raw, (pixels.shape[1], pixels.shape[2])
