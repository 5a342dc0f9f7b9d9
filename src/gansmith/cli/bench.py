"""`gansmith bench`: how fast training is here, against the plain loop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from gansmith.bench.rows import DEFAULT_ROWS, row_of, row_problems
from gansmith.cli.command import Command
from gansmith.cli.parsing import parsed, positive
from gansmith.errors import UsageError

DEFAULT_SECONDS = "1.5"


@dataclass
class BenchCommand(Command):
    """Measure how fast training is on this machine's processor, against the plain PyTorch loop of benchmarks/plain.py.

    Both take turns in one process; see docs/speed.md, also for the row that has ranks instead.
    """

    rows: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE", help_behavior_hint="")] = ()
    """What to measure: recipes, resnet-b32 (resnet with n_dis 1 and batch 32), sampling, ranks (two
    against one process of two threads, both ours); by default, all; resnet is listed with an estimate where
    a step of it is long."""
    data: Annotated[str | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """Images to train on, as for train; by default 10,000 images of noise."""
    seconds: Annotated[str, tyro.conf.arg(metavar="S")] = DEFAULT_SECONDS
    """Of one turn; each has six."""
    json: bool = False
    """Print one JSON list, a row an object, and nothing else."""

    def run(self, unknown: Sequence[str]) -> None:
        """Check everything, then measure and print."""
        problems = [*unknown, *row_problems(self.rows)]
        seconds = parsed(problems, "--seconds", self.seconds, positive)
        if problems or seconds is None:
            raise UsageError(problems)
        from gansmith import runtime
        from gansmith.bench.contenders import CPU, plain_hashes
        from gansmith.bench.measure import measure
        from gansmith.bench.roof import TRIAL_SECONDS, Roof
        from gansmith.bench.table import HEAD, lines_of
        from gansmith.training.log import Display

        hashes, precision, display = plain_hashes(), runtime.best_precision(CPU), Display(quiet=self.json)
        facts = runtime.machine_facts(CPU)
        roofs = {name: Roof(name, min(TRIAL_SECONDS, seconds)) for name in dict.fromkeys(("float32", precision))}
        display.say(f"{facts['cpu']}, {facts['threads']} threads, torch {facts['torch']}")
        display.say("roof: " + ", ".join(f"{name} {roof.found / 1e9:,.0f} GFLOP/s" for name, roof in roofs.items()))
        display.say("sha256: " + ", ".join(f"{name} {digest}" for name, digest in hashes.items()))
        display.say(f"images: {self.data or '10,000 of noise'}; img/s are real images, ours in {precision}")
        display.say(HEAD)
        results = []
        for name in self.rows or DEFAULT_ROWS:
            results.append(measure(row_of(name, precision), self.data, seconds, roofs[precision]))
            display.say("\n".join(lines_of(results[-1])))
        if self.json:
            print(json.dumps([{**result.as_json(), "plain_sha256": hashes} for result in results], indent=1))  # noqa: T201
