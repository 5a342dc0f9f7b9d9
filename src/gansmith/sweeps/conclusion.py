"""What a sweep found: the comparison of its settings, their ranking, and the files that say it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gansmith.checkpoint import write_synced
from gansmith.errors import GansmithError, ResourceError
from gansmith.evaluation.comparison import Comparison, compare
from gansmith.evaluation.comparison_page import interval_text, value_text
from gansmith.evaluation.exhibit import NUM_IN_GRID, Exhibit, samples_picture
from gansmith.evaluation.subject import open_subject
from gansmith.evaluation.wording import BETTER, numeral
from gansmith.recipe import Recipe
from gansmith.recipes import AUTO
from gansmith.report import Report
from gansmith.request import Request
from gansmith.sizes import size_text
from gansmith.sweeps.folder import SweepPlan, Trial
from gansmith.sweeps.grid import combinations, name_of
from gansmith.sweeps.page import SweepFacts, sweep_page
from gansmith.sweeps.ranking import Ranked, interval_kind, marginals_of, ranking_of
from gansmith.version import __version__

FORMAT = 1
NUMBERS, PAGE = "sweep.json", "sweep.html"


@dataclass(frozen=True)
class Outcome:
    """What became of a run: a report, or the reason why there is none."""

    trial: Trial
    report: Report | None
    reason: str | None = None


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        folder: with sweep.html, sweep.json and the runs.
        ranking: the settings that have a score, best first.
        comparison: of these settings; None where there are none.
        outcomes: of every run.
        facts: what its page says.
    """

    folder: Path
    ranking: tuple[Ranked, ...]
    comparison: Comparison | None
    outcomes: tuple[Outcome, ...]
    facts: SweepFacts

    def lines(self) -> list[str]:
        """Return what is printed: the ranking, what each value was worth, what has no score, what to do next."""
        lines = []
        if self.comparison is not None:
            score = self.comparison.scores[0]
            lines += [f"{score.title}, {BETTER[score.better]}", *_ranking_lines(self.ranking)]
            lines += ["* the best, and what cannot be told apart from it; p values are Holm's for all pairs"]
            lines += [interval_kind(self.ranking), *_marginal_lines(self.facts)]
        lines += [f"{name}: {reason}" for name, reason in self.facts.lost]
        if self.ranking:
            best = self.ranking[0]
            alone = f" (of {best.lacking}: the others have no score, see above)" if best.lacking else ""
            longer = "; train it for longer:" if self.facts.train else ""
            lines += [f"best: {name_of(best.setting)}{alone}{longer}", *(f"  {each}" for each in self.facts.train)]
        return [*lines, f"page: {self.folder / PAGE}   numbers: {self.folder / NUMBERS}"]


def conclude(
    plan: SweepPlan, outcomes: Sequence[Outcome], folder: Path, device: str, rerun: str, has_path: bool
) -> Sweep:
    """Return what a sweep found, with its two files written.

    Args:
        plan: of the sweep.
        outcomes: of every run.
        folder: of the sweep.
        device: where samples to show are drawn.
        rerun: the command that makes it again, or "".
        has_path: whether a command can name the data; a Python object it cannot.

    Raises:
        ResourceError: the files cannot be written.
    """
    settings = combinations(plan.axes)
    measured = [(outcome.trial, outcome.report) for outcome in outcomes if outcome.report]
    reports = [report for _, report in measured]
    comparison: Comparison | None = None
    ranking: tuple[Ranked, ...] = ()
    if measured:
        comparison = compare(reports, [name_of(trial.setting) for trial, _ in measured])
        by_name = {name_of(setting): setting for setting in settings}
        entries = comparison.entries
        ranking = ranking_of(
            comparison.scores[0], [by_name[entry.name] for entry in entries], [len(entry.members) for entry in entries],
            plan.seeds,
        )  # fmt: skip
    shape = " x ".join(str(len(axis.values)) for axis in plan.axes)
    facts = SweepFacts(
        title=f"{' x '.join(axis.field for axis in plan.axes)}, {shape} settings, {plan.images:,} images each",
        ranking=ranking,
        marginals=marginals_of(plan.axes, settings, ranking),
        lost=tuple((outcome.trial.name, outcome.reason) for outcome in outcomes if outcome.reason),
        rerun=rerun,
        train=_train_commands(plan, next(trial for trial, _ in measured if trial.setting == ranking[0].setting))
        if ranking and has_path
        else (),
    )
    found = Sweep(folder, ranking, comparison, tuple(outcomes), facts)
    exhibits = [_exhibit(trial, device) for trial, _ in measured]
    _write(folder, _numbers(plan, found), sweep_page(facts, comparison, reports, exhibits))
    return found


