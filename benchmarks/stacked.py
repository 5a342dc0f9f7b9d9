"""One training on Stacked-MNIST, judged by its modes: for `modes.py --stacked`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainings import append_line

import gansmith
from gansmith import runtime

ROOT = Path(__file__).parents[1]
RESULT, RUNS = ROOT / "docs" / "results" / "stacked.jsonl", ROOT / "runs" / "stacked"
RECIPE, WIDTHS = "r3gan-stacked-mnist", ("generator.width=96", "discriminator.width=96")
NUM_SAMPLES, SAMPLE_SEED, SEED = 26_000, 1, 0
"""Samples as in papers (Lin et al. 2018, PacGAN, section 4.2)."""


def train_stacked(
    data: Path | str | None, minutes: float, overrides: Sequence[str], out: Path | None = None, *,
    recipe: str = RECIPE, num_samples: int = NUM_SAMPLES, runs: Path = RUNS,
) -> dict[str, Any]:  # fmt: skip
    """Train, or go on with, one run on the best device there is; print and add to a file what its samples are.

    Args:
        data: single images with ten classes, three of which are stacked.
        minutes: of training alone.
        overrides: `field=value` texts; the published width is for several GPUs and days.
        out: file of the results.
        recipe: its name.
        num_samples: that are read.
        runs: folder of the run.
    """
    if data is None or (isinstance(data, Path) and not data.exists()):
        sys.exit(f"no data at {data}: give --data mnist.zip or set GANSMITH_DATA to the folder it is in")
    stacked, folder = f"stacked:{data}", runs / f"{recipe}-{minutes:g}-minutes"
    run = gansmith.train(stacked, recipe, overrides=tuple(overrides), minutes=minutes, seed=SEED, out=folder)
    started = time.perf_counter()
    scores = gansmith.evaluate(
        run.folder, stacked, scores=["modes"], num_samples=num_samples, seed=SAMPLE_SEED
    ).report.scores  # fmt: skip
    record = {
        "recipe": recipe, "recipe_id": run.recipe.id, "overrides": list(overrides), "seed": SEED,
        "precision": run.recipe.precision, "images_seen": run.images_seen, "training_seconds": run.seconds,
        "judging_seconds": time.perf_counter() - started, "num_samples": num_samples,
        **{score.name: score.value for score in scores},
        "gansmith": gansmith.__version__, "machine": runtime.machine_facts(runtime.choose_device()),
    }  # fmt: skip
    append_line(out or RESULT, record)
    print(json.dumps(record, indent=1))
    return record
