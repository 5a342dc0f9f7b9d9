"""Ready recipes: the table `RECIPES`, name -> function returning a `Recipe`. No torch here.

`gansmith.recipes.RECIPES["dcgan-28"](size=(32, 32), channels=3)` is the method at another size.
"""

from __future__ import annotations

from collections.abc import Callable

from gansmith.errors import UsageError, near_matches
from gansmith.recipe import Recipe
from gansmith.recipes.base import dcgan_28, dcgan_32, dcgan_small, mlp

RecipeFunction = Callable[..., Recipe]

RECIPES: dict[str, RecipeFunction] = {
    "mlp": mlp,
    "dcgan-28": dcgan_28,
    "dcgan-32": dcgan_32,
    "dcgan-small": dcgan_small,
}
DEFAULT_RECIPE = "dcgan-small"


def recipe_function(name: str) -> RecipeFunction:
    """Return the recipe function of that name.

    Raises:
        UsageError: there is none; near matches are named.
    """
    if name not in RECIPES:
        raise UsageError(f"recipe {name!r} is unknown{near_matches(name, RECIPES)}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def summary(name: str) -> str:
    """Return the first sentence of the recipe function's docstring."""
    return (recipe_function(name).__doc__ or "").split("\n")[0]


__all__ = ["DEFAULT_RECIPE", "RECIPES", "dcgan_28", "dcgan_32", "dcgan_small", "mlp", "recipe_function", "summary"]
