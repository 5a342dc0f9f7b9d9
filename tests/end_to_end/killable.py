"""A training that says where it is and saves slowly, so that tests can kill it: FOLDER IMAGES SAVE_EVERY PAUSE.

Prints "step N", and "writing CHECKPOINT/FILE" before each file of a save, followed by a pause of so many seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import gansmith
from gansmith import checkpoint
from gansmith.recipes import RECIPES
from gansmith.training.adversarial import Adversarial

STEP_PAUSE = 0.02
write_synced, step = checkpoint.write_synced, Adversarial.step


def slow_write(path: Path, content: bytes) -> None:
    """Write half of the file, tell, pause, then write it as the product does."""
    path.write_bytes(content[: len(content) // 2])
    print(f"writing {path.parent.name}/{path.name}", flush=True)
    time.sleep(float(sys.argv[4]))
    write_synced(path, content)


def slow_step(self, state, batches):
    """Take the product's step, tell, pause."""
    measured = step(self, state, batches)
    print(f"step {state.counters['steps']}", flush=True)
    time.sleep(STEP_PAUSE)
    return measured


if __name__ == "__main__":
    checkpoint.write_synced, Adversarial.step = slow_write, slow_step
    folder, images, save_every = sys.argv[1:4]
    recipe = RECIPES["dcgan-small"]().shrunk()
    gansmith.train("digits", recipe, images=int(images), save_every=int(save_every), out=folder, quiet=True)
    print("finished", flush=True)
