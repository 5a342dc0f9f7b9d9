"""A comparison as one HTML file: table, intervals, what is significant in words, grids side by side, recipes."""

from __future__ import annotations

from collections.abc import Sequence

from gansmith.evaluation.charts import Whisker, interval_chart
from gansmith.evaluation.comparison import Cell, ComparedScore, Comparison
from gansmith.evaluation.entries import Entry, names_of, recipe_differences
from gansmith.evaluation.exhibit import Exhibit
from gansmith.evaluation.markup import command, document, escape, image, section
from gansmith.evaluation.wording import BETTER, against_text, duration, listed, numeral, p_text, range_text
from gansmith.report import Report
from gansmith.sizes import size_text


def comparison_page(comparison: Comparison, reports: Sequence[Report], exhibits: Sequence[Exhibit], rerun: str) -> str:
    """Return the page of a comparison.

    Args:
        comparison: of these reports.
        reports: in the order compared.
        exhibits: one for each report; its picture of samples is shown.
        rerun: the command that compares them again.
    """
    names = [entry.name for entry in comparison.entries]
    body = [
        _headline(comparison, reports),
        section("scores", "Scores", _table(comparison, reports), note=_how_to_read(comparison)),
        differences_section(comparison),
        *closing_sections(comparison, reports, exhibits),
        section("rerun", "Compare again", command(rerun), *(command(report.command) for report in reports)),
    ]  # fmt: skip
    return document(f"{listed(names)}: comparison", "\n".join(part for part in body if part))


def closing_sections(comparison: Comparison, reports: Sequence[Report], exhibits: Sequence[Exhibit]) -> tuple[str, ...]:
    """Return what every page of several generators shows after their scores: grids, recipes, what was left out."""
    return (
        section("grids", "Samples", _grids(reports, exhibits), note="None is picked out."),
        section("recipes", "Where the recipes differ", _recipes(comparison, reports)),
        section("notes", "Not compared", listing(comparison.left_out)),
    )


def differences_section(comparison: Comparison) -> str:
    """Return the section of charts, sentences and pairs of every score."""
    return section(
        "differences", "What differs by more than chance",
        *(_compared(comparison, score) for score in comparison.scores), note=_how_judged(comparison),
    )  # fmt: skip


def value_text(cell: Cell) -> str:
    """Return the value of a cell with the digits that its interval decides."""
    return numeral(cell.value, _spread(cell))


def interval_text(cell: Cell) -> str:
    """Return "11.96 to 12.72", or "no interval"."""
    return range_text(*cell.interval) if cell.interval else "no interval"


def training_text(reports: Sequence[Report], entry: Entry) -> tuple[str, str]:
    """Return how many images an entry saw in training, and for how long; ranges over seeds; "–" where unknown."""
    subjects = [reports[index].subject for index in entry.members]
    seen = [subject.images_seen for subject in subjects if subject.images_seen is not None]
    seconds = [subject.training_seconds for subject in subjects if subject.training_seconds is not None]
    return (
        " to ".join(dict.fromkeys(f"{number:,}" for number in (min(seen), max(seen)))) if seen else "–",
        " to ".join(dict.fromkeys(map(duration, (min(seconds), max(seconds))))) if seconds else "–",
    )


def _spread(cell: Cell) -> float | None:
    width = (cell.interval[1] - cell.interval[0]) / 2 if cell.interval else 0.0
    return width or None


def _finest(score: ComparedScore) -> float | None:
    return min(filter(None, map(_spread, score.cells)), default=None)


def _headline(comparison: Comparison, reports: Sequence[Report]) -> str:
    subject, extractor = reports[0].subject, reports[0].extractor
    lead = (
        f"{subject.num_samples:,} samples of each, {size_text(subject.size)}, against "
        f"{against_text(reports[0].reference)}, through {extractor.name} features ({extractor.checksum})."
    )
    names = listed([entry.name for entry in comparison.entries])
    said = listing([f"{score.title}: {score.sentence}" for score in comparison.scores[:1]] + list(comparison.notes))
    title = f'<p class="kind">Comparison</p><h1>{escape(names)}</h1>'
    return f'<header>{title}<p class="lead">{escape(lead)}</p></header>{said}'


def _how_to_read(comparison: Comparison) -> str:
    of_methods = (
        " A column of several seeds gives the mean over them, with the interval of that mean: a claim about the method."
        if any(entry.is_method for entry in comparison.entries)
        else ""
    )
    return (
        "Below each value its 95 % interval. Marked: the best, and what cannot be told apart from it. A column of one "
        f"run is a claim about that trained generator alone.{of_methods}"
    )


def _how_judged(comparison: Comparison) -> str:
    tests = list(dict.fromkeys(found.test for score in comparison.scores for found in score.differences
                               if found.p is not None))  # fmt: skip
    return (
        f"Tests: {'; '.join(tests) or 'none'}. P values are corrected for the number of pairs within each score "
        "(Holm); below 0.05 counts as a difference."
    )


