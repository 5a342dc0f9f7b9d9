"""The random numbers of a training step: functions of (seed, images seen, phase, retries), whatever came before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gansmith import ranks, runtime
from gansmith.training.state import TrainState


@dataclass(frozen=True)
class Draws:
    """The random numbers of one phase of a step.

    Attributes:
        latents: (N, latent_dim) float32, normal.
        rng: for whatever else the phase draws.
        batches: that the latents are, one behind the other; of each, this rank has a share.
    """

    latents: Tensor
    rng: torch.Generator
    batches: int = 1


def draw(state: TrainState, phase: str, count: int, ahead: int = 0, batches: int = 1) -> Draws:
    """Return this rank's part of the draws of a phase: a function of (seed, images seen, phase, retries) and the rank.

    Args:
        state: its seed and counters.
        phase: whose draws.
        count: latents of all ranks together.
        ahead: images seen within this step before the phase.
        batches: that the latents are, one behind the other; a rank has a share of each.
    """
    images = state.counters["images"] + ahead
    rng = runtime.generator_for(state.device, state.seed, "step", images, phase, *_retries(state))
    latents = torch.randn(count, state.recipe.generator.latent_dim, generator=rng, device=state.device)
    start, stop = ranks.share_of(count // batches)
    return Draws(latents.view(batches, -1, latents.shape[1])[:, start:stop].flatten(0, 1), rng, batches)


def seed_dropout(state: TrainState) -> None:
    """Seed torch's global generator, which dropout draws from, for this step: each rank drops other values."""
    rank = ranks.current().rank
    keys: list[int | str] = [*([rank] * (rank > 0)), *_retries(state)]
    seed = runtime.seed_of(state.seed, "step", state.counters["images"], "dropout", *keys)
    runtime.seed_global_generator(seed, state.device)


def _retries(state: TrainState) -> list[str]:
    """Return what makes the draws others after training went back to a checkpoint."""
    return [f"retry {retries}"] if (retries := state.counters["retries"]) else []
