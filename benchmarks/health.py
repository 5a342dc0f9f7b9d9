"""Whether training says how it fails, and only then: failures made on purpose, and eleven healthy runs. Exits 1 if not.

    python benchmarks/health.py [--data FOLDER] [--out docs/results/health.jsonl] [--runs runs/health] [--seeds 1]
                                [--only NAME ..] [--again] [--calibrate] [--cost] [--quick]

What is trained, and what is to be said of it, is `health_cases.py`. Of a failure, the first thing said that is not
"healthy" must be what is expected; a healthy run must be judged, and that must be all that is said of it.
`--calibrate` takes seed 100, prints what moments measured, judges nothing and keeps nothing but the runs: thresholds
are found on those, and judged on others.

Each training adds a line to `--out`; what is there for the same recipe, images, seed and judge is not trained again,
unless `--again`. `--cost` measures instead what share of the steps of `mlp` and of `dcgan-small` the measures take, by
a clock around them, and how much faster steps in turn are without. `--quick` tries this program for seconds: two cases
on few images, nothing judged, nothing kept.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from health_cases import CASES, EIGHT, HEALTHY, MNIST, Case
from health_cost import print_costs
from trainings import append_line, read_lines

import gansmith
from gansmith import runtime
from gansmith.budget import Budget
from gansmith.data import open_source
from gansmith.errors import DivergedError, GansmithError
from gansmith.recipe import Recipe
from gansmith.report import Health
from gansmith.request import Request
from gansmith.training import advice, checkup, measures
from gansmith.training import health as judge
from gansmith.training.folder import CONFIG, RunConfig
from gansmith.training.health import Monitor
from gansmith.training.log import Display, Metrics
from gansmith.training.preparation import resolve

ROOT = Path(__file__).parents[1]
RESULT, RUNS = ROOT / "docs" / "results" / "health.jsonl", ROOT / "runs" / "health"
CALIBRATION_SEED, FIRST_SEED, QUICK_IMAGES, QUICK_CASES = 100, 1, 1_000, ("8 images", "25 Gaussians")
NUM_OF_EIGHT = 8
SHOWN = ("d_accuracy", "energy_distance", "diversity", "near_identical", "relative_margin", "gradient_norm_d",
         "gradient_norm_g", "loss_d", "loss_g", "saturation", "nearest_real")  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One line of the file: a training and what was said of it.

    Attributes:
        case: its name in `CASES`.
        judge: first digits of the sha256 of what judges.
        expected: verdicts of which one had to be said first.
        said: (images, verdict, evidence, action) of each change of the verdict.
        is_right: whether it was said, and nothing else before but "healthy".
    """

    case: str
    seed: int
    recipe_id: str
    images: int
    judge: str
    expected: tuple[str, ...]
    said: tuple[tuple[int, str, str, str], ...]
    is_right: bool
    seconds: float
    gansmith: str
    machine: dict[str, Any]


def first_alarm(said: Iterable[Health]) -> str:
    """Return the first verdict that is not "healthy"; "healthy" where there is none."""
    return next((each.verdict for each in said if each.verdict != HEALTHY), HEALTHY)


def said_by(monitor: Monitor, records: Iterable[dict[str, Any]]) -> list[Health]:
    """Return what a monitor says of records."""
    return [said for record in records if (said := monitor.take(record)) is not None]


def judge_hash() -> str:
    """Return 8 hex digits of what verdicts and advice depend on."""
    files = (Path(str(module.__file__)).read_bytes() for module in (judge, measures, checkup, advice))
    return hashlib.sha256(b"".join(files)).hexdigest()[:8]


