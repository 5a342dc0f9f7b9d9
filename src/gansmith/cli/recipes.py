"""`gansmith recipes`: the list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gansmith.cli.command import Command
from gansmith.errors import UsageError
from gansmith.recipes import AUTO, RECIPES, summary
from gansmith.sizes import size_text


@dataclass
class RecipesCommand(Command):
    """List the recipes; `gansmith show NAME` shows one with every setting."""

    def run(self, unknown: Sequence[str]) -> None:
        """Print the list."""
        if unknown:
            raise UsageError(unknown)
        from gansmith.training.log import Display

        display = Display()
        display.say(f"{AUTO} (default): {summary(AUTO)}")
        for name, function in RECIPES.items():
            recipe = function()
            display.say(f"{name}: {summary(name)}")
            rates = " and ".join(f"{recipe.optimizer_of(network).learning_rate:g}" for network in recipe.networks)
            shape = f"{size_text(recipe.size)}x{recipe.channels}"
            display.say(f"    made for {shape}, {recipe.loss} loss, batch {recipe.batch_size}, rates {rates}")
