"""`gansmith evaluate`: scores of a generator or of anyone's images, with how they were measured, and a report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import tyro

from gansmith import sizes
from gansmith.cli.command import Command
from gansmith.cli.parsing import at_least, natural, one_of, parsed
from gansmith.errors import CheckpointError, UsageError, near_matches
from gansmith.evaluation.wording import numeral, range_text, spread_of
from gansmith.overrides import parse_count
from gansmith.report import (
    DEFAULT_SCORES,
    EXTRACTOR_NAMES,
    INCEPTION_SCORES,
    REQUESTED_SCORES,
    Report,
    Score,
    load_report,
)

if TYPE_CHECKING:
    from gansmith.evaluation.evaluator import Evaluation
    from gansmith.training.log import Display

Split = Literal["train", "test"]
ALL_SCORES = (*DEFAULT_SCORES, *REQUESTED_SCORES, *INCEPTION_SCORES)
FEWEST_SAMPLES = 2
REPORT, CONFIG = "report.json", "config.yaml"


@dataclass
class EvaluateCommand(Command):
    """Measure a generator, or anyone's images, against real images; write a report with every number's protocol."""

    subject: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run, checkpoint or saved model; or a folder, zip or npz of images."""
    data: Annotated[str | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """The real images; by default those that the run was trained on."""
    scores: Annotated[str | None, tyro.conf.arg(metavar="NAMES", help_behavior_hint="")] = None
    """fd,kd,precision,recall,... and on request is, intra-fd, adversarial, worth, modes; fid, kid and inception-score
    are of Inception features. docs/metrics.md explains each."""
    samples: Annotated[str, tyro.conf.arg(metavar="N")] = "10k"
    """How many to draw, or to read of a larger collection."""
    reals: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Compare with so many real images, always the same ones; by default all, as papers do."""
    seed: Annotated[str, tyro.conf.arg(metavar="N")] = "0"
    """Of latents and labels."""
    split: Annotated[str, tyro.conf.arg(metavar="train|test")] = "train"
    """Of the real images to compare with."""
    extractor: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """classifier, random, inception, dinov2; by default classifier where there are classes, else random."""
    weights: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Of the extractor, where they are not in their usual place."""
    fit: Annotated[str | None, tyro.conf.arg(metavar="HOW", help_behavior_hint="")] = None
    """How real images of another shape become the samples' size: crop, pad, stretch; by default as the run did."""
    allow_bad: bool = False
    """Go on where more than 5 % of the real images cannot be read."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Where report.json and report.html go; by default the run's folder, else <name>-evaluation here."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1."""
    ranks: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Draw samples and read images by so many processes of this machine together, each a part."""
    quiet: bool = False
    """Print nothing."""

    def run(self, unknown: Sequence[str]) -> None:
        """Check everything, measure, print, save."""
        values = self._checked(list(unknown))
        num_ranks, scores, extractor = values.pop("ranks"), values.pop("scores"), values.pop("extractor")
        from gansmith.launch import ran_as_ranks

        if ran_as_ranks(self.arguments, num_ranks, self.device):
            return
        from gansmith import ranks, runtime
        from gansmith.evaluation.evaluator import measure
        from gansmith.evaluation.opening import Asked, plan_of

        with runtime.joined_device(self.device) as device:
            asked = Asked(
                self.subject, self.data, plan_of(scores, extractor), weights=self.weights, allow_bad=self.allow_bad,
                device=str(device), **values,
            )  # fmt: skip
            found = measure(asked, self.quiet, among_ranks=ranks.current().size > 1)
            if found is not None:
                self._save(found)

    def _save(self, found: Evaluation) -> None:
        from gansmith.training.log import Display

        display = Display(self.quiet)
        show(found.report, display)
        folder = found.save(self.out or default_folder(self.subject, found.report.subject.fingerprint))
        display.say(f"report: {folder / 'report.html'}   numbers: {folder / 'report.json'}")

    def _checked(self, problems: list[str]) -> dict[str, Any]:
        values = {
            "scores": parsed(problems, "--scores", self.scores, score_names),
            "num_samples": parsed(problems, "--samples", self.samples, at_least(FEWEST_SAMPLES, parse_count)),
            "num_reals": parsed(problems, "--reals", self.reals, at_least(FEWEST_SAMPLES, parse_count)),
            "seed": parsed(problems, "--seed", self.seed, natural),
            "split": parsed(problems, "--split", self.split, one_of(get_args(Split))),
            "extractor": parsed(problems, "--extractor", self.extractor, one_of(EXTRACTOR_NAMES)),
            "ranks": parsed(problems, "--ranks", self.ranks, at_least(1, parse_count)),
            "fit": parsed(problems, "--fit", self.fit, one_of(get_args(sizes.Fit))),
        }
        if not self.subject.exists():
            problems.append(f"{self.subject}: no such run, checkpoint, saved model, folder or file of images")
        if problems:
            raise UsageError(problems)
        return values


def score_names(text: str) -> tuple[str, ...]:
    """Return the names in "fd,kd".

    Raises:
        ValueError: one is unknown.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in ALL_SCORES:
            raise ValueError(
                f"score {name!r} is unknown{near_matches(name, ALL_SCORES)}; there are {', '.join(ALL_SCORES)}"
            )
    return names


def default_folder(subject: Path, fingerprint: str) -> Path:
    """Return where a report goes: into the run; for anything else here, since a folder of images stays as it is.

    Args:
        subject: path of what was evaluated.
        fingerprint: of it: a folder that holds the report of another one is left to that.
    """
    if (subject / CONFIG).exists():
        return subject
    return vacant_folder(Path(f"{label_of(subject)}-evaluation"), fingerprint)


def label_of(subject: Path) -> str:
    """Return a name for a folder: "a", "theirs", "a-best", "a-205952" for the checkpoint of that many images."""
    path = subject.resolve()
    name = path.name if path.is_dir() else path.stem
    if (path.parent / CONFIG).exists():
        name = f"{path.parent.name}-{name}"
    elif name.isdecimal() and (path.parent.parent / CONFIG).exists():
        name = f"{path.parent.parent.name}-{int(name)}"
    return re.sub(r"[^\w.-]+", "_", name) or "images"


def vacant_folder(folder: Path, fingerprint: str) -> Path:
    """Return the folder, or folder-2, folder-3, ..: the first one that holds no report of another subject."""
    number, chosen = 1, folder
    while _is_of_another(chosen / REPORT, fingerprint):
        number += 1
        chosen = folder.with_name(f"{folder.name}-{number}")
    return chosen


def _is_of_another(file: Path, fingerprint: str) -> bool:
    if not file.exists():
        return False
    try:
        return load_report(file).subject.fingerprint != fingerprint
    except CheckpointError:  # nobody knows whose it is
        return True


def show(report: Report, display: Display) -> None:
    """Print a table of the scores, then what each needs to be said."""
    display.table(("score", "value", "95 % interval", "held-out reals", "better"), list(map(_row, report.scores)))
    for score in report.scores:
        for text in (score.reason, score.verdict, *score.warnings):
            if text:
                display.say(f"  {score.name}: {text}")
    for line in report.health.lines() if report.health else []:
        display.say(line)
    display.say(f"measured in {report.seconds:.0f} s; again: {report.command}")


def _row(score: Score) -> tuple[str, ...]:
    better = "" if score.better == "none" else score.better
    if score.value is None:
        return score.name, "-", "", "-", better
    spread, interval = spread_of(score.interval), score.interval
    return (
        score.name,
        numeral(score.value, spread),
        range_text(interval.low, interval.high) if interval else "none",
        "-" if score.held_out is None else numeral(score.held_out, spread),
        better,
    )