def _exhibit(trial: Trial, device: str) -> Exhibit:
    """Return the samples of a run of the first seed; those of others would repeat the picture."""
    if trial.seed:
        return Exhibit()
    try:
        samples = open_subject(trial.folder, NUM_IN_GRID, 0, device)
    except GansmithError:  # its checkpoints were removed; its report is there
        return Exhibit()
    return Exhibit((samples_picture(samples.facts, samples.images),))


def _train_commands(plan: SweepPlan, trial: Trial) -> tuple[str, ...]:
    config, longer = str(trial.folder / "config.yaml"), ["--minutes", "10"]
    exact = shlex.join(["gansmith", "train", "--config", config, "--out", "runs/best", *longer])
    if isinstance(plan.request.recipe, Recipe):  # which no command can name
        return (exact,)
    words = shlex.join(["gansmith", "train", plan.data, *request_words(plan.request, trial.overrides), *longer])
    if plan.request.recipe == AUTO:
        words += "   # auto chooses width and batch for the longer time"
    return words, f"{exact}   # exactly that recipe"


def request_words(request: Request, overrides: Sequence[str]) -> list[str]:
    """Return the options that ask for a request with these overrides."""
    words = ["--recipe", request.name]
    words += ["--size", size_text(request.size)] if request.size else []
    words += ["--channels", str(request.channels)] if request.channels else []
    words += ["--conditional"] if request.conditional else []
    words += ["--fit", request.fit] if request.fit != "crop" else []
    return [*words, *(word for text in overrides for word in ("--set", text))]


def _ranking_lines(ranking: Sequence[Ranked]) -> list[str]:
    rows = [(f"{'*' if row.is_best else ' '} {row.place}", name_of(row.setting), value_text(row.cell),
             interval_text(row.cell), _against(row)) for row in ranking]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        f"{place:>{widths[0]}}  {name:<{widths[1]}}  {value:>{widths[2]}}  {interval:<{widths[3]}}  {against}"
        for place, name, value, interval, against in rows
    ]


def _against(row: Ranked) -> str:
    return f"{row.against_best}; {row.lacking} alone" if row.lacking else row.against_best


def _marginal_lines(facts: SweepFacts) -> list[str]:
    if not facts.marginals:
        return []
    names = [f"{row.field}={row.value}" for row in facts.marginals]
    width = max(map(len, names))
    return ["mean over the settings that have a value:"] + [
        f"  {name:<{width}}  {'–' if row.mean is None else numeral(row.mean)}"
        + ("" if row.measured == row.of else f"  ({row.measured} of {row.of} measured)")
        for name, row in zip(names, facts.marginals, strict=True)
    ]


def _numbers(plan: SweepPlan, found: Sweep) -> str:
    values = {
        "format": FORMAT,
        "gansmith": __version__,
        "data": plan.data,
        "images": plan.images,
        "seeds": plan.seeds,
        "over": {axis.field: list(axis.values) for axis in plan.axes},
        "recipe": plan.base.model_dump(mode="json"),
        "ranking": [{**dataclasses.asdict(row), "setting": dict(row.setting)} for row in found.ranking],
        "values": [dataclasses.asdict(row) for row in found.facts.marginals],
        "without_score": dict(found.facts.lost),
        "train": list(found.facts.train),
        "comparison": found.comparison and json.loads(found.comparison.to_json()),
    }
    return json.dumps(values, indent=1, ensure_ascii=False)


def _write(folder: Path, numbers: str, page: str) -> None:
    try:
        write_synced(folder / NUMBERS, numbers.encode())
        write_synced(folder / PAGE, page.encode())
    except OSError as error:
        raise ResourceError(f"{folder}: cannot be written to ({error.strerror or error})") from error
