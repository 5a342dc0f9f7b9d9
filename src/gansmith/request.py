"""What a user asked for, and the recipe that it resolves to once data and machine are known. No torch here.

A run stores both: resuming compares the request and goes on with the stored recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gansmith import sizes
from gansmith.errors import UsageError, near_matches
from gansmith.overrides import apply_overrides
from gansmith.recipe import Precision, Recipe
from gansmith.recipes import DEFAULT_RECIPE, RECIPES, recipe_function
from gansmith.sizes import Size

LARGEST_DEFAULT_SIDE = 64
"""Pixels. Larger images are reduced to this unless a size is asked for."""


@dataclass(frozen=True)
class Request:
    """A recipe by name (or a whole one), and what is to differ from it.

    Attributes:
        recipe: a name from `RECIPES`, or a `Recipe` that is taken as it is, but for the overrides.
        overrides: `field=value` texts.
        size: (height, width), or None to go by the data.
        channels: or None to go by the data.
    """

    recipe: str | Recipe = DEFAULT_RECIPE
    overrides: tuple[str, ...] = ()
    size: Size | None = None
    channels: int | None = None

    @property
    def name(self) -> str:
        """The recipe's name, "custom" for a whole one."""
        return self.recipe if isinstance(self.recipe, str) else "custom"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values: what a run folder stores and resuming compares."""
        return {
            "recipe": self.recipe if isinstance(self.recipe, str) else self.recipe.model_dump(mode="json"),
            "set": list(self.overrides),
            "size": None if self.size is None else list(self.size),
            "channels": self.channels,
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Request:
        """Return the request that `as_dict` wrote."""
        recipe = values["recipe"]
        return Request(
            Recipe.model_validate(recipe) if isinstance(recipe, dict) else recipe,
            tuple(values["set"]),
            None if values["size"] is None else (values["size"][0], values["size"][1]),
            values["channels"],
        )

    def resolve(self, size: Size, channels: int, precision: Precision) -> Recipe:
        """Return the recipe.

        Args:
            size: that the data suggest; the request's own goes first.
            channels: of the data; the request's own goes first.
            precision: the best this machine has.

        Raises:
            UsageError: the name is unknown, an override is wrong, or the family cannot make the size.
        """
        if isinstance(self.recipe, Recipe):
            changes = {"size": self.size, "channels": self.channels}
            texts = [f"{key}={list(v) if isinstance(v, tuple) else v}" for key, v in changes.items() if v is not None]
            return apply_overrides(self.recipe, [*texts, *self.overrides])
        function = recipe_function(self.recipe)
        recipe = function(channels=self.channels or channels, precision=precision)
        return apply_overrides(recipe, [f"size={list(self.size or size)}", *self.overrides])

    def problems(self) -> list[str]:
        """Return every mistake that shows without looking at the data; empty if there is none."""
        if isinstance(self.recipe, str) and self.recipe not in RECIPES:
            hint = near_matches(self.recipe, RECIPES)
            return [f"--recipe {self.recipe}: there is no such recipe{hint}; there are {', '.join(RECIPES)}"]
        native = self.recipe if isinstance(self.recipe, Recipe) else RECIPES[self.recipe]()
        try:
            self.resolve(native.size, native.channels, native.precision)
        except UsageError as error:
            return error.problems
        return []

    def default_size(self, data_size: Size, one_size: bool) -> Size:
        """Return the size to train at when none is asked for: the data's own if it can be made and is not large.

        Args:
            data_size: (height, width) all images have, or their medians.
            one_size: whether all images have it; images of mixed sizes become squares.
        """
        native = self.recipe if isinstance(self.recipe, Recipe) else recipe_function(self.recipe)()
        side = min(data_size)
        target = data_size if one_size else (side, side)
        scale = min(1.0, LARGEST_DEFAULT_SIDE / max(target))
        return sizes.nearest_size(native.generator.family, (round(target[0] * scale), round(target[1] * scale)))
