"""Quality at equal minutes of training on MNIST: `auto` against a plain dcgan-28. Exits 1 above the bar.

    python benchmarks/quality_per_minute.py [--data mnist.zip] [--out docs/results/quality_per_minute.jsonl]
                                            [--runs runs/quality_per_minute] [--ours] [--again] [--quick]

Without `--data`: `mnist.zip` in the folder that GANSMITH_DATA names, else in ../shared/data if it is there. Each method
trains for 4 minutes with seeds 0, 1 and 2, one process at a time; then fd_classifier of 10,000 samples is measured,
through the same classifier for all. The plain loop (`plain.py`) has no average of its weights: they are judged as they
are. `--ours` adds our own dcgan-28, a row to look at: what speed and the average alone are worth.

Each training adds a line to `--out`; what is there for the same recipe, plain loop, data and minutes is not trained
again, unless `--again`, or unless other programs ran beside it. `--quick` tries this program for seconds: one seed, the
embedded digits unless `--data`, 500 samples, nothing judged, and nothing kept unless `--out` says where.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
import trainings
from busy import MOST_OTHERS
from data import default_data
from quality_training import PLAIN
from trainings import append_line, read_lines, resolved_recipe, train_apart

import gansmith
from gansmith import runtime
from gansmith.data import open_data
from gansmith.errors import GansmithError
from gansmith.evaluation.intervals import Interval
from gansmith.recipes import recipe_function

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[1]
RESULT, RUNS = ROOT / "docs" / "results" / "quality_per_minute.jsonl", ROOT / "runs" / "quality_per_minute"
JUDGED, OURS = "auto", "dcgan-28"
AT_MOST = 0.5
SAMPLE_SEED, SIZE = 1, (28, 28)


@dataclass(frozen=True)
class Plan:
    """How long and how often to train, and on how many samples to judge."""

    minutes: float
    seeds: tuple[int, ...]
    num_samples: int
    is_judged: bool
    methods: tuple[str, ...] = (JUDGED, PLAIN)


FULL = Plan(4.0, (0, 1, 2), 10_000, is_judged=True)
QUICK = Plan(1 / 30, (0,), 500, is_judged=False)


class Key(NamedTuple):
    """What a result must agree in, seed aside, to stand for a training of now: as in `Result`."""

    method: str
    minutes: float
    recipe_id: str
    plain_hash: str | None
    data: str
    num_samples: int


@dataclass(frozen=True)
class Result:
    """One line of the file: a training and how good its samples are.

    Attributes:
        plain_hash: of the plain loop's files; None for our own methods.
        data: its fingerprint.
        weights: which are judged.
        fd_classifier: Fréchet distance of classifier features; lower is better.
        interval: 95 %, of the samples and reals alone, not of the seed.
        held_out: fd_classifier of as many held-out real images, where there are as many.
        others_share: processor time of other programs while it trained, in shares of one core; None: not known.
    """

    method: str
    seed: int
    minutes: float
    recipe_id: str
    plain_hash: str | None
    data: str
    num_samples: int
    fd_classifier: float
    interval: Interval | None
    held_out: float | None
    extractor: str
    weights: str
    precision: str
    images_seen: int
    training_seconds: float
    gansmith: str
    machine: dict[str, Any]
    others_share: float | None

    @property
    def key(self) -> Key:
        """What it is looked up by."""
        return Key(self.method, self.minutes, self.recipe_id, self.plain_hash, self.data, self.num_samples)

    @property
    def is_disturbed(self) -> bool:
        """Whether other programs took time from the training: more than a tenth of a core."""
        return self.others_share is not None and self.others_share > MOST_OTHERS


def main() -> None:
    """Train and judge what is not there yet, print, compare."""
    parser = argparse.ArgumentParser(description="Quality at equal minutes on MNIST.")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, help=f"{RESULT.relative_to(ROOT)} by default; with --quick, nothing")
    parser.add_argument("--runs", type=Path, help=f"{RUNS.relative_to(ROOT)} by default; with --quick, nothing")
    parser.add_argument("--ours", action="store_true", help=f"also train our own {OURS}")
    parser.add_argument("--again", action="store_true", help="train again what is there")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    plan, data = FULL, arguments.data or default_data()
    if arguments.quick:
        plan, data = QUICK, arguments.data or Path("digits")
    elif data is None or not data.exists():
        sys.exit(f"no data at {data}: give --data mnist.zip or set GANSMITH_DATA to the folder it is in")
    if arguments.ours:
        plan = replace(plan, methods=(*plan.methods, OURS))
    with tempfile.TemporaryDirectory() as folder:
        kept = (Path(folder) / "results.jsonl", Path(folder)) if arguments.quick else (RESULT, RUNS)
        out, runs = arguments.out or kept[0], arguments.runs or kept[1]
        try:
            results = Benchmark(str(data), out, runs, plan).results(arguments.again)
        except GansmithError as error:
            print(f"quality_per_minute: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
    print(table(results, plan))
    if problems := failures(results, plan):
        sys.exit("\n".join(problems))


class Benchmark:
    """Trainings on one data set by one plan.

    Args:
        data: mnist.zip, or "digits".
        out: file of the results.
        runs: folder of what is trained.
        plan: how long, how often.
    """

    def __init__(self, data: str, out: Path, runs: Path, plan: Plan) -> None:
        self.data, self.out, self.runs, self.plan = data, out, runs, plan
        self.fingerprint = open_data(data, SIZE, 1).fingerprint
        self.plain_hash = hash_of(HERE / "plain.py", HERE / "plain_models.py")

    def results(self, again: bool) -> list[Result]:
        """Return the results, method by method; missing ones are trained, a seed of every method after the other."""
        there = [] if again else read_results(self.out)
        keys = {method: self._key(method) for method in self.plan.methods}
        found = {}
        for seed in self.plan.seeds:
            for method, key in keys.items():
                result = next((each for each in there if each.seed == seed and each.key == key), None)
                if result is None or (result.is_disturbed and self.plan.is_judged):
                    result = self._trained(method, seed, key, is_anew=again or result is not None)
                    append_line(self.out, asdict(result))
                print(f"{method}, seed {seed}: fd_classifier {result.fd_classifier:.2f}", flush=True)
                found[method, seed] = result
        return [found[method, seed] for method in self.plan.methods for seed in self.plan.seeds]

    def _key(self, method: str) -> Key:
        """What a result must agree in to stand for a training of now."""
        is_plain = method == PLAIN
        if is_plain:
            recipe = recipe_function(PLAIN.removeprefix("plain "))()
        else:
            recipe = resolved_recipe(method, self.data, self.plan.minutes)
        plain_hash = self.plain_hash if is_plain else None
        return Key(method, self.plan.minutes, recipe.id, plain_hash, self.fingerprint, self.plan.num_samples)

    def _trained(self, method: str, seed: int, key: Key, is_anew: bool) -> Result:
        name = f"{method.replace(' ', '-')}-{key.recipe_id}-{key.data}-{key.minutes:.3g}-minutes-seed-{seed}"
        folder = self.runs / name
        if is_anew:
            shutil.rmtree(folder, ignore_errors=True)
        trained, others_share = train_apart(method, self.data, self.plan.minutes, seed, folder)
        evaluation = gansmith.evaluate(
            folder, self.data, scores=["fd"], num_samples=key.num_samples, seed=SAMPLE_SEED, extractor="classifier"
        )
        (score,) = evaluation.report.scores
        if score.value is None:
            sys.exit(f"{method}, seed {seed}: no fd_classifier: {score.reason}")
        return Result(
            method=method, seed=seed, minutes=key.minutes, plain_hash=key.plain_hash, data=key.data,
            num_samples=key.num_samples, fd_classifier=score.value,
            interval=None if score.interval is None else (score.interval.low, score.interval.high),
            held_out=score.held_out,
            extractor=evaluation.report.extractor.checksum,
            gansmith=gansmith.__version__,
            machine=runtime.machine_facts(torch.device("cpu")),
            others_share=others_share,
            **trained,
        )  # fmt: skip


def hash_of(*files: Path) -> str:
    """Return 16 hex digits that change with the files."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def read_results(path: Path) -> list[Result]:
    """Return the results in a file, the newest first; none where there is no file."""
    return [Result(**each | {"interval": each["interval"] and tuple(each["interval"])}) for each in read_lines(path)]


