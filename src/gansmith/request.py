"""What a user asked for, and the recipe that it resolves to once data and machine are known. No torch here.

A run stores both: resuming compares the request and goes on with the stored recipe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gansmith import sizes
from gansmith.budget import Budget
from gansmith.errors import DataError, UsageError, near_matches
from gansmith.facts import DataFacts, MachineFacts
from gansmith.overrides import apply_overrides
from gansmith.recipe import Recipe
from gansmith.recipes import AUTO, DEFAULT_RECIPE, FOR_CLASSES, RECIPE_NAMES, RECIPES, recipe_function
from gansmith.recipes.auto import Choice, auto, auto_family
from gansmith.sizes import Fit, Size

LARGEST_DEFAULT_SIDE = 64
"""Pixels. Larger images are reduced to this, unless a size is asked for or the recipe is made for larger ones."""
USUAL_MACHINE = MachineFacts("any machine", "float32", 100.0, 2**33)
"""What a request is checked against before the real one is known."""
DEPENDS_ON_SIZE = ".attention"
"""Ends the names of settings whose values fit images of some sizes."""
POINTS = DataFacts(10_000, 8, (1, 1), True, 2)


@dataclass(frozen=True)
class Request:
    """A recipe by name (or a whole one), and what is to differ from it.

    Attributes:
        recipe: "auto", a name from `RECIPES`, or a `Recipe` that is taken as it is, but for the overrides.
        overrides: `field=value` texts.
        size: (height, width), or None to go by the data.
        channels: or None to go by the data.
        conditional: tell the networks the classes of the data; recipes made for classes do so unasked.
        fit: how images of another size or shape become that size.
    """

    recipe: str | Recipe = DEFAULT_RECIPE
    overrides: tuple[str, ...] = ()
    size: Size | None = None
    channels: int | None = None
    conditional: bool = False
    fit: Fit = "crop"

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
            "conditional": self.conditional,
            "fit": self.fit,
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
            values["conditional"],
            values["fit"],
        )

    def resolve(self, data: DataFacts, machine: MachineFacts, budget: Budget) -> Choice:
        """Return the recipe, and the reasons where it was chosen for the data.

        Args:
            data: what the data are; the request's own size and channels go first.
            machine: its precision is taken where the recipe leaves it open.
            budget: what "auto" chooses for.

        Raises:
            UsageError: the name is unknown, an override is wrong, or the family cannot make the size.
            DataError: the recipe is conditional and the data have other classes, or none.
        """
        size, channels = self.size or self.default_size(data), self.channels or data.channels
        if (data.channels, data.size) == (POINTS.channels, POINTS.size) and size != POINTS.size:
            raise UsageError(
                f"these data are points of the plane, and {self.name} would make {sizes.size_text(size)} images of "
                "them: take --recipe auto or mlp, and no --size"
            )
        num_classes = self._num_classes(data)
        reasons: tuple[str, ...] = ()
        if isinstance(self.recipe, Recipe):
            recipe = self.recipe.replace(num_classes=num_classes)
            channels = self.channels or recipe.channels
        else:
            # Built at a size that fits, then given the one asked for: a wrong one is reported with all other mistakes.
            fitting = sizes.nearest_size(self._family(data), size)
            if self.recipe == AUTO:
                choice = auto(data, machine, budget, fitting, channels, num_classes)
                recipe, reasons = choice.recipe, choice.reasons
            else:
                recipe = recipe_function(self.recipe)(fitting, channels, machine.precision, num_classes)
        recipe = apply_overrides(recipe, [f"size={list(size)}", f"channels={channels}", *self.overrides])
        if recipe.num_classes != num_classes:
            raise UsageError(
                f"--set num_classes={recipe.num_classes}: the number of classes is that of the data; use --conditional"
            )
        return Choice(recipe, reasons)

    def _num_classes(self, data: DataFacts) -> int:
        given = self.recipe.num_classes if isinstance(self.recipe, Recipe) else 0
        is_for_classes = self.name in FOR_CLASSES
        if not self.conditional and not given and not is_for_classes:
            return 0
        if data.num_classes < 2:
            there_is = "has no classes" if data.num_classes == 0 else "has one class"
            asks = f"recipe {self.name}" if is_for_classes and not self.conditional else "--conditional"
            advice = "; take a recipe that does without, such as --recipe resnet" if is_for_classes else ""
            raise DataError(f"{asks} needs two classes or more (sub-folders, labels); this data {there_is}{advice}")
        if given and given != data.num_classes:
            raise DataError(f"the recipe is for num_classes {given}; this data has {data.num_classes}")
        return data.num_classes

    def problems(self) -> list[str]:
        """Return every mistake that shows without looking at the data; empty if there is none."""
        if isinstance(self.recipe, str) and self.recipe not in RECIPE_NAMES:
            hint = near_matches(self.recipe, RECIPE_NAMES)
            return [f"--recipe {self.recipe}: there is no such recipe{hint}; there are {', '.join(RECIPE_NAMES)}"]
        if self.size is None and isinstance(self.recipe, str):
            kept = tuple(text for text in self.overrides if not text.partition("=")[0].endswith(DEPENDS_ON_SIZE))
            if kept != self.overrides:  # judged with the rest, once the data tell the size
                return replace(self, overrides=kept).problems()
        native = self.recipe if isinstance(self.recipe, Recipe) else RECIPES.get(self.recipe, RECIPES["dcgan-small"])()
        images = DataFacts(10_000, native.num_classes or 10, native.size, True, native.channels)
        found = self._problems_with(images)
        # What does not suit images may suit points, for which "auto" chooses another family.
        return [] if self.recipe == AUTO and found and not self._problems_with(POINTS) else found

    def _problems_with(self, data: DataFacts) -> list[str]:
        try:
            self.resolve(data, USUAL_MACHINE, Budget.of())
        except UsageError as error:
            return error.problems
        return []

    def default_size(self, data: DataFacts) -> Size:
        """Return the size to train at when none is asked for: the data's own if it can be made and is not large, or no
        larger than the recipe is made for.

        Images of mixed sizes become squares.
        """
        if isinstance(self.recipe, Recipe):
            return self.recipe.size
        side = min(data.size)
        target = data.size if data.one_size else (side, side)
        made_for = RECIPES[self.recipe]().size if self.recipe in RECIPES else ()
        largest = max((LARGEST_DEFAULT_SIDE, *made_for))
        scale = min(1.0, largest / max(target))
        return sizes.nearest_size(self._family(data), (round(target[0] * scale), round(target[1] * scale)))

    def _family(self, data: DataFacts) -> str:
        if isinstance(self.recipe, Recipe):
            return self.recipe.generator.family
        return auto_family(data) if self.recipe == AUTO else recipe_function(self.recipe)().generator.family
