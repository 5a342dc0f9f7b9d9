"""A report as one HTML file that a person reads: no other host, light and dark, printable, narrow screens too.

Everything that came from a user is escaped in `markup.py`. `comparison_page.py` is the page of several reports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from gansmith.evaluation.charts import line_chart
from gansmith.evaluation.exhibit import Exhibit
from gansmith.evaluation.markup import command, document, escape, figure, pairs, player, section
from gansmith.evaluation.wording import against_text, duration, numeral, range_text, reals_text, spread_of
from gansmith.report import Health, Report, Score
from gansmith.sizes import size_text

ARROWS = {"lower": "↓", "higher": "↑", "none": "–"}
MOST_PARTS = 6
"""Of a list among a score's details that are shown."""
SHARED = 3
"""Scores that give the same warning from which it is said once for all."""
FLAGGED = "flagged"
VERDICTS = {FLAGGED: "bad", "passes": "good"}
"""How the verdict of a score is shown, by the word before its colon; any other is neither."""


def report_page(report: Report, exhibit: Exhibit) -> str:
    """Return the page of one report.

    Args:
        report: the numbers.
        exhibit: the pictures, curves and config to show with them.
    """
    curves = "".join(line_chart(curve) for curve in exhibit.curves)
    pictures = "".join(figure(picture) for picture in exhibit.pictures)
    body = [
        _headline(report),
        section("scores", "Scores", score_table(report.scores), note=_how_to_read(report)),
        section("pictures", "Pictures", pictures and f'<div class="pictures">{pictures}</div>'),
        section(
            "over-time",
            "Over time",
            player(exhibit.frames),
            note="What training drew at each moment, from the same latents every time.",
        ),
        section("curves", "Curves", curves and f'<div class="charts">{curves}</div>'),
        section("recipe", "Recipe", recipe_details(exhibit.recipe_yaml, exhibit.config_note, report.subject.recipe_id)),
        section("protocol", "How it was measured", _protocol(report)),
        section("rerun", "Measure it again", command(report.command)),
    ]
    return document(f"{report.subject.name}: evaluation", "\n".join(part for part in body if part))


def _headline(report: Report) -> str:
    subject = report.subject
    what = "samples of" if subject.kind == "generator" else "images of"
    lead = (
        f"{subject.num_samples:,} {what} {subject.name}, {size_text(subject.size)}, against "
        f"{against_text(report.reference)}, through {report.extractor.name} features."
    )
    facts = pairs((
        ("Evaluated", _moment(report.created)),
        ("Recipe", subject.recipe_name and f"{subject.recipe_name} ({subject.recipe_id})"),
        ("Images seen in training", _count(subject.images_seen)),
        ("Training time", None if subject.training_seconds is None else duration(subject.training_seconds)),
        ("Seed of training", subject.training_seed),
    ))  # fmt: skip
    flags = [score for score in report.scores if score.verdict and score.verdict.startswith(FLAGGED)]
    banner = "".join(f'<p class="banner"><b>{escape(score.title)}</b> {escape(score.verdict)}</p>' for score in flags)
    banner += _health(report.health) if report.health else ""
    return (
        f'<header><p class="kind">Evaluation</p><h1>{escape(subject.name)}</h1><p class="lead">{escape(lead)}</p>'
        f"{facts}</header>{banner}"
    )


def _health(health: Health) -> str:
    """Return how training stood: a banner, unless it was healthy."""
    said, *action = health.lines()
    text = escape(said.removeprefix("health: "))
    more = "".join(f"<br>{escape(line.strip())}" for line in action)
    kind = "protocol" if health.verdict == "healthy" else "banner"
    return f'<p class="{kind}"><b>Training</b> {text}{more}</p>'


def _how_to_read(report: Report) -> str:
    reference = report.reference
    if reference.split == "test":
        same = (
            "Samples are compared with the test split itself, so that most scores have no other real images to show "
            "what a perfect generator gets."
        )
    elif reference.num_held_out:
        count = min(report.subject.num_samples, reference.num_held_out)
        fewer = " It is not measured where a score depends on the count: those are fewer than the samples."
        same = (
            f"“Real images get” is the same score for {count:,} of the {reference.num_held_out:,} real images that no "
            f"generator trained on ({reference.held_out}): what a perfect generator gets."
            f"{fewer if count < report.subject.num_samples else ''}"
        )
    else:
        same = "There are no held-out real images to compare with."
    return f"Each value with its 95 % interval: where the score's expectation at this number of samples lies. {same}"


def score_table(scores: Sequence[Score]) -> str:
    """Return the table of scores; protocol, verdict and warnings below each. What many warn of is said once, above."""
    counts = Counter(warning for score in scores for warning in score.warnings)
    shared = {warning for warning, count in counts.items() if count >= SHARED}
    said = "".join(
        f'<p class="warning">{count} of {len(scores)} scores: {escape(warning)}</p>'
        for warning, count in counts.items()
        if warning in shared
    )
    rows = "".join(_score_rows(score, shared) for score in scores)
    return (
        f"{said}"
        '<table class="scores"><thead><tr><th scope="col">Score</th><th scope="col" class="number">Value</th>'
        '<th scope="col" class="number">95 % interval</th><th scope="col" class="number">Real images get</th>'
        f'<th scope="col">Better</th></tr></thead>{rows}</table>'
    )


