"""Modes that a small norm-free network keeps of 25 Gaussians, by loss and penalties. Exits 1 where the bar is not met.

    python benchmarks/modes.py [--rows plain,relativistic-r1-r2] [--seeds 0,1,2] [--again] [--quick]
    python benchmarks/modes.py --stacked [--minutes 60] [--set generator.width=96 ...] [--data mnist.zip]

Perceptrons without normalisation learn the embedded `grid`: 25 Gaussians with a standard deviation of 1/40 of their
spacing. Every row sees equally many images and differs in loss and penalties alone. 2,500 samples of the average are
judged: a sample is good within 3 standard deviations of a centre (Lin et al. 2018, PacGAN, section 4.1). In papers a
mode is there from its first good sample on, and samples all over the plane hit most modes so; here it needs 10 good
samples, a tenth of an even share. The bar: relativistic + R1 + R2 has all 25 modes with every seed.

Trainings of one thread each, two at a time. A line for each is added to docs/results/modes.jsonl; what is there for the
same recipe and images is not trained again, unless `--again`. Samples are drawn to runs/modes/ROW-SEED.png, those of
the first seed side by side to docs/images/modes.png. `--quick` tries this program for seconds; nothing is judged, and
nothing kept unless `--out` says where.

`--stacked` trains the recipe r3gan-stacked-mnist at a reduced width on Stacked-MNIST instead, on the best device there
is, and adds a line to docs/results/stacked.jsonl: modes of 1,000, reverse KL, time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from data import default_data
from PIL import Image
from stacked import RECIPE, WIDTHS, train_stacked
from torch import Tensor
from trainings import append_line, read_lines

import gansmith
from gansmith import runtime
from gansmith.data import open_data, open_source
from gansmith.data.sources import GaussiansSource
from gansmith.errors import DivergedError, GansmithError
from gansmith.evaluation.classes import reverse_kl
from gansmith.images import save_scatter, to_float
from gansmith.recipe import (
    Adam,
    LinearDecay,
    LossName,
    MLPDiscriminator,
    MLPGenerator,
    PenaltyName,
    PenaltySettings,
    Recipe,
)

ROOT = Path(__file__).parents[1]
RESULT, RUNS = ROOT / "docs" / "results" / "modes.jsonl", ROOT / "runs" / "modes"
PICTURE, GAP, GREY = ROOT / "docs" / "images" / "modes.png", 10, 128
DATA, NUM_SAMPLES, SAMPLE_SEED = "grid", 2_500, 1
WITHIN, FEWEST_SHARE = 3, 0.1
IMAGES, SEEDS = 1_000_000, (0, 1, 2)
QUICK_IMAGES = 6_400
HIDDEN, LATENTS, RATE, GAMMA = (64, 64, 64), 2, 3e-3, 1e-2
"""Chosen on seeds from 100 on (docs/log.md), for the judged row; the others get the same."""
JUDGED = "relativistic-r1-r2"
ROWS: dict[str, tuple[LossName, tuple[PenaltyName, ...]]] = {
    JUDGED: ("relativistic", ("r1", "r2")),
    "plain-r1-r2": ("non_saturating", ("r1", "r2")),
    "plain-r1": ("non_saturating", ("r1",)),
    "plain": ("non_saturating", ()),
}


@dataclass(frozen=True)
class Result:
    """One line of the file.

    Attributes:
        images: real images seen.
        modes: centres with at least 10 good samples, a tenth of an even share.
        hit: centres with any: the number in papers.
        rarest: good samples of the mode with the fewest; an even share is 100.
        good: share of samples that are good.
        reverse_kl: KL(modes of good samples || even), nats; None where no sample is good.
        diverged: the training ended with values that are not finite; it has no modes.
    """

    row: str
    seed: int
    images: int
    recipe_id: str
    num_samples: int
    modes: int
    hit: int
    rarest: int
    good: float
    reverse_kl: float | None
    diverged: bool
    seconds: float
    gansmith: str
    machine: dict[str, Any]


def recipe_of(row: str, images: int) -> Recipe:
    """Return what a row trains: perceptrons without normalisation, rates that fall to 0 over the images."""
    loss, penalties = ROWS[row]
    adam = Adam(learning_rate=RATE, beta1=0.0, beta2=0.99)
    return Recipe(
        size=(1, 1),
        channels=2,
        generator=MLPGenerator(latent_dim=LATENTS, hidden=HIDDEN),
        discriminator=MLPDiscriminator(hidden=HIDDEN),
        loss=loss,
        penalties={name: PenaltySettings(weight=GAMMA) for name in penalties},
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        learning_rate_schedule=LinearDecay(length_images=images),
        batch_size=128,
    )


def found_in(samples: Tensor, source: GaussiansSource) -> dict[str, Any]:
    """Return modes, hit, rarest, good and reverse_kl (see `Result`) of points (N, 2, 1, 1)."""
    points = samples.flatten(1).double().numpy()
    distances = np.linalg.norm(points[:, None] - source.centres[None], axis=2)
    is_good = distances.min(1) <= WITHIN * source.std
    counts = np.bincount(distances.argmin(1)[is_good], minlength=len(source.centres))
    return {
        "modes": int((counts >= FEWEST_SHARE * len(points) / len(counts)).sum()),
        "hit": int((counts > 0).sum()),
        "rarest": int(counts.min()),
        "good": float(is_good.mean()),
        "reverse_kl": reverse_kl(counts.tolist(), [1] * len(counts)) if counts.any() else None,
    }


def trained(row: str, seed: int, images: int, pictures: Path) -> Result:
    """Train, judge and draw one, in this process."""
    recipe, source = recipe_of(row, images), open_source(DATA)
    assert isinstance(source, GaussiansSource)
    about = {"row": row, "seed": seed, "recipe_id": recipe.id, "num_samples": NUM_SAMPLES,
             "gansmith": gansmith.__version__, "machine": runtime.machine_facts(torch.device("cpu"))}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = gansmith.train(
                DATA, recipe, images=images, seed=seed, out=Path(folder) / "run", device="cpu", quiet=True
            )  # fmt: skip
        except DivergedError:
            nothing = {"modes": 0, "hit": 0, "rarest": 0, "good": 0.0, "reverse_kl": None}
            return Result(images=images, seconds=0.0, diverged=True, **nothing, **about)
        samples = gansmith.sample(run.folder, NUM_SAMPLES, SAMPLE_SEED)
    save_scatter(samples, pictures / f"{row}-{seed}.png")
    return Result(images=images, seconds=run.seconds, diverged=False, **found_in(samples, source), **about)


def fill(rows: Sequence[str], seeds: Sequence[int], images: int, out: Path, pictures: Path, again: bool) -> None:
    """Train what the file lacks, two at a time, and add a line for each."""
    there = [] if again else results_in(out)
    keys = {(each.row, each.seed, each.recipe_id) for each in there}
    missing = [(row, seed) for seed in seeds for row in rows if (row, seed, recipe_of(row, images).id) not in keys]
    with ProcessPoolExecutor(2, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        started: list[Future[Result]] = [pool.submit(trained, row, seed, images, pictures) for row, seed in missing]
        for each in as_completed(started):
            result = each.result()
            append_line(out, asdict(result))
            print(f"{result.row}, seed {result.seed}: {result.modes} modes, good {result.good:.1%}, "
                  f"{result.seconds:.0f} s", flush=True)  # fmt: skip


def results_in(path: Path) -> list[Result]:
    """Return the results in a file, the newest first."""
    return [Result(**each) for each in read_lines(path)]


def newest(results: Sequence[Result], images: int) -> list[Result]:
    """Return the newest result of each row and seed with the settings of now, in the order of `ROWS`."""
    ids, found = {row: recipe_of(row, images).id for row in ROWS}, {}
    for each in results:
        if ids.get(each.row) == each.recipe_id:
            found.setdefault((each.row, each.seed), each)
    return [found[key] for key in sorted(found, key=lambda key: (list(ROWS).index(key[0]), key[1]))]


def table(results: Sequence[Result]) -> str:
    """Return the results as markdown: the means over seeds, and the modes of each."""
    lines = [
        "| | modes of 25, by seed | hit at all | good samples | fewest in a mode | reverse KL (nats) | images |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in dict.fromkeys(each.row for each in results):
        those = [each for each in results if each.row == row]
        divergences = [each.reverse_kl for each in those if each.reverse_kl is not None]
        modes = ", ".join("diverged" if each.diverged else str(each.modes) for each in those)
        lines.append(
            f"| `{row}` | {modes} | {', '.join(str(each.hit) for each in those)} "
            f"| {fmean(each.good for each in those):.1%} "
            f"| {', '.join(str(each.rarest) for each in those)} "
            f"| {f'{fmean(divergences):.3f}' if divergences else '-'} | {those[0].images:,} |"
        )
    return "\n".join(lines)


def failures(results: Sequence[Result]) -> list[str]:
    """Return a line for each seed with which the judged row has not all modes."""
    return [
        f"below the bar: {each.row}, seed {each.seed}, has {each.modes} of 25 modes"
        for each in results
        if each.row == JUDGED and each.modes < 25
    ]


def side_by_side(pictures: Path, seed: int, path: Path) -> None:
    """Write one picture: real points, then the samples of each row with a seed, as `ROWS` has them."""
    reals = open_data(DATA, (1, 1), 2).batch(np.arange(NUM_SAMPLES)).images
    save_scatter(to_float(reals), pictures / "reals.png")
    parts = [Image.open(pictures / f"{name}.png") for name in ("reals", *(f"{row}-{seed}" for row in ROWS))]
    whole = Image.new("L", (sum(part.width + GAP for part in parts) - GAP, parts[0].height), GREY)
    for number, part in enumerate(parts):
        whole.paste(part, (number * (part.width + GAP), 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save(path, optimize=True)


def parsed() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description="Modes kept of 25 Gaussians, by loss and penalties.")
    parser.add_argument("--rows", help=f"some of {','.join(ROWS)}")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="such as 0,1,2, the default")
    parser.add_argument("--out", type=Path, help="the results; with --quick by default nothing is kept")
    parser.add_argument("--runs", type=Path, help=f"{RUNS.relative_to(ROOT)} by default; with --quick, nothing")
    parser.add_argument("--again", action="store_true", help="train again what is there")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--stacked", action="store_true", help=f"{RECIPE} on Stacked-MNIST instead")
    parser.add_argument("--minutes", type=float, default=60.0, help="of --stacked; 60 by default")
    parser.add_argument("--set", nargs="+", default=WIDTHS, metavar="FIELD=VALUE", help=f"of --stacked; {WIDTHS}")
    parser.add_argument("--data", type=Path, default=default_data(), help="of --stacked: mnist.zip")
    return parser.parse_args()


def main() -> None:
    """Train what is missing, print, judge."""
    arguments = parsed()
    try:
        if arguments.stacked:
            train_stacked(arguments.data, arguments.minutes, arguments.set, arguments.out)
            return
        rows = tuple(ROWS) if arguments.rows is None else tuple(arguments.rows.split(","))
        if unknown := [row for row in rows if row not in ROWS]:
            sys.exit(f"--rows {','.join(unknown)}: there are {', '.join(ROWS)}")
        images = QUICK_IMAGES if arguments.quick else IMAGES
        seeds = (0,) if arguments.quick else tuple(map(int, arguments.seeds.split(",")))
        with tempfile.TemporaryDirectory() as folder:
            kept = (Path(folder) / "modes.jsonl", Path(folder)) if arguments.quick else (RESULT, RUNS)
            out, pictures = arguments.out or kept[0], arguments.runs or kept[1]
            fill(rows, seeds, images, out, pictures, arguments.again)
            results = newest(results_in(out), images)
            if all((pictures / f"{row}-{seeds[0]}.png").exists() for row in ROWS):
                side_by_side(pictures, seeds[0], pictures / PICTURE.name if arguments.quick else PICTURE)
    except GansmithError as error:
        print(f"modes: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(table(results))
    if not arguments.quick and (problems := failures(results)):
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