def _table(comparison: Comparison, reports: Sequence[Report]) -> str:
    heads = "".join(f'<th scope="col" class="number">{escape(entry.name)}</th>' for entry in comparison.entries)
    rows = []
    for score in comparison.scores:
        cells = "".join(_table_cell(score, number) for number in range(len(score.cells)))
        ideal = "–" if score.held_out is None else numeral(score.held_out, _finest(score))
        rows.append(
            f'<tr><th scope="row">{escape(score.title)} <small>{escape(BETTER[score.better])}</small></th>{cells}'
            f'<td class="number soft">{ideal}</td></tr>'
        )
    trained = [training_text(reports, entry) for entry in comparison.entries]
    for title, place in (("Images seen in training", 0), ("Training time", 1)):
        cells = "".join(f'<td class="number">{escape(texts[place])}</td>' for texts in trained)
        rows.append(f'<tr><th scope="row">{title}</th>{cells}<td class="number soft">–</td></tr>')
    head = f'<th scope="col">Score</th>{heads}<th scope="col" class="number">Real images</th>'
    return scrolling("Table of scores", "runs", head, rows)


def scrolling(label: str, kind: str, head: str, rows: Sequence[str]) -> str:
    """Return a table in a region that scrolls by itself where the page is narrow, by keyboard too."""
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'


def _table_cell(score: ComparedScore, number: int) -> str:
    cell, is_best = score.cells[number], number in score.best
    mark = '<span class="sr">best: </span>' if is_best else ""
    return (
        f'<td class="number{" best" if is_best else ""}" title="{escape(cell.of)}">{mark}<b>{value_text(cell)}</b>'
        f"<small>{interval_text(cell)}</small></td>"
    )


def _compared(comparison: Comparison, score: ComparedScore) -> str:
    names = [entry.name for entry in comparison.entries]
    rows = [Whisker(name, cell.value, cell.interval, number in score.best)
            for number, (name, cell) in enumerate(zip(names, score.cells, strict=True))]  # fmt: skip
    chart = interval_chart(score.title, rows, score.held_out, "real images")
    return (
        f'<div class="compared"><h3>{escape(score.title)}, {BETTER[score.better]}</h3><p>{escape(score.sentence)}.</p>'
        f'<div class="beside">{chart}{_matrix(names, score) if len(names) > 2 else ""}</div></div>'
    )


def _matrix(names: Sequence[str], score: ComparedScore) -> str:
    found = {frozenset((pair.first, pair.second)): pair for pair in score.differences}
    word = "higher" if score.better == "none" else "better"
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = []
    for number, name in enumerate(names):
        cells = []
        for other in range(len(names)):
            pair = found.get(frozenset((number, other)))
            if pair is None:
                text, kind = "", "none"
            elif pair.p is None:
                text, kind = "no test", "none"
            elif not pair.is_significant:
                text, kind = f"not told apart <small>{p_text(pair.p)}</small>", "none"
            else:
                is_first = pair.first == number
                text = f"{word if is_first else WORSE[word]} <small>{p_text(pair.p)}</small>"
                kind = "good" if is_first else "bad"
            cells.append(f'<td class="{kind}">{text}</td>')
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    return scrolling(f"{score.title}: pairs", "matrix", f'<th scope="col">is … than</th>{heads}', rows)


WORSE = {"better": "worse", "higher": "lower"}


def _grids(reports: Sequence[Report], exhibits: Sequence[Exhibit]) -> str:
    figures = []
    for name, report, exhibit in zip(names_of(reports), reports, exhibits, strict=True):
        if exhibit.samples:
            tag, _ = image(exhibit.samples.png, f"{exhibit.samples.alt} ({name})")
            words = f"<b>{escape(name)}</b>{_seen(report)}"
            figures.append(f'<figure class="picture">{tag}<figcaption>{words}</figcaption></figure>')
    return f'<div class="pictures">{"".join(figures)}</div>' if figures else ""


def _seen(report: Report) -> str:
    return "" if report.subject.images_seen is None else f" {report.subject.images_seen:,} images seen"


def _recipes(comparison: Comparison, reports: Sequence[Report]) -> str:
    fields = recipe_differences(reports, comparison.entries)
    if not fields:
        return ""
    heads = "".join(f'<th scope="col">{escape(entry.name)}</th>' for entry in comparison.entries)
    rows = [
        f'<tr><th scope="row"><code>{escape(field)}</code></th>'
        f"{''.join(f'<td>{escape(value)}</td>' for value in values)}</tr>"
        for field, values in fields.items()
    ]
    return scrolling("Differences of recipes", "recipes", f'<th scope="col">Setting</th>{heads}', rows)


def listing(sentences: Sequence[str]) -> str:
    """Return sentences as a list, or "" where there are none."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="said">{items}</ul>' if items else ""
