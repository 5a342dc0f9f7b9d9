"""The five base systems on MNIST, judged by a classifier: one table, a grid each. Exits 1 below a bar.

    python benchmarks/systems.py --data FOLDER [--out runs/systems] [--minutes 4] [--only mlp resnet] [--quick]

FOLDER holds mnist.zip and cifar10-jpeg.zip. Every system trains for the same minutes with one seed; then 2,000 samples
of its averaged generator are judged. Again, the same command goes on with what is unfinished and judges what is there.
Beside the five: dcgan-28 conditional (is a sample read as the class that was asked for?) and, for twice as long,
dcgan-32 on CIFAR-10, to look at. `--quick` tries this program for seconds on the embedded digits, far below the bars.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gansmith
from gansmith import runtime
from gansmith.data import Order
from gansmith.errors import GansmithError
from gansmith.images import save_grid, to_float
from gansmith.training.classify import open_labelled
from gansmith.training.log import Metrics

SEED, SAMPLE_SEED = 0, 1
NUM_SAMPLES, MINUTES = 2000, 4.0
QUICK_SAMPLES, QUICK_MINUTES, QUICK_CLASSIFIER_STEPS = 200, 0.05, 200
SURE, FEWEST_SHARE, NUM_IN_GRID, GRID_COLUMNS = 0.9, 0.02, 100, 10


@dataclass(frozen=True)
class System:
    """What is trained, for `times` the minutes; the classifier judges its samples, or whether they are as asked for."""

    name: str
    recipe: str
    overrides: tuple[str, ...] = ()
    file: str = "mnist.zip"
    times: int = 1
    is_conditional: bool = False
    is_judged: bool = True


NARROW = ("generator.width=32", "discriminator.width=32", "discriminator_steps=1")
SYSTEMS = (
    System("mlp", "mlp"),
    System("dcgan-28", "dcgan-28"),
    System("dcgan-32", "dcgan-32"),
    System("dense-conv", "dense-conv"),
    System("resnet", "resnet", NARROW),
    System("dcgan-28-conditional", "dcgan-28", is_conditional=True),
    System("dcgan-32-cifar", "dcgan-32", file="cifar10-jpeg.zip", times=2, is_judged=False),
)


@dataclass(frozen=True)
class Bar:
    """What a number of a row must reach: at least `value`, or at most."""

    title: str
    value: float
    is_most: bool = False

    def holds(self, number: float) -> bool:
        """Return whether it is reached."""
        return number <= self.value if self.is_most else number >= self.value

    def __str__(self) -> str:
        """Return ">= 0.5"."""
        return f"{'<=' if self.is_most else '>='} {self.value:g}"


BARS = {
    "classes": Bar("classes", 9),
    "sure": Bar("sure", 0.5),
    "spread": Bar("distance", 0.7),
    "largest": Bar("largest", 0.4, is_most=True),
    "as_asked": Bar("as asked", 0.8),
    "accuracy": Bar("classifier", 0.99),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: how a system was trained, and what was measured on its samples.

    `judged` holds, by the names in BARS: classes with at least 2 % of the samples; share that the classifier is sure of
    (> 0.9); mean distance of two samples / of two reals (of one class, where classes are asked for); share of the most
    frequent class; share read as the class that was asked for; accuracy of the classifier on the test split.
    """

    system: str
    recipe_id: str
    size: str
    width: str
    images_seen: int
    generator_updates: int
    minutes: float
    judged: dict[str, float] = field(default_factory=dict)

    def failures(self) -> list[str]:
        """Return one line for each bar that is not reached."""
        pairs = [(BARS[name], number) for name, number in self.judged.items()]
        return [f"{self.system}: {bar.title} {x:.4g}, must be {bar}" for bar, x in pairs if not bar.holds(x)]

    def text(self) -> str:
        """Return the line."""
        numbers = "".join(f"{self.judged[n]:11.4g}" if n in self.judged else f"{'-':>11}" for n in BARS)
        shape = f"{self.system:21}{self.size:>7}{self.width:>12}"
        return f"{shape}{self.images_seen:11,}{self.generator_updates:9,}{numbers}"


def read_statistics(probabilities: Tensor) -> dict[str, float]:
    """Return classes, sure and largest (see `Row`) of (N, num_classes) probabilities."""
    confidence, read = probabilities.max(1)
    shares = read.bincount(minlength=probabilities.shape[1]) / len(read)
    return {
        "classes": int((shares >= FEWEST_SHARE).sum()),
        "sure": float((confidence > SURE).float().mean()),
        "largest": float(shares.max()),
    }


def mean_distance(images: Tensor) -> float:
    """Return the mean Euclidean distance of two different ones of (N, C, H, W) images, over all pairs."""
    return float(torch.pdist(images.flatten(1)).double().mean())


def mean_distance_in_class(images: Tensor, labels: Tensor) -> float:
    """Return the mean over the classes that occur of `mean_distance` of the images of each."""
    distances = [mean_distance(images[labels == label]) for label in labels.unique()]
    return sum(distances) / len(distances)


def share_as_asked(probabilities: Tensor, asked: Tensor) -> float:
    """Return the share of (N, num_classes) probabilities whose largest is at the label asked for (N,)."""
    return float((probabilities.argmax(1) == asked).float().mean())


