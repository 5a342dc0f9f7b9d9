"""A small run on disk, copies of it, and ways to damage a checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from gansmith.checkpoint import FILES, OWN_SUM, checkpoint_folders, sum_of_about

TINY = (
    "train digits --recipe mlp --size 8 --set generator.hidden=[16] --set discriminator.hidden=[16] "
    "--set batch_size=64 --save-every 256 --out run"
)
"""Two thousand images a second at any time; checkpoints at 256, 512, ..."""
RUN_IMAGES = 512


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of `folder`/run, newest first."""
    return checkpoint_folders(folder / "run" / "checkpoints")


def change_about(checkpoint: Path, **changes: Any) -> None:
    """Write other values into about.json, with a sum of its own that is right."""
    about = {**json.loads((checkpoint / "about.json").read_text()), **changes}
    about[OWN_SUM] = sum_of_about(about)
    (checkpoint / "about.json").write_text(json.dumps(about))


def vouch(checkpoint: Path) -> None:
    """Make about.json hold the sums of the files as they are: what a forger would do."""
    sums = {name: hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in FILES}
    change_about(checkpoint, sha256=sums)


def replace(file: Path, content: bytes) -> None:
    """Put another content into a file of a checkpoint, vouched for."""
    file.write_bytes(content)
    vouch(file.parent)


def change_tensors(file: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Change the tensors of a file of a checkpoint, vouched for."""
    tensors = safetensors.torch.load(file.read_bytes())
    change(tensors)
    replace(file, safetensors.torch.save(tensors))
