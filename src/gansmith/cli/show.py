"""`gansmith show`: what a recipe is, or how a run stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
import yaml

from gansmith.cli.command import Command
from gansmith.errors import CheckpointError, UsageError, near_matches
from gansmith.recipe import Recipe
from gansmith.recipes import AUTO, RECIPE_NAMES, RECIPES, summary


@dataclass
class ShowCommand(Command):
    """Show a recipe with every setting, or a run: its recipe, its data and how far it is."""

    what: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|RECIPE")]
    """Name of a recipe, or a run folder, checkpoint folder or saved model folder."""

    def run(self, unknown: Sequence[str]) -> None:
        """Print it."""
        if unknown:
            raise UsageError(unknown)
        path = Path(self.what)
        if self.what in RECIPES:
            recipe = RECIPES[self.what]()
            lines = [f"{self.what} ({recipe.id} at its native size): {summary(self.what)}", *recipe_lines(recipe)]
        elif self.what == AUTO and not path.exists():
            lines = [f"{AUTO}: {summary(AUTO)}", "  gansmith train DATA --dry-run shows what it would choose"]
        elif (path / "config.yaml").exists():
            lines = _run_lines(path)
        elif path.exists():
            lines = _model_lines(path)
        else:
            raise UsageError(f"{self.what}: neither a path nor a recipe{near_matches(self.what, RECIPE_NAMES)}")
        from gansmith.training.log import Display

        Display().say("\n".join(lines))


def recipe_lines(recipe: Recipe) -> list[str]:
    """Return a recipe as YAML lines."""
    text = yaml.safe_dump(json.loads(recipe.canonical_json()), sort_keys=False, default_flow_style=None)
    return text.rstrip().split("\n")


def _run_lines(path: Path) -> list[str]:
    from gansmith.checkpoint import read_newest
    from gansmith.training.folder import CONFIG, RunConfig
    from gansmith.training.health import health_of
    from gansmith.training.log import SHOWN, Metrics

    config = RunConfig.load(path / CONFIG)
    lines = [f"{path}: {config.request.name} ({config.recipe.id}) on {config.data}, seed {config.seed}"]
    records = Metrics(path / "metrics.jsonl").read()
    if records:
        last = records[-1]
        numbers = "  ".join(f"{key} {last[key]:.3f}" for key in SHOWN if key in last)
        lines.append(f"{last['images']:,} images in {last['seconds']:,.0f} s of training; {numbers}")
    health = health_of(config.recipe, records)
    lines += health.lines() if health else []
    lines += _scores_of(path)
    try:
        checkpoint, passed_over = read_newest(path / "checkpoints")
        lines += [f"damaged: {reason}" for reason in passed_over]
        lines.append(f"newest checkpoint: {checkpoint.path}" if checkpoint else "no checkpoint yet")
        if checkpoint and checkpoint.state.classes:
            lines.append(f"classes: {', '.join(checkpoint.state.classes.names)}")
    except CheckpointError as error:
        lines.append(str(error))
    return [*lines, *recipe_lines(config.recipe)]


def _scores_of(run: Path) -> list[str]:
    from gansmith.training.evaluations import BEST, EVALUATIONS, best_of, score_text
    from gansmith.training.log import Metrics

    scores = [record for record in Metrics(run / EVALUATIONS).read() if record["value"] is not None]
    lines = [f"newest score: {score_text(scores[-1])}"] if scores else []
    best = best_of(run)
    return [*lines, *([f"best score: {score_text(best)}, kept in {run / BEST}"] if best else [])]


def _model_lines(path: Path) -> list[str]:
    from gansmith.models import load
    from gansmith.training.evaluations import score_of, score_text

    model, score = load(path), score_of(path)
    return [
        f"{path}: a generator at {model.images_seen:,} images seen ({model.recipe.id})",
        *([f"the best of its run: {score_text(score)}"] if score else []),
        *([f"classes: {', '.join(model.classes.names)}"] if model.classes else []),
        *recipe_lines(model.recipe),
    ]
