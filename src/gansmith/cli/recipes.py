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
            rates = f"{recipe.generator_optimizer.learning_rate:g} and {recipe.discriminator_optimizer.learning_rate:g}"
            shape = f"{size_text(recipe.size)}x{recipe.channels}"
            display.say(f"    made for {shape}, {recipe.loss} loss, batch {recipe.batch_size}, rates {rates}")
