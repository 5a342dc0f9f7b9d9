"""The digits that come with the package."""

from __future__ import annotations

from importlib import resources

import numpy as np
from PIL import Image

from gansmith.data.sources.base import Listing, Split


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
