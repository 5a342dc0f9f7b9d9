"""What takes part: our training exactly as `training/loop.py` does it, and the plain loop of `benchmarks/plain.py`."""

from __future__ import annotations

import hashlib
import importlib
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gansmith import runtime
from gansmith.data import Batch, DataSet, open_data
from gansmith.errors import UsageError
from gansmith.images import Pixels
from gansmith.recipe import Recipe
from gansmith.training.loop import Batches
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.totals import Totals

NOISE_IMAGES = 10_000
WORKERS = (0, 1, 2)
PLAIN_FILES = ("plain.py", "plain_models.py", "plain_r3gan.py")
CPU = torch.device("cpu")


class OurTraining:
    """Our training of a recipe, step by step.

    Args:
        recipe: in the precision to train in.
        data: to read from.
        seed: of the run.

    Attributes:
        objective, state: as in training.
        images: real images in a step, of all ranks together.
    """

    def __init__(self, recipe: Recipe, data: DataSet, seed: int = 0) -> None:
        self.objective = OBJECTIVES[recipe.objective]
        self.state = self.objective.initialise(recipe, seed, CPU)
        self.images = self.objective.batches(recipe)["real_d"]
        self._batches, self._totals = Batches(self.objective, self.state, data), Totals()

    def read(self) -> dict[str, Batch]:
        """Return the next step's batches."""
        return self._batches.next()

    def train(self, batches: dict[str, Batch]) -> None:
        """Take a step on them."""
        self._totals.add(self.objective.step(self.state, batches))

    def step(self) -> None:
        """Read and train."""
        self.train(self.read())


def noise(recipe: Recipe, count: int = NOISE_IMAGES) -> DataSet:
    """Return random images of the recipe's shape."""
    images = np.random.default_rng(0).integers(0, 256, (count, recipe.channels, *recipe.size), dtype=np.uint8)
    return data_set("noise", images)


def data_set(name: str, images: Pixels) -> DataSet:
    """Return images (N, C, H, W) as a data set without classes."""
    return DataSet(name, images, labels=None, class_names=(), fingerprint=name, skipped=(), num_refitted=0)


def images_for(recipe: Recipe, source: str | None) -> DataSet:
    """Return the images of a source at the recipe's shape, or noise if there is no source.

    Raises:
        DataError: the source cannot be read.
    """
    return noise(recipe) if source is None else open_data(source, recipe.size, recipe.channels)


def plain_folder() -> Path:
    """Return where the plain loop lies: `benchmarks/` of a source checkout, or where the installation put its copy.

    Raises:
        UsageError: it is at neither.
    """
    checkout = Path(__file__).parents[3] / "benchmarks"
    installed = Path(sysconfig.get_path("data")) / "share" / "gansmith" / "benchmarks"
    for folder in (checkout, installed):
        if all((folder / name).exists() for name in PLAIN_FILES):
            return folder
    raise UsageError(
        f"bench: {PLAIN_FILES[0]}, the plain loop to compare with, is neither in {checkout} nor in {installed}; "
        "run it from a source checkout of gansmith, or install gansmith again"
    )


def plain_hashes() -> dict[str, str]:
    """Return the first 12 hex digits of the sha256 of each file of the plain loop."""
    folder = plain_folder()
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()[:12] for name in PLAIN_FILES}


def plain_module() -> Any:
    """Return the module `plain`; the workers of its loader must be able to import it too."""
    folder = str(plain_folder())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("plain")


def plain_loop(recipe: Recipe, images: Pixels, workers: int) -> Any:
    """Return a plain loop for a recipe.

    Raises:
        UsageError: it does not do what the recipe asks for.
    """
    try:
        return plain_module().PlainLoop(recipe.model_dump(mode="json"), images, workers, 0)
    except ValueError as error:
        raise UsageError(f"bench: {error}") from error


def fastest_plain_loop(recipe: Recipe, images: Pixels, seconds: float) -> tuple[Any, int]:
    """Return the plain loop with the number of workers, 0, 1 or 2, that is fastest in a short trial, and that number.

    Args:
        recipe: to train.
        images: (N, C, H, W) uint8.
        seconds: of each trial, at least; it is one step at least, after a first one.
    """
    runtime.use_default_allocations()
    best, best_rate, best_workers = None, 0.0, 0
    for workers in WORKERS:
        loop = plain_loop(recipe, images, workers)
        loop.step()
        begun, steps = time.perf_counter(), 0
        while (passed := time.perf_counter() - begun) < seconds or not steps:
            loop.step()
            steps += 1
        if steps / passed > best_rate:
            best, best_rate, best_workers = loop, steps / passed, workers
    return best, best_workers
