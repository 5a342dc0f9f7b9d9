"""A row of results as text."""

from __future__ import annotations

from gansmith.bench.measure import Result
from gansmith.bench.rows import DIVIDED_RECIPE
from gansmith.sizes import size_text

HEAD = (
    f"{'recipe':<13}{'batch':>6}{'ours':>9}{'plain':>9}  {'ratio (95 % interval)':<23}{'GFLOP':>8}{'plain':>8}"
    f"{'of roof':>9}{'MB':>7}{'plain':>7}{'1st s':>7}{'plain':>7}"
)
SHOWN_GROUPS = 6


def lines_of(result: Result) -> list[str]:
    """Return a row of the table, and below it where the time goes."""
    start = f"{result.recipe:<13}{result.batch:>6}"
    if result.estimated_seconds is not None:
        return [
            f"{start}  not run: a step is estimated at {result.estimated_seconds:,.1f} s ({result.gflop:,.0f} GFLOP)"
        ]
    if result.not_run is not None:
        return [f"{start}  not run: {result.not_run}"]
    ratio = f"{result.ratio:.2f}x ({result.ratio_low:.2f} to {result.ratio_high:.2f})"
    shape = f"{size_text(result.size)}x{result.channels}"
    if result.idle_share is not None:
        return [
            f"{start}{result.ours:>9,.0f}{result.plain:>9,.0f}  {ratio}",
            f"    {DIVIDED_RECIPE}, {shape}, {result.precision}; not against the plain loop, both are ours:",
            "    two ranks x one thread against one process x two threads; "
            f"who waits uses at most {result.idle_share:.1%} of a core",
        ]
    share = "" if result.share_of_roof is None else f"{result.share_of_roof:.0%}"
    row = (
        f"{start}{result.ours:>9,.0f}{result.plain:>9,.0f}  {ratio:<23}{result.gflop:>8.2f}{result.gflop_plain:>8.2f}"
        f"{share:>9}{_text(result.memory_mb, 0):>7}{_text(result.memory_mb_plain, 0):>7}"
        f"{_text(result.first_step_seconds, 1):>7}{_text(result.first_step_seconds_plain, 1):>7}"
    )
    groups = ", ".join(f"{group} {share:.0%}" for group, share in list(result.time.items())[:SHOWN_GROUPS])
    workers = "" if result.workers is None else f"; plain with {result.workers} workers"
    speed = f"{result.gflops:,.0f} of {result.roof_gflops:,.0f} GFLOP/s"
    return [
        row,
        f"    {shape}, {result.precision}, {result.update}, {speed}{workers}",
        f"    time: {groups}",
    ]


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
