"""Where a step augments what the discriminator sees, and how often: everything between `step.py` and `augment/`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from gansmith import ranks, schedule
from gansmith.augment import UNCHANGED, Augmenter, Transformation
from gansmith.losses import LOSSES
from gansmith.penalties import Discriminator
from gansmith.recipe import Recipe
from gansmith.training.state import TrainState

AUGMENTATION = "augmentation"
"""Name of the `Augmenter` in `TrainState.modules`: a module without parameters, so without an optimiser."""


def build_augmenter(recipe: Recipe, device: torch.device) -> dict[str, nn.Module]:
    """Return the recipe's `Augmenter` by its name, or nothing where D sees images as they are."""
    if recipe.augmentation is None or not recipe.is_augmented:
        return {}
    return {AUGMENTATION: Augmenter(recipe.augmentation, recipe.size, recipe.channels).to(device)}


def augmenter_of(state: TrainState) -> Augmenter | None:
    """Return the state's `Augmenter`, if it has one."""
    return cast(Augmenter | None, state.modules.get(AUGMENTATION))


def probability_at(recipe: Recipe, images: int) -> float | None:
    """Return the probability that a recipe prescribes after so many images seen; None: training decides."""
    settings = recipe.augmentation
    if settings is None or settings.adaptive is not None:
        return None
    return schedule.augmentation_probability(recipe, settings.probability, images)


def set_probability(state: TrainState) -> None:
    """Give the `Augmenter` the probability of this step, where the recipe prescribes it.

    It is overwritten where it is: work recorded as a CUDA graph reads it there.
    """
    augmenter = augmenter_of(state)
    probability = probability_at(state.recipe, state.counters["images"])
    if augmenter is not None and probability is not None:
        augmenter.probability.fill_(probability)


def probability_of(state: TrainState) -> dict[str, Tensor]:
    """Return the probability as it is, by the name it is reported under; nothing where nothing is augmented."""
    augmenter = augmenter_of(state)
    return {} if augmenter is None else {"augmentation_probability": augmenter.probability.clone()}


def draw_transformations(
    state: TrainState, count: int, rng: torch.Generator, players: int = 1, batches: int = 1
) -> list[Transformation]:
    """Return what is done to images: a `Transformation` of `count` of them for each of so many players.

    Args:
        state: whose `Augmenter` draws.
        count: images of this rank's share.
        rng: drawn from; not at all where nothing is augmented.
        players: 2 for reals and fakes, in this order.
        batches: that the images are, see `Augmenter.draw`.
    """
    if (augmenter := augmenter_of(state)) is None:
        return [UNCHANGED] * players
    both = augmenter.draw(players * count, rng, players * batches)
    return [both.part(index * count, (index + 1) * count) for index in range(players)]


def seen_through(transformation: Transformation, discriminator: Discriminator) -> Discriminator:
    """Return D of transformed samples, as a function of those before: gradient penalties are of this one."""
    if transformation is UNCHANGED:
        return discriminator
    return lambda samples, labels: discriminator(transformation(samples), labels)


def note_signs(state: TrainState, real_logits: Tensor, fake_logits: Tensor) -> None:
    """Keep the signs that an adaptive probability follows, of a part of the batch, until `adapt`."""
    if (augmenter := augmenter_of(state)) is not None and augmenter.is_adaptive:
        augmenter.note(real_logits, fake_logits, LOSSES[state.recipe.loss].anchor)


def signs_of(state: TrainState, names: Sequence[str]) -> list[Tensor]:
    """Return what is to be summed over ranks along with the gradients of these modules, in place."""
    augmenter = augmenter_of(state)
    return [augmenter.signs] if augmenter is not None and augmenter.is_adaptive and "discriminator" in names else []


def adapt(state: TrainState, count: int) -> None:
    """Move an adaptive probability by the signs of a discriminator step, which are summed over ranks.

    Args:
        state: its `Augmenter` is changed.
        count: images of this rank's share of the step.
    """
    if (augmenter := augmenter_of(state)) is not None and augmenter.is_adaptive:
        augmenter.adapt(count * ranks.current().size)
