"""What D makes of reals and fakes in pairs, and what is added to the losses: penalties, anchors, the choice of fakes.

The step that it is part of is `step.py`; R1 and R2 from the pass that gives the logits are `shared_pass.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gansmith import runtime, schedule
from gansmith.augment import UNCHANGED, Transformation
from gansmith.data import Batch
from gansmith.losses import LOSSES, of_top
from gansmith.penalties import AT_FAKES, BARE, PENALTIES
from gansmith.recipe import PenaltySettings
from gansmith.training.augmentation import note_signs, seen_through
from gansmith.training.lecam import move_anchors
from gansmith.training.state import TrainState

Weighted = Mapping[str, tuple[float, Tensor]]
"""Name -> (weight, (N,) values) of what is added to D's loss."""


@dataclass(frozen=True)
class Pair:
    """Reals and as many fakes of the same classes, and how D sees them.

    Attributes:
        real: images (N, C, H, W) in [-1, 1], with labels (N,) where the recipe is conditional.
        fake_images: (N, C, H, W); no gradient goes to what made them.
        of_real, of_fake: what is done to each kind before D sees it.
    """

    real: Batch
    fake_images: Tensor
    of_real: Transformation = UNCHANGED
    of_fake: Transformation = UNCHANGED

    def part(self, start: int, stop: int) -> Pair:
        """Return the pairs from `start` to before `stop`."""
        return Pair(
            self.real.part(start, stop),
            self.fake_images[start:stop],
            self.of_real.part(start, stop),
            self.of_fake.part(start, stop),
        )


@dataclass(frozen=True)
class Scored:
    """What D has made of pairs, without a graph.

    Attributes:
        loss: (N,) of D, without what is added.
        real_logits, fake_logits: (N,).
        penalties: what was added.
    """

    loss: Tensor
    real_logits: Tensor
    fake_logits: Tensor
    penalties: Weighted

    def measured(self) -> dict[str, Tensor]:
        """Return what a discriminator step reports of them, as 0-d tensors."""
        return {
            "loss_d": self.loss.mean(),
            "d_accuracy": (self.real_logits > self.fake_logits).float().mean(),
            **{f"penalty_{name}": value.mean() for name, (_, value) in self.penalties.items()},
        }


def scored(loss: Tensor, real_logits: Tensor, fake_logits: Tensor, penalties: Weighted) -> Scored:
    """Return these without their graphs."""
    values = {name: (weight, value.detach()) for name, (weight, value) in penalties.items()}
    return Scored(loss.detach(), real_logits.detach(), fake_logits.detach(), values)


def note_logits(state: TrainState, parts: list[Scored]) -> None:
    """Keep what later steps go by: the signs of an adaptive augmentation, the anchors of LeCam.

    Args:
        state: changed.
        parts: of a discriminator step.
    """
    for part in parts:
        note_signs(state, part.real_logits, part.fake_logits)
    move_anchors(state, [(part.real_logits, part.fake_logits) for part in parts])


def logits_of_pair(
    state: TrainState, real_images: Tensor, fake_images: Tensor, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return D's logits (N,) of reals and of fakes of the same classes, in one pass where D mixes no images of a batch.

    Where it does (batch norm, minibatch deviation), reals and fakes are not mixed. In one pass, spectral norm iterates
    once.
    """
    discriminator = state.modules["discriminator"]
    with runtime.autocast(state.device, state.recipe.precision):
        if state.recipe.discriminator_mixes_images:
            return discriminator(real_images, labels), discriminator(fake_images, labels)
        both = torch.cat([real_images, fake_images.to(real_images.dtype)])
        logits: Tensor = discriminator(both, None if labels is None else labels.repeat(2))
        real_logits, fake_logits = logits.chunk(2)
        return real_logits, fake_logits


def due_penalties(
    state: TrainState, pair: Pair, rng: torch.Generator, steps_taken: int
) -> dict[str, tuple[float, Tensor]]:
    """Return name -> (weight, (N,) values) of the penalties whose turn it is.

    Gradients are those of D seen through the pair's transformations, at images before them.
    """

    def value(name: str) -> Tensor:
        transformation = UNCHANGED if name in BARE else pair.of_fake if name in AT_FAKES else pair.of_real
        view = seen_through(transformation, state.modules["discriminator"])
        return PENALTIES[name](view, pair.real.images, pair.fake_images, pair.real.labels, rng)

    return {name: (weight, value(name)) for name, weight in due_weights(state, steps_taken).items()}


def due_weights(state: TrainState, steps_taken: int) -> dict[str, float]:
    """Return the weights of the penalties whose turn it is; a lazy one weighs `every` times more."""
    factor = schedule.penalty_factor(state.recipe, state.counters["images"])
    return {
        name: settings.full_weight * factor
        for name, settings in state.recipe.penalties.items()
        if is_due(settings, steps_taken)
    }


def is_due(penalty: PenaltySettings, steps_taken: int) -> bool:
    """Return whether it is a penalty's turn, after so many discriminator steps."""
    return steps_taken % penalty.every == 0


def generator_loss(state: TrainState, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return G's loss per fake, (N,), whose mean is to fall; with `top_k`, 0 but for the fakes that D scores highest.

    Of several ranks each takes the highest of its own share.
    """
    recipe = state.recipe
    losses = LOSSES[recipe.loss].g(real_logits, fake_logits)
    if recipe.top_k is None:
        return losses
    return of_top(losses, fake_logits, recipe.top_k.count(state.counters["images"], len(losses)))
