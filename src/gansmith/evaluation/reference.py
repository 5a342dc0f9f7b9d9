"""The real images that samples are compared with: the split they stand for, and those that nothing was trained on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gansmith.classifiers import LabelledData
from gansmith.data import DataFacts, DataSet, Source, facts_of, open_data, open_source
from gansmith.data.cache import Progress, cache_folder
from gansmith.data.sources import Split
from gansmith.errors import DataError, UsageError
from gansmith.images import POINT_SHAPE
from gansmith.report import Reference
from gansmith.sizes import Fit, Size, size_text
from gansmith.training.classify import HELD_OUT_ONE_IN, has_test_split, hold_out

FEWEST_IMAGES = 2


@dataclass(frozen=True)
class RealImages:
    """The real side of an evaluation, decoded at the size of the samples.

    Attributes:
        source: they were opened from.
        train: what a generator was trained on.
        test: the split of its own that it was not trained on, or None.
        facts: of the split that samples are compared with.
    """

    source: Source
    train: DataSet
    test: DataSet | None
    facts: Reference

    @property
    def compared(self) -> DataSet:
        """The split that samples are compared with."""
        return self.test if self.facts.split == "test" and self.test is not None else self.train

    @property
    def has_classes(self) -> bool:
        """Whether there are two classes or more."""
        return self.train.labels is not None and len(self.train.class_names) > 1

    def for_a_classifier(self) -> tuple[LabelledData, LabelledData]:
        """Return what to train a classifier on and what to test it on; without a test split a fifth is held out."""
        return hold_out(self.train) if self.test is None else (self.train, self.test)


def open_real(
    data: Any, size: Size, channels: int, split: Split = "train", fit: Fit = "crop",
    on_progress: Progress | None = None, *, num_compared: int | None = None, allow_bad: bool = False,
    say: Callable[[str], None] | None = None,
) -> RealImages:  # fmt: skip
    """Return the real images at the size and channels of the samples.

    Args:
        data: as for `open_data`.
        size: (height, width) of the samples.
        channels: of the samples.
        split: that samples are compared with.
        fit: how images of another shape are made to fit.
        on_progress: called now and then while decoding.
        num_compared: compare with so many images of the split; None: all.
        allow_bad: go on where more than 5 % of the images cannot be read.
        say: told what is decoded.

    Raises:
        DataError: there is no such data, or fewer than two images, or it holds points of the plane.
        UsageError: there is no test split to compare with.
    """
    source: Source = data if hasattr(data, "listing") and hasattr(data, "read") else open_source(data)
    facts = facts_of(source, cache_folder())
    if (facts.channels, *facts.size) == POINT_SHAPE:
        raise DataError(f"{source.name}: holds points of the plane; these scores are of images")
    has_test = has_test_split(source)
    if split == "test" and not has_test:
        raise UsageError(f"--split test: {source.name} has no test split; put images into a test/ folder beside train/")
    train = open_data(source, size, channels, "train", on_progress, fit=fit, allow_bad=allow_bad)
    test = open_data(source, size, channels, "test", on_progress, fit=fit, allow_bad=allow_bad) if has_test else None
    compared = test if split == "test" and test is not None else train
    if len(compared) < FEWEST_IMAGES:
        raise DataError(f"{source.name}: {len(compared)} image in its {split} split; nothing can be compared with that")
    held_out = "its test split" if has_test else f"none (for a classifier every {HELD_OUT_ONE_IN}th image is held out)"
    original = _original(facts, size, channels)
    if say and original:
        say(f"{source.name}: real images are brought from {original} to {_shape(size, channels)}")
    return RealImages(
        source,
        train,
        test,
        Reference(
            name=source.name,
            path=os.fspath(data) if isinstance(data, str | os.PathLike) else source.name,
            split=split,
            fingerprint=compared.fingerprint,
            num_images=len(compared),
            num_compared=min(num_compared or len(compared), len(compared)),
            num_held_out=0 if test is None else len(test),
            held_out=held_out,
            class_names=compared.class_names,
            fit=fit,
            original=original,
        ),
    )


def _original(facts: DataFacts, size: Size, channels: int) -> str:
    """Return what the images were, or "" where they had this shape already."""
    if facts.one_size and (facts.size, facts.channels) == (size, channels):
        return ""
    return ("" if facts.one_size else "mixed sizes around ") + _shape(facts.size, facts.channels)


def _shape(size: Size, channels: int) -> str:
    return f"{size_text(size)} of {channels} channel{'s' if channels > 1 else ''}"
