"""One training step, as in the papers' algorithm boxes (Goodfellow et al. 2014, algorithm 1).

    for n_dis times:  draw real x and latents z;  descend  mean[ loss.d(D(x), D(G(z))) + penalties ]  in D
    draw latents z, or take those of the last D step;  descend  mean[ loss.g(D(x), D(G(z))) ]  in G
    average G's weights

Losses give one value per sample and are reduced here, once. Nothing here waits for the device.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gansmith import runtime
from gansmith.build import build_networks, build_optimizer
from gansmith.data import Batch
from gansmith.ema import ema_decay, update_ema
from gansmith.losses import LOSSES
from gansmith.penalties import PENALTIES
from gansmith.recipe import Recipe
from gansmith.regularisation import clip_weights, weight_loss
from gansmith.training.state import TrainState


def initial_state(recipe: Recipe, seed: int, device: torch.device, averaged: Sequence[str]) -> TrainState:
    """Return fresh networks with weights drawn from the seed, their optimisers, and copies of some as averages."""
    modules = {name: module.train() for name, module in build_networks(recipe, seed, device).items()}
    return TrainState(
        recipe=recipe,
        seed=seed,
        device=device,
        modules=modules,
        optimizers={
            name: build_optimizer(recipe.optimizer_of(name), module.parameters()) for name, module in modules.items()
        },
        ema={name: copy.deepcopy(modules[name]).requires_grad_(False).eval() for name in averaged},
    )


@dataclass(frozen=True)
class Draws:
    """The random numbers of one phase of a step.

    Attributes:
        latents: (N, latent_dim) float32, normal.
        rng: for whatever else the phase draws.
    """

    latents: Tensor
    rng: torch.Generator


def draw(state: TrainState, phase: str, count: int) -> Draws:
    """Return the draws of a phase as a function of (seed, images seen, phase) alone; dropout is reseeded with them."""
    parts = (state.seed, "step", state.counters["images"], phase)
    torch.manual_seed(runtime.seed_of(*parts, "dropout"))
    rng = runtime.generator_for(state.device, *parts)
    latents = torch.randn(count, state.recipe.generator.latent_dim, generator=rng, device=state.device)
    return Draws(latents, rng)


def generate(state: TrainState, latents: Tensor, labels: Tensor | None) -> Tensor:
    """Return the training generator's samples (N, C, H, W) for latents (N, latent_dim), in the run's precision."""
    with runtime.autocast(state.device, state.recipe.precision):
        fake_images: Tensor = state.modules["generator"](latents, labels)
        return fake_images


def discriminator_step(
    state: TrainState, real: Batch, fake_images: Tensor, rng: torch.Generator, steps_taken: int
) -> dict[str, Tensor]:
    """Descend D's loss on real images and as many fakes of the same classes.

    Args:
        state: its discriminator and that optimiser are changed.
        real: images (N, C, H, W) in [-1, 1], with labels (N,) where the recipe is conditional.
        fake_images: (N, C, H, W) in [-1, 1]; no gradient goes to what made them.
        rng: that penalties draw from.
        steps_taken: discriminator steps before this one; decides whose turn a lazy penalty is.

    Returns:
        `loss_d`, `d_accuracy` and each `penalty_*` applied, as 0-d tensors.
    """
    recipe, count, discriminator = state.recipe, len(real.images), state.modules["discriminator"]
    measured = []
    for start, stop in parts_of(count, state.micro_batch):
        part, fake = real.part(start, stop), fake_images[start:stop].detach()
        with runtime.autocast(state.device, recipe.precision):
            real_logits = discriminator(part.images, part.labels)
            fake_logits = discriminator(fake, part.labels)
        loss = LOSSES[recipe.loss].d(real_logits, fake_logits)
        penalties = due_penalties(recipe, discriminator, part, fake, rng, steps_taken)
        total = loss + sum(weight * value for weight, value in penalties.values())
        collect_gradients(state, ["discriminator"], total.sum() / count)
        measured.append({
            "loss_d": loss.detach().mean(),
            "d_accuracy": (real_logits > fake_logits).float().mean(),
            **{f"penalty_{name}": value.detach().mean() for name, (_, value) in penalties.items()},
        })  # fmt: skip
    descend(state, "discriminator")
    clip_weights(discriminator, recipe.regularisation)
    return mean_of(measured)


def due_penalties(
    recipe: Recipe, discriminator: nn.Module, real: Batch, fake_images: Tensor, rng: torch.Generator, steps_taken: int
) -> dict[str, tuple[float, Tensor]]:
    """Return name -> (weight, (N,) values) of the penalties whose turn it is; a lazy one weighs `every` times more."""
    return {
        name: (settings.weight * settings.every,
               PENALTIES[name](discriminator, real.images, fake_images, real.labels, rng))
        for name, settings in recipe.penalties.items()
        if steps_taken % settings.every == 0
    }  # fmt: skip


def generator_step(
    state: TrainState, real: Batch | None, labels: Tensor | None, latents: Tensor, fake_images: Tensor | None = None
) -> dict[str, Tensor]:
    """Descend G's loss; D passes gradients on but collects none of its own.

    Args:
        state: its generator and that optimiser are changed.
        real: N images to pair the fakes with, for a loss that needs them; their logits are taken without a graph.
        labels: (N,) of the fakes, or None.
        latents: (N, latent_dim).
        fake_images: (N, C, H, W) with a graph, if they are made already; else they are made from the latents.

    Returns:
        `loss_g` as a 0-d tensor.
    """
    recipe, count, discriminator = state.recipe, len(latents), state.modules["discriminator"]
    measured = []
    for start, stop in parts_of(count, state.micro_batch):
        part_labels = None if labels is None else labels[start:stop]
        fake = generate(state, latents[start:stop], part_labels) if fake_images is None else fake_images
        with frozen(discriminator), runtime.autocast(state.device, recipe.precision):
            fake_logits = discriminator(fake, part_labels)
            real_logits = fake_logits.detach()
            if real is not None:
                with torch.no_grad():
                    real_logits = discriminator(real.images[start:stop], part_labels)
        loss = LOSSES[recipe.loss].g(real_logits, fake_logits)
        collect_gradients(state, ["generator"], loss.sum() / count)
        measured.append({"loss_g": loss.detach().mean()})
    descend(state, "generator")
    return mean_of(measured)


def parts_of(count: int, micro_batch: int | None) -> list[tuple[int, int]]:
    """Return (start, stop) of the parts that a batch is computed in: one, unless memory asks for more."""
    size = micro_batch or count
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def collect_gradients(state: TrainState, names: Sequence[str], loss: Tensor) -> None:
    """Add the gradients of a 0-d loss to those of the parameters of these of `state.modules`."""
    inputs = [parameter for name in names for parameter in parameters_of(state.optimizers[name])]
    torch.autograd.backward(loss, inputs=inputs)


def descend(state: TrainState, name: str) -> None:
    """Take one optimiser step of `state.modules[name]` down the gradients collected, and forget them."""
    recipe, optimizer = state.recipe, state.optimizers[name]
    if (weights := weight_loss(state.modules[name], recipe.regularisation)) is not None:
        collect_gradients(state, [name], weights)
    if recipe.learning_rate_schedule is not None:
        settings = recipe.optimizer_of(name)
        factor = recipe.learning_rate_schedule.factor(state.counters["images"])
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return what the optimiser changes."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a module without collecting them in its parameters (a third of its backward)."""
    parameters = list(module.parameters())
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def average(state: TrainState, batch_size: int) -> None:
    """Move the EMA copies towards the modules; `state.counters["images"]` already includes this step."""
    decay = ema_decay(state.recipe.ema_half_life_images, state.counters["images"], batch_size)
    for name, averaged in state.ema.items():
        update_ema(averaged, state.modules[name], decay)


def mean_of(measured: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each name over the dictionaries that have it."""
    if len(measured) == 1:
        return dict(measured[0])
    names = {name: None for values in measured for name in values}
    return {name: torch.stack([values[name] for values in measured if name in values]).mean() for name in names}