class Benchmark:
    """The folder, the data and the classifier that all systems share."""

    def __init__(self, data: Path | None, out: Path, minutes: float, quick: bool) -> None:
        self.data, self.out, self.minutes, self.quick = data, out, minutes, quick
        self.num_samples = QUICK_SAMPLES if quick else NUM_SAMPLES
        splits = open_labelled(self._path("mnist.zip"))
        self.train, self.test = splits.train, splits.held_out
        places = Order(SEED, len(self.train), "reals").indices(0, self.num_samples)
        reals = self.train.batch(places)
        self.real_distance = mean_distance(to_float(reals.images))
        self.real_distance_in_class = mean_distance_in_class(to_float(reals.images), reals.labels)
        self.classifier = self._classifier()
        self.accuracy = self.classifier.test(self.test)

    def _path(self, file: str) -> str:
        return "digits" if self.quick or self.data is None else str(self.data / file)

    def _classifier(self) -> gansmith.Classifier:
        folder = self.out / "classifier"
        if (folder / "config.json").exists():
            kept = gansmith.load_classifier(folder)
            if kept.data_fingerprint == self.train.fingerprint:
                return kept
        steps = QUICK_CLASSIFIER_STEPS if self.quick else None
        gansmith.save_classifier(gansmith.train_classifier(self.train, self.test, steps, SEED), folder)
        return gansmith.load_classifier(folder)

    def row(self, system: System) -> Row:
        """Train, or go on, or find it finished; write its grid; return what was measured."""
        shape: dict[str, Any] = {"size": self.classifier.network.size, "channels": self.classifier.network.channels}
        run = gansmith.train(
            self._path(system.file), system.recipe, overrides=system.overrides, minutes=self.minutes * system.times,
            conditional=system.is_conditional, seed=SEED, out=self.out / system.name,
            **(shape if system.is_judged else {}),
        )  # fmt: skip
        names = self.classifier.class_names if system.is_conditional else None
        samples = gansmith.sample(run.folder, self.num_samples, SAMPLE_SEED, classes=names)
        save_grid(samples[:NUM_IN_GRID], self.out / f"{system.name}.png", GRID_COLUMNS)
        generator, metrics = run.recipe.generator.model_dump(), Metrics(run.folder / "metrics.jsonl").read()
        return Row(
            system=system.name,
            recipe_id=run.recipe.id,
            size="x".join(map(str, run.recipe.size)),
            width=str(generator.get("width") or generator["hidden"]),
            images_seen=run.images_seen,
            generator_updates=metrics[-1]["steps"],
            minutes=run.seconds / 60,
            judged=self._judged(system, samples),
        )

    def _judged(self, system: System, samples: Tensor) -> dict[str, float]:
        if not system.is_judged:
            return {}
        probabilities = self.classifier.probabilities(samples)
        own = {"accuracy": self.accuracy.share}
        if system.is_conditional:
            asked = torch.arange(len(samples)) % len(self.classifier.class_names)  # as `sample` takes them: in turn
            spread = mean_distance_in_class(samples, asked) / self.real_distance_in_class
            return {"as_asked": share_as_asked(probabilities, asked), "spread": spread, **own}
        return {**read_statistics(probabilities), "spread": mean_distance(samples) / self.real_distance, **own}

    def report(self, rows: list[Row]) -> dict[str, Any]:
        """Return everything as JSON values: what was measured and how."""
        return {
            "gansmith": gansmith.__version__,
            "machine": runtime.machine_facts(runtime.choose_device()),
            "data": {"name": self.train.name, "fingerprint": self.train.fingerprint},
            "minutes": self.minutes,
            "seeds": {"training": SEED, "samples": SAMPLE_SEED},
            "num_samples": self.num_samples,
            "classifier": {"interval_95": self.accuracy.interval, "num_test_images": self.accuracy.num_images},
            "mean_distance_of_reals": self.real_distance,
            "bars": {name: str(bar) for name, bar in BARS.items()},
            "systems": [asdict(row) for row in rows],
            "failures": [failure for row in rows for failure in row.failures()],
        }


def main() -> None:
    """Train, judge, print, write the report."""
    parser = argparse.ArgumentParser(description="The five base systems on MNIST.")
    parser.add_argument("--data", type=Path, default=os.environ.get("GANSMITH_DATA"))
    parser.add_argument("--out", type=Path, default=Path("runs/systems"))
    parser.add_argument("--minutes", type=float, help=f"for each system; {MINUTES:g} by default")
    parser.add_argument("--only", nargs="+", choices=[system.name for system in SYSTEMS], metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="the embedded digits for some seconds")
    arguments = parser.parse_args()
    systems = [system for system in SYSTEMS if arguments.only is None or system.name in arguments.only]
    needed = {"mnist.zip", *(system.file for system in systems)}  # the classifier's too
    missing = sorted(file for file in needed if not Path(arguments.data or "", file).exists())
    if missing and not arguments.quick:
        sys.exit(f"no {' and no '.join(missing)} in {arguments.data}: make systems DATA=FOLDER, or --quick")
    minutes = arguments.minutes or (QUICK_MINUTES if arguments.quick else MINUTES)
    try:
        benchmark = Benchmark(arguments.data, arguments.out, minutes, arguments.quick)
        rows = [benchmark.row(system) for system in systems]
    except GansmithError as error:
        print(f"systems: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    titles = "".join(f"{bar.title:>11}" for bar in BARS.values())
    print(f"\n{'':21}{'size':>7}{'width':>12}{'images':>11}{'updates':>9}{titles}")
    print("\n".join(row.text() for row in rows))
    print(f"{'bar':60}" + "".join(f"{bar!s:>11}" for bar in BARS.values()))
    report = benchmark.report(rows)
    (arguments.out / "systems.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"grids: {arguments.out}/*.png   report: {arguments.out / 'systems.json'}")
    if report["failures"]:
        sys.exit("below the bar:\n" + "\n".join(f"  {failure}" for failure in report["failures"]))


if __name__ == "__main__":
    main()
