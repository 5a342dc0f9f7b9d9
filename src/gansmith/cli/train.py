"""`gansmith train`: every argument is checked, and every mistake reported, before torch is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gansmith import sizes
from gansmith.cli.command import Command
from gansmith.errors import UsageError
from gansmith.overrides import parse_count
from gansmith.recipes import DEFAULT_RECIPE
from gansmith.request import Request

if TYPE_CHECKING:
    from gansmith.training.loop import Budget

DEFAULT_DATA = "digits"


@dataclass
class TrainCommand(Command):
    """Train a GAN on images, or go on with the run that the same command began.

    Ctrl-C saves and stops; typed again, the command goes on from there.
    """

    data: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """A folder or zip of images (sub-folders are classes, train/ and test/ are understood), IDX, npz, CIFAR or parquet;
    or a name: digits (embedded, the default), mnist, hub:OWNER/NAME, stacked:DATA."""
    recipe: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """The method, dcgan-small if not given; `gansmith recipes` lists them."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE")] = ()
    """Change a field of the recipe, such as loss=hinge or generator.width=32; may be repeated."""
    size: Annotated[str | None, tyro.conf.arg(metavar="SIZE", help_behavior_hint="")] = None
    """Image size, 64 or 40x48 (height x width); by default the data's own."""
    channels: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """1 grey, 3 RGB, 4 RGBA; by default the data's own."""
    images: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Stop at so many real images seen: 5000, 200k, 1.5m."""
    minutes: Annotated[str | None, tyro.conf.arg(metavar="M", help_behavior_hint="")] = None
    """Stop after so many minutes of training; 10 if neither is given."""
    seed: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Of weights, order and every draw; 0 if not given."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Run folder; by default the newest run of this request in runs/, or a new one there."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """Run again what a run's config.yaml describes, with its exact recipe."""
    save_every: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Images between checkpoints; by default twenty over the budget."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1."""
    dry_run: bool = False
    """Show networks, FLOPs, memory and time, and train nothing."""
    quiet: bool = False
    """Print nothing."""

    def run(self, unknown: Sequence[str]) -> None:
        """Check everything, then train."""
        values = self._checked(list(unknown))
        request: Request = values.pop("request")
        if self.dry_run:
            self._show_estimate(request, values)
            return
        from gansmith.training.run import rerun, train

        if self.config is not None:
            rerun(self.config, self.out, self._budget(values), self.device, self.quiet)
            return
        train(
            DEFAULT_DATA if self.data is None else self.data,
            request.recipe,
            overrides=request.overrides,
            size=request.size,
            channels=request.channels,
            out=self.out,
            device=self.device,
            quiet=self.quiet,
            **values,
        )

    def _checked(self, problems: list[str]) -> dict[str, Any]:
        """Return the parsed values, or raise with every mistake there is."""

        def parsed(option: str, text: str | None, parse: Callable[[str], Any]) -> Any:
            try:
                return None if text is None else parse(text)
            except ValueError as error:
                problems.append(f"--{option} {text}: {error}")
                return None

        values = {
            "images": parsed("images", self.images, parse_count),
            "minutes": parsed("minutes", self.minutes, _positive),
            "seed": parsed("seed", "0" if self.seed is None else self.seed, _natural),
            "save_every": parsed("save-every", self.save_every, parse_count),
        }
        size, channels = parsed("size", self.size, sizes.parse_size), parsed("channels", self.channels, _channels)
        request = Request(DEFAULT_RECIPE if self.recipe is None else self.recipe, self.set, size, channels)
        problems += request.problems()
        if self.config is not None and (ignored := self._given_beside_config()):
            problems.append(f"--config: the file says this already; {', '.join(ignored)} cannot be given with it")
        if problems:
            raise UsageError(problems)
        return {**values, "request": request}

    def _given_beside_config(self) -> list[str]:
        names = {"data": "DATA", "recipe": "--recipe", "set": "--set", "size": "--size", "channels": "--channels",
                 "seed": "--seed", "save_every": "--save-every"}  # fmt: skip
        return [shown for name, shown in names.items() if getattr(self, name) not in (None, ())]

    @staticmethod
    def _budget(values: dict[str, Any]) -> Budget | None:
        from gansmith.training.loop import Budget

        images, minutes = values["images"], values["minutes"]
        return Budget(images, minutes) if images or minutes else None

    def _show_estimate(self, request: Request, values: dict[str, Any]) -> None:
        from gansmith import runtime
        from gansmith.data import open_source
        from gansmith.training.adversarial import OBJECTIVES
        from gansmith.training.estimate import estimate
        from gansmith.training.folder import RunConfig
        from gansmith.training.log import Display
        from gansmith.training.loop import Budget
        from gansmith.training.run import DEFAULT_MINUTES, resolve

        display = Display(self.quiet)
        runtime.keep_large_allocations()
        device, budget = runtime.choose_device(self.device), self._budget(values)
        if self.config is not None:
            config = RunConfig.load(self.config)
            request, recipe = config.request, config.recipe
            budget = budget or Budget(config.images, config.minutes)
        else:
            recipe = resolve(request, open_source(DEFAULT_DATA if self.data is None else self.data), device, display)
        shape = f"{sizes.size_text(recipe.size)}x{recipe.channels}"
        display.say(f"{request.name} ({recipe.id}) at {shape}, {recipe.loss}, {recipe.precision} on {device}")
        found = estimate(recipe, OBJECTIVES[recipe.objective], device)
        for line in found.lines(budget or Budget(minutes=DEFAULT_MINUTES)):
            display.say(line)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < 1e9:
        raise ValueError(f"{text!r} is not a number above 0")
    return number


def _natural(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= 2**63:
        raise ValueError(f"{text!r} is not a whole number from 0 to 2^63 - 1")
    return int(text)


def _channels(text: str) -> int:
    if text not in ("1", "3", "4"):
        raise ValueError(f"{text!r} is not 1 (grey), 3 (RGB) or 4 (RGBA)")
    return int(text)
