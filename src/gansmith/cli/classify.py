"""`gansmith classify train` and `gansmith classify test`: the classifier that generated images are judged by."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import tyro

from gansmith import sizes
from gansmith.cli.command import Command
from gansmith.cli.parsing import channel_count, natural, one_of, parsed, positive
from gansmith.errors import ResourceError, UsageError
from gansmith.overrides import parse_count

if TYPE_CHECKING:
    from gansmith.classifiers import Accuracy
    from gansmith.training.classify import ClassifierProgress
    from gansmith.training.log import Display

ACTIONS = ("train", "test")
POOLINGS = ("max", "average")
Split = Literal["train", "test"]
RUNS = Path("runs")
SMALLEST_SIDE = 4
MOST_CLASSES_SHOWN, MOST_SKIPPED_SHOWN = 20, 5


@dataclass
class ClassifyTrainCommand(Command):
    """Train a convolutional classifier on labelled images, and say how well it reads images it has not seen."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Whatever `gansmith train` takes that has classes; without a test split, a fixed fifth is held out."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Where to save it; by default a new runs/<data>-classifier-k."""
    minutes: Annotated[str | None, tyro.conf.arg(metavar="M", help_behavior_hint="")] = None
    """Stop after so many minutes of training."""
    images: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Stop after so many images shown (5000, 200k, 2m); five times the data, at least 100k, if neither is given."""
    pooling: Annotated[str, tyro.conf.arg(metavar="max|average")] = "max"
    """How a map is halved."""
    size: Annotated[str | None, tyro.conf.arg(metavar="SIZE", help_behavior_hint="")] = None
    """64 or 40x48 (height x width); by default the data's own, at most 64 a side."""
    channels: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """1 (grey), 3 (RGB) or 4 (RGBA); by default the data's."""
    fit: Annotated[str, tyro.conf.arg(metavar="HOW")] = "crop"
    """How images of another shape become the size: crop, pad, stretch."""
    allow_bad: bool = False
    """Go on where more than 5 % of the images cannot be read."""
    seed: Annotated[str, tyro.conf.arg(metavar="N")] = "0"
    """Of weights, order, shifts and dropout."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1."""
    quiet: bool = False
    """Print nothing."""

    def run(self, unknown: Sequence[str]) -> None:
        """Check everything, train, save, report."""
        values = self._checked(list(unknown))
        from gansmith.training.log import Display

        display = Display(self.quiet)
        try:
            self._train(display, **values)
        finally:
            display.close()

    def _checked(self, problems: list[str]) -> dict[str, Any]:
        values = {
            "minutes": parsed(problems, "--minutes", self.minutes, positive),
            "images": parsed(problems, "--images", self.images, parse_count),
            "pooling": parsed(problems, "--pooling", self.pooling, one_of(POOLINGS)),
            "size": parsed(problems, "--size", self.size, _size),
            "channels": parsed(problems, "--channels", self.channels, channel_count),
            "seed": parsed(problems, "--seed", self.seed, natural),
            "fit": parsed(problems, "--fit", self.fit, one_of(get_args(sizes.Fit))),
        }
        if self.out is not None and not _may_be_written(self.out):
            problems.append(f"--out {self.out}: exists and is not a saved classifier; choose another")
        if problems:
            raise UsageError(problems)
        return values

    def _train(
        self, display: Display, minutes: float | None, images: int | None, pooling: Any, size: sizes.Size | None,
        channels: int | None, seed: int, fit: Any,
    ) -> None:  # fmt: skip
        from gansmith import runtime
        from gansmith.classifiers import save_classifier
        from gansmith.training.classify import BATCH, check_splits, open_labelled, shape_of, train_classifier

        runtime.choose_device(self.device)
        splits = open_labelled(self.data, size, channels, display.decoding, fit=fit, allow_bad=self.allow_bad)
        train, held_out = splits.train, splits.held_out
        check_splits(train, held_out)
        out = _made(_next_folder(train.name) if self.out is None else self.out)
        steps = None if images is None else -(-images // BATCH)
        for name, reason in splits.skipped[:MOST_SKIPPED_SHOWN]:
            display.say(f"skipped {name}: {reason}")
        if len(splits.skipped) > MOST_SKIPPED_SHOWN:
            display.say(f"and {len(splits.skipped) - MOST_SKIPPED_SHOWN:,} more skipped")
        if not splits.has_test:
            display.say(f"{train.name} has no test split: every fifth image is held out")
        channels, height, width = shape_of(train)
        shape = f"{sizes.size_text((height, width))}, {channels} channel{'s' if channels > 1 else ''}"
        display.say(f"{train.name}: {len(train):,} images of {len(train.class_names)} classes, {shape}")
        classifier = train_classifier(
            train, held_out, steps, seed, minutes=minutes, pooling=pooling, device=self.device,
            on_progress=lambda progress: display.working(progress.share, _line(progress)),
        )  # fmt: skip
        display.close()
        for line in _report(classifier.test(held_out), "held-out"):
            display.say(line)
        save_classifier(classifier, out)
        display.say(f"saved: {out} after {classifier.images_seen:,} images shown")


@dataclass
class ClassifyTestCommand(Command):
    """Tell how well a saved classifier reads labelled images, and what it confuses."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """A folder or zip whose sub-folders are the classifier's classes, or "digits"."""
    model: Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
    """A saved classifier."""
    split: Annotated[str | None, tyro.conf.arg(metavar="train|test", help_behavior_hint="")] = None
    """By default test, or the held-out fifth where the data have no test split."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1."""

    def run(self, unknown: Sequence[str]) -> None:
        """Read the images and report."""
        problems = list(unknown)
        parsed(problems, "--split", self.split, one_of(get_args(Split)))
        if problems:
            raise UsageError(problems)
        self._test(cast(Split | None, self.split))

    def _test(self, split: Split | None) -> None:
        from gansmith.classifiers import load_classifier
        from gansmith.data import open_data
        from gansmith.training.classify import open_held_out
        from gansmith.training.log import Display

        display = Display()
        classifier = load_classifier(self.model, self.device)
        size, channels = classifier.network.size, classifier.network.channels
        try:
            if split is None:
                data, is_own_split = open_held_out(self.data, size, channels, display.decoding)
                name = "test" if is_own_split else "held-out"
            else:
                data, name = open_data(self.data, size, channels, split, display.decoding), split
        finally:
            display.close()
        for line in _report(classifier.test(data), name):
            display.say(line)


Action = (
    Annotated[ClassifyTrainCommand, tyro.conf.subcommand("train")]
    | Annotated[ClassifyTestCommand, tyro.conf.subcommand("test")]
)


@dataclass
class ClassifyCommand:
    """Train or test the classifier that generated images are judged by."""

    action: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[Action]]


