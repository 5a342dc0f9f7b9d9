"""One process of a team (`teams.py`): trains as `training/loop.py` does, in turns that it is asked for by its input.

`python -m gansmith.bench.member` reads a line of JSON about the training, then a line for each turn, the seconds; it
answers each with a line of JSON. Between turns it waits for its input, asleep.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TextIO

import numpy as np

from gansmith import ranks, runtime
from gansmith.bench.contenders import OurTraining, data_set
from gansmith.bench.interleaving import Contender
from gansmith.recipe import Recipe
from gansmith.training.stop import StopSignal


def contender_of(training: OurTraining) -> Contender:
    """Return a training whose turns end on every rank after the same step, as the clock of rank 0 says; before each
    step there is the agreement of a real training.
    """
    stop = StopSignal()

    def agree(is_over: bool) -> bool:
        return bool(stop.agree(int(is_over and ranks.current().is_first))[1])

    return Contender(training.step, training.images, agree=agree)


def _free_output() -> TextIO:
    """Return the standard output for answers alone: what libraries write to it goes to the standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def _take_turns(contender: Contender, answers: TextIO) -> None:
    """Answer each turn with its images per second, and with the share of a core that waiting for it took; a wait that
    was shorter than a turn, because the turn before was this one's too, counts as one as long.
    """
    stopped, used_before = time.perf_counter(), time.process_time()
    for line in sys.stdin:
        seconds, used = float(line), time.process_time() - used_before
        idle_share = used / max(seconds, time.perf_counter() - stopped)
        answers.write(json.dumps({"rate": contender.rate(seconds), "idle_share": idle_share}) + "\n")
        stopped, used_before = time.perf_counter(), time.process_time()


def main() -> None:
    """Say that this process is here; when asked to, join the others and warm up, and say so; then take turns."""
    answers = _free_output()
    given = json.loads(sys.stdin.readline())
    runtime.keep_large_allocations()
    data = data_set("images", np.load(given["images"], mmap_mode="r"))
    answers.write("{}\n")
    sys.stdin.readline()
    with runtime.joined_device("cpu"):
        training = OurTraining(Recipe.model_validate(given["recipe"]), data)
        for _ in range(2):
            training.step()
        answers.write("{}\n")
        _take_turns(contender_of(training), answers)


if __name__ == "__main__":
    main()
