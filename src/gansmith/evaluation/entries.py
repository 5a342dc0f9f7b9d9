"""Who is compared: whether reports can be, what each is called, which are seeds of one method, how recipes differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gansmith.errors import UsageError
from gansmith.report import Report

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


def check_comparable(reports: Sequence[Report]) -> None:
    """Refuse reports whose numbers do not mean the same.

    Raises:
        UsageError: fewer than two; or extractor, preparation, reference, split or sample count differ.
    """
    if len(reports) < 2:
        raise UsageError(f"a comparison needs at least 2 reports, not {len(reports)}; name another run")
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


def entries_of(reports: Sequence[Report]) -> tuple[Entry, ...]:
    """Return the columns, in the order of the reports.

    Reports of one recipe on the same data whose training seeds all differ become one.
    """
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
