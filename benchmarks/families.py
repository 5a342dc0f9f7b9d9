"""Families of generative models on MNIST after equal minutes of training, three seeds each. Exits 1 below a bar.

    python benchmarks/families.py [--minutes 5] [--methods auto,dcgan-28] [--seeds 0] [--data mnist.zip]
                                  [--again disturbed|all] [--markdown] [--quick]

Without `--data`: `mnist.zip` in the folder that GANSMITH_DATA names, else in ../shared/data if it is there. Every
training is a process of its own with the whole machine, a seed of every method after the other; then 10,000 samples are
judged through one classifier. A line for each is added to docs/results/families.jsonl, and what is there for the same
recipe, data, minutes and processor is not trained again: the same command goes on where it was stopped, and one with
fewer methods or seeds fills the same file. `--again disturbed` repeats the trainings that other programs ran beside,
`--again all` all that are asked for. The table is of everything in the file that was trained on the processor used
last, for equal minutes compare nothing across two; it is judged once nothing is missing.

`--markdown` trains nothing: it prints the README's table. `--quick` tries this program for seconds on the embedded
digits; nothing is judged, and nothing kept unless `--out` says where.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from data import default_data
from families_table import METHODS, QUICK_METHODS, Result, failures, markdown, newest, processor_of, table
from trainings import append_line, read_lines, resolved_recipe, train_apart

import gansmith
from gansmith import runtime
from gansmith.data import open_data
from gansmith.errors import GansmithError, near_matches
from gansmith.evaluation.extractors.classifier import make_classifier
from gansmith.evaluation.extractors.preparation import Setting
from gansmith.evaluation.reference import open_real
from gansmith.images import to_uint8

ROOT = Path(__file__).parents[1]
RESULT, RUNS = ROOT / "docs" / "results" / "families.jsonl", ROOT / "runs" / "families"
MINUTES, SEEDS, NUM_SAMPLES = 5.0, (0, 1, 2), 10_000
QUICK_MINUTES, QUICK_SAMPLES = 1 / 60, 500
SAMPLE_SEED, SURE = 1, 0.9
OVERRIDES = {"resnet": ("generator.width=32", "discriminator.width=32")}
"""What a method differs in from the recipe of its name: at its published width of 256 a CPU takes seconds a step."""


@dataclass(frozen=True)
class Plan:
    """What is trained, how long and how often, and on how many samples it is judged."""

    data: str
    methods: tuple[str, ...]
    minutes: float = MINUTES
    seeds: tuple[int, ...] = SEEDS
    num_samples: int = NUM_SAMPLES


def main() -> None:
    """Train and judge what is not there yet; print everything there is."""
    arguments = parsed()
    if arguments.markdown:
        print(markdown(newest(results_in(arguments.out or RESULT), arguments.minutes or MINUTES, NUM_SAMPLES)))
        return
    plan = plan_of(arguments)
    with tempfile.TemporaryDirectory() as folder:
        kept = (Path(folder) / "families.jsonl", Path(folder)) if arguments.quick else (RESULT, RUNS)
        out, runs = arguments.out or kept[0], arguments.runs or kept[1]
        try:
            Benchmark(plan, out, runs).fill(arguments.again)
        except GansmithError as error:
            print(f"families: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
        results = newest(results_in(out), plan.minutes, plan.num_samples)
    print(table(results))
    if not arguments.quick and (problems := failures(results, SEEDS)):
        sys.exit("\n".join(problems))


def parsed() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description="Families of generative models on MNIST at equal minutes.")
    parser.add_argument("--minutes", type=float, help=f"of each training; {MINUTES:g} by default")
    parser.add_argument("--methods", type=names, help=f"some of {','.join(METHODS)}")
    parser.add_argument("--seeds", type=seeds, help="such as 0,1,2, the default")
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--out", type=Path, help=f"{RESULT.relative_to(ROOT)} by default; with --quick, nothing")
    parser.add_argument("--runs", type=Path, help=f"{RUNS.relative_to(ROOT)} by default; with --quick, nothing")
    parser.add_argument("--again", choices=["disturbed", "all"], help="train again what is there")
    parser.add_argument("--markdown", action="store_true", help="print the README's table, train nothing")
    parser.add_argument("--quick", action="store_true", help="the embedded digits for a second each")
    return parser.parse_args()


def names(text: str) -> tuple[str, ...]:
    """Return the methods in "auto,dcgan-28"."""
    found = tuple(name.strip() for name in text.split(","))
    for name in found:
        if name not in METHODS:
            raise argparse.ArgumentTypeError(
                f"{name!r} is unknown{near_matches(name, METHODS)}; there are {', '.join(METHODS)}"
            )
    return found


def seeds(text: str) -> tuple[int, ...]:
    """Return the seeds in "0,1,2"."""
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} are no seeds; write whole numbers from 0 on, such as 0,1,2")
    return tuple(int(part) for part in text.split(","))


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Return what is asked for; ends the program where there are no data."""
    if arguments.quick:
        plan = Plan("digits", QUICK_METHODS, QUICK_MINUTES, (0,), QUICK_SAMPLES)
    elif arguments.data is None or not arguments.data.exists():
        sys.exit(f"no data at {arguments.data}: give --data mnist.zip or set GANSMITH_DATA to the folder it is in")
    else:
        plan = Plan(str(arguments.data), METHODS)
    given = {name: getattr(arguments, name) for name in ("methods", "minutes", "seeds")}
    return replace(plan, **{name: value for name, value in given.items() if value is not None})


