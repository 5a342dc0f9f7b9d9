"""The adversarial objective: a generator against a discriminator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gansmith.data import Batch
from gansmith.ema import settle_generator
from gansmith.losses import LOSSES
from gansmith.recipe import Recipe
from gansmith.sampling import precision_of, sample
from gansmith.training.descent import mean_of
from gansmith.training.draws import Draws, draw
from gansmith.training.lecam import begin_lecam
from gansmith.training.pictures import PREVIEW_CLASSES, PREVIEW_COLUMNS, preview_count
from gansmith.training.state import TrainState
from gansmith.training.step import (
    discriminator_step,
    generate,
    generator_step,
    initial_state,
    simultaneous_step,
    whole_step,
)


class Adversarial:
    """Generator and discriminator, updated in turn: `discriminator_steps` times D, once G; or the last D with G."""

    def initialise(self, recipe: Recipe, seed: int, device: torch.device) -> TrainState:
        """Return fresh networks with weights drawn from the seed, their optimisers, and a copy of G as its average."""
        state = initial_state(recipe, seed, device, averaged=("generator",))
        begin_lecam(state)
        return state

    def batches(self, recipe: Recipe) -> dict[str, int]:
        """Return `real_d` for all discriminator steps together, and `real_g` where G's loss pairs with reals or G's
        batch takes other labels than those of whole batches of D.
        """
        sizes, of_generator = {"real_d": recipe.batch_size * recipe.discriminator_steps}, recipe.size_of_generator_batch
        lacks_labels = recipe.num_classes and (of_generator > sizes["real_d"] or of_generator % recipe.batch_size)
        pairs = LOSSES[recipe.loss].needs_real_in_g and recipe.update == "alternating"
        if pairs or lacks_labels:
            sizes["real_g"] = of_generator
        return sizes

    def step(self, state: TrainState, batches: dict[str, Batch]) -> dict[str, Tensor]:
        """Take `discriminator_steps` steps of D and one of G, then average; return losses and D accuracy."""
        num_images = state.recipe.batch_size * state.recipe.discriminator_steps
        return whole_step(state, num_images, lambda: self.update(state, batches, self.draws(state)))

    def draws(self, state: TrainState) -> list[Draws]:
        """Return what each D step of a step draws, and last what the G step does.

        The latents of the last D step also serve the G step where its batch has that size and classes: another draw of
        the same algorithm.
        """
        recipe, size = state.recipe, state.recipe.batch_size
        phases = [draw(state, "discriminator", size, index * size) for index in range(recipe.discriminator_steps)]
        if recipe.shares_fakes:
            return [*phases, phases[-1]]
        # A rank has the labels of its share of each of D's batches, and the latents that go with them.
        takes_labels = recipe.num_classes and "real_g" not in self.batches(recipe)
        count, ahead = recipe.size_of_generator_batch, recipe.discriminator_steps * size
        return [*phases, draw(state, "generator", count, ahead, count // size if takes_labels else 1)]

    def update(self, state: TrainState, batches: dict[str, Batch], draws: list[Draws]) -> dict[str, Tensor]:
        """Change both networks: what a step does on the device. Counters are read only.

        Fakes that also serve the G step are made once, with their graph kept, unless memory forbids it.
        """
        recipe, own = state.recipe, batches.get("real_g")
        size = len(draws[0].latents)
        keeps_graph = recipe.shares_fakes and state.micro_batch is None
        measured: list[dict[str, Tensor]] = []
        for index, (latents, rng) in enumerate((each.latents, each.rng) for each in draws[:-1]):
            real = batches["real_d"].part(index * size, (index + 1) * size)
            steps_taken = state.counters["steps"] * recipe.discriminator_steps + index
            is_last = index == recipe.discriminator_steps - 1
            if is_last and recipe.update == "simultaneous":
                return mean_of([*measured, simultaneous_step(state, real, latents, rng, steps_taken)])
            with torch.set_grad_enabled(keeps_graph and is_last):
                fake_images = generate(state, latents, real.labels)
            measured.append(discriminator_step(state, real, fake_images, rng, steps_taken))
        labels = (own or batches["real_d"]).labels
        result = generator_step(
            state,
            own if LOSSES[recipe.loss].needs_real_in_g else None,
            None if labels is None else labels[-len(draws[-1].latents) :],
            draws[-1],
            fake_images if keeps_graph else None,
        )
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
        generator = self.generator(state)
        return sample(generator, count, seed, labels, precision=precision_of(state.recipe, generator))

    def generator(self, state: TrainState) -> nn.Module:
        """Return the averaged generator."""
        return state.ema["generator"]
