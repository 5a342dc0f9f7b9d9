"""`gansmith sample`: pictures from a trained generator."""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from gansmith.cli.command import Command
from gansmith.cli.parsing import at_least, parsed
from gansmith.errors import GansmithError, ResourceError, UsageError
from gansmith.overrides import parse_count

if TYPE_CHECKING:
    from torch import Tensor


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
    classes: Annotated[str | None, tyro.conf.arg(metavar="NAMES", help_behavior_hint="")] = None
    """Classes to draw from in turn, names or numbers: 3,7. By default as they occur in the data."""
    truncation: Annotated[float | None, tyro.conf.arg(metavar="T", help_behavior_hint="")] = None
    """Keep latents within T standard deviations: 0.7 gives more typical and less varied samples."""
    raw: bool = False
    """The weights as trained instead of their average."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1."""
    ranks: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Draw by so many processes of this machine together, each a part."""

    def run(self, unknown: Sequence[str]) -> None:
        """Sample and write."""
        problems = [*unknown, *range_problems(self.num, self.seed)]
        if self.truncation is not None and not self.truncation > 0:
            problems.append(f"--truncation {self.truncation:g}: must be above 0")
        classes = parse_classes(self.classes, problems)
        num_ranks = parsed(problems, "--ranks", self.ranks, at_least(1, parse_count))
        if problems:
            raise UsageError(problems)
        from gansmith.launch import ran_as_ranks

        if not ran_as_ranks(self.arguments, num_ranks, self.device):
            self._draw(classes)

    def _draw(self, classes: Sequence[str] | None) -> None:
        from gansmith import ranks, runtime
        from gansmith.models import load, sample

        runtime.keep_large_allocations()
        with runtime.joined_device(self.device) as device:
            model = load(self.run_path, self.raw, str(device))
            samples = sample(model, self.num, self.seed, classes=classes, truncation=self.truncation, among_ranks=True)
            if ranks.current().is_first:
                self._save(samples, classes, model.images_seen)

    def _save(self, samples: Tensor, classes: Sequence[str] | None, images_seen: int) -> None:
        from gansmith.images import save_images
        from gansmith.training.log import Display

        try:
            path = save_images(samples, self.out, columns_of(self.num, classes))
        except ValueError as error:
            raise UsageError(f"--out {self.out}: {error}") from error
        except OSError as error:
            raise cannot_write(self.out, error) from error
        Display().say(f"{path}: {self.num} samples at {images_seen:,} images seen, seed {self.seed}")


def cannot_write(out: Path, error: OSError) -> GansmithError:
    """Return the error for a file that could not be written: of the disk where it is full, else of the path."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    kind = ResourceError if is_full else UsageError
    return kind(f"--out {out}: cannot be written ({error.strerror or error})")


def range_problems(num: int, seed: int) -> list[str]:
    """Return what is wrong with a count and a seed."""
    problems = [] if num >= 1 else [f"--num {num}: must be at least 1"]
    return problems if 0 <= seed < 2**63 else [*problems, f"--seed {seed}: must be from 0 to 2^63 - 1"]


def parse_classes(text: str | None, problems: list[str]) -> list[str] | None:
    """Return the names in "3,7", or None; adds to `problems` where one is empty."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        problems.append(f"--classes {text!r}: write names or numbers with commas between them, such as 3,7")
    return names


def columns_of(num: int, classes: Sequence[str] | None) -> int | None:
    """Return the columns of a grid in which each column holds one class; None leaves them open."""
    if not classes or len(classes) == 1:
        return None
    return len(classes) * max(1, round(math.sqrt(num) / len(classes)))
