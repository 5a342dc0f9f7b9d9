"""`gansmith train`: every argument is checked, and every mistake reported, before torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro

from gansmith import sizes
from gansmith.budget import PATIENCE_ALONE, Budget
from gansmith.cli.command import Command
from gansmith.cli.parsing import channel_count, natural, one_of, parsed, positive
from gansmith.errors import UsageError
from gansmith.overrides import parse_count
from gansmith.recipes import DEFAULT_RECIPE
from gansmith.request import Request

DEFAULT_DATA = "digits"


@dataclass
class TrainCommand(Command):
    """Train a GAN on images, or go on with the run that the same command began.

    Ctrl-C saves and stops; typed again, the command goes on from there.
    """

    data: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """A folder or zip of images (sub-folders are classes, train/ and test/ are understood), IDX, npz, CIFAR or parquet;
    or a name: digits (embedded, the default), mnist, hub:OWNER/NAME, stacked:DATA, ring, grid. With stream: before a
    name of the hub or a folder of parquet files it is read while training, and never kept."""
    recipe: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """The method; if not given, auto chooses for data, machine and budget. `gansmith recipes` lists them."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE")] = ()
    """Change a field of the recipe, such as loss=hinge or generator.width=32; may be repeated."""
    size: Annotated[str | None, tyro.conf.arg(metavar="SIZE", help_behavior_hint="")] = None
    """Image size, 64 or 40x48 (height x width); by default the data's own."""
    channels: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """1 grey, 3 RGB, 4 RGBA; by default the data's own."""
    conditional: bool = False
    """Tell the networks the classes of the data, so that `sample --classes` can choose."""
    fit: Annotated[str, tyro.conf.arg(metavar="HOW")] = "crop"
    """How images of another shape become the size: crop (around the middle), pad, stretch."""
    allow_bad: bool = False
    """Go on where more than 5 % of the images cannot be read."""
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
    """Images between checkpoints; by default twenty over the budget. The last two are kept."""
    keep_every: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Keep the checkpoint at each multiple of so many images for good: 100k."""
    evaluate_every: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Measure a score at each multiple of so many images (100k), and keep the best generator in best/; put off where
    that would take more than a tenth of the time."""
    patience: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Stop after so many evaluations in a row that bring no better score."""
    track: bool = False
    """Write TensorBoard events into the run folder (extra: track)."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1."""
    ranks: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Train by so many processes of this machine together, each with its share of a batch: on its GPU, or its part of
    the CPU's cores."""
    sync_batch: bool = False
    """Of several ranks, batch norm has the statistics of the whole batch, not of each rank's share."""
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
        from gansmith.launch import ran_as_ranks

        if ran_as_ranks(self.arguments, values.pop("ranks"), self.device):
            return
        from gansmith.training.run import rerun, train

        if self.config is not None:
            from gansmith.training.folder import Intervals
            from gansmith.training.session import Options

            changes = Intervals(None, values["keep_every"], values["evaluate_every"], values["patience"])
            rerun(
                self.config, self.out, self._budget(values), self.device, changes=changes,
                options=Options(self.allow_bad, self.track), sync_batch=self.sync_batch, quiet=self.quiet,
            )  # fmt: skip
            return
        train(
            DEFAULT_DATA if self.data is None else self.data,
            request.recipe,
            overrides=request.overrides,
            size=request.size,
            channels=request.channels,
            conditional=request.conditional,
            fit=request.fit,
            allow_bad=self.allow_bad,
            track=self.track,
            sync_batch=self.sync_batch,
            out=self.out,
            device=self.device,
            quiet=self.quiet,
            **values,
        )

    def _checked(self, problems: list[str]) -> dict[str, Any]:
        """Return the parsed values, or raise with every mistake there is."""
        values = {
            "images": parsed(problems, "--images", self.images, parse_count),
            "minutes": parsed(problems, "--minutes", self.minutes, positive),
            "seed": parsed(problems, "--seed", "0" if self.seed is None else self.seed, natural),
            "save_every": parsed(problems, "--save-every", self.save_every, parse_count),
            "keep_every": parsed(problems, "--keep-every", self.keep_every, parse_count),
            "evaluate_every": parsed(problems, "--evaluate-every", self.evaluate_every, parse_count),
            "patience": parsed(problems, "--patience", self.patience, parse_count),
            "ranks": parsed(problems, "--ranks", self.ranks, parse_count),
        }
        if self.patience is not None and self.evaluate_every is None and self.config is None:
            problems.append(PATIENCE_ALONE)
        size = parsed(problems, "--size", self.size, sizes.parse_size)
        channels = parsed(problems, "--channels", self.channels, channel_count)
        fit: Any = parsed(problems, "--fit", self.fit, one_of(get_args(sizes.Fit)))
        recipe = DEFAULT_RECIPE if self.recipe is None else self.recipe
        request = Request(recipe, self.set, size, channels, self.conditional, fit)
        problems += request.problems()
        if self.ranks is not None and self.dry_run:
            problems.append("--dry-run: tries a step in one process; leave --ranks out")
        if self.config is not None and (ignored := self._given_beside_config()):
            problems.append(f"--config: the file says this already; {', '.join(ignored)} cannot be given with it")
        if problems:
            raise UsageError(problems)
        return {**values, "request": request}

    def _given_beside_config(self) -> list[str]:
        names = {"data": "DATA", "recipe": "--recipe", "set": "--set", "size": "--size", "channels": "--channels",
                 "seed": "--seed", "save_every": "--save-every", "conditional": "--conditional"}  # fmt: skip
        given = [shown for name, shown in names.items() if getattr(self, name) not in (None, (), False)]
        return [*given, "--fit"] if self.fit != "crop" else given

    @staticmethod
    def _budget(values: dict[str, Any]) -> Budget | None:
        images, minutes = values["images"], values["minutes"]
        return Budget(images, minutes) if images or minutes else None

    def _show_estimate(self, request: Request, values: dict[str, Any]) -> None:
        from gansmith import runtime
        from gansmith.data import open_source
        from gansmith.training.estimate import estimate
        from gansmith.training.folder import RunConfig
        from gansmith.training.log import Display
        from gansmith.training.memory import choose_micro_batch
        from gansmith.training.objectives import OBJECTIVES
        from gansmith.training.preparation import resolve

        display = Display(self.quiet)
        runtime.keep_large_allocations()
        device, budget = runtime.choose_device(self.device), self._budget(values)
        if self.config is not None:
            config = RunConfig.load(self.config)
            request, recipe = config.request, config.recipe
            budget = budget or Budget(config.images, config.minutes)
        else:
            budget = budget or Budget.of()
            source = open_source(DEFAULT_DATA if self.data is None else self.data)
            choice = resolve(request, source, device, budget, display)
            recipe = choice.recipe
            for reason in choice.reasons:
                display.say(f"{request.name}: {reason}")
        shape = f"{sizes.size_text(recipe.size)}x{recipe.channels}"
        display.say(f"{request.name} ({recipe.id}) at {shape}, {recipe.loss}, {recipe.precision} on {device}")
        if fits := choose_micro_batch(recipe, OBJECTIVES[recipe.objective], device):
            display.say(f"a batch of {recipe.batch_size} would not fit into memory: computed {fits} images at a time")
        for line in estimate(recipe, OBJECTIVES[recipe.objective], device).lines(budget):
            display.say(line)
