"""Evaluation while training: every so often a score, the best generator kept, an end where it no longer gets better.

The weights of a run do not depend on any of it. Which evaluations take place depends on the time they take: they are
put off where they would take more than a tenth of the time. What is measured is handed in (`evaluation/quick.py`); what
is kept is in `evaluations.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from gansmith import ranks
from gansmith.errors import GansmithError
from gansmith.facts import Classes
from gansmith.models import Model
from gansmith.training.evaluations import BEST, KIND, Evaluations, Record, kind_of, scalar_of, score_text, short_number
from gansmith.training.objective import Objective
from gansmith.training.state import TrainState
from gansmith.training.stop import StopSignal
from gansmith.training.track import Tracker

LARGEST_SHARE = 0.1
"""Of the time of training that evaluations may take, the one at the end included."""
log = logging.getLogger("gansmith")


class Scoring(Protocol):
    """A score of generators; lower is better."""

    @property
    def name(self) -> str:
        """What it is: "fd_classifier"."""
        ...

    @property
    def num_samples(self) -> int:
        """How many samples are drawn."""
        ...

    @property
    def extractor(self) -> str:
        """Checksum of what turns images into features."""
        ...

    def value(self, generator: nn.Module, classes: Classes | None, should_stop: Callable[[], bool]) -> float | None:
        """Return the score, a finite number; or None, soon, once `should_stop` says so.

        Raises:
            DataError: it has no value; the message is the reason.
        """
        ...

    def estimate_seconds(self, generator: nn.Module, classes: Classes | None) -> float:
        """Return about how long `value` takes, from doing a small part of it."""
        ...


@dataclass(frozen=True)
class Plan:
    """When to evaluate, and by what.

    Attributes:
        every: images between evaluations; at the end there is one in any case.
        patience: evaluations in a row without a new best after which training is over, or None.
        open_scoring: called once, before training; may take long the first time.
    """

    every: int
    patience: int | None
    open_scoring: Callable[[], Scoring]


class Watch:
    """Evaluates one run while it is trained; the loop asks it before every step.

    Args:
        folder: of the run.
        objective, state: what is trained.
        plan: when, and by what; None: never.
        stop: an evaluation is abandoned once it has received a signal.
        say: told each score.
        track: called with what to do with the tracker, if there is one.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(
        self, folder: Path, objective: Objective, state: TrainState, plan: Plan | None, stop: StopSignal,
        say: Callable[[str], None], track: Callable[[Callable[[Tracker], None]], None],
    ) -> None:  # fmt: skip
        self._objective, self._state, self._plan = objective, state, plan
        self._stop, self._say, self._track = stop, say, track
        self._kept = Evaluations(folder, self._images)
        records = self._kept.records
        self._last = records[-1]["images"] if records else 0
        self._cost = records[-1]["seconds"] if records else 0.0
        self._seconds = sum(record["seconds"] for record in records)
        self._prepared = 0.0
        self._scoring: Scoring | None = None
        self._has_told_of_delay = self._has_warned = False

    def begin(self) -> None:
        """Open the score and find out what it costs. Raises as `Plan.open_scoring`."""
        if self._plan is None:
            return
        started, kept = time.perf_counter(), self._kept
        with self._own_draws():
            scoring = self._scoring = self._plan.open_scoring()
        self._prepared = time.perf_counter() - started
        kind = (scoring.name, scoring.num_samples, scoring.extractor)
        if kept.best is not None and kind_of(kept.best) != kind:
            self._say(f"{kept.folder / BEST}: chosen by another score or extractor; the next evaluation replaces it")
        if kept.kind != kind:
            started = time.perf_counter()
            with self._own_draws():
                self._objective.settle(self._state)
                self._cost = time.perf_counter() - started
                self._cost += scoring.estimate_seconds(self._objective.generator(self._state), self._state.classes)
            self._seconds += time.perf_counter() - started
            kept.kind = kind
        self._say(
            f"evaluation: {scoring.name} of {scoring.num_samples:,} samples every {self._plan.every:,} images, about "
            f"{self._cost:.1f} s each; made ready in {self._prepared:.1f} s"
        )

    def is_due(self, seconds: float) -> bool:
        """Return whether it is time to evaluate, after `seconds` of training."""
        if self._plan is None or self._images // self._plan.every <= self._last // self._plan.every:
            return False
        return not self._is_put_off(self._plan.every, seconds)

    def evaluate(self) -> bool:
        """Evaluate, and return whether training is over by that."""
        self._evaluate()
        return self.why_over is not None

    def finish(self) -> None:
        """Evaluate at the end, unless that was done or a signal came."""
        if self._plan is not None and self._stop.received is None and self._last != self._images:
            if self._scoring is None:
                self.begin()
            self.evaluate()

    @property
    def why_over(self) -> str | None:
        """Why training is over before its budget is spent, or None where it is not."""
        patience, lowest = None if self._plan is None else self._plan.patience, self._kept.lowest()
        if patience is None or lowest is None or (since := self._kept.num_since_lowest()) < patience:
            return None
        return (
            f"stopped early at {self._images:,} images: {_counted(since, 'evaluation')} in a row no better than "
            f"{score_text(lowest)}; go on with a larger --patience, or without"
        )

    def summary(self, seconds: float) -> list[str]:
        """Return why training is over, the best score, and what evaluation has cost beside `seconds` of training."""
        if self._plan is None:
            return []
        lines = [why] if (why := self.why_over) else []
        if self._kept.best is not None:
            lines.append(f"best: {score_text(self._kept.best)}, kept in {self._kept.folder / BEST}")
        count, share = _counted(len(self._kept.records), "time"), self._seconds / max(seconds, 1e-9)
        cost = f"{self._seconds:,.1f} s, {share:.1%} of training time, and {self._prepared:,.1f} s to make ready"
        return [*lines, f"evaluation: {count}, {cost}"]

    @property
    def _images(self) -> int:
        return self._state.counters["images"]

    @contextmanager
    def _own_draws(self) -> Iterator[None]:
        """Leave torch's global generators as they were, and the other ranks to what they do."""
        device = self._state.device
        with ranks.alone(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield

    def _is_put_off(self, every: int, seconds: float) -> bool:
        # Twice: there is one more at the end.
        if self._seconds + 2 * self._cost <= LARGEST_SHARE * seconds:
            return False
        if not self._has_told_of_delay:
            self._has_told_of_delay = True
            share = self._cost / max(seconds * every / self._images, 1e-9)
            self._say(
                f"an evaluation takes {self._cost:.1f} s, {share:.0%} of the training time of {every:,} images: some "
                f"are put off, so that all of them, with one at the end, take at most {LARGEST_SHARE:.0%}"
            )
        return True

    def _evaluate(self) -> None:
        assert self._scoring is not None and self._kept.kind is not None
        started, self._last = time.perf_counter(), self._images
        record: Record = {"images": self._images, **dict(zip(KIND, self._kept.kind, strict=True)), "value": None}
        generator, classes = self._objective.generator(self._state), self._state.classes
        try:
            with self._own_draws():
                self._objective.settle(self._state)
                record["value"] = self._scoring.value(generator, classes, lambda: self._stop.received is not None)
            if record["value"] is None:
                return
        except (GansmithError, OSError, RuntimeError) as error:  # torch's own are RuntimeErrors, out of memory too
            record["reason"] = str(error)
            self._warn(f"no {record['score']} at {self._images:,} images: {error}")
        is_best = record["value"] is not None and self._kept.is_new_best(record)
        if is_best:
            try:
                self._kept.save_best(Model(generator, self._state.recipe, self._images, classes), dict(record))
            except OSError as error:
                self._warn(f"{self._kept.folder / BEST}: could not be saved ({error.strerror or error})")
        self._cost = time.perf_counter() - started
        self._seconds += self._cost
        self._keep(record | {"seconds": round(self._cost, 3), "time": round(time.time(), 3)}, is_best)

    def _keep(self, record: Record, is_best: bool) -> None:
        try:
            self._kept.append(record)
        except OSError as error:
            self._warn(f"{self._kept.folder}: a line of evaluations is lost ({error.strerror or error})")
        self._track(lambda tracker: tracker.record(scalar_of(record)))
        lowest = self._kept.lowest()
        if record["value"] is None or lowest is None:
            return
        rest = "the best so far" if is_best else f"the best is {short_number(lowest['value'])} at {lowest['images']:,}"
        self._say(f"{score_text(record)}, {rest}")

    def _warn(self, text: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning("%s; training goes on, and so do evaluations", text)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"
