"""Charts as inline SVG: lines over training, and dots with whiskers. Colours are CSS variables, so that themes apply.

`page.css` holds the colours; `page.js` reads `data-*` attributes back to show values under the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gansmith.evaluation.exhibit import Curve, Line
from gansmith.evaluation.markup import escape
from gansmith.evaluation.wording import numeral

WIDTH, HEIGHT = 640.0, 280.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 14.0, 12.0, 44.0
ROW, NAME_WIDTH = 34.0, 150.0
NUM_TICKS = 5
DECADES_FOR_LOG = 2.0
NUM_STYLES = 6
"""Line styles in `page.css`: each has its colour and its dashes."""
SUFFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Axis:
    """How values lie along pixels.

    Attributes:
        low, high: values at both ends.
        start, stop: pixels of both ends.
        is_log: decades are equally long.
    """

    low: float
    high: float
    start: float
    stop: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, value = (math.log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Return the round values along it."""
        return log_ticks(self.low, self.high) if self.is_log else nice_ticks(self.low, self.high)


def nice_ticks(low: float, high: float, count: int = NUM_TICKS) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten within [low, high], about `count` of them (Heckbert 1990)."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if rough <= factor * power * (1 + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return the powers of ten within [low, high], both above 0."""
    return [10.0**power for power in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """Return a short label: "0.05", "20k", "1.5M"."""
    for size, suffix in SUFFIXES:
        if abs(value) >= size * 10 or (abs(value) >= size and size > 1e3):
            return f"{value / size:g}{suffix}"
    return f"{value:.6g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.0e}"


def line_chart(curve: Curve) -> str:
    """Return a figure: title, legend with the newest values, and the lines; "" where no line has two finite points.

    The vertical axis is logarithmic where all values are above 0 and span two decades.
    """
    drawn = [line for line in curve.lines if sum(map(math.isfinite, line.ys)) > 1]
    values = [y for line in drawn for y in line.ys if math.isfinite(y)]
    if not drawn:
        return ""
    xs = [x for line in drawn for x in line.xs]
    across = Axis(min(xs), max(max(xs), min(xs) + 1e-9), LEFT, WIDTH - RIGHT)
    up = _value_axis(min(values), max(values))
    scale = " (log scale)" if up.is_log else ""
    label = "; ".join(f"{line.name} from {numeral(_finite(line)[0])} to {numeral(_finite(line)[-1])}" for line in drawn)
    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(f"{curve.title}: {label}")}"',
        f' data-x="{across.low:.9g} {across.high:.9g} {across.start:g} {across.stop:g}"',
        f' data-y="{up.low:.9g} {up.high:.9g} {up.start:g} {up.stop:g}" data-log="{int(up.is_log)}">',
        *_grid(across, up),
        *(
            f'<path class="line s{index % NUM_STYLES}" d="{_path(line, across, up)}"/>'
            for index, line in enumerate(drawn)
        ),
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 6:g}" text-anchor="middle">'
        f"{escape(curve.x_label)}</text>",
        f'<line class="cursor" y1="{TOP:g}" y2="{HEIGHT - BOTTOM:g}"/></svg>',
    ]
    return (
        f'<figure class="chart"><figcaption><b>{escape(curve.title)}</b> <span class="unit">{escape(curve.y_label)}'
        f"{scale}</span></figcaption>{_legend(drawn)}{''.join(parts)}</figure>"
    )


def _value_axis(low: float, high: float) -> Axis:
    is_log = low > 0 and math.log10(high / low) >= DECADES_FOR_LOG
    if is_log:
        low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
    else:
        margin = (high - low or abs(high) or 1.0) * 0.06
        low, high = low - (0 if low == 0 else margin), high + margin
    return Axis(low, high, HEIGHT - BOTTOM, TOP, is_log)


def _grid(across: Axis, up: Axis) -> list[str]:
    parts = []
    for value in up.ticks():
        y = up.place(value)
        parts.append(f'<line class="grid" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8:g}" y="{y + 4:.1f}" text-anchor="end">{tick_text(value)}</text>')
    for value in across.ticks():
        x, foot = across.place(value), HEIGHT - BOTTOM
        parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{foot:g}" y2="{foot + 4:g}"/>')
        parts.append(f'<text x="{x:.1f}" y="{foot + 17:g}" text-anchor="middle">{tick_text(value)}</text>')
    return parts


