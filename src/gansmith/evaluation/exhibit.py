"""What a report shows beside its numbers: pictures, grids over time, curves, the recipe. `page.py` lays it out.

Values only; `run_exhibit` collects what a run folder holds of them.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from torch import Tensor

from gansmith.images import grid_png
from gansmith.report import Subject
from gansmith.training.folder import CONFIG
from gansmith.training.log import Metrics

MOST_FRAMES, MOST_POINTS = 24, 500
NUM_IN_GRID, COLUMNS = 64, 8
SAMPLES_TITLES = {"generator": "The samples", "images": "The images"}
"""Of the picture of what was measured, by the kind of subject."""
FRAMES_BYTES = 4_000_000
SMALLER = ((1024, 85), (768, 75), (512, 65))
"""(longest side in pixels, WebP quality) tried in turn where frames are more than `FRAMES_BYTES`."""
EVALUATIONS = "evaluations.jsonl"
NAMES = {"loss_d": "discriminator", "loss_g": "generator", "d_accuracy": "accuracy", "kl": "KL"}
TITLES = {"d_accuracy": "Discriminator accuracy", "kl": "KL divergence"}
UNITS = {"d_accuracy": "share of pairs told right", "images_per_second": "images a second"}
BOOKKEEPING = ("images", "steps", "seconds", "time", "wait_share", "memory_mb", "health")
"""Fields of a record that say nothing about how training goes."""
Item = TypeVar("Item")
log = logging.getLogger("gansmith")


@dataclass(frozen=True)
class Picture:
    """One picture of a report.

    Attributes:
        title: "Reals and samples".
        caption: what is to be seen, in a sentence.
        png: the file, PNG or WebP.
        alt: the same for people who cannot see it.
    """

    title: str
    caption: str
    png: bytes
    alt: str


@dataclass(frozen=True)
class Frame:
    """A grid of samples at one moment of training.

    Attributes:
        images: seen until then.
        png: the file, PNG or WebP.
    """

    images: int
    png: bytes


@dataclass(frozen=True)
class Line:
    """One line of a chart; `xs` and `ys` are equally long, and a point that is not finite is a gap."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]


@dataclass(frozen=True)
class Curve:
    """A chart of one or more lines over the same quantity."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Exhibit:
    """Everything that a report shows beside its numbers.

    Attributes:
        pictures: in the order shown.
        frames: grids over time, oldest first.
        curves: in the order shown.
        recipe_yaml: the run's `config.yaml`, its recipe with it; None where there is none.
        config_note: a sentence above it, such as who chose the recipe.
    """

    pictures: tuple[Picture, ...] = ()
    frames: tuple[Frame, ...] = ()
    curves: tuple[Curve, ...] = ()
    recipe_yaml: str | None = None
    config_note: str | None = None

    @property
    def samples(self) -> Picture | None:
        """The picture of what was measured, or None."""
        return next((picture for picture in self.pictures if picture.title in SAMPLES_TITLES.values()), None)


def samples_picture(subject: Subject, images: Tensor) -> Picture:
    """Return the picture of what is measured: the first 64 of images (N, C, H, W) uint8, N >= 1."""
    title = SAMPLES_TITLES[subject.kind]
    what = title.split()[-1]
    return Picture(
        title, f"The first {min(NUM_IN_GRID, len(images))} of those measured: none is picked out.",
        grid_png(images[:NUM_IN_GRID], COLUMNS), f"A grid of {what} of {subject.name}",
    )  # fmt: skip


def run_exhibit(run_folder: Path) -> tuple[tuple[Frame, ...], tuple[Curve, ...], str | None]:
    """Return the frames, curves and config text that a run folder holds; what it does not hold is empty or None.

    At most 24 frames (first and last among them, the others evenly chosen) and 500 points a line; frames that
    would take more than 4 MB are made smaller.
    """
    records = Metrics(run_folder / "metrics.jsonl").read()
    evaluations = Metrics(run_folder / EVALUATIONS).read()
    config = run_folder / CONFIG
    return (
        run_frames(run_folder),
        (*evaluation_curves(evaluations), *training_curves(records)),
        config.read_text(encoding="utf-8", errors="replace") if config.is_file() else None,
    )


def run_frames(run_folder: Path, most: int = MOST_FRAMES) -> tuple[Frame, ...]:
    """Return at most `most` (from 1) of a run's sample grids, oldest first, the newest always among them."""
    paths = {int(path.stem): path for path in (run_folder / "samples").glob("*.png") if path.stem.isdecimal()}
    frames = []
    for images in evenly(sorted(paths), most):
        data = paths[images].read_bytes()
        try:
            with Image.open(io.BytesIO(data)) as picture:
                picture.verify()
        except (OSError, SyntaxError) as error:
            log.warning("%s: not a readable picture (%s); the report goes without it", paths[images], error)
            continue
        frames.append(Frame(images, data))
    return _within_bytes(frames)


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most `most` (from 1) of `items` in their order, evenly chosen, with the first and the last."""
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[-1]]
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def training_curves(records: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    """Return what `metrics.jsonl` says over images seen: losses, whatever else the objective records, speed."""
    keys = [key for key in dict.fromkeys(key for record in records for key in record) if key not in BOOKKEEPING]
    losses = [key for key in keys if key == "loss" or key.startswith("loss_")]
    penalties = [key for key in keys if key.startswith("penalty_")]
    groups = [
        ("Losses", "loss", {key: NAMES.get(key, _words(key, "loss_")) for key in losses}),
        ("Penalties", "penalty", {key: _words(key, "penalty_") for key in penalties}),
        *(
            (TITLES.get(key, _words(key).capitalize()), UNITS.get(key, ""), {key: NAMES.get(key, _words(key))})
            for key in keys
            if key not in (*losses, *penalties, "images_per_second")
        ),
        ("Speed", UNITS["images_per_second"], {key: "speed" for key in keys if key == "images_per_second"}),
    ]
    return tuple(
        Curve(title, "images seen", unit, tuple(_line(records, key, name) for key, name in names.items()))
        for title, unit, names in groups
        if names
    )


def evaluation_curves(records: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    """Return one chart for each score that was measured while training, on each number of samples."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for record in records:
        if "score" in record:
            groups.setdefault((record["score"], record["num_samples"]), []).append(record)
    return tuple(
        Curve(
            f"{name} of {count:,} samples while training", "images seen", "score", (_line(group, "value", name),)
        )
        for (name, count), group in groups.items()
    )  # fmt: skip


def _line(records: Sequence[Mapping[str, Any]], key: str, name: str) -> Line:
    points = [
        (float(record["images"]), math.nan if record[key] is None else float(record[key]))
        for record in records
        if key in record
    ]
    chosen = evenly(points, MOST_POINTS)
    return Line(name, tuple(x for x, _ in chosen), tuple(y for _, y in chosen))


def _words(key: str, prefix: str = "") -> str:
    return key.removeprefix(prefix).replace("_", " ")


def _within_bytes(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    smaller = list(frames)
    for side, quality in SMALLER:
        if sum(len(frame.png) for frame in smaller) <= FRAMES_BYTES:
            break
        smaller = [Frame(frame.images, _webp(frame.png, side, quality)) for frame in frames]
    return tuple(smaller)


def _webp(data: bytes, side: int, quality: int) -> bytes:
    with Image.open(io.BytesIO(data)) as picture:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        picture.save(file, "WEBP", quality=quality)
    return file.getvalue()
