"""What the rest of the machine does while something is timed. Standard library only."""

from __future__ import annotations

import os
import time
from pathlib import Path

MOST_OTHERS = 0.1
"""Shares of one core that other programs may take from what is timed and is to be believed."""


def busy_seconds() -> float | None:
    """Return the processor time that this machine has spent on anything since it started; None where it is not Linux.

    Time stolen by a virtual machine's host counts: it is lost to what is timed as well.
    """
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, _idle, _iowait, *interrupts_and_stolen = map(int, fields[1:9])
    return (user + nice + system + sum(interrupts_and_stolen)) / os.sysconf("SC_CLK_TCK")


class Meter:
    """Measures, from its making on, what other programs take of the machine."""

    def __init__(self) -> None:
        self._started, self._busy = time.perf_counter(), busy_seconds()

    def others_share(self, own_seconds: float) -> float | None:
        """Return their processor time in shares of one core; None where the system does not say.

        Args:
            own_seconds: processor time of what is timed, since the meter was made.
        """
        elapsed, busy = time.perf_counter() - self._started, busy_seconds()
        if busy is None or self._busy is None:
            return None
        return max(0.0, (busy - self._busy - own_seconds) / elapsed)


def children_seconds() -> float:
    """Return the processor time of all child processes that have ended, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system
