"""Who is compared: whether reports can be, what each is called, which are seeds of one method, how recipes differ."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gansmith.errors import UsageError
from gansmith.report import DEFAULT_SCORES, INCEPTION_SCORES, Report

SAME: tuple[tuple[str, Callable[[Report], Any], str], ...] = (
    ("extractor checksums", lambda r: f"{r.extractor.checksum} ({r.extractor.name})",
     "evaluate both again with the same --extractor"),
    ("preparation of images", lambda r: r.extractor.preparation, "evaluate both again with the same --extractor"),
    ("reference data", lambda r: f"{r.reference.fingerprint} ({r.reference.name})",
     "evaluate both against the same --data"),
    ("reference splits", lambda r: r.reference.split, "evaluate both against the same --split"),
    ("counts of real images", lambda r: f"{r.reference.num_compared:,}", "evaluate both again with the same --reals"),
    ("sample counts", lambda r: f"{r.subject.num_samples:,}", "evaluate both again with the same --samples"),
)  # fmt: skip
"""What reports must share: name, value, what to do where it differs."""

IN_PYTHON = re.compile(r", scores=(\([^()]*\))\)$")
"""The scores at the end of the command of a report through the user's own extractor, which no option can name."""


@dataclass(frozen=True)
class Entry:
    """One column of a comparison.

    Attributes:
        name: unlike every other entry's.
        members: numbers of its reports: one, or those of a method's seeds.
    """

    name: str
    members: tuple[int, ...]

    @property
    def is_method(self) -> bool:
        """Whether it stands for a method, by the mean over its seeds, and not for one trained generator."""
        return len(self.members) > 1


def check_comparable(reports: Sequence[Report], fewest: int = 2) -> None:
    """Refuse reports whose numbers do not mean the same.

    Raises:
        UsageError: fewer than `fewest`; or extractor, preparation, reference, split or sample count differ.
    """
    if len(reports) < fewest:
        raise UsageError(f"a comparison needs at least {fewest} reports, not {len(reports)}; name another run")
    problems, names = [], names_of(reports)
    for index, report in enumerate(reports[1:], 1):
        for what, value, advice in SAME:
            if value(report) != value(reports[0]):
                problems.append(
                    f"{names[0]} and {names[index]} cannot be compared: their {what} are {value(reports[0])} and "
                    f"{value(report)}; {advice}"
                )
    if problems:
        raise UsageError(problems)


@dataclass(frozen=True)
class Measurement:
    """How a subject is measured: the arguments of `evaluate` by name; None where its default holds."""

    num_samples: int
    data: str | None = None
    scores: tuple[str, ...] | None = None
    extractor: str | None = None
    weights: str | None = None
    split: Literal["train", "test"] = "train"
    num_reals: int | None = None
    fit: str | None = None
    seed: int = 0


def measurement_of(report: Report) -> Measurement:
    """Return how a report was measured, so that another subject can be measured alike."""
    subject, reference = report.subject, report.reference
    return Measurement(
        num_samples=subject.num_samples,
        data=reference.path,
        scores=measured_scores(report),
        extractor=report.extractor.name,
        weights=_option(report, "--weights"),
        split=reference.split,
        num_reals=None if reference.num_compared == reference.num_images else reference.num_compared,
        fit=reference.fit,
        seed=int(_option(report, "--seed") or 0) if subject.seed is None else subject.seed,
    )


@dataclass(frozen=True)
class Asked:
    """What the reports to compare must be of; None: whatever they are of.

    Attributes:
        num_samples, data: as for `evaluate`.
        scores: names of a `Plan`.
        extractor: that these scores are of by their names.
    """

    num_samples: int | None = None
    data: str | None = None
    scores: tuple[str, ...] | None = None
    extractor: str | None = None

    def obstacle(self, report: Report) -> str | None:
        """Return why a report is not what is asked for, or None."""
        subject, reference, extractor = report.subject, report.reference, report.extractor
        if self.num_samples not in (None, subject.num_samples):
            return f"its report is of {subject.num_samples:,} samples, asked for are {self.num_samples:,}"
        if self.data is not None and Path(self.data).resolve() != Path(reference.path).resolve():
            return f"its report is against {reference.path}, asked for is {self.data}"
        if self.extractor not in (None, extractor.name):
            return f"its report is through {extractor.name} features, asked for are those of {self.extractor}"
        lacking = [name for name in self.scores or () if name not in measured_scores(report)]
        return f"its report lacks {', '.join(lacking)}" if lacking else None

    def measurement(self, first: Report | None, num_samples: int) -> Measurement:
        """Return how to measure: as asked for, the rest as in the first report, or, without one, on `num_samples`."""
        how = measurement_of(first) if first else Measurement(num_samples)
        return dataclasses.replace(
            how,
            num_samples=self.num_samples or how.num_samples,
            data=self.data or how.data,
            scores=self.scores or how.scores,
            extractor=self.extractor or how.extractor,
            weights=how.weights if self.extractor in (None, how.extractor) else None,
        )


