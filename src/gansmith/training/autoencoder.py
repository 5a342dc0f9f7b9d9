"""The autoencoder objective: a variational autoencoder (Kingma & Welling 2014) whose decoder is the generator.

encode real x to q(z | x), draw latents z from it, decode them;  descend  mean[ -log p(x | z) + KL(q || N(0, 1)) ]
in both networks;  average their weights
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gansmith import runtime
from gansmith.data import Batch
from gansmith.ema import settle_generator
from gansmith.losses import kl_divergence, reconstruction_loss
from gansmith.recipe import Recipe
from gansmith.sampling import generate as decode
from gansmith.sampling import precision_of, sample
from gansmith.training.descent import collect_gradients, descend, mean_over_ranks
from gansmith.training.draws import Draws, draw
from gansmith.training.pictures import PREVIEW_COLUMNS, PREVIEW_COUNT
from gansmith.training.state import TrainState
from gansmith.training.step import generate, initial_state, whole_step

NUM_RECONSTRUCTED = PREVIEW_COUNT // 4
NUM_SAMPLES = PREVIEW_COUNT // 2


class Autoencoder:
    """Encoder and generator, updated together. Told the classes, the generator alone is: the encoder sees them."""

    def initialise(self, recipe: Recipe, seed: int, device: torch.device) -> TrainState:
        """Return fresh networks with weights drawn from the seed, their optimisers, and copies as their averages."""
        return initial_state(recipe, seed, device, averaged=("generator", "encoder"))

    def batches(self, recipe: Recipe) -> dict[str, int]:
        """Return `real_d`, the images to reconstruct: those that the discriminator of a GAN would be shown."""
        return {"real_d": recipe.batch_size}

    def step(self, state: TrainState, batches: dict[str, Batch]) -> dict[str, Tensor]:
        """Take one step of both networks, then average; return the loss (the negative elbo in nats per image), its
        term `kl`, `reconstruction_error`, the mean squared error of a value in [-1, 1], and the gradient norms.
        """
        return whole_step(state, state.recipe.batch_size, lambda: self.update(state, batches, self.draws(state)))

    def draws(self, state: TrainState) -> list[Draws]:
        """Return what a step draws: the noise of the latents."""
        return [draw(state, "latents", state.recipe.batch_size)]

    def update(self, state: TrainState, batches: dict[str, Batch], draws: list[Draws]) -> dict[str, Tensor]:
        """Change both networks: what a step does on the device."""
        real, noise = batches["real_d"], draws[0].latents
        with runtime.autocast(state.device, state.recipe.precision):
            mean, log_variance = state.modules["encoder"](real.images)
        latents = mean + torch.exp(0.5 * log_variance) * noise
        reconstructions = generate(state, latents, real.labels).float()
        kl = kl_divergence(mean, log_variance)
        loss = reconstruction_loss(real.images, reconstructions) + kl
        collect_gradients(state, ("encoder", "generator"), mean_over_ranks(loss, len(loss)))
        norms = descend(state, "encoder", "generator")
        error = (real.images - reconstructions.detach()).square().mean()
        return {"loss": loss.detach().mean(), "reconstruction_error": error, "kl": kl.detach().mean(), **norms}

    def settle(self, state: TrainState) -> None:
        """Measure the averaged generator's batch-norm statistics (`ema.settle_generator`); encoders have none."""
        settle_generator(state.ema["generator"], state.seed, state.recipe.precision, state.classes)

    def preview(self, state: TrainState, seed: int, reals: Batch) -> Tensor:
        """Return a grid of 8 x 8: a row of reals and one of their reconstructions, twice, then 32 samples.

        Reconstructions are decoded from the means of the latents. Samples are from latents fixed by `seed`; with
        classes, 32 of them in turn, in the order of the labels.
        """
        chosen = torch.arange(NUM_RECONSTRUCTED) * len(reals.images) // NUM_RECONSTRUCTED
        real, generator = reals.images[chosen], self.generator(state)
        precision = precision_of(state.recipe, generator)
        labels_of_reals, labels = None, None
        if state.classes is not None and reals.labels is not None:
            labels_of_reals = reals.labels[chosen]
            labels = torch.arange(NUM_SAMPLES) % len(state.classes.names)
        with torch.no_grad():
            means, _ = state.ema["encoder"](real.to(state.device))
        pairs = torch.stack([
            real.view(-1, PREVIEW_COLUMNS, *real.shape[1:]),
            decode(generator, means, labels_of_reals, precision=precision).view(-1, PREVIEW_COLUMNS, *real.shape[1:]),
        ], dim=1)  # fmt: skip
        return torch.cat([pairs.flatten(0, 2), sample(generator, NUM_SAMPLES, seed, labels, precision=precision)])

    def generator(self, state: TrainState) -> nn.Module:
        """Return the averaged generator: the decoder."""
        return state.ema["generator"]
