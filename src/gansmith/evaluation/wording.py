"""Numbers as people read them: as many digits as are known, thousands apart; the same on pages and on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gansmith.report import Interval, Reference

MOST_DECIMALS, TINY = 8, 1e-6
BETTER = {"lower": "lower is better", "higher": "higher is better", "none": "neither end is better"}


def numeral(value: float, spread: float | None = None) -> str:
    """Return a number to read.

    Args:
        value: any.
        spread: how uncertain it is, above 0: it decides the digits ("12.35" for 0.45); without it four, or a whole
            number as it is.
    """
    if not math.isfinite(value):
        return str(value)
    size = spread or abs(value)
    if not spread and value == round(value):
        decimals = 0
    else:
        decimals = min(max((1 if spread else 3) - math.floor(math.log10(size)), 0), MOST_DECIMALS)
    if 0 < abs(value) < TINY and not spread:
        return f"{value:.3g}"
    text = f"{value:,.{decimals}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text


def spread_of(interval: Interval | None) -> float | None:
    """Return half the width of an interval, or None where there is none or it has no width."""
    width = (interval.high - interval.low) / 2 if interval else 0.0
    return width if width > 0 and math.isfinite(width) else None


def range_text(low: float, high: float) -> str:
    """Return "11.90 to 12.80": both ends with the digits that the width decides."""
    spread = (high - low) / 2 if high > low else None
    return f"{numeral(low, spread)} to {numeral(high, spread)}"


def reals_text(reference: Reference) -> str:
    """Return "60,000", or "5,000 of 60,000" where samples were compared with a part of the split."""
    compared, images = reference.num_compared, reference.num_images
    return f"{images:,}" if compared == images else f"{compared:,} of {images:,}"


def against_text(reference: Reference) -> str:
    """Return "5,000 of the 60,000 train images of mnist (brought from 32x32, 3 channels)", without what is not so."""
    part = "" if reference.num_compared == reference.num_images else f"{reference.num_compared:,} of "
    before = f" (brought from {reference.original})" if reference.original else ""
    return f"{part}the {reference.num_images:,} {reference.split} images of {reference.name}{before}"


def duration(seconds: float) -> str:
    """Return "4 min 0 s", "2 h 3 min" or "12.3 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:,} h {minute} min" if hours else f"{minute} min {second} s"


def listed(names: Sequence[str], word: str = "and") -> str:
    """Return "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def p_text(p: float, sign: str = "") -> str:
    """Return "p 0.003", "p < 0.001" or "p 1"; with a sign "p ≤ 0.003"."""
    if p < 0.001 or p > 0.995:
        return "p < 0.001" if p < 0.001 else "p 1"
    return f"p{sign and f' {sign}'} {p:.3f}" if p < 0.1 else f"p{sign and f' {sign}'} {p:.2f}"
