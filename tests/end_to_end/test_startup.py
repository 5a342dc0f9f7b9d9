"""Starting is fast where nothing is computed: help answers long before torch would be imported."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from tests.end_to_end.processes import command, environment

TRIALS = 5


def seconds_of(arguments: list[str], folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(arguments, cwd=folder, env=environment(), check=True, capture_output=True)
    return time.perf_counter() - started


def test_help_takes_less_than_half_of_importing_torch(tmp_path: Path) -> None:
    ratios = [
        seconds_of(command("--help"), tmp_path) / seconds_of([sys.executable, "-c", "import torch"], tmp_path)
        for _ in range(TRIALS)
    ]
    assert median(ratios) < 0.5