def measured_scores(report: Report) -> tuple[str, ...]:
    """Return the names of scores that were asked for, those of papers as what they mean: "fd" for "fid"."""
    asked, listed = _option(report, "--scores"), IN_PYTHON.search(report.command)
    text = ",".join(ast.literal_eval(listed[1])) if listed else asked
    names = DEFAULT_SCORES if text is None else tuple(name.strip() for name in text.split(","))
    return tuple(dict.fromkeys(INCEPTION_SCORES.get(name, name) for name in names))


def can_replace(new: Report, old: Report) -> bool:
    """Return whether nothing is lost where a report takes the place of another: measured alike, no score fewer."""
    is_alike = all(value(new) == value(old) for _, value, _ in SAME)
    return is_alike and set(measured_scores(new)) >= set(measured_scores(old))


def _option(report: Report, option: str) -> str | None:
    words = [] if IN_PYTHON.search(report.command) else shlex.split(report.command)
    return words[words.index(option) + 1] if option in words[:-1] else None


def names_of(reports: Sequence[Report]) -> list[str]:
    """Return a name for each report: its subject's; with its path, and a number at last, where those are alike."""
    names = [report.subject.name for report in reports]
    counts = Counter(names)
    names = [
        f"{name} ({report.subject.path})" if counts[name] > 1 else name
        for name, report in zip(names, reports, strict=True)
    ]
    counts = Counter(names)
    return [f"{name} #{names[: i + 1].count(name)}" if counts[name] > 1 else name for i, name in enumerate(names)]


def entries_of(reports: Sequence[Report], given: Sequence[str] | None = None) -> tuple[Entry, ...]:
    """Return the columns, in the order of the reports.

    Reports of one recipe on the same data whose training seeds all differ become one.

    Args:
        reports: of those to compare.
        given: a name for each report, the same for the seeds of one method; by default found out as said.
    """
    if given is not None:
        return tuple(
            Entry(name, tuple(index for index, other in enumerate(given) if other == name))
            for name in dict.fromkeys(given)
        )
    methods: dict[tuple[str, str], list[int]] = {}
    for index, report in enumerate(reports):
        subject = report.subject
        if subject.recipe_id and subject.data_fingerprint and subject.training_seed is not None:
            methods.setdefault((subject.recipe_id, subject.data_fingerprint), []).append(index)
    together = {
        index: members
        for members in methods.values()
        if 1 < len(members) == len({reports[index].subject.training_seed for index in members})
        for index in members
    }
    names, entries = names_of(reports), []
    for index, report in enumerate(reports):
        members = together.get(index, [index])
        if index == members[0]:
            method = f"{report.subject.recipe_name or report.subject.recipe_id} ({len(members)} seeds)"
            entries.append(Entry(method if len(members) > 1 else names[index], tuple(members)))
    taken = Counter(entry.name for entry in entries)
    return tuple(
        Entry(f"{entry.name} ({reports[entry.members[0]].subject.recipe_id})", entry.members)
        if taken[entry.name] > 1
        else entry
        for entry in entries
    )


def recipe_differences(reports: Sequence[Report], entries: Sequence[Entry]) -> dict[str, tuple[str, ...]]:
    """Return field -> its value in each entry's recipe, for the fields in which any two differ; "–" where it is not."""
    recipes = [dict(_fields(reports[entry.members[0]].subject.recipe or {})) for entry in entries]
    fields = dict.fromkeys(field for recipe in recipes for field in recipe)
    values = {field: tuple(recipe.get(field, "–") for recipe in recipes) for field in fields}
    return {field: found for field, found in values.items() if len(set(found)) > 1}


def _fields(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for key, part in value.items():
        if isinstance(part, Mapping) and part:
            found += _fields(part, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", "none" if part is None else str(part)))
    return found
