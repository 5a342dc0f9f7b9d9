"""Whether the scores are right, and what they cost. Prints a table, exits 1 below a bar.

    python benchmarks/metrics.py [--data mnist.zip] [--quick] [--json metrics.json]

Without `--data`: `mnist.zip` in the folder that GANSMITH_DATA names, else in ../shared/data if it is there. Times are
medians of interleaved runs, ours beside the reference's (torchmetrics, scikit-learn: the extra `dev`). `--quick` takes
fewer samples and trials; it does not judge coverage, which few trials cannot.

To add a row: write a function of `Setting` that returns rows, and put it into `MEASUREMENTS`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from intervals import coverages, features, frechet, infinity, kernel, neighbourhoods
from references import their_frechet, their_kernel, their_nearest, their_neighbourhoods
from torch import Tensor

import gansmith
from gansmith.classifiers import Classifier
from gansmith.data import open_data
from gansmith.evaluation.detection import detect
from gansmith.evaluation.evaluator import evaluate
from gansmith.evaluation.extractors.classifier import make_classifier
from gansmith.evaluation.extractors.preparation import Setting as ExtractorSetting
from gansmith.evaluation.frechet import frechet_distance
from gansmith.evaluation.intervals import groups_of
from gansmith.evaluation.kernel import kernel_distance
from gansmith.evaluation.memorisation import memorisation, nearest_training
from gansmith.evaluation.modes import stacked_modes
from gansmith.evaluation.moments import moments_of
from gansmith.evaluation.neighbours import nearest, neighbourhood_estimates

REPEATS = 3
NUM_COPIES = 2000


@dataclass(frozen=True)
class Setting:
    """What to measure on."""

    data: Path
    quick: bool


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, the least and the most it may be, and how long it took.

    Attributes:
        bar: its number in the list of bars.
        ours_ms, theirs_ms: median times, where a reference did the same.
    """

    bar: int
    name: str
    value: float
    at_least: float
    at_most: float
    note: str
    ours_ms: float | None = None
    theirs_ms: float | None = None
    is_judged: bool = True

    @property
    def is_met(self) -> bool:
        """Whether the value is within the bar."""
        return self.at_least <= self.value <= self.at_most


