"""Any Python object that has items."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from gansmith.data.sources.base import MOST_CLASSES, Listing, Split
from gansmith.errors import DataError

NO_LABEL = -(2**62)
IMAGE_KEYS = ("image", "img")
LABEL_KEYS = ("label", "labels", "fine_label")


class ObjectSource:
    """Any Python object with `__len__` and `__getitem__`, such as a list of arrays or a torchvision data set.

    An item is an image; or a tuple or list whose first two values are an image and an integer label; or a dictionary
    with `image` (or `img`) and perhaps `label` (or `fine_label`), as Hugging Face data sets have. An image is a Pillow
    image, encoded bytes, a uint8 array (H, W) or (H, W, C), or a tensor (C, H, W), uint8 or float in [0, 1].
    """

    def __init__(self, items: Any) -> None:
        self.items = items
        self.name = type(items).__name__.lower()
        self.stamp = None  # nothing cheap tells whether it changed, so it is read anew each time
        self._train: Listing | None = None

    def listing(self, split: Split) -> Listing:
        """Return all items as the train split; reading their labels takes a pass over them. There is no test split.

        Raises:
            DataError: items are no images, or have labels that cannot be used.
        """
        if split == "test":
            return Listing([])
        self._train = self._train or self._list_all()
        return self._train

    def _list_all(self) -> Listing:
        names = [str(index) for index in range(len(self.items))]
        if not names:
            return Listing(names)
        self._check_first()
        if self._label(0) == NO_LABEL:
            return Listing(names)
        found = [self._label(index) for index in range(len(names))]
        labels = [label for label in found if label is not None]
        if NO_LABEL in labels:
            raise DataError(f"{self.name}: item {found.index(NO_LABEL)} has no label, others have")
        if not labels:
            return Listing(names)
        known = self._class_names() or [str(label) for label in range(min(max(labels) + 1, MOST_CLASSES))]
        if not 0 <= min(labels) <= max(labels) < len(known):
            raise DataError(
                f"{self.name}: labels go from {min(labels)} to {max(labels)}, classes from 0 to {len(known) - 1}"
            )
        filled = np.array([0 if label is None else label for label in found], np.int64)
        return Listing(names, filled, tuple(str(name) for name in known))

    def _check_first(self) -> None:
        """Say at once that items are, for example, file names, and not that none of 50,000 images can be read."""
        try:
            item = self.items[0]
        except (OSError, ValueError):
            return  # a bad item, and perhaps the only one
        image = self._image(item)
        if not (hasattr(image, "__array__") or isinstance(image, Image.Image | bytes)):
            shown = f"{str(image)[:40]!r}" if isinstance(image, str) else type(image).__name__
            keys = f" with the keys {', '.join(map(str, item))}" if isinstance(item, dict) else ""
            raise DataError(
                f"{self.name}: item 0 is a {type(item).__name__}{keys}, its image is {shown}; an item is an image "
                "(Pillow, array or tensor), (image, label), or {'image': ..., 'label': ...}"
            )

    def _class_names(self) -> list[str] | None:
        if known := getattr(self.items, "classes", None):
            return list(known)
        features = getattr(self.items, "features", None)  # of a Hugging Face data set
        if isinstance(features, dict):
            for key in LABEL_KEYS:
                if names := getattr(features.get(key), "names", None):
                    return list(names)
        return None

    def _label(self, index: int) -> int | None:
        """Return the label, `NO_LABEL` if the item has none, or None if it cannot be read (and so will be skipped)."""
        try:
            item = self.items[index]
        except (OSError, ValueError):
            return None
        if isinstance(item, dict):
            label = next((item[key] for key in LABEL_KEYS if key in item), NO_LABEL)
        else:
            label = item[1] if isinstance(item, tuple | list) and len(item) > 1 else NO_LABEL
        try:
            return int(label)
        except (TypeError, ValueError):
            raise DataError(f"{self.name}: the label of item {index} is {label!r}, not a whole number") from None

    @staticmethod
    def _image(item: Any) -> Any:
        if isinstance(item, dict):
            image = next((item[key] for key in IMAGE_KEYS if key in item), None)
            return image["bytes"] if isinstance(image, dict) and "bytes" in image else image
        return item[0] if isinstance(item, tuple | list) and item else item

    def read(self, name: str) -> Any:
        """Return the image of an item."""
        return self._image(self.items[int(name)])
