"""Several reports beside each other: whose score is better, and whether by more than chance. Pure logic.

What a claim rests on: several seeds of a recipe stand for the method (mean and t interval over seeds, Welch's test);
one run stands for that trained generator alone (its jackknife interval; the paired jackknife of the difference). P
values are corrected for the number of pairs within each score (Holm 1979). `comparison_page.py` shows it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from gansmith.evaluation.entries import Entry, check_comparable, entries_of, names_of
from gansmith.evaluation.intervals import seeds_interval
from gansmith.evaluation.significance import LEVEL, holm, one_against_seeds, paired_jackknife, two_shares, welch
from gansmith.evaluation.wording import listed, p_text
from gansmith.report import Better, Report, Score

FORMAT = 1
UNEVEN = 1.1
"""Times as many images seen from which seeds of one method are said to have trained unevenly."""


@dataclass(frozen=True)
class Cell:
    """A score of an entry: its value, or the mean over its seeds; with a 95 % interval where there is one."""

    value: float
    interval: tuple[float, float] | None
    of: str


@dataclass(frozen=True)
class Difference:
    """Two entries (by number) in one score.

    Attributes:
        first, second: the better one first, or the larger where neither end is better.
        p: corrected; None where there is no test, and `test` says why.
        test: its name.
    """

    first: int
    second: int
    p: float | None
    test: str

    @property
    def is_significant(self) -> bool:
        """Whether chance would make such a difference in fewer than 5 % of cases."""
        return self.p is not None and self.p < LEVEL


@dataclass(frozen=True)
class ComparedScore:
    """One row of a comparison.

    Attributes:
        name, title, better, protocol, held_out: of the score.
        cells: one for each entry.
        differences: one for each pair of entries.
        best: the entry with the best value, and those that cannot be told apart from it.
        sentence: all of it in words.
    """

    name: str
    title: str
    better: Better
    protocol: str
    held_out: float | None
    cells: tuple[Cell, ...]
    differences: tuple[Difference, ...]
    best: tuple[int, ...]
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """Everything found out; the reports themselves are not in it.

    Attributes:
        entries: the columns.
        scores: the rows: scores of which every report has a value.
        left_out: one sentence for each score that some report has and that is not compared.
        notes: what to know before believing it.
    """

    entries: tuple[Entry, ...]
    scores: tuple[ComparedScore, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def score(self, name: str) -> ComparedScore | None:
        """Return the row of that name, or None."""
        return next((score for score in self.scores if score.name == name), None)

    def to_json(self) -> str:
        """Return it as indented JSON."""
        values: dict[str, Any] = {"format": FORMAT, **dataclasses.asdict(self)}
        return json.dumps(values, indent=1, ensure_ascii=False)


def compare(reports: Sequence[Report], names: Sequence[str] | None = None) -> Comparison:
    """Compare generators by their reports.

    Args:
        reports: two or more; with names one is enough.
        names: one for each report, the same for seeds of one method; by default subjects and recipes name themselves.

    Raises:
        UsageError: too few, or measured through other features, against other images or on other counts.
    """
    check_comparable(reports, fewest=1 if names else 2)
    entries = entries_of(reports, names)
    asked = list(dict.fromkeys(score.name for report in reports for score in report.scores))
    rows, left_out = [], []
    for name in asked:
        scores = [report.score(name) for report in reports]
        if reason := _obstacle(scores, names_of(reports)):
            left_out.append(f"{name} is not compared: {reason}")
        else:
            rows.append(_compared([score for score in scores if score], entries))
    return Comparison(entries, tuple(rows), tuple(left_out), _notes(reports, entries))


def _obstacle(scores: Sequence[Score | None], names: Sequence[str]) -> str | None:
    without = [name for name, score in zip(names, scores, strict=True) if score is None or score.value is None]
    if without:
        reasons = dict.fromkeys(score.reason for score in scores if score and score.reason)
        return f"{listed(without)} {'has' if len(without) == 1 else 'have'} no value" + (
            f" ({'; '.join(reasons)})" if reasons else ""
        )
    protocols = list(dict.fromkeys(score.protocol for score in scores if score))
    if len(protocols) > 1:
        return f"it was measured in unlike ways: “{protocols[0]}” and “{protocols[1]}”"
    return None


def _compared(scores: Sequence[Score], entries: Sequence[Entry]) -> ComparedScore:
    first = scores[0]
    cells = tuple(_cell([scores[index] for index in entry.members]) for entry in entries)
    sign = 1 if first.better == "lower" else -1
    differences = []
    for pair in combinations(range(len(entries)), 2):
        one, other = sorted(pair, key=lambda index: sign * cells[index].value)
        p, test = _test(*([scores[index] for index in entries[number].members] for number in (one, other)))
        differences.append(Difference(one, other, p, test))
    differences = _corrected(differences)
    held_out = {score.held_out for score in scores}
    return ComparedScore(
        first.name, first.title, first.better, first.protocol, held_out.pop() if len(held_out) == 1 else None, cells,
        tuple(differences), _best(first.better, cells, differences),
        _sentence([entry.name for entry in entries], first.better, differences),
    )  # fmt: skip


def _cell(scores: Sequence[Score]) -> Cell:
    values = [score.value for score in scores if score.value is not None]
    if len(values) > 1:
        if len(set(values)) == 1:
            return Cell(values[0], None, f"{len(values)} seeds, all alike")
        return Cell(fmean(values), seeds_interval(values), f"mean of {len(values)} seeds, t over seeds")
    interval = scores[0].interval
    if interval is None:
        return Cell(values[0], None, "one generator, no interval")
    return Cell(values[0], (interval.low, interval.high), f"one generator, {interval.method}")


def _test(first: Sequence[Score], second: Sequence[Score]) -> tuple[float | None, str]:
    """Return p of the difference of two entries, and the test's name or why there is none."""
    ones, others = ([score.value for score in side if score.value is not None] for side in (first, second))
    if len(ones) > 1 and len(others) > 1:
        return _or_no_spread(welch(ones, others), "Welch's t over seeds")
    if len(ones) > 1 or len(others) > 1:
        one, seeds = (others[0], ones) if len(ones) > 1 else (ones[0], others)
        return _or_no_spread(one_against_seeds(one, seeds), "one run against the spread of seeds, t")
    one_score, other_score, difference = first[0], second[0], ones[0] - others[0]
    counts = _share_count(one_score), _share_count(other_score)
    if one_score.replicates and len(one_score.replicates) == len(other_score.replicates):
        p = paired_jackknife(one_score.replicates, other_score.replicates, difference)
        return _or_no_spread(p, f"paired jackknife, t({len(one_score.replicates) - 1})")
    if counts[0] and counts[1]:
        return two_shares(ones[0], others[0], counts[0], counts[1]), "two-proportion z"
    return None, "no test: the score has neither replicates nor a count"