def ratio_of(results: Sequence[Result]) -> tuple[float, Interval | None]:
    """Return fd_classifier of `auto` over that of the plain loop, as `trainings.ratio_of` does."""
    return trainings.ratio_of({(each.method, each.seed): each.fd_classifier for each in results}, JUDGED, PLAIN)


def table(results: Sequence[Result], plan: Plan) -> str:
    """Return the results for a person."""
    first = results[0]
    lines = [f"\nfd_classifier of {first.num_samples:,} samples after {60 * first.minutes:.0f} s of training "
             f"(data {first.data}, extractor {first.extractor})",
             f"{'':16}{'recipe':>10}{'precision':>11}{'images':>12}{'mean':>9}   over seeds"]  # fmt: skip
    for method in plan.methods:
        rows = [result for result in results if result.method == method]
        values = [row.fd_classifier for row in rows]
        images, mean = fmean(row.images_seen for row in rows), fmean(values)
        recipes = ", ".join(sorted({row.recipe_id for row in rows}))
        head = f"{method:16}{recipes:>10}{rows[0].precision:>11}{images:12,.0f}{mean:9.2f}"
        lines.append(f"{head}   {', '.join(f'{value:.2f}' for value in values)}; weights {rows[0].weights}")
    value, interval = ratio_of(results)
    spread = "one seed" if interval is None else f"95 % {interval[0]:.3f} to {interval[1]:.3f}"
    verdict = "not judged" if not plan.is_judged else "ok" if value <= AT_MOST else "NOT MET"
    return "\n".join([*lines, f"{JUDGED} / {PLAIN}: {value:.3f} ({spread}), at most {AT_MOST:g}: {verdict}"])


def failures(results: Sequence[Result], plan: Plan) -> list[str]:
    """Return a line for each reason not to pass."""
    extractors = {result.extractor for result in results}
    if len(extractors) > 1:
        return [f"not to be compared: judged by different classifiers ({', '.join(sorted(extractors))}); --again"]
    value, _ = ratio_of(results)
    problems = []
    if plan.is_judged and not value <= AT_MOST:
        problems.append(
            f"above the bar: {JUDGED} has {value:.3f} of the plain loop's distance, must be at most {AT_MOST:g}"
        )
    if plan.is_judged and (disturbed := sum(result.is_disturbed for result in results)):
        problems.append(f"not to be believed: other programs ran beside {disturbed} of the trainings; the same command "
                        "on a quiet machine trains those again")  # fmt: skip
    return problems


if __name__ == "__main__":
    main()
