"""What a run does about its health: words into its records, and how near samples lie to the images of a small set.

The latter is looked at with every preview, quickly; `evaluation/memorisation.py` is the judgement that a report gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gansmith.data import DataSet, StreamedSet
from gansmith.evaluation.memorisation import small_images
from gansmith.evaluation.neighbours import nearest_others
from gansmith.images import POINT_SHAPE, to_uint8
from gansmith.recipe import Recipe
from gansmith.training.health import HEALTHY, Monitor

MOST_REALS = 5_000
"""Images of a data set that is watched; of more, a generator learns none by heart within its budget."""
NUM_COMPARED = 64
"""Samples, and reals, whose nearest real is looked for."""


class Checkup:
    """Judges one run while it is trained.

    Args:
        recipe: of the run.
        data: that it is trained on.
    """

    def __init__(self, recipe: Recipe, data: DataSet | StreamedSet) -> None:
        self._recipe, self._monitor = recipe, Monitor(recipe)
        self._nearness = Nearness(data) if recipe.objective == "adversarial" else None
        self._nearest_real: float | None = None  # of the newest preview, until it is recorded

    def begin(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Go on from the records of the run so far."""
        self._monitor = Monitor(self._recipe, records)

    def look(self, samples: Tensor, images: int) -> None:
        """Look at the samples of a preview, at so many images seen."""
        if self._nearness is not None and images:
            self._nearest_real = self._nearness.of(samples)

    def judge(self, record: dict[str, Any]) -> list[str]:
        """Put into a new record how training stands; return what is new to be said of it."""
        if self._nearest_real is not None:
            record["nearest_real"], self._nearest_real = self._nearest_real, None
        before, said = self._monitor.health, self._monitor.take(record)
        if self._monitor.health is not None:
            record["health"] = self._monitor.health.verdict
        return said.lines() if said is not None and (before is not None or said.verdict != HEALTHY) else []

    def summary(self) -> list[str]:
        """Return what is said at the end: nothing of a run that was too short to be judged."""
        health = self._monitor.current()
        return [] if health is None else health.lines()


class Nearness:
    """Of samples to the images of one data set.

    Args:
        data: that a generator is trained on.
    """

    def __init__(self, data: DataSet | StreamedSet) -> None:
        self._data = data

    @cached_property
    def _reals(self) -> tuple[Tensor, float] | None:
        """Reals (M, D) uint8, and the median distance of some of them from their nearest other."""
        data = self._data
        if not isinstance(data, DataSet) or not 2 <= len(data) <= MOST_REALS or data.images.shape[1:] == POINT_SHAPE:
            return None
        pixels = small_images(torch.from_numpy(data.images.copy())).flatten(1)
        own = torch.arange(min(NUM_COMPARED, len(pixels))) * len(pixels) // min(NUM_COMPARED, len(pixels))
        usual = float(nearest_others(pixels[own], pixels, 1, own)[0].median())
        return (pixels, usual) if usual else None

    def of(self, samples: Tensor) -> float | None:
        """Return the median distance of samples from their nearest real, over that of reals from their nearest other.

        About 1 where samples are new images of the same kind, 0 where each is one of the reals. None for points,
        streams, sets of more than 5,000 images or fewer than two, and where most images are there twice.

        Args:
            samples: (N, C, H, W) float32 in [-1, 1] on the CPU; 64 of them are looked at.
        """
        if self._reals is None:
            return None
        reals, usual = self._reals
        pixels = small_images(to_uint8(samples[:NUM_COMPARED])).flatten(1)
        return round(float(nearest_others(pixels, reals, 1, None)[0].median()) / usual, 6)
