"""`gansmith compare`: which generator is better, by which score, and whether by more than chance."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from gansmith.cli.command import Command
from gansmith.cli.evaluate import FEWEST_SAMPLES, default_folder, score_names
from gansmith.cli.parsing import at_least, parsed
from gansmith.errors import ResourceError, UsageError
from gansmith.overrides import parse_count
from gansmith.report import Report, load_report

if TYPE_CHECKING:
    from gansmith.evaluation.comparison import ComparedScore, Comparison
    from gansmith.evaluation.exhibit import Exhibit
    from gansmith.training.log import Display

REPORT, CONFIG = "report.json", "config.yaml"
NUMBERS, PAGE = "comparison.json", "comparison.html"


@dataclass
class CompareCommand(Command):
    """Compare generators: intervals, which differences are significant, grids side by side."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN ...", help_behavior_hint="")]
    """Run folders, or folders with a report.json, or report.json files. A run without a report, or that has trained on
    since, is evaluated first. Several seeds of one recipe are compared as one method."""
    data: Annotated[str | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """The real images; by default those that each run was trained on."""
    samples: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """How many to draw; by default as many as in the reports that there are, else 10k."""
    scores: Annotated[str | None, tyro.conf.arg(metavar="NAMES", help_behavior_hint="")] = None
    """As for `gansmith evaluate`; by default those that the reports have."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Where comparison.json and comparison.html go; by default a new folder comparison-1, comparison-2, ..."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """Where samples are drawn: auto, cpu, cuda, cuda:1."""
    quiet: bool = False
    """Print nothing."""

    def run(self, unknown: Sequence[str]) -> None:
        """Check everything, evaluate what has to be, compare, print, save."""
        count, names = self._checked(list(unknown))
        known = [_known_report(path) for path in self.runs]
        from gansmith.evaluation.comparison import compare
        from gansmith.evaluation.comparison_page import comparison_page
        from gansmith.training.log import Display

        display = Display(self.quiet)
        count = count or next((report.subject.num_samples for report in known if report), None)
        pairs = [self._reported(path, report, count, names, display)
                 for path, report in zip(self.runs, known, strict=True)]  # fmt: skip
        reports, exhibits = [report for report, _ in pairs], [exhibit for _, exhibit in pairs]
        comparison = compare(reports)
        for line in comparison_lines(comparison, reports):
            display.say(line)
        folder = self.out or _free_folder()
        page = comparison_page(comparison, reports, exhibits, self._command())
        _write(folder, comparison.to_json(), page)
        display.say(f"page: {folder / PAGE}   numbers: {folder / NUMBERS}")

    def _checked(self, problems: list[str]) -> tuple[int | None, tuple[str, ...] | None]:
        count = parsed(problems, "--samples", self.samples, at_least(FEWEST_SAMPLES, parse_count))
        names = parsed(problems, "--scores", self.scores, score_names)
        if len(self.runs) < 2:
            given = f"only {self.runs[0]} was given" if self.runs else "none was given"
            problems.append(f"a comparison needs at least two runs, {given}; name another")
        problems += [f"{path}: no such run, report or images" for path in self.runs if not path.exists()]
        if problems:
            raise UsageError(problems)
        return count, names

    def _reported(
        self, path: Path, report: Report | None, count: int | None, names: tuple[str, ...] | None, display: Display
    ) -> tuple[Report, Exhibit]:
        """Return the report of a path, measured now where there is none or it is not what is asked for."""
        from gansmith.evaluation.exhibit import Exhibit, run_frames

        reason = "it has no report" if report is None else self._unfit(path, report, count)
        if report and reason is None:
            return report, Exhibit(frames=run_frames(path if path.is_dir() else path.parent, most=1))
        if report and not _is_run(path):
            raise UsageError(f"{path}: {reason}, and a report alone cannot be measured again; name its run instead")
        display.say(f"{path}: {reason}; measuring")
        return self._evaluated(path, count, names)

    def _evaluated(self, path: Path, count: int | None, names: tuple[str, ...] | None) -> tuple[Report, Exhibit]:
        from gansmith.evaluation.evaluator import NUM_SAMPLES, evaluate

        found = evaluate(path, self.data, scores=names, num_samples=count or NUM_SAMPLES, device=self.device,
                         quiet=self.quiet)  # fmt: skip
        found.save(default_folder(path, found))
        return found.report, found.exhibit

    def _unfit(self, path: Path, report: Report, count: int | None) -> str | None:
        """Return why a report is not what is asked for, or None."""
        from gansmith.checkpoint import checkpoint_folders

        subject, reference = report.subject, report.reference
        newest = next(iter(checkpoint_folders(path / "checkpoints")), None) if _is_run(path) else None
        if newest and subject.images_seen is not None and int(newest.name) > subject.images_seen:
            return f"its report is of {subject.images_seen:,} images seen, it has trained on to {int(newest.name):,}"
        if self.samples is not None and count != subject.num_samples:
            return f"its report is of {subject.num_samples:,} samples, asked for are {count:,}"
        if self.data is not None and self.data != reference.path:
            return f"its report is against {reference.path}, asked for is {self.data}"
        measured = _option(report.command, "--scores")
        if self.scores is not None and self.scores != measured:
            return f"its report has the scores {measured or 'by default'}, asked for are {self.scores}"
        return None

    def _command(self) -> str:
        options = {"--data": self.data, "--samples": self.samples, "--scores": self.scores}
        given = [word for option, value in options.items() if value is not None for word in (option, value)]
        return shlex.join(["gansmith", "compare", *map(str, self.runs), *given])


def _is_run(path: Path) -> bool:
    return (path / CONFIG).is_file()


def _known_report(path: Path) -> Report | None:
    """Return the report that a path is or holds, or None.

    Raises:
        CheckpointError: it is damaged.
    """
    if path.suffix == ".json":
        return load_report(path)
    return load_report(path / REPORT) if (path / REPORT).is_file() else None


def _option(command: str, option: str) -> str | None:
    words = shlex.split(command)
    return words[words.index(option) + 1] if option in words[:-1] else None


def comparison_lines(comparison: Comparison, reports: Sequence[Report]) -> list[str]:
    """Return what is printed: a block for each score, how each was trained, and what to know."""
    from gansmith.evaluation.comparison_page import training_text

    names = [entry.name for entry in comparison.entries]
    width = max(map(len, names))
    lines = [line for score in comparison.scores for line in _score_lines(score, names, width)]
    lines.append("training")
    for entry in comparison.entries:
        seen, seconds = training_text(reports, entry)
        lines.append(f"  {entry.name:<{width}}  {seen} images seen in {seconds}")
    lines.append("* the best, and what cannot be told apart from it; p values are Holm's for the pairs of a score")
    return [*lines, *comparison.left_out, *comparison.notes]


def _score_lines(score: ComparedScore, names: Sequence[str], width: int) -> list[str]:
    from gansmith.evaluation.comparison_page import interval_text, value_text
    from gansmith.evaluation.wording import BETTER

    values = [value_text(cell) for cell in score.cells]
    longest = max(map(len, values))
    rows = [
        f"{'*' if number in score.best else ' '} {name:<{width}}  {value:>{longest}}  {interval_text(cell)}"
        for number, (name, value, cell) in enumerate(zip(names, values, score.cells, strict=True))
    ]
    return [f"{score.title}, {BETTER[score.better]}", *rows, f"  {score.sentence}", ""]


def _free_folder() -> Path:
    number = 1
    while Path(f"comparison-{number}").exists():
        number += 1
    return Path(f"comparison-{number}")


def _write(folder: Path, numbers: str, page: str) -> None:
    from gansmith.checkpoint import write_synced

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_synced(folder / NUMBERS, numbers.encode())
        write_synced(folder / PAGE, page.encode())
    except OSError as error:
        raise ResourceError(f"--out {folder}: cannot be written ({error.strerror or error})") from error
