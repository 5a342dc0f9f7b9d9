"""The adversarial objective: a generator against a discriminator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gansmith.data import Batch
from gansmith.ema import settle_generator
from gansmith.losses import LOSSES
from gansmith.recipe import Recipe
from gansmith.sampling import sample
from gansmith.training.pictures import PREVIEW_CLASSES, PREVIEW_COLUMNS, preview_count
from gansmith.training.state import TrainState
from gansmith.training.step import (
    average,
    discriminator_step,
    draw,
    generate,
    generator_step,
    initial_state,
    mean_of,
)


class Adversarial:
    """Generator and discriminator, updated in turn: `discriminator_steps` times D, once G."""

    def initialise(self, recipe: Recipe, seed: int, device: torch.device) -> TrainState:
        """Return fresh networks with weights drawn from the seed, their optimisers, and a copy of G as its average."""
        return initial_state(recipe, seed, device, averaged=("generator",))

    def batches(self, recipe: Recipe) -> dict[str, int]:
        """Return `real_d` for all discriminator steps together, and `real_g` where G's loss pairs with reals or G's
        batch needs more labels than D's batches have.
        """
        sizes = {"real_d": recipe.batch_size * recipe.discriminator_steps}
        lacks_labels = recipe.num_classes and recipe.size_of_generator_batch > sizes["real_d"]
        if LOSSES[recipe.loss].needs_real_in_g or lacks_labels:
            sizes["real_g"] = recipe.size_of_generator_batch
        return sizes

    def step(self, state: TrainState, batches: dict[str, Batch]) -> dict[str, Tensor]:
        """Take `discriminator_steps` steps of D and one of G, then average; return losses and D accuracy.

        The fakes of the last D step also serve the G step where its batch has that size and classes: another draw of
        the same algorithm, for one forward pass of G less.
        """
        recipe, size = state.recipe, state.recipe.batch_size
        count, own = recipe.size_of_generator_batch, batches.get("real_g")
        shares = own is None and count == size
        keeps_graph = shares and state.micro_batch is None
        measured = []
        for index in range(recipe.discriminator_steps):
            real = batches["real_d"].part(index * size, (index + 1) * size)
            steps_taken = state.counters["steps"] * recipe.discriminator_steps + index
            draws = draw(state, "discriminator", size)
            with torch.set_grad_enabled(keeps_graph and index == recipe.discriminator_steps - 1):
                fake_images = generate(state, draws.latents, real.labels)
            measured.append(discriminator_step(state, real, fake_images, draws.rng, steps_taken))
            state.counters["images"] += size
        labels = (own or batches["real_d"]).labels
        fresh = draw(state, "generator", count)
        result = generator_step(
            state,
            own if LOSSES[recipe.loss].needs_real_in_g else None,
            None if labels is None else labels[-count:],
            draws.latents if shares else fresh.latents,
            fake_images if keeps_graph else None,
        )
        state.counters["steps"] += 1
        average(state, size * recipe.discriminator_steps)
        return {**mean_of(measured), **result}

    def settle(self, state: TrainState) -> None:
        """Measure the averaged generator's batch-norm statistics (`ema.settle_generator`)."""
        settle_generator(state.ema["generator"], state.seed, state.recipe.precision, state.classes)

    def preview(self, state: TrainState, seed: int, reals: Batch) -> Tensor:
        """Return 64 samples of the averaged generator (1,000 points) from latents fixed by `seed`; with classes, 8 of
        each of them, in the order of the labels, up to 32 classes. The reals are not needed.
        """
        count, labels = preview_count(state.recipe), None
        if state.classes is not None:
            labels = torch.arange(min(len(state.classes.names), PREVIEW_CLASSES)).repeat_interleave(PREVIEW_COLUMNS)
            count = len(labels)
        return sample(self.generator(state), count, seed, labels)

    def generator(self, state: TrainState) -> nn.Module:
        """Return the averaged generator."""
        return state.ema["generator"]