def _path(line: Line, across: Axis, up: Axis) -> str:
    steps, pen = [], "M"
    for x, y in zip(line.xs, line.ys, strict=True):
        if math.isfinite(y):
            steps.append(f"{pen}{across.place(x):.1f} {up.place(y):.2f}")
        pen = "L" if math.isfinite(y) else "M"
    return "".join(steps)


def _legend(lines: Sequence[Line]) -> str:
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 24 8" aria-hidden="true"><path class="line s{index % NUM_STYLES}" '
        f'd="M0 4H24"/></svg>{escape(line.name)} <output>{numeral(_finite(line)[-1])}</output></li>'
        for index, line in enumerate(lines)
    )
    return f'<ul class="legend">{items}<li class="at" aria-live="off"></li></ul>'


def _finite(line: Line) -> list[float]:
    return [y for y in line.ys if math.isfinite(y)]


@dataclass(frozen=True)
class Whisker:
    """One row of an interval chart; `interval` is None where there is only a value."""

    name: str
    value: float
    interval: tuple[float, float] | None
    is_best: bool = False


def interval_chart(title: str, rows: Sequence[Whisker], mark: float | None = None, mark_name: str = "") -> str:
    """Return a figure of dots with whiskers, one row each, over one axis.

    Args:
        title: of the score, for people who cannot see the chart.
        rows: from the top.
        mark: a value to draw a line at.
        mark_name: what stands beside it.
    """
    ends = [end for row in rows for end in (row.interval or ()) + (row.value,)] + ([] if mark is None else [mark])
    low, high = min(ends), max(ends)
    margin = (high - low or abs(high) or 1.0) * 0.08
    height = TOP + 6 + ROW * len(rows) + BOTTOM - 14
    foot = height - BOTTOM + 14
    axis = Axis(low - (0 if low == 0 else margin), high + margin, NAME_WIDTH, WIDTH - RIGHT)
    described = "; ".join(f"{row.name} {numeral(row.value)}" for row in rows)
    parts = [f'<svg class="whiskers" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
             f'aria-label="{escape(f"{title}: {described}")}">']  # fmt: skip
    for value in axis.ticks():
        x = axis.place(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP:g}" y2="{foot:g}"/>')
        parts.append(f'<text x="{x:.1f}" y="{foot + 17:g}" text-anchor="middle">{tick_text(value)}</text>')
    if mark is not None:
        x = axis.place(mark)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP:g}" y2="{foot:g}"/>')
        anchor = "start" if x < WIDTH / 2 else "end"
        parts.append(f'<text class="marked" x="{x + (5 if anchor == "start" else -5):.1f}" y="{TOP - 1:g}" '
                     f'text-anchor="{anchor}">{escape(mark_name)}</text>')  # fmt: skip
    for index, row in enumerate(rows):
        parts.append(_whisker(row, axis, TOP + 3 + ROW * (index + 0.5)))
    return f'<figure class="chart">{"".join(parts)}</svg></figure>'


def _whisker(row: Whisker, axis: Axis, y: float) -> str:
    best = " best" if row.is_best else ""
    name = row.name if len(row.name) <= 20 else f"{row.name[:19]}…"
    parts = [
        f'<text class="name{best}" x="{NAME_WIDTH - 12:g}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
    ]
    if row.interval:
        low, high = (axis.place(end) for end in row.interval)
        ends = f"M{low:.1f} {y - 5:.1f}v10M{low:.1f} {y:.1f}H{high:.1f}M{high:.1f} {y - 5:.1f}v10"
        parts.append(f'<path class="whisker{best}" d="{ends}"/>')
    parts.append(f'<circle class="dot{best}" cx="{axis.place(row.value):.1f}" cy="{y:.1f}" r="4.5"/>')
    return f"<g><title>{escape(row.name)}</title>{''.join(parts)}</g>"
