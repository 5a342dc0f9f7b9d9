"""A sweep as one HTML file: the settings in order, what each value was worth, and the comparison of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gansmith.evaluation.comparison import Comparison
from gansmith.evaluation.comparison_page import (
    closing_sections,
    differences_section,
    interval_text,
    listing,
    scrolling,
    training_text,
    value_text,
)
from gansmith.evaluation.exhibit import Exhibit
from gansmith.evaluation.markup import command, document, escape, section
from gansmith.evaluation.wording import BETTER, against_text, numeral
from gansmith.report import Report
from gansmith.sizes import size_text
from gansmith.sweeps.grid import name_of
from gansmith.sweeps.ranking import WORSE, Marginal, Ranked, interval_kind


@dataclass(frozen=True)
class SweepFacts:
    """What a page of a sweep says beside the comparison.

    Attributes:
        title: "2 x 2 settings, 20,000 images each".
        ranking: measured settings, best first.
        marginals: means of values; empty for a single field.
        lost: (run, why it has no score).
        rerun: the command that makes the sweep again, or "" where none can: recipe or data are Python objects.
        train: commands that train the best setting for longer; likewise.
    """

    title: str
    ranking: tuple[Ranked, ...]
    marginals: tuple[Marginal, ...]
    lost: tuple[tuple[str, str], ...]
    rerun: str
    train: tuple[str, ...]


def sweep_page(
    facts: SweepFacts, comparison: Comparison | None, reports: Sequence[Report], exhibits: Sequence[Exhibit]
) -> str:
    """Return the page of a sweep.

    Args:
        facts: of the sweep.
        comparison: of the settings that were measured; None where there are none.
        reports: of the runs that were measured.
        exhibits: one for each report.
    """
    body = [_headline(facts, comparison, reports)]
    if comparison is not None:
        body += [
            section("ranking", "Ranking", _ranking(facts, comparison, reports), note=_how_to_read(facts, comparison)),
            section("values", "Each value, over the settings that have it", _marginals(facts.marginals), note=MEANS),
        ]
    body.append(section("lost", "Without a score", listing([f"{name}: {reason}" for name, reason in facts.lost])))
    if comparison is not None:
        body += [
            section("train", "Train the best for longer", *map(command, facts.train)) if facts.train else "",
            differences_section(comparison),
            *closing_sections(comparison, reports, exhibits),
        ]
    body.append(section("rerun", "Sweep again", command(facts.rerun)) if facts.rerun else "")
    return document(f"Sweep: {facts.title}", "\n".join(part for part in body if part))


MEANS = (
    "The mean of the score over the other fields' values. It hides how fields act together: where two fields do, only "
    "the ranking tells."
)


def _headline(facts: SweepFacts, comparison: Comparison | None, reports: Sequence[Report]) -> str:
    lead, said = "No setting has a score.", ""
    if comparison is not None:
        report = reports[0]
        lead = (
            f"{report.subject.num_samples:,} samples of each, {size_text(report.subject.size)}, against "
            f"{against_text(report.reference)}, through {report.extractor.name} features "
            f"({report.extractor.checksum})."
        )
        alike = [name_of(row.setting) for row in facts.ranking if row.is_best][1:]
        best = f"Best: {name_of(facts.ranking[0].setting)}"
        is_clear = len(facts.ranking) > 1 and all(row.against_best.startswith(WORSE) for row in facts.ranking[1:])
        also = f"; not told apart from it: {', '.join(alike)}" if alike else "; better than every other" * is_clear
        said = listing([best + also, *comparison.notes])
    title = f'<p class="kind">Sweep</p><h1>{escape(facts.title)}</h1>'
    return f'<header>{title}<p class="lead">{escape(lead)}</p></header>{said}'


def _how_to_read(facts: SweepFacts, comparison: Comparison) -> str:
    score = comparison.scores[0]
    return (
        f"By {score.title}, {BETTER[score.better]}. Marked: the best, and what cannot be told apart from it; p values "
        f"are corrected for all pairs (Holm). {interval_kind(facts.ranking)}"
    )


def _ranking(facts: SweepFacts, comparison: Comparison, reports: Sequence[Report]) -> str:
    fields = [field for field, _ in facts.ranking[0].setting]
    entries = {entry.name: entry for entry in comparison.entries}
    heads = [f'<th scope="col">{escape(field)}</th>' for field in fields]
    numbers = ("Score", "Than the best", "Images seen", "Training time")
    heads += [f'<th scope="col" class="number">{title}</th>' for title in numbers]
    rows = []
    for row in facts.ranking:
        values = "".join(f"<td><code>{escape(value)}</code></td>" for _, value in row.setting)
        kind, mark = (" best", '<span class="sr">best: </span>') if row.is_best else ("", "")
        lacking = f"<small>{row.lacking} alone</small>" if row.lacking else ""
        trained = "".join(
            f'<td class="number">{escape(text)}</td>' for text in training_text(reports, entries[name_of(row.setting)])
        )
        rows.append(
            f'<tr><th scope="row">{row.place}</th>{values}<td class="number{kind}" title="{escape(row.cell.of)}">{mark}'
            f"<b>{value_text(row.cell)}</b><small>{interval_text(row.cell)}</small>{lacking}</td>"
            f'<td class="number">{escape(row.against_best)}</td>{trained}</tr>'
        )
    return scrolling("Ranking", "runs", f'<th scope="col">#</th>{"".join(heads)}', rows)


def _marginals(marginals: Sequence[Marginal]) -> str:
    if not marginals:
        return ""
    rows = [
        f'<tr><th scope="row"><code>{escape(row.field)}</code></th><td><code>{escape(row.value)}</code></td>'
        f'<td class="number">{"–" if row.mean is None else numeral(row.mean)}</td>'
        f'<td class="number soft">{row.measured} of {row.of}</td></tr>'
        for row in marginals
    ]
    head = (
        '<th scope="col">Field</th><th scope="col">Value</th><th scope="col" class="number">Mean</th>'
        '<th scope="col" class="number">Settings measured</th>'
    )
    return scrolling("Means of values", "runs", head, rows)
