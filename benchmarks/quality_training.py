"""One training of `quality_per_minute.py` or `families.py`, in a process of its own; its last line says what it did.

python benchmarks/quality_training.py METHOD DATA MINUTES SEED FOLDER [FIELD=VALUE ...]
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from plain import PlainLoop, state_dict_from_plain

import gansmith
from gansmith.build import build_generator
from gansmith.data import open_data
from gansmith.models import Model
from gansmith.recipes import recipe_function

PLAIN = "plain dcgan-28"
WORKERS = 0
"""Of the plain loop's DataLoader: a batch takes it a hundredth of a step, which more processes would not win back."""


def main() -> None:
    """Train and say what was done."""
    method, data, minutes, seed, folder, *overrides = sys.argv[1:]
    given = (method, data, float(minutes), int(seed), Path(folder))
    print(json.dumps(train_plain(*given) if method == PLAIN else train_ours(*given, overrides)))


def train_ours(method: str, data: str, minutes: float, seed: int, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Train the recipe of that name as the product does, or go on with a training that was interrupted."""
    run = gansmith.train(data, method, overrides=overrides, minutes=minutes, seed=seed, out=folder, quiet=True)
    return {
        "recipe_id": run.recipe.id,
        "precision": run.recipe.precision,
        "weights": "averaged (EMA), batch-norm statistics measured for the average",
        "images_seen": run.images_seen,
        "training_seconds": run.seconds,
    }


def train_plain(method: str, data: str, minutes: float, seed: int, folder: Path) -> dict[str, Any]:
    """Train the plain loop for so many minutes of steps; save its generator as one of gansmith's."""
    recipe = recipe_function(method.removeprefix("plain "))()
    images = open_data(data, recipe.size, recipe.channels)
    loop = PlainLoop(
        recipe.model_dump(mode="json"), images.batch(np.arange(len(images))).images.numpy(), workers=WORKERS, seed=seed
    )
    begun = time.perf_counter()
    while time.perf_counter() - begun < 60 * minutes:
        loop.step()
    seconds = time.perf_counter() - begun
    generator = build_generator(recipe)
    generator.load_state_dict(state_dict_from_plain(loop.generator))
    gansmith.save_pretrained(Model(generator.eval(), recipe, loop.images_seen), folder)
    return {
        "recipe_id": recipe.id,
        "precision": recipe.precision,
        "weights": "as trained, no average; batch norm with its running statistics",
        "images_seen": loop.images_seen,
        "training_seconds": seconds,
    }


if __name__ == "__main__":
    main()
