"""Two programs of different environments timed in turn, so that both meet the same machine. Standard library only.

A side is a process that sets itself up, says so, and then steps for as many seconds as it is told and sleeps in
between. `Side` is the parent's end of it, `serve` the side's own: one line of JSON each way on its standard streams.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from busy import Meter

TAIL = 20
"""Lines of what a side that died had said."""


@dataclass(frozen=True)
class Stretch:
    """What a side did in the seconds it was given.

    Attributes:
        images: real images its steps trained on.
        seconds: that they took; the last step is finished.
        processor_seconds: of all its threads in that time.
        slept_seconds: before that.
        idle_processor_seconds: of all its threads in that sleep: a side that spins takes them from the other.
    """

    images: int
    seconds: float
    processor_seconds: float
    slept_seconds: float
    idle_processor_seconds: float

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def idle_share(stretches: Sequence[Stretch]) -> float:
    """Return the processor time of a side's sleeps, in shares of one core."""
    return sum(each.idle_processor_seconds for each in stretches) / sum(each.slept_seconds for each in stretches)


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of pairs, with the least and the greatest of them."""

    value: float
    low: float
    high: float


def ratio_of(pairs: Sequence[tuple[Stretch, Stretch]]) -> Ratio:
    """Return the rate of the first of each pair over that of the second.

    Raises:
        ValueError: there are no pairs.
    """
    if not pairs:
        raise ValueError("a ratio needs at least one pair")
    ratios = [first.rate / second.rate for first, second in pairs]
    return Ratio(median(ratios), min(ratios), max(ratios))


@dataclass(frozen=True)
class Timing:
    """Pairs of stretches, and whether anything else ran beside them.

    Attributes:
        pairs: (first side, second side).
        others_share: processor time of all other programs, in shares of one core; None where the system does not say.
    """

    pairs: list[tuple[Stretch, Stretch]]
    others_share: float | None


def alternate(first: Side, second: Side, num_pairs: int, seconds: float) -> Timing:
    """Time both sides in turn; who goes first changes from pair to pair, so that no drift favours a side."""
    pairs = []
    meter = Meter()
    for number in range(num_pairs):
        if number % 2:
            later, earlier = second.run(seconds), first.run(seconds)
            pairs.append((earlier, later))
        else:
            pairs.append((first.run(seconds), second.run(seconds)))
    own = sum(each.processor_seconds + each.idle_processor_seconds for pair in pairs for each in pair)
    return Timing(pairs, meter.others_share(own))


class Side:
    """A side as its parent sees it. As a context, it is ready when that is entered and ended when it is left.

    Args:
        name: for messages.
        command: that calls `serve`.
        log: file for what it says beside the protocol.

    Attributes:
        facts: what it says of itself.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name, self._log = name, log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Side:
        self.facts = self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.communicate(timeout=10)  # the end of its input is the end of its work
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def run(self, seconds: float) -> Stretch:
        """Let it step for so many seconds."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{seconds}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()
        return Stretch(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._fail()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _fail(self) -> None:
        self._process.communicate()
        said = "\n".join(self._log.read_text().splitlines()[-TAIL:])
        sys.exit(f"the {self.name} side ended with exit code {self._process.returncode}; it said last:\n{said}")


def serve(step: Callable[[], int], facts: dict[str, Any], warm_up: float) -> None:
    """Step as the parent says until it says no more.

    Args:
        step: takes one training step and finishes it, returns how many real images it used.
        facts: of this side: versions, precision, threads.
        warm_up: seconds of steps before the side is ready.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    begun = time.perf_counter()
    step()
    first_step = time.perf_counter() - begun
    _work(step, warm_up)
    _say(answers, {**facts, "first_step_seconds": first_step})
    slept_since, worked = time.perf_counter(), time.process_time()
    for line in sys.stdin:
        slept, idled = time.perf_counter() - slept_since, time.process_time() - worked
        started = time.process_time()
        images, seconds = _work(step, float(line))
        slept_since, worked = time.perf_counter(), time.process_time()
        _say(answers, asdict(Stretch(images, seconds, worked - started, slept, idled)))


def _work(step: Callable[[], int], seconds: float) -> tuple[int, float]:
    started, images = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        images += step()
    return images, time.perf_counter() - started


def _say(stream: Any, answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=stream, flush=True)
