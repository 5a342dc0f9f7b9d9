"""What each method costs and gains at equal images on MNIST, added to `dcgan-small`. Judges nothing.

    python benchmarks/methods.py [NAME ..] [--data mnist.zip] [--out docs/results/methods.jsonl]
                                 [--runs runs/methods] [--images 40k] [--quick]

Without `--data`: `mnist.zip` in the folder that GANSMITH_DATA names, else in ../shared/data if it is there. Each row is
the base with a few settings changed (`METHODS`). It is trained on as many images as the base, with seeds 0, 1 and 2,
and fd_classifier of 10,000 samples is measured through the same classifier for all; then both take steps in turn, which
gives the time of an image against the base's. Each training adds a line to `--out`, and what is there for the same
recipe, data and images is not trained again.

At the end a table is printed, and the column "measured here" of docs/methods.md is filled from the same numbers.
`--quick` tries this program for seconds: one seed, the embedded digits, and nothing kept unless `--out` says where.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from busy import MOST_OTHERS, Meter
from data import default_data
from trainings import append_line, ratio_of, read_lines

import gansmith
from gansmith import runtime
from gansmith.bench.contenders import OurTraining
from gansmith.bench.interleaving import Contender, interleave
from gansmith.data import DataSet, open_data
from gansmith.errors import GansmithError
from gansmith.overrides import apply_overrides, parse_count
from gansmith.recipe import Recipe
from gansmith.recipes import recipe_function

ROOT = Path(__file__).parents[1]
RESULT, RUNS, DOC = (ROOT / path for path in ("docs/results/methods.jsonl", "runs/methods", "docs/methods.md"))
BASE, SAMPLE_SEED, SIZE = "dcgan-small", 1, (28, 28)
WITHOUT_NORM, RMSPROP = "discriminator.normalisation=null", "_optimizer={name: rmsprop, learning_rate: 0.0005}"
METHODS: dict[str, tuple[str, ...]] = {
    BASE: (),
    **{name: (f"loss={name}",) for name in ("minimax", "non_saturating", "least_squares", "relativistic")},
    "wasserstein": ("loss=wasserstein",),
    "r1": ("penalties.r1={weight: 0.05, every: 16}",),
    "r2": ("penalties.r2={weight: 0.05, every: 16}",),
    "gradient_penalty": (WITHOUT_NORM, "loss=wasserstein", "penalties.gradient_penalty.weight=10"),
    "consistency": ("penalties.consistency.weight=10",),
    "balanced_consistency": ("penalties.balanced_consistency.weight=10",),
    "penalties_share_pass": (
        "penalties={r1: {weight: 0.05, every: 16}, r2: {weight: 0.05, every: 16}}",
        "penalties_share_pass=true",
    ),
    "augmentation": ("augmentation.policy=diffaugment",),
    "pipe": ("augmentation.policy=pipe", "augmentation.probability=0.3"),
    "adaptive": ("augmentation.adaptive={}",),
    "l1": ("regularisation.l1=0.00001",),
    "l2": ("regularisation.l2=0.0001",),
    "weight_clipping": (WITHOUT_NORM, "loss=wasserstein", "regularisation.weight_clipping=0.01"),
    "lecam": ("regularisation.lecam=0.1",),
    "batch": ("discriminator.normalisation=batch",),
    "none": (WITHOUT_NORM,),
    "attention": ("generator.attention=14", "discriminator.attention=14"),
    "minibatch_std": ("discriminator.minibatch_std=true",),
    "dropout": ("discriminator.dropout=0.3",),
    "rmsprop": (f"generator{RMSPROP}", f"discriminator{RMSPROP}"),
    "top_k": ("top_k={interval_images: 300}",),
    "update": ("update=simultaneous",),
    "discriminator_steps": ("discriminator_steps=2",),
    "generator_batch_size": ("generator_batch_size=64",),
    "equal rates": ("discriminator_optimizer.learning_rate=0.001",),
    "learning_rate_schedule": ("learning_rate_schedule.length_images=40000",),
    "burn_in": ("burn_in={length_images: 20000, learning_rate_factor: 4}",),
    "ema_half_life_images": ("ema_half_life_images=0",),
}
"""name, as in docs/methods.md -> what is set. top_k comes to its floor half-way, as in a published training; sgd is
left out, which at these rates trains nothing in so few images.
"""


@dataclass(frozen=True)
class Plan:
    """How long, how often, and on how many samples; seconds of a stretch of the timing, and pairs of them."""

    images: int
    seeds: tuple[int, ...]
    num_samples: int
    seconds: float
    pairs: int


FULL, QUICK = Plan(40_000, (0, 1, 2), 10_000, 0.5, 6), Plan(256, (0,), 200, 0.02, 1)


@dataclass(frozen=True)
class Result:
    """One line of the file.

    Attributes:
        method: of `METHODS`.
        base_id: of the recipe it is compared with.
        cost: time of an image / the base's, stepped in turn with it.
        fd_classifier: Fréchet distance of classifier features; lower is better. None where it is no number.
        others_share: processor time of other programs while it trained, in shares of one core; None: not known.
    """

    method: str
    seed: int
    images: int
    recipe_id: str
    base_id: str
    data: str
    num_samples: int
    fd_classifier: float | None
    cost: float
    training_seconds: float
    extractor: str
    precision: str
    gansmith: str
    machine: dict[str, Any]
    others_share: float | None

    @property
    def key(self) -> tuple[object, ...]:
        """What it is looked up by."""
        return self.method, self.seed, self.images, self.recipe_id, self.base_id, self.data, self.num_samples


def main() -> None:
    """Train what is not there yet, print, fill in the page."""
    parser = argparse.ArgumentParser(description="What each method costs and gains at equal images.")
    parser.add_argument("methods", nargs="*", metavar="NAME", help="of METHODS; by default all")
    parser.add_argument("--data")
    parser.add_argument("--out", type=Path, help=f"{RESULT.relative_to(ROOT)} by default; with --quick, nothing")
    parser.add_argument("--runs", type=Path, help=f"{RUNS.relative_to(ROOT)} by default; with --quick, nothing")
    parser.add_argument("--images", type=parse_count)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.methods) - METHODS.keys():
        sys.exit(f"no such method: {', '.join(sorted(unknown))}; there are {', '.join(METHODS)}")
    data = arguments.data or ("digits" if arguments.quick else default_data())
    if data is None:
        sys.exit("no data: give --data mnist.zip or set GANSMITH_DATA to the folder it is in")
    plan = QUICK if arguments.quick else FULL
    plan = Plan(arguments.images or plan.images, plan.seeds, plan.num_samples, plan.seconds, plan.pairs)
    names = dict.fromkeys((BASE, *(arguments.methods or METHODS)))
    with tempfile.TemporaryDirectory() as folder:
        kept = (Path(folder) / "results.jsonl", Path(folder)) if arguments.quick else (RESULT, RUNS)
        try:
            benchmark = Benchmark(data, arguments.out or kept[0], arguments.runs or kept[1], plan)
            results = benchmark.results(list(names))
        except GansmithError as error:
            print(f"methods: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
    print(table(results))
    if not arguments.quick and arguments.data is None and is_of_the_page(results):
        DOC.write_text(filled(DOC.read_text(), cells_of(results)))


def is_of_the_page(results: Sequence[Result]) -> bool:
    """Return whether these may be written into the page: as many images and samples as it says, nothing beside them."""
    wanted = (FULL.images, FULL.num_samples)
    return all(
        (each.images, each.num_samples) == wanted and (each.others_share or 0) <= MOST_OTHERS for each in results
    )


class Benchmark:
    """Trainings of methods on one data set by one plan.

    Args:
        data: to train on.
        out: file of the results.
        runs: folder of what is trained.
        plan: how long, how often.
    """

    def __init__(self, data: Any, out: Path, runs: Path, plan: Plan) -> None:
        self.data, self.out, self.runs, self.plan = data, out, runs, plan
        self.images: DataSet = open_data(data, SIZE, 1)
        self.device = runtime.choose_device()

    def results(self, names: Sequence[str]) -> list[Result]:
        """Return the results; a seed of every method after the other."""
        there = {result.key: result for result in read_results(self.out)}
        found = []
        for seed in self.plan.seeds:
            for name in names:
                result = there.get(self._key(name, seed))
                if result is None:
                    result = self._trained(name, seed)
                    append_line(self.out, asdict(result))
                print(f"{name}, seed {seed}: fd_classifier {result.fd_classifier}, cost {result.cost:.2f}", flush=True)
                found.append(result)
        return found

    def recipe(self, name: str) -> Recipe:
        """Return the base with the method."""
        precision = runtime.best_precision(self.device)
        return apply_overrides(recipe_function(BASE)(SIZE, 1, precision), METHODS[name])

    def _key(self, name: str, seed: int) -> tuple[object, ...]:
        ids, plan = (self.recipe(name).id, self.recipe(BASE).id), self.plan
        return name, seed, plan.images, *ids, self.images.fingerprint, plan.num_samples

    def _trained(self, name: str, seed: int) -> Result:
        recipe, base = self.recipe(name), self.recipe(BASE)
        folder = self.runs / f"{name.replace(' ', '-')}-{recipe.id}-{self.plan.images}-{seed}"
        meter, before = Meter(), time.process_time()
        run = gansmith.train(self.data, recipe, images=self.plan.images, seed=seed, out=folder, quiet=True)
        others_share = meter.others_share(time.process_time() - before)
        report = gansmith.evaluate(
            folder, self.data, scores=["fd"], num_samples=self.plan.num_samples, seed=SAMPLE_SEED,
            extractor="classifier",
        ).report  # fmt: skip
        return Result(
            method=name, seed=seed, images=self.plan.images, recipe_id=recipe.id, base_id=base.id,
            data=self.images.fingerprint, num_samples=self.plan.num_samples,
            fd_classifier=report.scores[0].value, cost=1.0 if name == BASE else self._cost(recipe, base, seed),
            training_seconds=run.seconds, extractor=report.extractor.checksum, precision=recipe.precision,
            gansmith=gansmith.__version__, machine=runtime.machine_facts(torch.device("cpu")),
            others_share=others_share,
        )  # fmt: skip

    def _cost(self, recipe: Recipe, base: Recipe, seed: int) -> float:
        trainings = (OurTraining(each, self.images, seed) for each in (base, recipe))
        contenders = [Contender(training.step, training.images) for training in trainings]
        return interleave(*contenders, self.plan.seconds, self.plan.pairs).ratio


def read_results(path: Path) -> list[Result]:
    """Return the results in a file, oldest first; none where there is no file."""
    return [Result(**values) for values in reversed(read_lines(path))]


def cells_of(results: Sequence[Result]) -> dict[str, str]:
    """Return name -> what was measured, in words: distance / base's (geometric mean over seeds, and from three on its
    95 % interval by Student's t on the logarithms), and time of an image / base's.
    """
    values = {(each.method, each.seed): each.fd_classifier or math.nan for each in results}
    cells = {}
    for name in dict.fromkeys(result.method for result in results):
        of_method = [each for each in results if each.method == name]
        if name == BASE:
            cells[name] = f"{fmean(values[name, each.seed] for each in of_method):.1f}"
            continue
        ratio, interval = ratio_of(values, name, BASE)
        if math.isnan(ratio):
            cells[name] = "no distance: samples without spread"
            continue
        spread = "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"
        cells[name] = f"distance x {ratio:.2f}{spread}, time x {fmean(each.cost for each in of_method):.2f}"
    return cells


def table(results: Sequence[Result]) -> str:
    """Return the results as a table in Markdown, and what to think of them."""
    first, disturbed = results[0], [each for each in results if (each.others_share or 0.0) > MOST_OTHERS]
    lines = [
        f"\n{first.images:,} images of {first.data}, {first.num_samples:,} samples, extractor {first.extractor}, "
        f"{first.precision}, seeds {', '.join(map(str, sorted({each.seed for each in results})))}; against {BASE}",
        "\n| method | set | measured |\n|---|---|---|",
        *(f"| `{name}` | {' '.join(METHODS[name])} | {cell} |" for name, cell in cells_of(results).items()),
    ]
    if disturbed:
        lines.append(f"other programs ran beside {len(disturbed)} of the {len(results)} trainings")
    return "\n".join(lines)


def filled(text: str, cells: Mapping[str, str]) -> str:
    """Return docs/methods.md with the last cell of each row whose first is the name of a method that was measured."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        row = line.split(" | ")
        name = row[0].removeprefix("| ").strip("`")
        if line.startswith("| `") and name in cells:
            lines[index] = " | ".join([*row[:-1], f"{cells[name]} |"])
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
