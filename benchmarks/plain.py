"""The plain loop: a GAN in PyTorch as anybody would write it, which `gansmith bench` compares gansmith with.

It trains the same networks (`plain_models.py`) from the same initial distribution, with the same loss, optimiser
settings and batch sizes, and does nothing for speed: float32, eager, maps in PyTorch's usual memory order (N, C, H, W),
real and fake images through D in separate passes, D and G in turn, fresh fakes for the G step, whose backward pass also
computes gradients of D that nobody uses, penalties by differentiating twice; a Dataset that converts one image at a
time, and a DataLoader. It has no
average of the weights, no random numbers that can be repeated and no record of losses, which gansmith has.

It imports nothing of gansmith, so that it can be read and trusted alone. `recipe` is a gansmith recipe as a dictionary
(`recipe.model_dump(mode="json")`); its `precision` and `update` are ignored. What is not done here is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from plain_models import build_networks, load_into_plain, state_dict_from_plain
from torch import Tensor, nn
from torch.nn.functional import relu, softplus
from torch.utils.data import DataLoader, Dataset

__all__ = ["LOSSES", "PlainLoop", "load_into_plain", "plain_networks", "plain_sample", "state_dict_from_plain"]


# ---- data -----------------------------------------------------------------------------------------------------------


class Images(Dataset[Tensor]):
    """uint8 images (N, C, H, W), given out one by one as float32 in [-1, 1]."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor(self.images[index]).float() / 127.5 - 1.0


