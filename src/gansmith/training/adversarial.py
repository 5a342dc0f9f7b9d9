"""The adversarial objective: a generator against a discriminator, and the table of objectives."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gansmith.build import build_discriminator, build_generator, build_optimizer
from gansmith.data import Batch
from gansmith.ema import settle_generator
from gansmith.losses import LOSSES
from gansmith.recipe import Recipe
from gansmith.sampling import sample
from gansmith.training.objective import Objective
from gansmith.training.state import TrainState
from gansmith.training.step import average, discriminator_step, draw, generator_step, mean_of

PREVIEW_COUNT = 64


class Adversarial:
    """Generator and discriminator, updated in turn: `discriminator_steps` times D, once G."""

    def initialise(self, recipe: Recipe, seed: int, device: torch.device) -> TrainState:
        """Return fresh networks with weights drawn from the seed, their optimisers, and a copy of G as its average."""
        generator = build_generator(recipe, seed, device)
        discriminator = build_discriminator(recipe, seed, device)
        return TrainState(
            recipe=recipe,
            seed=seed,
            device=device,
            modules={"generator": generator.train(), "discriminator": discriminator.train()},
            optimizers={
                "generator": build_optimizer(recipe.generator_optimizer, generator.parameters()),
                "discriminator": build_optimizer(recipe.discriminator_optimizer, discriminator.parameters()),
            },
            ema={"generator": copy.deepcopy(generator).requires_grad_(False).eval()},
        )

    def batches(self, recipe: Recipe) -> dict[str, int]:
        """Return `real_d` for all discriminator steps together and, where G's loss pairs with reals, `real_g`."""
        sizes = {"real_d": recipe.batch_size * recipe.discriminator_steps}
        if LOSSES[recipe.loss].needs_real_in_g:
            sizes["real_g"] = recipe.batch_size
        return sizes

    def step(self, state: TrainState, batches: dict[str, Batch]) -> dict[str, Tensor]:
        """Take `discriminator_steps` steps of D and one of G, then average; return losses and D accuracy."""
        recipe, size = state.recipe, state.recipe.batch_size
        measured = []
        for index in range(recipe.discriminator_steps):
            real = batches["real_d"].part(index * size, (index + 1) * size)
            steps_taken = state.counters["steps"] * recipe.discriminator_steps + index
            draws = draw(state, "discriminator", size)
            measured.append(discriminator_step(state, real, draws, steps_taken))
            state.counters["images"] += size
        paired = batches.get("real_g")
        labels = (paired or real).labels
        result = generator_step(state, paired, labels, draw(state, "generator", size))
        state.counters["steps"] += 1
        average(state, size * recipe.discriminator_steps)
        return {**mean_of(measured), **result}

    def settle(self, state: TrainState) -> None:
        """Measure the averaged generator's batch-norm statistics (`ema.settle_generator`)."""
        recipe = state.recipe
        settle_generator(state.ema["generator"], recipe.generator.latent_dim, state.seed, recipe.precision)

    def preview(self, state: TrainState, seed: int) -> Tensor:
        """Return 64 samples of the averaged generator from latents fixed by `seed`."""
        return sample(self.generator(state), PREVIEW_COUNT, seed)

    def generator(self, state: TrainState) -> nn.Module:
        """Return the averaged generator."""
        return state.ema["generator"]


OBJECTIVES: dict[str, Objective] = {
    "adversarial": Adversarial(),
}
