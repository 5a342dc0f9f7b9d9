"""The pictures of a run: how many there are in a grid, which reals are shown, and saving them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from gansmith.data import Batch, DataSet, Order
from gansmith.data.order import Indices
from gansmith.images import POINT_SHAPE, save_grid, save_scatter, to_float
from gansmith.recipe import Recipe

PREVIEW_COLUMNS, PREVIEW_CLASSES = 8, 32
PREVIEW_COUNT, PREVIEW_POINTS = PREVIEW_COLUMNS**2, 1_000


def preview_count(recipe: Recipe) -> int:
    """Return how many samples of an unconditional generator a preview shows: more of points than of pictures."""
    return PREVIEW_POINTS if (recipe.channels, *recipe.size) == POINT_SHAPE else PREVIEW_COUNT


def shown_reals(data: DataSet, recipe: Recipe) -> Batch:
    """Return the items of the grid of reals, images as float32 in [-1, 1]: as in the previews, a row of each class
    where they matter.
    """
    batch = data.batch(_places_of_reals(data, recipe))
    return Batch(to_float(batch.images), batch.labels, batch.condition)


def _places_of_reals(data: DataSet, recipe: Recipe) -> Indices:
    order, labels = Order(0, len(data), "grid of reals").indices(0, len(data)), data.labels
    if not recipe.num_classes or labels is None:
        return np.resize(order, preview_count(recipe))
    rows = [order[labels[order] == label] for label in range(min(len(data.class_names), PREVIEW_CLASSES))]
    return np.concatenate([np.resize(row, PREVIEW_COLUMNS) for row in rows if len(row)])


def save_preview(samples: Tensor, path: Path) -> Path:
    """Write a grid of images, eight in a row, a scatter of points, or an array for what is no picture (.npz); return
    the path.
    """
    if samples.ndim == 4 and samples.shape[1:] == POINT_SHAPE:
        return save_scatter(samples, path)
    if samples.ndim == 4:
        return save_grid(samples, path, PREVIEW_COLUMNS)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path.with_suffix(".npz"), samples=samples.numpy())
    return path.with_suffix(".npz")
