"""`kill -9` at any moment loses nothing but the steps since the last checkpoint, and those are redone bit for bit."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gansmith.checkpoint import checkpoint_folders
from gansmith.recipes import RECIPES
from tests.end_to_end.processes import environment
from tests.end_to_end.test_resume import end_of

BATCH, SAVE_EVERY_STEPS, STEPS = 8, 5, 400
SAVE_FILES = (
    "modules.safetensors", "optimizers.safetensors", "about.json", "recipe.json", "ema.safetensors", "state.json",
)  # fmt: skip
TRIALS = 12


def start(folder: Path, steps: int) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("killable.py")
    arguments = [str(folder), str(steps * BATCH), str(SAVE_EVERY_STEPS * BATCH), "0.15"]
    return subprocess.Popen(
        [sys.executable, str(script), *arguments], env=environment(), stdout=subprocess.PIPE, text=True
    )


def run_until_killed(process: subprocess.Popen[str], trial: int, chance: random.Random) -> tuple[str, int]:
    """Kill the process: in every second trial inside its second save, else some time after its first steps.

    Returns where it was killed, and the step it had reached.
    """
    assert process.stdout is not None
    file = SAVE_FILES[trial // 2] if trial % 2 == 0 else None
    pause, reached, steps_seen, saves = chance.uniform(0.0, 3.0), 0, 0, 0
    for line in process.stdout:
        word, _, place = line.strip().partition(" ")
        if word == "step":
            reached, steps_seen = int(place), steps_seen + 1
        saves += word == "writing" and place.endswith("recipe.json")  # the first file of each
        if file and saves == 2 and place.endswith(file):
            process.kill()
            return f"inside the save {place}", reached
        if file is None and steps_seen == 1:
            time.sleep(pause)
            process.kill()
            tail = [int(rest.split()[1]) for rest in process.stdout.read().splitlines() if rest.startswith("step")]
            return f"{pause:.3f} s after the first step", max([reached, *tail])
    raise AssertionError("the training ended before it was killed")


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_01_kill_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance, folder, saved = random.Random(11), tmp_path / "run", 0
    reached_at_most = 0
    for trial in range(TRIALS):
        process = start(folder, STEPS)
        with process:  # closes its output and waits
            where, reached = run_until_killed(process, trial, chance)
        kept = [int(path.name) // BATCH for path in checkpoint_folders(folder / "checkpoints")]
        with capsys.disabled():
            print(f"\n  kill {trial + 1:2}: {where}; step {reached}, checkpoints {kept}", end="")
        newest = max(kept, default=0)
        assert newest >= saved, "a checkpoint that was there is gone"
        assert newest >= reached - 2 * SAVE_EVERY_STEPS, "more was lost than the steps since the last checkpoint"
        saved, reached_at_most = newest, max(reached_at_most, reached)
    final_steps = reached_at_most + 3
    for name, steps in (("run", final_steps), ("straight", final_steps)):
        process = start(tmp_path / name, steps)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0
        assert "finished" in output
    assert saved > TRIALS // 2 * SAVE_EVERY_STEPS, "the kills came before anything was saved"
    recipe = RECIPES["dcgan-small"]().shrunk()
    assert end_of(tmp_path / "run", recipe) == end_of(tmp_path / "straight", recipe)
    assert not list((folder / "checkpoints").glob(".*"))
