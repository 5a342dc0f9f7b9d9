"""The work on a sweep's folder: its runs, one after another, each trained and measured once; then what they say."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gansmith.budget import Budget
from gansmith.checkpoint import write_synced
from gansmith.data import Source
from gansmith.errors import CheckpointError, DivergedError, Interrupted, ResourceError, UsageError
from gansmith.evaluation.entries import Asked as AskedOf
from gansmith.evaluation.evaluator import REPORT, measure
from gansmith.evaluation.extractors import choose_extractor
from gansmith.evaluation.features import cached_features
from gansmith.evaluation.opening import Asked, Plan, plan_of
from gansmith.evaluation.reference import open_real
from gansmith.evaluation.wording import duration
from gansmith.report import Report, load_report
from gansmith.sweeps.checks import score_obstacle
from gansmith.sweeps.conclusion import Outcome, Sweep, conclude, request_words
from gansmith.sweeps.folder import DIVERGED, SweepPlan, Trial
from gansmith.training.folder import Intervals, RunConfig, lock
from gansmith.training.log import Display, Progress
from gansmith.training.preparation import Job
from gansmith.training.run import train_in
from gansmith.training.session import Options

SAVES = 5
"""Checkpoints of a run: a stop loses nothing, a killed process a fifth."""


@dataclass(frozen=True)
class Runner:
    """A sweep whose folder, data and recipe are known.

    Attributes:
        data: as it was given.
        source: opened from it.
        plan: what to run.
        score: to rank by.
        num_samples: that the score is of.
        folder: of the sweep.
        device: where it runs.
        display: who to tell.
    """

    data: Any
    source: Source
    plan: SweepPlan
    score: str
    num_samples: int
    folder: Path
    device: torch.device
    display: Display

    @property
    def measured(self) -> Plan:
        """What the score is, and through what."""
        return plan_of((self.score,), None)

    def run(self) -> Sweep:
        """Train and measure what is not there yet; rank; write the page."""
        held = lock(self.folder)
        try:
            self.plan.save(self.folder)
            outcomes = self._outcomes()
            has_path = isinstance(self.data, str | os.PathLike)
            rerun = self.command() if has_path and isinstance(self.plan.request.recipe, str) else ""
            found = conclude(self.plan, outcomes, self.folder, str(self.device), rerun, has_path)
        except OSError as error:
            raise ResourceError(f"{error.filename or self.folder}: {error.strerror or error}") from error
        finally:
            held.release()
        for line in found.lines():
            self.display.say(line)
        if not found.ranking:
            raise DivergedError(f"{self.folder}: not one of {_count(len(outcomes), 'run')} has a score; see above")
        return found

    def _outcomes(self) -> list[Outcome]:
        trials = self.plan.trials(self.folder)
        extractor = self._prepare_extractor()
        there = {trial.folder: found for trial in trials if (found := self._finished(trial, extractor))}
        shape, plan = " x ".join(str(len(axis.values)) for axis in self.plan.axes), self.plan
        self.display.say(
            f"{self.folder}: {_count(len(trials), 'run')} of {plan.images:,} images (settings: {shape}; "
            f"{_count(plan.seeds, 'seed')} each)" + (f", {len(there)} done already" if there else "")
        )
        outcomes, took, left = [], 0.0, len(trials) - len(there)
        for number, trial in enumerate(trials, 1):
            if (found := there.get(trial.folder)) is None:
                started = time.perf_counter()
                found = self._one(trial, f"run {number} of {len(trials)}, {trial.name}")
                took, left = took + time.perf_counter() - started, left - 1
                done = len(trials) - len(there) - left
                ahead = f"; about {duration(took / done * left)} to go" if left else ""
                self.display.say(f"run {number} of {len(trials)}  {trial.name}: {_said(found)}{ahead}")
            outcomes.append(found)
        return outcomes

    def _prepare_extractor(self) -> str:
        """Have the real images read, once for all runs; return the checksum of what reads them.

        Raises:
            UsageError: no run could have the score.
        """
        recipe, say = self.plan.trials(self.folder)[0].recipe, self.display.say
        real = open_real(
            self.source, recipe.size, recipe.channels, "train", self.plan.request.fit, self.display.decoding
        )
        splits = real.for_a_classifier() if real.has_classes else (real.train, real.train)
        extractor = choose_extractor(
            self.measured.extractor, *splits, device=self.device, say=say,
            on_progress=lambda share, text: self.display.working(share, text),
        )  # fmt: skip
        cached_features(
            real.compared, None, extractor,
            lambda done, count: self.display.working(done / count, f"reading real images: {done:,} of {count:,}"),
        )  # fmt: skip
        if reason := score_obstacle(self.score, real, self.num_samples, extractor.facts):
            raise UsageError(f"no run can have the score {self.score}: {reason}")
        return extractor.facts.checksum

    def _finished(self, trial: Trial, extractor: str) -> Outcome | None:
        """Return what became of a run in an earlier process, or None where there is something left to do."""
        if (trial.folder / DIVERGED).exists():
            return Outcome(trial, None, json.loads((trial.folder / DIVERGED).read_bytes())["reason"])
        try:
            report = load_report(trial.folder / REPORT)
        except CheckpointError:
            return None
        asked = AskedOf(self.num_samples, None, self.measured.scores)
        is_of_it = (report.subject.images_seen or 0) >= self.plan.images and report.extractor.checksum == extractor
        return _outcome(trial, report) if is_of_it and asked.obstacle(report) is None else None

    def _one(self, trial: Trial, head: str) -> Outcome:
        """Train and measure one run."""
        try:
            self._train(trial, head)
            asked = Asked(
                trial.folder, self.data, self.measured, self.num_samples, None, 0, "train", None, None, False,
                str(self.device),
            )  # fmt: skip
            found = measure(asked, True, display=_OfRun(self.display, head))
        except DivergedError as error:
            write_synced(trial.folder / DIVERGED, json.dumps({"reason": f"diverged: {error}"}).encode())
            return Outcome(trial, None, f"diverged: {error}")
        except Interrupted as error:
            raise Interrupted(f"{head}: {error}", error.exit_code - 128) from error
        except KeyboardInterrupt:
            raise Interrupted(f"{head}: stopped; the same command goes on from there", signal.SIGINT) from None
        assert found is not None, "this process is alone"
        found.save(trial.folder)
        return _outcome(trial, found.report)

    def _train(self, trial: Trial, head: str) -> None:
        plan = self.plan
        request = dataclasses.replace(plan.request, overrides=trial.overrides)
        intervals = Intervals(save_every=max(1, plan.images // SAVES))
        exact = RunConfig(
            plan.data, request, trial.recipe, plan.fingerprint, trial.seed, plan.images, None, intervals.save_every
        )
        job = Job(self.data, request, Budget(images=plan.images), trial.seed, trial.folder, intervals, False, exact)
        train_in(job, self.device, Options(), _OfRun(self.display, head))

    def command(self) -> str:
        """Return the command that makes the sweep again."""
        plan = self.plan
        words = ["gansmith", "sweep", plan.data, *request_words(plan.request, plan.request.overrides)]
        words += [word for axis in plan.axes for word in ("--over", f"{axis.field}={','.join(axis.values)}")]
        words += ["--images", str(plan.images), "--seeds", str(plan.seeds), "--score", self.score]
        return shlex.join([*words, "--samples", str(self.num_samples), "--out", str(self.folder)])


class _OfRun(Display):
    """Passes on how far one run is; its messages are in its folder.

    Args:
        outer: the sweep's display.
        head: which run it is.
    """

    def __init__(self, outer: Display, head: str) -> None:
        super().__init__(quiet=True)
        self._outer, self._head = outer, head

    def decoding(self, done: int, count: int) -> None:
        """Say nothing: the images are decoded already."""

    def training(self, progress: Progress) -> None:
        """Show how far training is."""
        self._outer.working(progress.share, f"{self._head}: {progress.line()}")

    def working(self, share: float, text: str) -> None:
        """Show how far anything else is."""
        self._outer.working(share, f"{self._head}: {text}")

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._outer.close()


def _outcome(trial: Trial, report: Report) -> Outcome:
    score = report.scores[0]
    if score.value is None:
        return Outcome(trial, None, f"no {score.name}: {score.reason}")
    return Outcome(trial, report)


def _said(outcome: Outcome) -> str:
    if outcome.report is None:
        return str(outcome.reason)
    score = outcome.report.scores[0]
    return f"{score.name} {score.value:.4g}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