def endless_batches(images: np.ndarray, batch_size: int, workers: int, seed: int) -> Iterator[Tensor]:
    """Give out shuffled batches (batch_size, C, H, W), pass after pass."""
    loader = DataLoader(
        Images(images), batch_size, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    while True:
        yield from loader


# ---- losses ---------------------------------------------------------------------------------------------------------

LOSSES = {  # of D, of G: of the logits of real and fake images, (N,) each
    "minimax": (lambda real, fake: softplus(-real) + softplus(fake), lambda real, fake: -softplus(fake)),
    "non_saturating": (lambda real, fake: softplus(-real) + softplus(fake), lambda real, fake: softplus(-fake)),
    "least_squares": (lambda real, fake: ((real - 1) ** 2 + fake**2) / 2, lambda real, fake: (fake - 1) ** 2 / 2),
    "wasserstein": (lambda real, fake: fake - real, lambda real, fake: -fake),
    "hinge": (lambda real, fake: relu(1 - real) + relu(1 + fake), lambda real, fake: -fake),
    "relativistic": (lambda real, fake: softplus(fake - real), lambda real, fake: softplus(real - fake)),
}


def negative_elbo(images: Tensor, mean: Tensor, log_variance: Tensor, reconstructions: Tensor) -> Tensor:
    """Return nats per image (N,); the variance of a value is the batch's mean squared error (Rybkin et al. 2021)."""
    squares = ((images - reconstructions) ** 2).flatten(1)
    variance = squares.detach().mean().clamp_min((2 / 255) ** 2 / 12)
    kl = (mean**2 + log_variance.exp() - 1 - log_variance).sum(1) / 2
    return (squares / variance + torch.log(2 * math.pi * variance)).sum(1) / 2 + kl


def refuse_what_is_not_done(recipe: dict) -> None:
    """Raise ValueError for a recipe that asks for more than this file does."""
    if found := reasons_to_refuse(recipe):
        raise ValueError(f"the plain loop does no {', no '.join(found)}; take a recipe without")


def reasons_to_refuse(recipe: dict) -> list[str]:
    """Return what a recipe asks for that is not done here."""
    adversarial = recipe["objective"] == "adversarial"
    optimizers = [recipe[name]["name"] for name in ("generator_optimizer", "discriminator_optimizer") if name in recipe]
    reasons = {
        "classes": recipe["num_classes"] > 0,
        "penalties but R1 and R2 at every step": adversarial
        and any(name not in ("r1", "r2") or settings["every"] > 1 for name, settings in recipe["penalties"].items()),
        "burn-in": recipe.get("burn_in") is not None,
        "mixed families": adversarial
        and "r3gan" in (families := [recipe[name]["family"] for name in ("generator", "discriminator")])
        and len(set(families)) > 1,
        "attention, minibatch deviation or mean pooling": any(
            recipe.get(network, {}).get(name) in (True, "mean") or recipe.get(network, {}).get("attention")
            for network in ("generator", "discriminator")
            for name in ("minibatch_std", "pool")
        ),
        "choice of fakes (top_k)": recipe.get("top_k") is not None,
        "regularisation": any(recipe["regularisation"].values()),
        "optimisers but Adam": any(name != "adam" for name in optimizers),
        f"the objective {recipe['objective']}": recipe["objective"] not in ("adversarial", "autoencoder"),
        f"the loss {recipe['loss']}": adversarial and recipe["loss"] not in LOSSES,
        "a relativistic loss with another batch for the generator": recipe["loss"] == "relativistic"
        and recipe["generator_batch_size"] not in (None, recipe["batch_size"]),
        "normalisations but batch and spectral": any(
            recipe.get(name, {}).get("normalisation") not in (None, "batch", "spectral")
            for name in ("generator", "discriminator")
        ),
    }
    return [reason for reason, applies in reasons.items() if applies]


def plain_networks(recipe: dict) -> tuple[nn.Module, nn.Module]:
    """Return the generator and the discriminator (of an autoencoder: the encoder) of a recipe, with fresh weights."""
    refuse_what_is_not_done(recipe)
    return build_networks(recipe)


# ---- the loop -------------------------------------------------------------------------------------------------------


class PlainLoop:
    """Training, step by step.

    Args:
        recipe: a gansmith recipe as a dictionary.
        images: (N, C, H, W) uint8, at least one batch.
        workers: of the DataLoader; 0 reads in this process.
        seed: of the weights, the order of the images, and all noise (the global generator of torch).

    Attributes:
        generator, discriminator: the networks; of an autoencoder, `discriminator` is the encoder.
        images_seen: real images so far.
    """

    def __init__(self, recipe: dict, images: np.ndarray, workers: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.recipe, self.images_seen = recipe, 0
        self.generator, self.discriminator = plain_networks(recipe)
        self.batch_size, self.latent_dim = recipe["batch_size"], recipe["generator"]["latent_dim"]
        if len(images) < self.batch_size:
            raise ValueError(f"{len(images)} images are fewer than a batch of {self.batch_size}")
        self.real_images = endless_batches(images, self.batch_size, workers, seed)
        self.optimizer_g = self.adam("generator_optimizer", self.generator)
        self.optimizer_d = self.adam("discriminator_optimizer", self.discriminator)

    def adam(self, name: str, network: nn.Module) -> torch.optim.Adam:
        settings = self.recipe.get(name) or self.recipe["generator_optimizer"]  # an autoencoder has but one
        betas = (settings["beta1"], settings["beta2"])
        return torch.optim.Adam(network.parameters(), settings["learning_rate"], betas, settings["epsilon"])

    def step(self) -> None:
        """Train on the next batches: `discriminator_steps` steps of D, one of G."""
        self.set_learning_rates()
        if self.recipe["objective"] == "autoencoder":
            return self.step_of_autoencoder()
        loss_d, loss_g = LOSSES[self.recipe["loss"]]
        for _ in range(self.recipe["discriminator_steps"]):
            real = next(self.real_images)
            fake = self.generator(torch.randn(self.batch_size, self.latent_dim))
            self.optimizer_d.zero_grad()
            (real_logits, r1), (fake_logits, r2) = self.scores(real, "r1"), self.scores(fake.detach(), "r2")
            (loss_d(real_logits, fake_logits) + r1 + r2).mean().backward()
            self.optimizer_d.step()
            self.images_seen += self.batch_size

        count = self.recipe["generator_batch_size"] or self.batch_size
        fake = self.generator(torch.randn(count, self.latent_dim))
        pairs = self.recipe["loss"] == "relativistic"
        real_logits = self.discriminator(real).detach() if pairs else torch.zeros(count)
        self.optimizer_g.zero_grad()
        loss_g(real_logits, self.discriminator(fake)).mean().backward()
        self.optimizer_g.step()
        return None

    def scores(self, images: Tensor, penalty: str) -> tuple[Tensor, Tensor | float]:
        """Return D's logits, and weight / 2 |gradient|^2 of each image (Mescheder et al. 2018), if it is penalised."""
        if penalty not in self.recipe["penalties"]:
            return self.discriminator(images), 0.0
        images.requires_grad_(True)
        logits = self.discriminator(images.view_as(images))  # a view: torch counts operations by hooks leaves refuse
        (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return logits, self.recipe["penalties"][penalty]["weight"] / 2 * (gradients**2).sum((1, 2, 3))

    def step_of_autoencoder(self) -> None:
        real = next(self.real_images)
        mean, log_variance = self.discriminator(real)
        latents = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        for optimizer in (self.optimizer_d, self.optimizer_g):
            optimizer.zero_grad()
        negative_elbo(real, mean, log_variance, self.generator(latents)).mean().backward()
        for optimizer in (self.optimizer_d, self.optimizer_g):
            optimizer.step()
        self.images_seen += self.batch_size

    def set_learning_rates(self) -> None:
        """Follow the recipe's schedule: a factor that falls linearly from 1 to its last value."""
        if schedule := self.recipe["learning_rate_schedule"]:
            share = min(1.0, self.images_seen / schedule["length_images"])
            for name, optimizer in (("generator", self.optimizer_g), ("discriminator", self.optimizer_d)):
                settings = self.recipe.get(f"{name}_optimizer") or self.recipe["generator_optimizer"]
                for group in optimizer.param_groups:
                    group["lr"] = settings["learning_rate"] * (1 - (1 - schedule["final_factor"]) * share)


@torch.no_grad()
def plain_sample(generator: nn.Module, count: int, latent_dim: int, batch_size: int = 128) -> Tensor:
    """Return `count` samples (count, C, H, W) float32 in [-1, 1]."""
    generator.eval()
    parts = []
    for start in range(0, count, batch_size):
        parts.append(generator(torch.randn(min(batch_size, count - start), latent_dim)))
    generator.train()
    return torch.cat(parts)
