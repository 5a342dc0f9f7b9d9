"""`gansmith sample`: pictures from a trained generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gansmith.cli.command import Command
from gansmith.errors import UsageError


@dataclass
class SampleCommand(Command):
    """Draw samples from a run, a checkpoint or a saved model. Sample i depends on the seed and i alone."""

    run_path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder, checkpoint folder or saved model folder."""
    num: Annotated[int, tyro.conf.arg(metavar="N", aliases=["-n"])] = 64
    """How many."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Of the latents."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("samples.png")
    """grid.png for one picture, name.zip or a folder for a PNG each, name.npz for a uint8 array."""
    raw: bool = False
    """The weights as trained instead of their average."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1."""

    def run(self, unknown: Sequence[str]) -> None:
        """Sample and write."""
        problems = [*unknown, *range_problems(self.num, self.seed)]
        if problems:
            raise UsageError(problems)
        from gansmith.images import save_images
        from gansmith.models import load, sample
        from gansmith.training.log import Display

        model = load(self.run_path, self.raw, self.device)
        try:
            path = save_images(sample(model, self.num, self.seed), self.out)
        except (ValueError, OSError) as error:
            raise UsageError(f"--out {self.out}: {error}") from error
        Display().say(f"{path}: {self.num} samples at {model.images_seen:,} images seen, seed {self.seed}")


def range_problems(num: int, seed: int) -> list[str]:
    """Return what is wrong with a count and a seed."""
    problems = [] if num >= 1 else [f"--num {num}: must be at least 1"]
    return problems if 0 <= seed < 2**63 else [*problems, f"--seed {seed}: must be from 0 to 2^63 - 1"]
