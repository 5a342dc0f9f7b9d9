"""The settings of a sweep in order of their score, and what each value of a field was worth on average. Pure logic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from gansmith.evaluation.comparison import Cell, ComparedScore
from gansmith.evaluation.wording import p_text
from gansmith.sweeps.grid import Axis, Setting, name_of

WORSE = "worse"


@dataclass(frozen=True)
class Ranked:
    """One setting that was measured.

    Attributes:
        place: 1 is the best.
        setting: what it is.
        cell: its score, with its interval.
        is_best: it is the best, or cannot be told apart from it.
        against_best: "the best", "not told apart (p 0.31)", "worse (p < 0.001)" or why there is no test.
        measured, of: how many of its runs have a score, of how many; the score is of those alone.
    """

    place: int
    setting: Setting
    cell: Cell
    is_best: bool
    against_best: str
    measured: int
    of: int

    @property
    def lacking(self) -> str:
        """Return "2 of 3 seeds", or "" where every run has a score."""
        return "" if self.measured == self.of else f"{self.measured} of {self.of} seeds"


@dataclass(frozen=True)
class Marginal:
    """One value of a field: the mean of the score over the settings that have it and were measured.

    Attributes:
        field, value: as they were given.
        mean: of the score; None where none was measured.
        measured, of: how many settings were, of those that have the value.
    """

    field: str
    value: str
    mean: float | None
    measured: int
    of: int


def ranking_of(
    score: ComparedScore, settings: Sequence[Setting], measured: Sequence[int], seeds: int
) -> tuple[Ranked, ...]:
    """Return the settings, best first.

    Args:
        score: the row of a comparison; its better end is "lower" or "higher".
        settings: of its cells.
        measured: runs of each that have a score.
        seeds: runs of each.
    """
    sign = 1 if score.better == "lower" else -1
    order = sorted(range(len(settings)), key=lambda number: sign * score.cells[number].value)
    return tuple(
        Ranked(
            place, settings[number], score.cells[number], number in score.best, _against(score, number, order[0]),
            measured[number], seeds,
        )
        for place, number in enumerate(order, 1)
    )  # fmt: skip


def _against(score: ComparedScore, number: int, best: int) -> str:
    if number == best:
        return "the best"
    pair = next(pair for pair in score.differences if {pair.first, pair.second} == {number, best})
    if pair.p is None:
        return pair.test
    return f"{WORSE if pair.is_significant else 'not told apart'} ({p_text(pair.p)})"


def marginals_of(axes: Sequence[Axis], settings: Sequence[Setting], ranking: Sequence[Ranked]) -> tuple[Marginal, ...]:
    """Return the mean of every value that is tried beside others, in the order given; nothing for a single field.

    Args:
        axes: what was swept.
        settings: all that were tried.
        ranking: those that were measured.
    """
    if sum(len(axis.values) > 1 for axis in axes) < 2:
        return ()
    found = []
    for axis in axes:
        for value in axis.values if len(axis.values) > 1 else ():
            scores = [row.cell.value for row in ranking if (axis.field, value) in row.setting]
            having = sum((axis.field, value) in setting for setting in settings)
            found.append(Marginal(axis.field, value, fmean(scores) if scores else None, len(scores), having))
    return tuple(found)


def interval_kind(ranking: Sequence[Ranked]) -> str:
    """Return in a sentence what the intervals of a ranking are of."""
    of_seeds = [row for row in ranking if "seeds" in row.cell.of]
    if not of_seeds:
        return (
            "Intervals are of the score of each trained generator alone, not of training it again: one seed each "
            "(--seeds 3 gives intervals over seeds)."
        )
    if len(of_seeds) < len(ranking):
        alone = ", ".join(name_of(row.setting) for row in ranking if row not in of_seeds)
        return f"Intervals are of the mean over seeds (t), but for {alone}, of which one generator was measured."
    return "Intervals are of the mean over seeds (t): a claim about each setting, not about one trained generator."
