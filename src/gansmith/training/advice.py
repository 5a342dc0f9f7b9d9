"""What to do about a verdict on a training, in the words of its recipe: overrides that fit it. No torch here."""

from __future__ import annotations

from collections.abc import Callable

from gansmith.recipe import Recipe
from gansmith.report import Verdict
from gansmith.rules import SMALLEST_AUGMENTED_SIDE, usual_weight

CLIPPING = 0.01
"""Arjovsky et al. 2017, algorithm 1."""
LOWER = 0.1
"""What rates are multiplied by that let training diverge."""
LOWEST_USUAL = 1e-5
"""Of learning rates: with less, a network hardly moves."""
DROPOUT = 0.3
Advice = tuple[str, tuple[str, ...]]
"""A sentence without its full stop, and overrides that do what it says; none where it is nothing of the recipe."""


def advice(verdict: Verdict, recipe: Recipe) -> Advice:
    """Return what to do about a verdict: one thing, that changes the recipe and fits it."""
    choices: dict[Verdict, Callable[[], Advice]] = {
        "healthy": lambda: ("", ()),
        "diverged": lambda: _bounded(recipe) or _slower(recipe, LOWER),
        "mode collapse": lambda: _bounded(recipe) or _smoother(recipe) or _slower(recipe, 0.5),
        "oscillating": lambda: _bounded(recipe) or _slower(recipe, 0.5),
        "discriminator winning": lambda: _weaker_discriminator(recipe),
        "generator winning": lambda: _stronger_discriminator(recipe),
        "memorising": lambda: _overfitting_less(recipe),
    }
    return choices[verdict]()


def _slower(recipe: Recipe, factor: float) -> Advice:
    return "start anew (--out) with lower rates", tuple(
        _rate(player, recipe.optimizer_of(player).learning_rate * factor) for player in ("generator", "discriminator")
    )


def _rate(player: str, value: float) -> str:
    return f"{player}_optimizer.learning_rate={value:.3g}"


def _bounded(recipe: Recipe) -> Advice | None:
    """Bound D where it is unbounded by its own settings."""
    clipping = recipe.regularisation.weight_clipping
    if clipping is not None and clipping > CLIPPING:
        return "start anew (--out) with D's weights bounded as published", (
            f"regularisation.weight_clipping={CLIPPING}",
        )
    return None


def _smoother(recipe: Recipe) -> Advice | None:
    """Keep D from being steep where the reals are; batch norm allows no penalty."""
    discriminator = recipe.discriminator
    if recipe.penalties or discriminator is None:
        return None
    if discriminator.normalisation == "batch":
        instead = () if recipe.regularisation.weight_clipping is None else ("regularisation.weight_clipping=null",)
        return "start anew (--out) with spectral norm in D", ("discriminator.normalisation=spectral", *instead)
    weight = usual_weight("r1", recipe.size, recipe.batch_size)
    return "start anew (--out) with a penalty on D's gradient", (f"penalties.r1.weight={weight:.3g}",)


def _weaker_discriminator(recipe: Recipe) -> Advice:
    of_g, of_d = recipe.generator_optimizer.learning_rate, recipe.discriminator_optimizer.learning_rate
    if recipe.loss == "minimax":
        return "start anew (--out) with the loss that does not saturate", ("loss=non_saturating",)
    if of_d > of_g:
        return "start anew (--out) with the rate of D no higher than that of G", _equal(recipe)
    if recipe.discriminator_steps > 1 and recipe.loss != "wasserstein":
        return "start anew (--out) with one step of D for each of G", ("discriminator_steps=1",)
    return (
        _bounded(recipe)
        or _smoother(recipe)
        or (
            "start anew (--out) with a lower rate of D",
            (_rate("discriminator", of_d / 2),),
        )
    )


def _equal(recipe: Recipe) -> tuple[str, ...]:
    """Return an override that gives D the rate of G; or where G hardly moves, G that of D."""
    of_g, of_d = recipe.generator_optimizer.learning_rate, recipe.discriminator_optimizer.learning_rate
    return (_rate("generator", of_d) if of_g < LOWEST_USUAL else _rate("discriminator", of_g),)


def _stronger_discriminator(recipe: Recipe) -> Advice:
    of_g, of_d = recipe.generator_optimizer.learning_rate, recipe.discriminator_optimizer.learning_rate
    if of_g > of_d:
        return "start anew (--out) with the rate of D no lower than that of G", (_rate("discriminator", of_g),)
    return "start anew (--out) with a higher rate of D", (_rate("discriminator", 2 * of_d),)


def _overfitting_less(recipe: Recipe) -> Advice:
    discriminator = recipe.discriminator
    if discriminator is not None and not recipe.is_augmented and min(recipe.size) >= SMALLEST_AUGMENTED_SIDE:
        return "more images help most; or start anew (--out) with augmentation", ("augmentation.policy=diffaugment",)
    if discriminator is None or dict(discriminator).get("dropout") != 0:  # has some, or can have none
        return "more images help most; or stop earlier: --evaluate-every keeps the best generator", ()
    return "more images help most; or start anew (--out) with dropout in D", (f"discriminator.dropout={DROPOUT}",)
