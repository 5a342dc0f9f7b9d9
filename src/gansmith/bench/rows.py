"""What `gansmith bench` measures: a row for each recipe, and those that are no recipe alone. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gansmith.errors import UsageError, near_matches
from gansmith.recipe import Recipe
from gansmith.recipes import AUTO, RECIPES, recipe_function
from gansmith.settings import Precision

SAMPLING, RESNET_B32, RANKS = "sampling", "resnet-b32", "ranks"
SAMPLED_RECIPE, DIVIDED_RECIPE = "dcgan-28", "dcgan-small"
CONVOLUTIONAL_ROWS = ("dcgan-28", "dcgan-32", "dense-conv", RESNET_B32, "dcgan-small", "vae", "r3gan-small")


def is_done_plainly(recipe: Recipe) -> bool:
    """Return whether the plain loop trains it: it knows no burn-in, and no penalties but R1 and R2."""
    return recipe.burn_in is None and set(recipe.penalties) <= {"r1", "r2"}


DEFAULT_ROWS = ("mlp", *CONVOLUTIONAL_ROWS, SAMPLING, RANKS, "resnet")
ROW_NAMES = (*dict.fromkeys((*DEFAULT_ROWS, *(name for name in RECIPES if is_done_plainly(RECIPES[name]())))),)


@dataclass(frozen=True)
class Row:
    """What one row measures.

    Attributes:
        name: of the row.
        recipe: that is trained, or whose generator samples.
        kind: training or sampling against the plain loop; or ours against ours, by two ranks and by one process.
    """

    name: str
    recipe: Recipe
    kind: Literal["training", "sampling", "ranks"] = "training"


def row_problems(names: tuple[str, ...]) -> list[str]:
    """Return one message for each name that is no row, with near matches."""
    problems = []
    for name in names:
        if name == AUTO:
            problems.append(f"{AUTO}: it depends on data and budget; name the recipe that it chooses (train --dry-run)")
        elif name not in ROW_NAMES:
            problems.append(f"{name}: there is no such row{near_matches(name, ROW_NAMES)}; {', '.join(ROW_NAMES)}")
    return problems


def row_of(name: str, precision: Precision = "float32") -> Row:
    """Return the row of that name, its recipe at the size it is made for.

    `resnet-b32` is `resnet` with one discriminator step per generator step and batches of 32 for both, which a machine
    without a GPU can do.

    Args:
        name: one of `ROW_NAMES`.
        precision: of the recipe.

    Raises:
        UsageError: there is no such row.
    """
    if problems := row_problems((name,)):
        raise UsageError(problems)
    if name == SAMPLING:
        return Row(name, recipe_function(SAMPLED_RECIPE)(precision=precision), kind="sampling")
    if name == RANKS:
        return Row(name, recipe_function(DIVIDED_RECIPE)(precision=precision), kind="ranks")
    if name == RESNET_B32:
        recipe = recipe_function("resnet")(precision=precision)
        return Row(name, recipe.replace(discriminator_steps=1, batch_size=32, generator_batch_size=None))
    return Row(name, recipe_function(name)(precision=precision))
