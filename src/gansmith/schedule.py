"""What changes while training, as functions of recipe and images seen: rates, weights, the average. No torch.

A schedule has no state, so a run that is resumed goes on with the same values.
"""

from __future__ import annotations

from gansmith.recipe import Recipe
from gansmith.settings import Adam


def learning_rate_factor(recipe: Recipe, images: int) -> float:
    """Return what both learning rates are multiplied by after so many images seen: linear decay x burn-in."""
    factor = 1.0 if recipe.learning_rate_schedule is None else recipe.learning_rate_schedule.factor(images)
    return (
        factor if recipe.burn_in is None else factor * _moved(recipe, recipe.burn_in.learning_rate_factor, 1.0, images)
    )


def penalty_factor(recipe: Recipe, images: int) -> float:
    """Return what the weights of penalties are multiplied by."""
    return 1.0 if recipe.burn_in is None else _moved(recipe, recipe.burn_in.penalty_factor, 1.0, images)


def beta2(recipe: Recipe, optimizer: Adam, images: int) -> float:
    """Return Adam's beta2."""
    return optimizer.beta2 if recipe.burn_in is None else _moved(recipe, recipe.burn_in.beta2, optimizer.beta2, images)


def ema_half_life(recipe: Recipe, images: int) -> float:
    """Return the half-life of the average, in images; 0 is a copy."""
    start = None if recipe.burn_in is None else recipe.burn_in.ema_half_life_images
    return _moved(recipe, start, recipe.ema_half_life_images, images)


def has_own_half_life(recipe: Recipe) -> bool:
    """Return whether the half-life follows a schedule of the recipe's, so that no general rule may shorten it."""
    return recipe.burn_in is not None and recipe.burn_in.ema_half_life_images is not None


def augmentation_probability(recipe: Recipe, own: float, images: int) -> float:
    """Return the probability of each augmentation, 0 to 1, for what it is after the burn-in."""
    return own if recipe.burn_in is None else _moved(recipe, recipe.burn_in.augmentation_probability, own, images)


def _moved(recipe: Recipe, start: float | None, own: float, images: int) -> float:
    """Half a cosine from `start`, where there is one, to the recipe's own value."""
    if start is None or recipe.burn_in is None:
        return own
    share = recipe.burn_in.share(images)
    return start * (1.0 - share) + own * share
