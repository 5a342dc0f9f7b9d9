"""`gansmith compare`: which generator is better, by which score, and whether by more than chance."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from gansmith.cli.command import Command
from gansmith.cli.evaluate import FEWEST_SAMPLES, REPORT, default_folder, label_of, score_names, vacant_folder
from gansmith.cli.parsing import at_least, parsed
from gansmith.errors import GansmithError, ResourceError, UsageError
from gansmith.evaluation.entries import Asked, Measurement, can_replace, check_comparable, measurement_of
from gansmith.overrides import parse_count
from gansmith.report import EXTRACTOR_NAMES, Report, load_report

if TYPE_CHECKING:
    from gansmith.evaluation.comparison import ComparedScore, Comparison
    from gansmith.evaluation.exhibit import Exhibit
    from gansmith.evaluation.subject import Samples
    from gansmith.training.log import Display

NUMBERS, PAGE = "comparison.json", "comparison.html"


@dataclass(frozen=True)
class Compared:
    """One of those to compare.

    Attributes:
        path: as it was given.
        report: that is there already, or None.
        reason: why the report is not used, or why there is none; None: it is what is asked for.
        samples: a few, to show; None where the report alone is there.
    """

    path: Path
    report: Report | None
    reason: str | None
    samples: Samples | None

    @property
    def fitting(self) -> Report | None:
        """The report, if it is what is asked for."""
        return self.report if self.reason is None else None


@dataclass
class CompareCommand(Command):
    """Compare generators: intervals, which differences are significant, grids side by side."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN ...", help_behavior_hint="")]
    """Runs, checkpoints, saved models, anyone's images; or folders with a report.json, or report.json files. What has
    no report, or has changed since, is evaluated first. Several seeds of one recipe are compared as one method."""
    data: Annotated[str | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """The real images; by default those of the reports that there are, else those that each run was trained on."""
    samples: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """How many to draw; by default as many as in the reports that there are, else 10k."""
    scores: Annotated[str | None, tyro.conf.arg(metavar="NAMES", help_behavior_hint="")] = None
    """As for `gansmith evaluate`; by default those of the first report that there is (its extractor, split, reals, fit
    and seed are taken over too), else the default ones."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Where comparison.json and comparison.html go; by default a new folder comparison-1, comparison-2, ..."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """Where samples are drawn: auto, cpu, cuda, cuda:1."""
    quiet: bool = False
    """Print nothing."""

    def run(self, unknown: Sequence[str]) -> None:
        """Check everything, evaluate what has to be, compare, print, save."""
        count, names = self._checked(list(unknown))
        from gansmith.evaluation.comparison import compare
        from gansmith.evaluation.comparison_page import comparison_page
        from gansmith.evaluation.opening import plan_of
        from gansmith.training.log import Display

        display, plan = Display(self.quiet), plan_of(names, None) if names else None
        extractor = plan.extractor if plan and isinstance(plan.extractor, str) else None
        asked = Asked(count, self.data, plan.scores if plan else None, extractor)
        try:
            found = [self._found(path, asked, display) for path in self.runs]
        finally:
            display.close()
        _check([one.fitting for one in found])
        how, folder = _measurement(found, asked), self.out or _free_folder()
        reports: list[Report] = []
        exhibits: list[Exhibit] = []
        for number, one in enumerate(found, 1):
            report, exhibit = self._reported(one, how, folder, display)
            reports, exhibits = [*reports, report], [*exhibits, exhibit]
            _check([*reports, *(later.fitting for later in found[number:])])  # before another one is measured
        comparison = compare(reports)
        for line in comparison_lines(comparison, reports):
            display.say(line)
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

    def _found(self, path: Path, asked: Asked, display: Display) -> Compared:
        """Return what there is at a path, and the report of it that fits best.

        Raises:
            UsageError: there is a report alone, and it is not what is asked for.
        """
        from gansmith.evaluation.subject import is_generator

        own = _own_report(path)
        if own and not is_generator(path):
            if reason := asked.obstacle(own):
                raise UsageError(f"{path}: {reason}, and a report alone cannot be measured again; name its run instead")
            return Compared(path, own, None, self._samples_of_report(own, display))
        try:
            samples = self._opened(path, measurement_of(own).seed if own else 0, display)
        except GansmithError as error:
            if own is None:
                raise
            display.say(f"{path}: {_not_shown(error)}")
            return Compared(path, own, asked.obstacle(own), None)
        reports = [*([own] if own else []), *_reports_elsewhere(path, samples.facts.fingerprint)]
        reasons = [_outdated(report, samples) or asked.obstacle(report) for report in reports]
        place = reasons.index(None) if None in reasons else 0
        if not reports:
            return Compared(path, None, "it has no report", samples)
        return Compared(path, reports[place], reasons[place], samples)

    def _opened(self, path: Path, seed: int, display: Display) -> Samples:
        from gansmith.evaluation.exhibit import NUM_IN_GRID
        from gansmith.evaluation.subject import open_subject

        def on_progress(done: int, count: int) -> None:
            if done < count:
                display.working(done / count, f"opening {path}: {done:,} of {count:,}")

        return open_subject(path, NUM_IN_GRID, seed, self.device, on_progress)

    def _samples_of_report(self, report: Report, display: Display) -> Samples | None:
        """Return a few samples of what a report is of, or None, and say why, where that is no longer there."""
        path = Path(report.subject.path)
        try:
            if not path.exists():
                raise UsageError(f"{path} is not there")
            samples = self._opened(path, measurement_of(report).seed, display)
            if reason := _outdated(report, samples):
                raise UsageError(f"{path}: {reason}")
        except GansmithError as error:
            display.say(f"{report.subject.name}: {_not_shown(error)}")
            return None
        return samples

    def _reported(self, one: Compared, how: Measurement, folder: Path, display: Display) -> tuple[Report, Exhibit]:
        """Return the report and what to show, measured now where there is no fitting one."""
        from gansmith.evaluation.evaluator import evaluate
        from gansmith.evaluation.exhibit import Exhibit, samples_picture

        if one.fitting:
            shown = one.samples and samples_picture(one.samples.facts, one.samples.images)
            return one.fitting, Exhibit((shown,) if shown else ())
        display.say(f"{one.path}: {one.reason}; measuring")
        found = evaluate(one.path, **dataclasses.asdict(how), device=self.device, quiet=self.quiet)
        fingerprint = found.report.subject.fingerprint
        place = default_folder(one.path, fingerprint)
        if (place / REPORT).is_file() and not can_replace(found.report, load_report(place / REPORT)):
            kept, place = place, vacant_folder(folder / label_of(one.path), fingerprint)
            display.say(f"{kept / REPORT} was measured otherwise and stays; the new one is {place / REPORT}")
        found.save(place)
        return found.report, found.exhibit

    def _command(self) -> str:
        options = {"--data": self.data, "--samples": self.samples, "--scores": self.scores}
        given = [word for option, value in options.items() if value is not None for word in (option, value)]
        return shlex.join(["gansmith", "compare", *map(str, self.runs), *given])


def _own_report(path: Path) -> Report | None:
    """Return the report that a path is or holds, or None.

    Raises:
        CheckpointError: it is damaged.
    """
    if path.suffix == ".json":
        return load_report(path)
    return load_report(path / REPORT) if (path / REPORT).is_file() else None


def _reports_elsewhere(path: Path, fingerprint: str) -> list[Report]:
    """Return the reports of a subject in the folders that `evaluate` and `compare` have made here."""
    label, here = label_of(path), Path()
    patterns = [f"{start}{end}/{REPORT}" for start in (f"{label}-evaluation", f"comparison-*/{label}")
                for end in ("", "-[0-9]*")]  # fmt: skip
    reports = [load_report(file) for pattern in patterns for file in sorted(here.glob(pattern))]
    return [report for report in reports if report.subject.fingerprint == fingerprint]


def _outdated(report: Report, samples: Samples) -> str | None:
    """Return why a report is not of what is there now, or None."""
    then, now = report.subject, samples.facts
    if then.fingerprint == now.fingerprint:
        return None
    if then.images_seen is not None and now.images_seen is not None and now.images_seen > then.images_seen:
        return f"its report is of {then.images_seen:,} images seen, it has trained on to {now.images_seen:,}"
    return f"its report is of other {'weights' if now.kind == 'generator' else 'images'} ({then.fingerprint})"


def _not_shown(error: GansmithError) -> str:
    return f"no samples are shown ({error})"


def _check(reports: Sequence[Report | None]) -> None:
    there = [report for report in reports if report]
    if len(there) > 1:
        check_comparable(there)


def _measurement(found: Sequence[Compared], asked: Asked) -> Measurement:
    """Return how to measure what has no fitting report.

    Raises:
        UsageError: nobody says against which images, or features are those of the user's own module.
    """
    from gansmith.evaluation.evaluator import NUM_SAMPLES

    to_measure = [one for one in found if not one.fitting]
    known = [one.fitting for one in found] + [one.report for one in found]
    how = asked.measurement(next(filter(None, known), None), NUM_SAMPLES)
    for one in to_measure:
        if how.extractor not in (None, *EXTRACTOR_NAMES):
            raise UsageError(
                f"{one.path}: {one.reason}, and the other report is of an extractor of your own, {how.extractor}; "
                "measure through it with gansmith.evaluate, then compare the reports"
            )
        if how.data is None and one.samples and one.samples.facts.kind == "images":
            raise UsageError(f"{one.path}: say which real images to compare with: --data DATA")
    return how


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