class Benchmark:
    """Trainings on one folder of data.

    Args:
        data: folder with the data sets.
        out: file of the results, or None.
        runs: folder of what is trained.
    """

    def __init__(self, data: Path, out: Path | None, runs: Path) -> None:
        self.data, self.out, self.runs = data, out, runs

    def result(self, name: str, seed: int, again: bool) -> Result:
        """Return what is known of a case, or train it."""
        case = CASES[name]
        key = (name, seed, case.images, judge_hash(), case.expected, self._recipe_of(case).id)
        there = None if again else next((each for each in self._kept() if self._key(each) == key), None)
        if there is not None:
            return there
        result = self.trained(name, case, seed, again)
        if self.out is not None:
            append_line(self.out, asdict(result))
        return result

    def trained(self, name: str, case: Case, seed: int, is_anew: bool = False) -> Result:
        """Train a case, or find it finished, and read what was measured."""
        folder = self._folder(name, case, seed)
        is_other = (folder / CONFIG).exists() and RunConfig.load(folder / CONFIG).recipe != self._recipe_of(case)
        if is_anew or is_other:
            shutil.rmtree(folder, ignore_errors=True)
        ended = False
        try:
            gansmith.train(
                self._data_of(case), case.recipe, overrides=case.overrides, conditional=case.conditional,
                images=case.images, seed=seed, out=folder, quiet=True,
            )  # fmt: skip
        except DivergedError:
            ended = True
        recipe, records = RunConfig.load(folder / CONFIG).recipe, Metrics(folder / "metrics.jsonl").read()
        said = said_by(Monitor(recipe), records)
        alarm = first_alarm(said)
        if ended and alarm == HEALTHY:
            alarm = "diverged"
        return Result(
            case=name, seed=seed, recipe_id=recipe.id, images=case.images, judge=judge_hash(), expected=case.expected,
            said=tuple((each.images, each.verdict, each.evidence, " ".join(each.lines()[1:]).strip()) for each in said),
            is_right=alarm in case.expected and (bool(said) or ended), seconds=records[-1]["seconds"],
            gansmith=gansmith.__version__, machine=runtime.machine_facts(torch.device("cpu")),
        )  # fmt: skip

    def moments(self, name: str, seed: int) -> str:
        """Return a table of the moments of a run that was trained."""
        case = CASES[name]
        folder = self._folder(name, case, seed)
        monitor = Monitor(RunConfig.load(folder / CONFIG).recipe, Metrics(folder / "metrics.jsonl").read())
        rows = [f"{each.images:9,}" + "".join(f"{each[key]:16.3g}" for key in SHOWN) for each in monitor.moments]
        return "\n".join([f"{'images':>9}" + "".join(f"{key:>16}" for key in SHOWN), *rows])

    def _folder(self, name: str, case: Case, seed: int) -> Path:
        return self.runs / f"{name.replace(', ', '-').replace(' ', '-')}-{case.images}-seed-{seed}"

    def _kept(self) -> list[Result]:
        return [] if self.out is None else [Result(**values) for values in read_lines(self.out)]

    @staticmethod
    def _key(kept: Result) -> tuple[Any, ...]:
        return kept.case, kept.seed, kept.images, kept.judge, tuple(kept.expected), kept.recipe_id

    def _recipe_of(self, case: Case) -> Recipe:
        """Return what a training of now would have: of `auto` it depends on the machine."""
        request = Request(case.recipe, case.overrides, conditional=case.conditional)
        source, budget = open_source(self._data_of(case)), Budget(images=case.images)
        return resolve(request, source, runtime.choose_device(), budget, Display(quiet=True)).recipe

    def _data_of(self, case: Case) -> str:
        if case.data == EIGHT:
            return str(eight_images(self.data / MNIST, self.runs / "eight.zip"))
        return str(self.data / case.data) if case.data.endswith(".zip") else case.data


def eight_images(source: Path, path: Path) -> Path:
    """Write eight images of a zip, evenly chosen by name, into another; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source) as images, zipfile.ZipFile(path, "w") as few:
        names = [name for name in sorted(images.namelist()) if name.startswith("train/") and name.endswith(".png")]
        for name in names[:: len(names) // NUM_OF_EIGHT][:NUM_OF_EIGHT]:
            few.writestr(Path(name).name, images.read(name))
    return path


def failures(results: Sequence[Result]) -> list[str]:
    """Return a line for each run of which something else was said than expected."""
    return [
        f"{each.case}, seed {each.seed}: {' -> '.join(said[1] for said in each.said) or 'nothing'} was said; "
        f"expected {' or '.join(each.expected)}"
        for each in results
        if not each.is_right
    ]


def main() -> None:
    """Train what is not there yet, print, judge."""
    parser = argparse.ArgumentParser(description="Whether training says how it fails.")
    beside = ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GANSMITH_DATA") or beside))
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[FIRST_SEED])
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="NAME")
    for option in ("--again", "--calibrate", "--cost", "--quick"):
        parser.add_argument(option, action="store_true")
    arguments = parser.parse_args()
    if arguments.cost:
        sys.exit(print_costs())
    if not arguments.quick and not (arguments.data / MNIST).exists():
        sys.exit(f"no {MNIST} in {arguments.data}: give --data or set GANSMITH_DATA to the folder it is in")
    try:
        problems = _try_out() if arguments.quick else _judge(arguments)
    except GansmithError as error:
        print(f"health: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    if problems:
        sys.exit("\n".join(problems))


def _judge(arguments: argparse.Namespace) -> list[str]:
    keeps_nothing = arguments.calibrate
    benchmark = Benchmark(arguments.data, None if keeps_nothing else arguments.out, arguments.runs)
    results = []
    for seed in [CALIBRATION_SEED] if keeps_nothing else arguments.seeds:
        for name in arguments.only:
            results.append(result := benchmark.result(name, seed, arguments.again))
            _print(result)
            if keeps_nothing:
                print(benchmark.moments(name, seed), flush=True)
    return [] if keeps_nothing else failures(results)


def _print(result: Result) -> None:
    print(f"{'right' if result.is_right else 'WRONG'}  {result.case}, seed {result.seed}")
    for images, verdict, evidence, action in result.said:
        print(f"       {images:9,} {verdict}: {evidence}{f'; {action}' if action else ''}", flush=True)


def _try_out() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark(Path(folder), None, Path(folder))
        for name in QUICK_CASES:
            data = "digits" if CASES[name].data == EIGHT else CASES[name].data
            _print(benchmark.trained(name, replace(CASES[name], images=QUICK_IMAGES, data=data), 0))
    return []


if __name__ == "__main__":
    main()
