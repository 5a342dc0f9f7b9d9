"""Memory and the time to the first step, each of a process of its own, where nothing has happened before.

The script of the plain loop imports nothing of gansmith, so that it pays for nothing of ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gansmith.bench.contenders import plain_folder
from gansmith.errors import ResourceError
from gansmith.images import Pixels
from gansmith.recipe import Recipe

MORE_STEPS, MORE_SECONDS = 20, 3.0
"""After the first, while memory is watched."""
COMMON = """
import json, sys, time
from pathlib import Path
import numpy as np

def peak():
    status = Path("/proc/self/status")  # not getrusage: what it says includes the process that started this one
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if "VmHWM" in line)
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

def watch(step):
    step()
    first = time.time()
    for _ in range(MORE_STEPS):
        if time.time() - first > MORE_SECONDS:
            break
        step()
    print(json.dumps({"at": first, "bytes": peak()}))

given = json.load(sys.stdin)
images = np.load(given["images"], mmap_mode="r")
"""
OURS = """
from gansmith import runtime
from gansmith.bench.contenders import OurTraining, data_set
from gansmith.recipe import Recipe
runtime.keep_large_allocations()
watch(OurTraining(Recipe.model_validate(given["recipe"]), data_set("images", images)).step)
"""
PLAIN = """
sys.path.insert(0, given["folder"])
from plain import PlainLoop
watch(PlainLoop(given["recipe"], images, given["workers"], 0).step)
"""


@dataclass(frozen=True)
class FreshStart:
    """What a process of its own took.

    Attributes:
        seconds: from its start to the end of the first step.
        peak_bytes: of memory, over the first steps; without those of the loader's worker processes.
    """

    seconds: float
    peak_bytes: int


def fresh_starts(recipe: Recipe, images: Pixels, workers: int) -> tuple[FreshStart, FreshStart]:
    """Return what ours and the plain loop take in processes of their own.

    Args:
        recipe: to train.
        images: (N, C, H, W) uint8.
        workers: of the plain loop's loader.
    """
    with tempfile.TemporaryDirectory(prefix="gansmith-bench-") as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images)
        given = {"images": str(path), "recipe": recipe.model_dump(mode="json"), "workers": workers,
                 "folder": str(plain_folder())}  # fmt: skip
        return _start(OURS, given), _start(PLAIN, given)


def _start(script: str, given: dict[str, object]) -> FreshStart:
    constants = f"MORE_STEPS, MORE_SECONDS = {MORE_STEPS}, {MORE_SECONDS}\n"
    begun = time.time()
    done = subprocess.run(
        [sys.executable, "-c", constants + COMMON + script], input=json.dumps(given), capture_output=True, text=True
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ResourceError(f"bench: a fresh process that takes the first steps failed ({last[0]})")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return FreshStart(said["at"] - begun, said["bytes"])