def _score_rows(score: Score, shared: Collection[str]) -> str:
    head = f'<th scope="row">{escape(score.title)} <code>{escape(score.name)}</code></th>'
    if score.value is None:
        cells = f'<td colspan="4" class="reason">no value: {escape(score.reason or "no reason was given")}</td>'
    else:
        spread = spread_of(score.interval)
        interval = range_text(score.interval.low, score.interval.high) if score.interval else "none"
        held_out = "not measured" if score.held_out is None else numeral(score.held_out, spread)
        empty = ' data-empty=""'
        cells = (
            f'<td class="number value" data-label="Value">{numeral(score.value, spread)}</td>'
            f'<td class="number"{"" if score.interval else empty} data-label="95 % interval">{interval}</td>'
            f'<td class="number"{empty if score.held_out is None else ""} data-label="Real images get">{held_out}</td>'
            f'<td class="better" data-label="Better"><span aria-hidden="true">{ARROWS[score.better]}</span> '
            f"{_better(score)}</td>"
        )
    return f'<tbody><tr>{head}{cells}</tr><tr class="notes"><td colspan="5">{_notes(score, shared)}</td></tr></tbody>'


def _better(score: Score) -> str:
    return "neither" if score.better == "none" else score.better


def _notes(score: Score, shared: Collection[str]) -> str:
    verdict = ""
    if score.verdict:
        kind = VERDICTS.get(score.verdict.split(":")[0], "")
        verdict = f'<p class="verdict {kind}">{escape(score.verdict)}</p>'
    warnings = "".join(
        f'<p class="warning">{escape(warning)}</p>' for warning in score.warnings if warning not in shared
    )
    facts = pairs((
        ("Interval", score.interval and score.interval.method),
        *((name.replace("_", " "), _detail(value)) for name, value in score.details.items()),
        ("Computed in", None if score.value is None else f"{score.seconds:.1f} s"),
    ))  # fmt: skip
    protocol = escape(score.protocol)
    if facts:
        return f"{verdict}{warnings}<details><summary>{protocol}</summary>{facts}</details>"
    return f'{verdict}{warnings}<p class="protocol">{protocol}</p>'


def _detail(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int | float):
        return numeral(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{str(name).replace('_', ' ')} {_detail(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        more = f"; {len(value) - MOST_PARTS} more in report.json" if len(value) > MOST_PARTS else ""
        nested = any(isinstance(part, Mapping) for part in value)
        return ("; " if nested else ", ").join(map(_detail, value[:MOST_PARTS])) + more
    return str(value)


def recipe_details(recipe_yaml: str | None, note: str | None, recipe_id: str | None) -> str:
    """Return the config of a run, folded away, with a sentence on it; "" where there is neither."""
    said = f"<p>{escape(note)}</p>" if note else ""
    if recipe_yaml is None:
        return said
    title = "Every setting" + (f" (recipe {recipe_id})" if recipe_id else "")
    return f"{said}<details><summary>{escape(title)}</summary><pre><code>{escape(recipe_yaml)}</code></pre></details>"


def _protocol(report: Report) -> str:
    subject, reference, extractor = report.subject, report.reference, report.extractor
    held_out = f"{reference.num_held_out:,}: {reference.held_out}" if reference.num_held_out else "none"
    groups = (
        ("Samples", (
            ("From", subject.path), ("Fingerprint", subject.fingerprint), ("Count", f"{subject.num_samples:,}"),
            ("Size", f"{size_text(subject.size)}, {subject.channels} channel{'s' * (subject.channels > 1)}"),
            ("Seed of latents", subject.seed),
            ("Computed in", subject.precision),
        )),
        ("Reference", (
            ("Data", reference.path), ("Split", reference.split), ("Fingerprint", reference.fingerprint),
            ("Images compared with", reals_text(reference)), ("Held out", held_out),
            ("Brought from", reference.original or None), ("Fit", reference.fit),
            ("Classes", ", ".join(reference.class_names) or None),
        )),
        ("Features", (
            ("Extractor", extractor.name), ("Checksum", extractor.checksum), ("Dimension", f"{extractor.dim:,}"),
            ("Preparation", extractor.preparation), ("Note", extractor.note or None),
        )),
        ("Environment", (
            *((name.replace("_", " "), _detail(value)) for name, value in report.environment.items()),
            ("gansmith", report.gansmith), ("measured in", duration(report.seconds)),
        )),
    )  # fmt: skip
    return (
        f'<div class="facts">{"".join(f"<div><h3>{name}</h3>{pairs(values)}</div>" for name, values in groups)}</div>'
    )


def _moment(created: str) -> str:
    try:
        return datetime.fromisoformat(created).strftime("%-d %B %Y, %H:%M UTC")
    except ValueError:
        return created


def _count(number: int | None) -> str | None:
    return None if number is None else f"{number:,}"
