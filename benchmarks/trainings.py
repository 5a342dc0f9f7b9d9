"""What benchmarks of quality share: trainings in processes of their own, files with a line for each, ratios."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from busy import Meter, children_seconds

from gansmith import runtime
from gansmith.budget import Budget
from gansmith.data import open_source
from gansmith.evaluation.intervals import Interval, seeds_interval
from gansmith.recipe import Recipe
from gansmith.request import Request
from gansmith.training.log import Display
from gansmith.training.preparation import resolve

PROGRAM = Path(__file__).parent / "quality_training.py"


def train_apart(
    method: str, data: str, minutes: float, seed: int, folder: Path, overrides: Sequence[str] = ()
) -> tuple[dict[str, Any], float | None]:
    """Train in a process of its own; return what it says it did, and what other programs took meanwhile.

    Args:
        method: a recipe's name, or `quality_training.PLAIN`.
        data: as `gansmith train` takes it.
        minutes: of training alone.
        seed: of everything random.
        folder: of the run; an interrupted one is gone on with.
        overrides: `field=value` texts.

    Returns:
        recipe_id, precision, weights, images_seen and training_seconds; and the processor time of other programs in
        shares of one core, None where it is not known.
    """
    words = [method, data, str(minutes), str(seed), str(folder), *overrides]
    meter, before = Meter(), children_seconds()
    training = subprocess.run([sys.executable, str(PROGRAM), *words], stdout=subprocess.PIPE, text=True, check=False)
    others_share = meter.others_share(children_seconds() - before)
    if training.returncode:
        sys.exit(f"the training of {method}, seed {seed}, ended with exit code {training.returncode}")
    return json.loads(training.stdout.splitlines()[-1]), others_share


def resolved_recipe(method: str, data: str, minutes: float, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe that a training of now would have: of `auto` it depends on the machine.

    Raises:
        UsageError: there is no such recipe.
    """
    request, device = Request(method, tuple(overrides)), runtime.choose_device()
    return resolve(request, open_source(data), device, Budget(minutes=minutes), Display(quiet=True)).recipe


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines, the newest first; none where there is no file."""
    return [json.loads(line) for line in reversed(path.read_text().splitlines())] if path.exists() else []


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add a record to the file, which is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def ratio_of(values: Mapping[tuple[str, int], float], first: str, second: str) -> tuple[float, Interval | None]:
    """Return how many times a method's value is of another's: the geometric mean over the seeds that both have.

    From three seeds on with its 95 % interval (Student's t on the logarithms).

    Args:
        values: above 0, by method and seed.
        first: a method.
        second: the method it is compared with.

    Raises:
        ValueError: they have no seed in common.
    """
    seeds = sorted(seed for method, seed in values if method == first and (second, seed) in values)
    if not seeds:
        raise ValueError(f"{first} and {second} have no seed in common")
    logs = [math.log(values[first, seed] / values[second, seed]) for seed in seeds]
    if len(logs) < 3:
        return math.exp(fmean(logs)), None
    low, high = seeds_interval(logs)
    return math.exp(fmean(logs)), (math.exp(low), math.exp(high))