def main() -> None:
    """Measure everything, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description="Whether the scores are right, and what they cost.")
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.data is None or not arguments.data.exists():
        sys.exit(f"no data at {arguments.data}: give --data mnist.zip or set GANSMITH_DATA to the folder it is in")
    print(f"{'':4}{'':46}{'measured':>10}{'bar':>16}{'ours':>10}{'theirs':>10}")
    rows = []
    for measure in MEASUREMENTS:
        for row in measure(Setting(arguments.data, arguments.quick)):
            print(line_of(row), flush=True)
            rows.append(row)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if not all(row.is_met for row in rows if row.is_judged):
        sys.exit(1)


def line_of(row: Row) -> str:
    """Return the row as a line of the table."""
    bar = f"{row.at_least:g} to {row.at_most:g}"
    times = "".join(f"{'' if ms is None else f'{ms:.0f} ms':>10}" for ms in (row.ours_ms, row.theirs_ms))
    verdict = "ok" if row.is_met else "NOT MET" if row.is_judged else "not judged"
    return f"{row.bar:<4}{row.name:46}{row.value:10.3g}{bar:>16}{times} {verdict:8} {row.note}"


def default_data() -> Path | None:
    """Return where mnist.zip is expected."""
    for folder in (os.environ.get("GANSMITH_DATA"), Path(__file__).parents[2] / "shared" / "data"):
        if folder and (Path(folder) / "mnist.zip").exists():
            return Path(folder) / "mnist.zip"
    return None


def whole(setting: Setting) -> list[Row]:
    """Bar 1: `gansmith evaluate` of samples of a full-width dcgan-28, default scores, once the caches are warm."""
    num = 2_000 if setting.quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        run = gansmith.train(setting.data, "dcgan-28", images=128, out=Path(folder) / "run", quiet=True).folder
        evaluate(run, num_samples=num)
        started = time.perf_counter()
        evaluate(run, num_samples=num).save(Path(folder) / "report")
        seconds = time.perf_counter() - started
    name = f"evaluate {num:,} samples of 28x28, seconds"
    return [Row(1, name, seconds, 0, 60, "default scores, caches warm, report written", is_judged=not setting.quick)]


def agreement(setting: Setting) -> list[Row]:
    """Bar 2: ours and the references' on the same features."""
    num, dim = (1000, 64) if setting.quick else (5000, 128)
    real, fake = features(num, dim, 0), 1.1 * features(num, dim, 1) + 0.1
    size = f"{num:,} x {dim}"
    pairs: list[tuple[str, str, Callable[[], Tensor], Callable[[], Tensor]]] = [
        ("Fréchet distance", "torchmetrics",
         lambda: torch.tensor([frechet_distance(moments_of(real), moments_of(fake))]),
         lambda: their_frechet(real, fake)),
        ("kernel distance", "torchmetrics, 1 subset of all",
         lambda: torch.tensor([kernel_distance(real, fake)]), lambda: their_kernel(real, fake)),
        ("5 nearest neighbours", "scikit-learn, brute force",
         lambda: nearest(fake, real, 5)[0], lambda: their_nearest(fake, real, 5)),
        ("precision, recall, density, coverage", "scikit-learn; ours with all replicates",
         lambda: our_neighbourhoods(real, fake), lambda: their_neighbourhoods(real, fake)),
    ]  # fmt: skip
    rows = []
    for name, reference, ours, theirs in pairs:
        (value, ours_ms), (expected, theirs_ms) = interleaved(ours, theirs)
        error = float(((value.double() - expected.double()).abs() / expected.double().abs()).max())
        note = f"largest relative difference from {reference}, {size}"
        rows.append(Row(2, name, error, 0, 1e-4, note, ours_ms, theirs_ms))
    return rows


def interleaved(*functions: Callable[[], Tensor]) -> list[tuple[Tensor, float]]:
    """Return the result of each function and the median of its milliseconds, one run of each after the other."""
    results = [function() for function in functions]
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(REPEATS):
        for number, function in enumerate(functions):
            started = time.perf_counter()
            function()
            times[number].append(1000 * (time.perf_counter() - started))
    return [(result, median(each)) for result, each in zip(results, times, strict=True)]


def our_neighbourhoods(real: Tensor, fake: Tensor) -> Tensor:
    """Return precision, recall, density and coverage."""
    estimates = neighbourhood_estimates(real, fake, groups_of(len(real)), groups_of(len(fake)))
    return torch.tensor([estimate.value for estimate in estimates.values()])


def coverage(setting: Setting) -> list[Row]:
    """Bar 3: how often a 95 % interval holds the expectation, over trials that draw both sides from known normals."""
    rows = []
    for dim, num, trials, at_most, estimators in (
        (16, 2000, 300, 98, (frechet, infinity, kernel)),
        (64, 2000, 200, 98, (frechet, kernel)),
        (8, 500, 200, 100, (neighbourhoods,)),  # known to be too wide, see `neighbourhood_estimates`
    ):
        trials = 20 if setting.quick else trials
        note = f"d = {dim}, n = {num:,}, {trials} trials, 20-group jackknife"
        for name, share in coverages(dim, num, trials, estimators).items():
            rows.append(
                Row(3, f"intervals of {name}, d = {dim}", 100 * share, 90, at_most, note, is_judged=not setting.quick)
            )
    return rows


