"""Our speed beside Keras 3 on TensorFlow: the same DCGAN on the same images. Prints a table, exits 1 below the bar.

    python benchmarks/keras_dcgan.py [--data mnist.zip] [--out docs/results/keras_dcgan.json] [--again] [--quick]

Without `--data`: `mnist.zip` in the folder that GANSMITH_DATA names, else in ../shared/data if it is there; `digits`
are the embedded ones. Keras gets an environment of its own, `.venv-keras` beside this repository's files: made when
missing, by pip, in half a minute, 1.6 GB. Its side (`keras_side.py`) is the DCGAN of the TensorFlow tutorial with the
recipe's numbers; of plain, XLA and mixed bfloat16, the fastest on this machine is compared with. Ours
(`gansmith_side.py`) is dcgan-28 as `gansmith train` trains it. Both processes live at once and work in turn; the ratio
is the median over pairs.

A row that is in the file is not measured again, unless `--again`, or unless other programs ran beside it. `--quick`
tries this program for seconds: plain Keras only, nothing judged, nothing written unless `--out` says where.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from busy import MOST_OTHERS
from data import default_data
from stretches import Side, Timing, alternate, idle_share, ratio_of

from gansmith import runtime
from gansmith.data import open_data
from gansmith.recipe import Recipe
from gansmith.recipes import recipe_function

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".venv-keras"
REQUIREMENTS = ("tensorflow-cpu==2.21.0", "keras==3.15.1")
RESULT = ROOT / "docs" / "results" / "keras_dcgan.json"
RECIPE, AT_LEAST, MOST_IDLE = "dcgan-28", 1.6, 0.05
VARIANTS: dict[str, tuple[str, ...]] = {"plain": (), "xla": ("xla",), "bfloat16": ("bfloat16",)}
NUM_PAIRS, SECONDS, WARM_UP = 9, 10.0, 10.0
QUICK_PAIRS, QUICK_SECONDS, QUICK_WARM_UP = 2, 2.0, 1.0


def main() -> None:
    """Measure what is not yet measured, print, write, judge."""
    parser = argparse.ArgumentParser(description="Our speed beside Keras 3 on TensorFlow.")
    parser.add_argument("--data", default=default_data(), type=Path, help="mnist.zip, or what else gansmith can read")
    parser.add_argument("--out", type=Path, help=f"{RESULT.relative_to(ROOT)} by default; with --quick, nothing")
    parser.add_argument("--again", action="store_true", help="measure a row again that is there")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.data is None or (str(arguments.data) != "digits" and not arguments.data.exists()):
        sys.exit(f"no data at {arguments.data}: give --data mnist.zip or --data digits, or set GANSMITH_DATA")
    out = arguments.out or (None if arguments.quick else RESULT)
    recipe = best_recipe()
    row = None if out is None or arguments.again else finished_row(out, recipe.id, arguments.quick)
    if row is None:
        python = make_environment(ENVIRONMENT, REQUIREMENTS)
        with tempfile.TemporaryDirectory() as folder:
            row = measure(python, recipe, str(arguments.data), Path(folder), arguments.quick)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(row, indent=1) + "\n")
    else:
        print(f"measured already ({out}); --again measures anew")
    print(table(row))
    if problems := failures(row):
        sys.exit("\n".join(problems))


def best_recipe() -> Recipe:
    """Return the recipe in this machine's best precision."""
    return recipe_function(RECIPE)(precision=runtime.best_precision(torch.device("cpu")))


def finished_row(path: Path, recipe_id: str, quick: bool) -> dict[str, Any] | None:
    """Return the row of an earlier run of this kind, recipe and Keras, if it is to be believed; else None."""
    if not path.exists():
        return None
    row: dict[str, Any] = json.loads(path.read_text())
    is_same = (row["recipe_id"], row["requirements"]) == (recipe_id, list(REQUIREMENTS))
    return row if is_same and row["is_judged"] is not quick and not doubts(row) else None


def make_environment(folder: Path, requirements: tuple[str, ...]) -> Path:
    """Return the interpreter of the environment in the folder, which is made anew unless it has the requirements."""
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(requirements) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {' and '.join(requirements)} into {folder} (1.6 GB)", flush=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], [*pip, *requirements]):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            sys.exit(f"{' '.join(command)}: exit code {result.returncode}; it said last:\n{result.stderr[-2000:]}")
    stamp.write_text(wanted)
    return python