def _or_no_spread(p: float | None, test: str) -> tuple[float | None, str]:
    return (p, test) if p is not None else (None, "no test: the values have no spread to judge by")


def _share_count(score: Score) -> int | None:
    """Return of how many samples a share is: the last number in "Wilson, 10,000 samples"; None: it is no such share."""
    if score.interval is None or "Wilson" not in score.interval.method:
        return None
    numbers = re.findall(r"\d[\d,]*", score.interval.method)
    return int(numbers[-1].replace(",", "")) if numbers else None


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    corrected = iter(holm([difference.p for difference in differences if difference.p is not None]))
    return [
        difference if difference.p is None else dataclasses.replace(difference, p=next(corrected))
        for difference in differences
    ]


def _best(better: Better, cells: Sequence[Cell], differences: Sequence[Difference]) -> tuple[int, ...]:
    if better == "none":
        return ()
    winner = min(range(len(cells)), key=lambda index: cells[index].value * (1 if better == "lower" else -1))
    alike = {
        number
        for difference in differences
        if winner in (difference.first, difference.second)
        and difference.p is not None
        and not difference.is_significant
        for number in (difference.first, difference.second)
    }
    alike |= {number for number, cell in enumerate(cells) if cell.value == cells[winner].value}
    return tuple(sorted(alike))


def _sentence(names: Sequence[str], better: Better, differences: Sequence[Difference]) -> str:
    word, parts = "higher" if better == "none" else "better", []
    for number in sorted(range(len(names)), key=lambda n: -sum(pair.first == n for pair in differences)):
        pairs = [pair for pair in differences if pair.first == number and pair.p is not None]
        if worse := [pair for pair in pairs if pair.is_significant]:
            parts.append(f"{names[number]} is {word} than {_others(names, worse)} ({_ps(worse, max)})")
        if alike := [pair for pair in pairs if not pair.is_significant]:
            joined = " and " if len(alike) == 1 else " cannot be told apart from "
            end = " cannot be told apart" if len(alike) == 1 else ""
            parts.append(f"{names[number]}{joined}{_others(names, alike)}{end} ({_ps(alike, min)})")
    untested = [pair for pair in differences if pair.p is None]
    if not differences:
        return "there is nothing to compare it with"
    if len(untested) == len(differences):
        return "; ".join(dict.fromkeys(pair.test for pair in untested))
    return "; ".join(parts + [f"{names[pair.first]} and {names[pair.second]}: {pair.test}" for pair in untested])


def _others(names: Sequence[str], differences: Sequence[Difference]) -> str:
    return listed([names[pair.second] for pair in differences])


def _ps(differences: Sequence[Difference], extreme: Callable[[list[float]], float]) -> str:
    """Return "p 0.003", or of several the bound of all: "each p ≤ 0.003"."""
    p = extreme([pair.p for pair in differences if pair.p is not None])
    if len(differences) == 1:
        return p_text(p)
    return f"each {p_text(p, '≤' if extreme is max else '≥')}"


def _notes(reports: Sequence[Report], entries: Sequence[Entry]) -> tuple[str, ...]:
    notes, names = [], names_of(reports)
    trained = [entry for entry in entries if reports[entry.members[0]].subject.kind == "generator"]
    alone = [entry.name for entry in trained if not entry.is_method]
    if alone:
        each, them = (" each", "them") if len(alone) > 1 else ("", "it")
        notes.append(
            f"{listed(alone)}: one training{each}. What is said of {them} is true of that trained generator; for a "
            "claim about a method train it with several seeds and compare them all"
        )
    for entry in entries:
        seen = [reports[index].subject.images_seen or 0 for index in entry.members]
        if max(seen) > UNEVEN * min(seen):
            notes.append(f"{entry.name}: its seeds saw {min(seen):,} to {max(seen):,} images; train them equally long")
    for one, other in combinations(range(len(reports)), 2):
        if reports[one].subject.fingerprint == reports[other].subject.fingerprint:
            notes.append(f"{names[one]} and {names[other]} are one and the same")
    versions = dict.fromkeys(report.gansmith for report in reports)
    if len(versions) > 1:
        notes.append(f"measured by gansmith {listed(list(versions))}: definitions may have changed in between")
    return tuple(notes)
