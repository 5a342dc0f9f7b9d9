"""`gansmith interpolate`: an animation that walks between latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gansmith.cli.command import Command
from gansmith.cli.sample import cannot_write, parse_classes, range_problems
from gansmith.errors import UsageError


@dataclass
class InterpolateCommand(Command):
    """Walk between latents on the sphere, back to the start, as an animation that loops."""

    run_path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder, checkpoint folder or saved model folder."""
    num: Annotated[int, tyro.conf.arg(metavar="N", aliases=["-n"])] = 16
    """Walks side by side."""
    frames: Annotated[int, tyro.conf.arg(metavar="N")] = 96
    """In the whole loop, at 25 a second."""
    stops: Annotated[int, tyro.conf.arg(metavar="N")] = 4
    """Random latents that each walk passes."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Of the stops."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("walk.webp")
    """name.webp or name.gif."""
    classes: Annotated[str | None, tyro.conf.arg(metavar="NAMES", help_behavior_hint="")] = None
    """Classes of the walks in turn, names or numbers: 3,7. By default as they occur in the data."""
    raw: bool = False
    """The weights as trained instead of their average."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1."""

    def run(self, unknown: Sequence[str]) -> None:
        """Compute the frames and write them."""
        problems = [*unknown, *range_problems(self.num, self.seed)]
        if self.stops < 2 or self.frames < self.stops:
            problems.append(f"--stops {self.stops} --frames {self.frames}: at least 2 stops, and a frame for each")
        classes = parse_classes(self.classes, problems)
        if problems:
            raise UsageError(problems)
        from gansmith import runtime
        from gansmith.images import save_animation
        from gansmith.models import interpolate, load
        from gansmith.training.log import Display

        runtime.keep_large_allocations()
        model = load(self.run_path, self.raw, self.device)
        frames = interpolate(model, self.num, self.frames, self.stops, self.seed, classes)
        try:
            path = save_animation(frames, self.out)
        except ValueError as error:
            raise UsageError(f"--out {self.out}: {error}") from error
        except OSError as error:
            raise cannot_write(self.out, error) from error
        Display().say(f"{path}: {self.frames} frames of {self.num} walks, seed {self.seed}")