def telling_apart(setting: Setting) -> list[Row]:
    """Bar 4: a discriminator cannot tell two halves of MNIST's test split, and tells noise from it."""
    images = images_of(setting.data, "test")
    shuffled = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    if setting.quick:
        shuffled = shuffled[:1000]
    half = len(shuffled) // 2
    noise = torch.randint(0, 256, shuffled[half:].shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    steps = {"num_steps": 100} if setting.quick else {}
    halves, against = detect(shuffled[:half], shuffled[half:], **steps), detect(shuffled[:half], noise, **steps)
    low, high = halves.interval
    note = f"accuracy {halves.accuracy:.3f} ({low:.3f} to {high:.3f}) on {halves.num_test:,}, {halves.seconds:.0f} s"
    return [
        Row(4, "two halves of MNIST: interval holds 0.5", float(low <= 0.5 <= high), 1, 1, f"1 = yes; {note}"),
        Row(4, "noise: accuracy", against.accuracy, 0.99, 1, f"{against.num_test:,} images, {against.seconds:.0f} s"),
    ]


def modes(setting: Setting) -> list[Row]:
    """Bar 5: samples of exactly k of the 1,000 stacked modes, made of held-out digits, have k modes."""
    train, test = (open_data(setting.data, (28, 28), 1, split) for split in ("train", "test"))
    reader = make_classifier(
        ExtractorSetting(train, test, None, torch.device("cpu"), lambda line: None, None)
    ).classifier
    assert test.labels is not None
    digits = [np.flatnonzero(test.labels == digit) for digit in range(10)]
    rows = []
    for num_modes, num in ((1, 2_000), (10, 2_000), (100, 5_000)) if setting.quick else (
        (1, 26_000), (10, 26_000), (300, 26_000), (1000, 26_000)
    ):  # fmt: skip
        rows.append(stacked_row(num_modes, num, np.asarray(test.images), digits, reader))
    return rows


def stacked_row(
    num_modes: int, num: int, images: np.ndarray, digits: list[np.ndarray], reader: Classifier
) -> Row:  # fmt: skip
    """Return what is found in `num` stacked images of so many modes."""
    random = np.random.default_rng(num_modes)
    chosen = random.permutation(1000)[:num_modes][np.arange(num) % num_modes]
    places = [[random.choice(digits[mode // 10**power % 10]) for mode in chosen] for power in (2, 1, 0)]
    stacked = torch.from_numpy(np.concatenate([images[channel] for channel in places], axis=1))
    started = time.perf_counter()
    found = stacked_modes(stacked, reader)
    seconds = time.perf_counter() - started
    note = f"{num:,} samples; {found.num_read} read at least once, as papers count; {seconds:.0f} s"
    return Row(5, f"{num_modes} of 1,000 stacked modes", found.num_modes, num_modes, num_modes, note)


def copies(setting: Setting) -> list[Row]:
    """Bar 6: training images are flagged, held-out images are not."""
    step = 5 if setting.quick else 1  # the images are in the order of their classes
    train, held_out = (images_of(setting.data, split)[::step] for split in ("train", "test"))
    started = time.perf_counter()
    expected = nearest_training(held_out[::2], train)
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:NUM_COPIES]
    rows = []
    for name, images, flagged in (
        (f"{NUM_COPIES:,} training images", train[chosen], 1),
        (f"{len(held_out[1::2]):,} other held-out images", held_out[1::2], 0),
    ):
        found = memorisation(nearest_training(images, train), expected)
        note = f"1 = flagged; {100 * found.share:.2f} % near-copies, held out {100 * found.held_out_share:.2f} %"
        rows.append(Row(6, name, float(found.flagged), flagged, flagged, note))
    note = f"seconds, nearest of {len(train):,} for all of these"
    rows.append(Row(6, "memorisation", time.perf_counter() - started, 0, 20, note, is_judged=False))
    return rows


def images_of(path: Path, split: str) -> Tensor:
    """Return (N, 1, 28, 28) uint8 images of a split."""
    data = open_data(path, (28, 28), 1, "train" if split == "train" else "test")
    return torch.from_numpy(np.array(data.images))


MEASUREMENTS: tuple[Callable[[Setting], list[Row]], ...] = (
    whole, agreement, coverage, telling_apart, modes, copies,
)  # fmt: skip


if __name__ == "__main__":
    main()