def _size(text: str) -> sizes.Size:
    size = sizes.parse_size(text)
    if min(size) < SMALLEST_SIDE:
        raise ValueError(f"a classifier needs images of at least {SMALLEST_SIDE}x{SMALLEST_SIDE}")
    return size


def _may_be_written(out: Path) -> bool:
    """Return whether it is nothing yet, an empty folder, or a saved classifier, which is replaced."""
    if not out.is_dir():
        return not out.exists()
    try:
        return not any(out.iterdir()) or json.loads((out / "config.json").read_bytes())["kind"] == "classifier"
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _next_folder(name: str) -> Path:
    prefix = re.sub(r"[^\w.-]+", "_", name) + "-classifier"
    numbers = [int(match[1]) for path in RUNS.glob(f"{prefix}-*") if (match := re.fullmatch(r".*-(\d+)", path.name))]
    return RUNS / f"{prefix}-{max(numbers, default=0) + 1}"


def _made(folder: Path) -> Path:
    """Make the folder before training: a place that cannot be written to is better known now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"{folder}: cannot be written to ({error.strerror})") from error
    return folder


def _line(progress: ClassifierProgress) -> str:
    from gansmith.training.log import clock

    remaining = progress.seconds * (1 - progress.share) / progress.share
    speed = progress.images / progress.seconds
    return f"{progress.images:,} images · {speed:,.0f} img/s · loss {progress.loss:.3f} · {clock(remaining)} to go"


def _report(accuracy: Accuracy, split: str) -> list[str]:
    low, high = accuracy.interval
    right, num = int(accuracy.confusions.trace()), accuracy.num_images
    lines = [f"accuracy {accuracy.share:.2%} ({low:.2%} to {high:.2%} at 95 %): {right:,} of {num:,} {split} images"]
    shares = sorted(accuracy.by_class.items(), key=lambda item: item[1])
    shown = shares if len(shares) <= MOST_CLASSES_SHOWN else shares[:MOST_CLASSES_SHOWN]
    title = "by class" if shown == shares else f"the {len(shown)} classes read worst"
    if shown == shares:
        shown = list(accuracy.by_class.items())
    lines.append(f"{title}: " + "  ".join(f"{name} {share:.1%}" for name, share in shown))
    confused = ", ".join(f"{true} as {read} {times:,}x" for true, read, times in accuracy.most_confused())
    return [*lines, f"most often misread: {confused}" if confused else "none misread"]
