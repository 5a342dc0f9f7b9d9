"""The pictures of a report: reals beside samples, rows of each class, samples over their nearest training images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gansmith.evaluation.context import Context
from gansmith.evaluation.exhibit import Exhibit, Picture, run_exhibit
from gansmith.evaluation.results import labels_of_samples
from gansmith.images import grid_png
from gansmith.report import Score

NUM_IN_GRID, COLUMNS = 64, 8
CLASS_COLUMNS, MOST_CLASS_ROWS = 10, 20
PAIR_COLUMNS, PAIR_ROWS = 12, 2
WHITE = 255


def exhibit_of(context: Context, scores: tuple[Score, ...]) -> Exhibit:
    """Return everything that the report shows beside its numbers."""
    run = context.samples.run
    frames, curves, config = run_exhibit(run) if run else ((), (), None)
    pictures = [*_side_by_side(context), *_rows_of_classes(context), *_pairs(context, scores)]
    return Exhibit(tuple(pictures), frames, curves, config)


def _side_by_side(context: Context) -> list[Picture]:
    samples, real = context.samples, context.real
    random = np.random.Generator(np.random.Philox(key=0))
    places = random.permutation(len(real.compared))[:NUM_IN_GRID]
    what = "samples" if samples.facts.kind == "generator" else "images"
    return [
        Picture(
            "Real images", f"{len(places)} images of {real.facts.name} ({real.facts.split}), drawn at random.",
            grid_png(real.compared.batch(places).images, COLUMNS), f"A grid of real images of {real.facts.name}",
        ),
        Picture(
            f"The {what}", f"The first {min(NUM_IN_GRID, len(samples.images))} of those measured: none is picked out.",
            grid_png(samples.images[:NUM_IN_GRID], COLUMNS), f"A grid of {what} of {samples.facts.name}",
        ),
    ]  # fmt: skip


def _rows_of_classes(context: Context) -> list[Picture]:
    names, samples = context.real.facts.class_names, context.samples
    labels, how = labels_of_samples(context)
    if labels is None:
        return []
    num_rows = min(len(names), MOST_CLASS_ROWS)
    cells = torch.full((num_rows * CLASS_COLUMNS, *samples.images.shape[1:]), WHITE, dtype=torch.uint8)
    for label in range(num_rows):
        found = samples.images[labels == label][:CLASS_COLUMNS]
        cells[label * CLASS_COLUMNS : label * CLASS_COLUMNS + len(found)] = found
    shown = f"{', '.join(names[:num_rows])}{', ...' if len(names) > num_rows else ''}"
    caption = f"From the top: {shown}; {how}. The first {CLASS_COLUMNS} of each; a white cell: there are no more."
    return [Picture("Rows of classes", caption, grid_png(cells, CLASS_COLUMNS), "Samples in a row for each class")]


def _pairs(context: Context, scores: tuple[Score, ...]) -> list[Picture]:
    if not any(score.name == "memorisation" and score.value is not None for score in scores):
        return []
    first = np.arange(min(PAIR_COLUMNS * PAIR_ROWS, context.num_samples))
    worst = context.nearness.relative.argsort(stable=True)[: PAIR_COLUMNS * PAIR_ROWS].numpy()
    return [
        Picture(
            "Nearest training images",
            "Samples, and below each the training image that is nearest in pixels. Like, but not the same, is right.",
            grid_png(_over_each_other(context, first), PAIR_COLUMNS), "Samples over their nearest training images",
        ),
        Picture(
            "The worst pairs",
            "The samples that are nearest to a training image for how near they are to others, with that image below.",
            grid_png(_over_each_other(context, worst), PAIR_COLUMNS), "The samples most like a training image, over it",
        ),
    ]  # fmt: skip


def _over_each_other(context: Context, places: NDArray[np.int64]) -> Tensor:
    """Return rows of samples, each followed by the row of their nearest training images."""
    rows = []
    for start in range(0, len(places), PAIR_COLUMNS):
        part = places[start : start + PAIR_COLUMNS]
        nearest = context.real.train.batch(context.nearness.indices[part].numpy()).images
        for row in (context.samples.images[part], nearest):
            padding = torch.full((PAIR_COLUMNS - len(row), *row.shape[1:]), WHITE, dtype=torch.uint8)
            rows.append(torch.cat([row, padding]))
    return torch.cat(rows)
