"""A run as TensorBoard shows it: `tensorboard --logdir RUN`. Needs the extra `track`.

Beside `metrics.jsonl`, never instead of it: events are written, not read. A step is an image seen.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from gansmith.errors import ResourceError, UsageError
from gansmith.recipe import Recipe

FOLDER = "tensorboard"
EVENTS = "events.out.tfevents."
"""What the name of an event file begins with."""
NOT_SCALARS = frozenset({"images", "time"})
"""Of a record: the step, and the moment it was made at."""


def require_tensorboard() -> None:
    """Raise a UsageError that says what to install, unless TensorBoard is there."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError("--track needs TensorBoard: pip install 'gansmith[track]'")


class Tracker:
    """Writes the records and pictures of a run into `<run>/tensorboard/`.

    Where a run goes on, what earlier processes wrote after its checkpoint is hidden. Where it was not tracked before,
    its earlier records are written first.

    Args:
        run: its folder.
        recipe: shown as text.
        images: seen so far: records and pictures up to here are kept.
        records: of `metrics.jsonl`, up to here.

    Raises:
        UsageError: TensorBoard is not installed.
        ResourceError: the folder cannot be written to.
    """

    def __init__(self, run: Path, recipe: Recipe, images: int = 0, records: Sequence[dict[str, Any]] = ()) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._folder = run / FOLDER
        with self._told():
            earlier = sorted(self._folder.glob(f"{EVENTS}*"))
            if images == 0:  # the run starts over; its text would stay visible
                for path in earlier:
                    path.unlink()
                earlier = []
            if earlier and earlier[-1].name >= f"{EVENTS}{int(time.time()):010d}":
                _number(earlier)
            self._writer = SummaryWriter(self._folder, purge_step=images + 1 if earlier else None)
            if not earlier:
                self._writer.add_text("recipe", _as_code([f"recipe id: {recipe.id}", *_yaml_lines(recipe)]), 0)
                for record in records:
                    self._add(record)

    def record(self, record: dict[str, Any]) -> None:
        """Add one record, such as `Metrics.append` takes: every number in it is a curve of its name."""
        with self._told():
            self._add(record)
            self._writer.flush()

    def _add(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name not in NOT_SCALARS and isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(name, value, record["images"], walltime=record.get("time"))

    def picture(self, path: Path, images: int) -> None:
        """Add a preview that was saved as a picture, at so many images seen."""
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
        with self._told():
            self._writer.add_image("samples", pixels, images, dataformats="HW" if pixels.ndim == 2 else "HWC")
            self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        with self._told():
            self._writer.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ResourceError(f"{self._folder}: cannot be written to ({error.strerror or error})") from error


def _number(paths: list[Path]) -> None:
    """Rename event files, in their order, so that a new one comes after them.

    TensorBoard reads files in the order of their names, and these begin with the second in which a process began: of
    two of one second, or where the clock was set back, the later one could come first.
    """
    for number, path in enumerate(paths):
        path.rename(path.with_name(f"{EVENTS}{number:010d}"))


def _yaml_lines(recipe: Recipe) -> list[str]:
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, default_flow_style=None)
    return text.splitlines()


def _as_code(lines: list[str]) -> str:
    return "".join(f"    {line}\n" for line in lines)  # Markdown: four spaces