def results_in(path: Path) -> list[Result]:
    """Return the results in a file, the newest first."""
    return [
        Result(**each | {name: each[name] and tuple(each[name]) for name in ("interval", "class_shares")})
        for each in read_lines(path)
    ]


class Benchmark:
    """Trainings by one plan.

    Args:
        plan: what is trained.
        out: file of the results.
        runs: folder of what is trained.
    """

    def __init__(self, plan: Plan, out: Path, runs: Path) -> None:
        self.plan, self.out, self.runs = plan, out, runs

    def fill(self, again: str | None) -> None:
        """Train and judge what the file lacks, a seed of every method after the other.

        Args:
            again: repeat also those that were "disturbed", or "all".
        """
        keys = {method: self._key(method) for method in self.plan.methods}
        there = results_in(self.out)
        for seed in self.plan.seeds:
            for method, key in keys.items():
                found = next((each for each in there if each.seed == seed and each.key == key), None)
                is_again = again == "all" or (again == "disturbed" and found is not None and found.is_disturbed)
                if found is None or is_again:
                    found = self._trained(method, seed, key, is_anew=is_again)
                    append_line(self.out, asdict(found))
                print(f"{method}, seed {seed}: fd_classifier {found.fd_classifier:.2f}, sure of {found.sure:.1%}",
                      flush=True)  # fmt: skip

    def _key(self, method: str) -> tuple[Any, ...]:
        """What a result must agree in, seed aside, to stand for a training of now: as `Result.key`."""
        recipe = resolved_recipe(method, self.plan.data, self.plan.minutes, OVERRIDES.get(method, ()))
        fingerprint = open_data(self.plan.data, recipe.size, recipe.channels).fingerprint
        processor = processor_of(runtime.machine_facts(torch.device("cpu")))
        return (method, self.plan.minutes, recipe.id, fingerprint, self.plan.num_samples, processor)

    def _trained(self, method: str, seed: int, key: tuple[Any, ...], is_anew: bool) -> Result:
        plan = self.plan
        folder = self.runs / f"{method}-{key[2]}-{key[3]}-{plan.minutes:.3g}-minutes-seed-{seed}"
        if is_anew:
            shutil.rmtree(folder, ignore_errors=True)
        trained, others_share = train_apart(
            method, plan.data, plan.minutes, seed, folder, OVERRIDES.get(method, ())
        )  # fmt: skip
        return Result(
            method=method, seed=seed, minutes=plan.minutes, data=key[3], num_samples=plan.num_samples,
            **self._scores(method, seed, folder), **read_statistics(folder, plan.data, plan.num_samples), **trained,
            gansmith=gansmith.__version__, machine=runtime.machine_facts(torch.device("cpu")),
            others_share=others_share,
        )  # fmt: skip

    def _scores(self, method: str, seed: int, folder: Path) -> dict[str, Any]:
        report = gansmith.evaluate(
            folder, self.plan.data, scores=["fd", "precision", "recall"], num_samples=self.plan.num_samples,
            seed=SAMPLE_SEED, extractor="classifier", quiet=True,
        ).report  # fmt: skip
        distance, precision, recall = report.scores
        for score in report.scores:
            if score.value is None:
                sys.exit(f"{method}, seed {seed}: no {score.name}: {score.reason}")
        return {
            "fd_classifier": distance.value,
            "interval": distance.interval and (distance.interval.low, distance.interval.high),
            "held_out": distance.held_out,
            "precision_classifier": precision.value,
            "recall_classifier": recall.value,
            "extractor": report.extractor.checksum,
        }


def read_statistics(folder: Path, data: str, num_samples: int) -> dict[str, Any]:
    """Return what the classifier of the data reads in samples: the share it is sure of (> 0.9), each class's share.

    Args:
        folder: of a run.
        data: the real images, which the classifier was trained on.
        num_samples: the same samples that `gansmith.evaluate` draws.
    """
    samples = to_uint8(gansmith.sample(folder, num_samples, SAMPLE_SEED))
    real = open_real(data, (samples.shape[2], samples.shape[3]), samples.shape[1])
    setting = Setting(*real.for_a_classifier(), None, runtime.choose_device(), lambda line: None, None)
    confidence, read = make_classifier(setting).read(samples)[1].max(1)
    counts: Sequence[int] = read.bincount(minlength=len(real.facts.class_names)).tolist()
    return {
        "sure": float((confidence > SURE).float().mean()),
        "class_shares": tuple(count / num_samples for count in counts),
    }


if __name__ == "__main__":
    main()
