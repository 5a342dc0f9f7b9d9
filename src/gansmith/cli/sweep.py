"""`gansmith sweep`: every argument and every combination is checked before torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro

from gansmith import sizes
from gansmith.cli.command import Command
from gansmith.cli.evaluate import FEWEST_SAMPLES
from gansmith.cli.parsing import at_least, channel_count, one_of, parsed
from gansmith.errors import UsageError
from gansmith.overrides import parse_count
from gansmith.recipes import DEFAULT_RECIPE
from gansmith.report import RANKED_SCORES
from gansmith.request import Request
from gansmith.sweeps.grid import parse_axis, problems_of


@dataclass
class SweepCommand(Command):
    """Train every combination of some settings for equally many images; rank them, with intervals, on one page.

    Typed again, the same command goes on where it stopped; more values or seeds may be added to it.
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """As for `gansmith train`, but no stream."""
    over: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=A,B", help_behavior_hint="")] = ()
    """A field of the recipe, as for --set, and the values to try: loss=hinge,relativistic; may be repeated. Two names
    stand for several fields: gamma (the weight of R1, and of R2 where the recipe has it; added every 16 steps where it
    has none; 0: without) and rate (the generator's; the discriminator's stays in proportion)."""
    recipe: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """The method that is varied; auto, if not given, chooses once for all runs."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE")] = ()
    """Change a field of the recipe for all runs; may be repeated."""
    images: Annotated[str, tyro.conf.arg(metavar="N")] = "20k"
    """Real images that each run sees."""
    seeds: Annotated[str, tyro.conf.arg(metavar="N")] = "1"
    """Runs of each setting. With 1 intervals are of each trained generator's score; from 2 on they are over seeds."""
    score: Annotated[str, tyro.conf.arg(metavar="NAME")] = "fd"
    """To rank by: fd, kd, precision, recall, fid ...; through a classifier's features where the data have classes."""
    samples: Annotated[str, tyro.conf.arg(metavar="N")] = "10k"
    """How many a score is of."""
    size: Annotated[str | None, tyro.conf.arg(metavar="SIZE", help_behavior_hint="")] = None
    """Image size, 64 or 40x48 (height x width); by default the data's own."""
    channels: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """1 grey, 3 RGB, 4 RGBA; by default the data's own."""
    conditional: bool = False
    """Tell the networks the classes of the data."""
    fit: Annotated[str, tyro.conf.arg(metavar="HOW")] = "crop"
    """How images of another shape become the size: crop (around the middle), pad, stretch."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Of the sweep; by default the newest of this sweep in sweeps/, or a new one there."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1."""
    quiet: bool = False
    """Print nothing."""

    def run(self, unknown: Sequence[str]) -> None:
        """Check everything, then sweep."""
        values = self._checked(list(unknown))
        from gansmith.sweeps.run import sweep

        sweep(
            self.data, self.over, overrides=self.set, conditional=self.conditional, out=self.out, device=self.device,
            quiet=self.quiet, **values,
        )  # fmt: skip

    def _checked(self, problems: list[str]) -> dict[str, Any]:
        """Return the parsed values, or raise with every mistake there is."""
        axes = [axis for text in self.over if (axis := parsed(problems, "--over", text, parse_axis))]
        values: dict[str, Any] = {
            "recipe": DEFAULT_RECIPE if self.recipe is None else self.recipe,
            "images": parsed(problems, "--images", self.images, parse_count),
            "seeds": parsed(problems, "--seeds", self.seeds, parse_count),
            "score": parsed(problems, "--score", self.score, one_of(RANKED_SCORES)),
            "num_samples": parsed(problems, "--samples", self.samples, at_least(FEWEST_SAMPLES, parse_count)),
            "size": parsed(problems, "--size", self.size, sizes.parse_size),
            "channels": parsed(problems, "--channels", self.channels, channel_count),
            "fit": parsed(problems, "--fit", self.fit, one_of(get_args(sizes.Fit))),
        }
        if not self.over:
            problems.append(
                "--over: nothing to sweep; give a field and its values, such as --over loss=hinge,relativistic"
            )
        request = Request(
            values["recipe"], self.set, values["size"], values["channels"], self.conditional, values["fit"]
        )
        problems += problems_of(request, axes)
        if problems:
            raise UsageError(problems)
        return values
