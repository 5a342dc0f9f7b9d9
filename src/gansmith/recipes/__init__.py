"""Ready recipes: the table `RECIPES`, name -> function returning a `Recipe`. No torch here.

`gansmith.recipes.RECIPES["dcgan-28"](size=(32, 32), channels=3)` is the method at another size. "auto", the default,
is not in the table: it is a function of data, machine and budget (`recipes/auto.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from gansmith.errors import UsageError, near_matches
from gansmith.recipe import Recipe
from gansmith.recipes.auto import auto
from gansmith.recipes.base import dcgan_28, dcgan_32, dcgan_small, dense_conv, mlp, resnet, vae
from gansmith.recipes.classic import sngan, wgan_gp
from gansmith.recipes.modern import r3gan_64, r3gan_256, r3gan_cifar10, r3gan_small, r3gan_stacked_mnist

RecipeFunction = Callable[..., Recipe]

RECIPES: dict[str, RecipeFunction] = {
    "mlp": mlp,
    "dcgan-28": dcgan_28,
    "dcgan-32": dcgan_32,
    "dense-conv": dense_conv,
    "resnet": resnet,
    "wgan-gp": wgan_gp,
    "sngan": sngan,
    "dcgan-small": dcgan_small,
    "vae": vae,
    "r3gan-small": r3gan_small,
    "r3gan-cifar10": r3gan_cifar10,
    "r3gan-stacked-mnist": r3gan_stacked_mnist,
    "r3gan-64": r3gan_64,
    "r3gan-256": r3gan_256,
}
FOR_CLASSES = frozenset({"sngan", "r3gan-cifar10"})
"""Recipes that are told the classes of the data without being asked to, and refuse data that have none."""
AUTO = "auto"
DEFAULT_RECIPE = AUTO
RECIPE_NAMES = (AUTO, *RECIPES)


def recipe_function(name: str) -> RecipeFunction:
    """Return the recipe function of that name.

    Raises:
        UsageError: there is none; near matches are named.
    """
    if name == AUTO:
        raise UsageError(f"recipe {AUTO!r} depends on data, machine and budget; see `gansmith train DATA --dry-run`")
    if name not in RECIPES:
        raise UsageError(
            f"recipe {name!r} is unknown{near_matches(name, RECIPE_NAMES)}; there are {', '.join(RECIPE_NAMES)}"
        )
    return RECIPES[name]


def summary(name: str) -> str:
    """Return the first sentence of the recipe function's docstring."""
    return ((auto if name == AUTO else recipe_function(name)).__doc__ or "").split("\n")[0]


__all__ = [
    "AUTO", "DEFAULT_RECIPE", "FOR_CLASSES", "RECIPES", "RECIPE_NAMES", "auto", "dcgan_28", "dcgan_32", "dcgan_small",
    "dense_conv", "mlp", "r3gan_64", "r3gan_256", "r3gan_cifar10", "r3gan_small", "r3gan_stacked_mnist",
    "recipe_function", "resnet", "sngan", "summary", "vae", "wgan_gp",
]  # fmt: skip