def measure(python: Path, recipe: Recipe, data: str, folder: Path, quick: bool) -> dict[str, Any]:
    """Return the row."""
    images = open_data(data, recipe.size, recipe.channels)
    np.save(folder / "images.npy", images.batch(np.arange(len(images))).images.permute(0, 2, 3, 1).numpy())
    (folder / "recipe.json").write_text(recipe.model_dump_json())
    warm_up = QUICK_WARM_UP if quick else WARM_UP
    arguments = [str(folder / "recipe.json"), str(folder / "images.npy"), str(warm_up)]

    def theirs(variant: str) -> Side:
        command = [str(python), str(HERE / "keras_side.py"), *arguments, *VARIANTS[variant]]
        return Side(f"Keras ({variant})", command, folder / f"{variant}.log")

    rates = {} if quick else {variant: rate_of(theirs(variant)) for variant in VARIANTS}
    fastest = max(rates, key=lambda name: rates[name], default="plain")
    command = [sys.executable, str(HERE / "gansmith_side.py"), arguments[0], data, str(warm_up)]
    num_pairs, seconds = (QUICK_PAIRS, QUICK_SECONDS) if quick else (NUM_PAIRS, SECONDS)
    with Side("gansmith", command, folder / "ours.log") as ours, theirs(fastest) as other:
        timing = alternate(ours, other, num_pairs, seconds)
        facts = {"ours": ours.facts, "theirs": other.facts}
    return row_of(timing, facts, recipe.id, rates, is_judged=not quick)


def rate_of(side: Side) -> float:
    """Return the images per second of a side that works alone."""
    with side:
        return side.run(SECONDS).rate


def row_of(
    timing: Timing, facts: dict[str, Any], recipe_id: str, variants: dict[str, float], is_judged: bool
) -> dict[str, Any]:
    """Return what was measured and how, as JSON values."""
    ratio = ratio_of(timing.pairs)
    return {
        "recipe": RECIPE,
        "recipe_id": recipe_id,
        "against": "Keras 3 on TensorFlow",
        "requirements": list(REQUIREMENTS),
        "ratio": ratio.value,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "at_least": AT_LEAST,
        "is_judged": is_judged,
        "images_per_second": {
            "ours": median(ours.rate for ours, _ in timing.pairs),
            "theirs": median(theirs.rate for _, theirs in timing.pairs),
        },
        "variants": variants,
        "idle_share": max(idle_share(stretches) for stretches in zip(*timing.pairs, strict=True)),
        "others_share": timing.others_share,
        "facts": facts,
        "pairs": [[asdict(stretch) for stretch in pair] for pair in timing.pairs],
    }


def table(row: dict[str, Any]) -> str:
    """Return the row for a person."""
    rates, pairs, theirs, ours = row["images_per_second"], row["pairs"], row["facts"]["theirs"], row["facts"]["ours"]
    names = {
        "ours": f"gansmith {row['recipe']}, {ours['precision']}",
        "theirs": f"Keras {theirs['keras']}, {theirs['precision']}{', XLA' if theirs['xla'] else ''}",
    }
    variants = ", ".join(f"{name} {rate:.0f}" for name, rate in row["variants"].items())
    others = "unknown" if row["others_share"] is None else f"{row['others_share']:.3f} of a core"
    verdict = "not judged" if not row["is_judged"] else "ok" if row["ratio"] >= row["at_least"] else "NOT MET"
    return "\n".join([
        f"{'':34}{'img/s':>8}{'first step':>12}",
        *(f"{names[side]:34}{rates[side]:8.0f}{row['facts'][side]['first_step_seconds']:10.1f} s" for side in names),
        f"ratio {row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f} over {len(pairs)} pairs of "
        f"{pairs[0][0]['seconds']:.0f} s), at least {row['at_least']:g}: {verdict}",
        f"Keras alone, img/s: {variants or 'only plain was tried'}",
        f"processor time while asleep at most {row['idle_share']:.3f} of a core; of other programs {others}",
    ])  # fmt: skip


def failures(row: dict[str, Any]) -> list[str]:
    """Return a line for each bar that is not reached and each reason not to believe the ratio."""
    num_ours, num_theirs = (row["facts"][side]["num_parameters"] for side in ("ours", "theirs"))
    if num_ours != num_theirs:
        return [f"not the same networks: {num_ours:,} parameters beside Keras's {num_theirs:,}"]
    if not row["is_judged"]:
        return []
    is_slow = not row["ratio"] >= row["at_least"]
    bar = f"below the bar: {row['ratio']:.2f} times Keras, must be at least {row['at_least']:g}"
    return [*([bar] if is_slow else []), *doubts(row)]


def doubts(row: dict[str, Any]) -> list[str]:
    """Return a line for each reason not to believe a judged ratio; such a row is measured again by the next run."""
    if not row["is_judged"]:
        return []
    found = []
    if not row["idle_share"] <= MOST_IDLE:
        found.append(f"not to be believed: a side took {row['idle_share']:.2f} of a core while it should sleep")
    if row["others_share"] is not None and not row["others_share"] <= MOST_OTHERS:
        found.append(f"not to be believed: other programs took {row['others_share']:.2f} of a core; run it alone")
    return found


if __name__ == "__main__":
    main()
