"""One training step, as in the papers' algorithm boxes (Goodfellow et al. 2014, algorithm 1).

    for n_dis times:  draw real x and latents z;  descend  mean[ loss.d(D(x), D(G(z))) + penalties ]  in D
    draw latents z, or take those of the last D step;  descend  mean[ loss.g(D(x), D(G(z))) ]  in G
    average G's weights

That is the alternating update. In the simultaneous one both players descend from the same point, and the last D step
and the G step are one: `simultaneous_step`. Losses give one value per sample and are reduced here, once, over the batch
of all ranks, each of which computes its share of it. Nothing here waits for the device.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gansmith import ranks, runtime
from gansmith.build import build_networks, build_optimizer
from gansmith.data import Batch
from gansmith.ema import ema_decay, update_ema
from gansmith.losses import LOSSES
from gansmith.penalties import PENALTIES
from gansmith.recipe import Recipe
from gansmith.regularisation import clip_weights, weight_loss
from gansmith.training.gradients import frozen, one_backward, two_backwards
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


def draw(state: TrainState, phase: str, count: int, ahead: int = 0, batches: int = 1) -> Draws:
    """Return this rank's part of the draws of a phase: a function of (seed, images seen, phase) and the rank alone.

    Args:
        state: its seed and counters.
        phase: whose draws.
        count: latents of all ranks together.
        ahead: images seen within this step before the phase.
        batches: that the latents are, one behind the other; a rank has a share of each.
    """
    rng = runtime.generator_for(state.device, state.seed, "step", state.counters["images"] + ahead, phase)
    latents = torch.randn(count, state.recipe.generator.latent_dim, generator=rng, device=state.device)
    start, stop = ranks.share_of(count // batches)
    return Draws(latents.view(batches, -1, latents.shape[1])[:, start:stop].flatten(0, 1), rng)


def seed_dropout(state: TrainState) -> None:
    """Seed torch's global generator, which dropout draws from, for this step: each rank drops other values."""
    rank = ranks.current().rank
    torch.manual_seed(runtime.seed_of(state.seed, "step", state.counters["images"], "dropout", *([rank] * (rank > 0))))


def set_rates(state: TrainState) -> None:
    """Give the optimisers the learning rates of this step, where the recipe has a schedule."""
    recipe = state.recipe
    if recipe.learning_rate_schedule is not None:
        factor = recipe.learning_rate_schedule.factor(state.counters["images"])
        for name, optimizer in state.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = recipe.optimizer_of(name).learning_rate * factor


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
    recipe, discriminator = state.recipe, state.modules["discriminator"]
    count, measured = len(real.images), []
    for start, stop in parts_of(count, state.micro_batch):
        part, fake = real.part(start, stop), fake_images[start:stop].detach()
        real_logits, fake_logits = logits_of_pair(state, part.images, fake, part.labels)
        loss = LOSSES[recipe.loss].d(real_logits, fake_logits)
        penalties = due_penalties(recipe, discriminator, part, fake, rng, steps_taken)
        total = loss + sum(weight * value for weight, value in penalties.values())
        collect_gradients(state, ["discriminator"], mean_over_ranks(total, count))
        measured.append(measured_of(loss, real_logits, fake_logits, penalties))
    descend(state, "discriminator")
    return mean_of(measured)


def logits_of_pair(
    state: TrainState, real_images: Tensor, fake_images: Tensor, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return D's logits (N,) of reals and of fakes of the same classes, in one pass where batch norm in D forbids none.

    Batch norm has statistics of reals and of fakes apart, as usual. In one pass, spectral norm iterates once.
    """
    discriminator = state.modules["discriminator"]
    with runtime.autocast(state.device, state.recipe.precision):
        if state.recipe.discriminator_mixes_images:
            return discriminator(real_images, labels), discriminator(fake_images, labels)
        both = torch.cat([real_images, fake_images.to(real_images.dtype)])
        logits: Tensor = discriminator(both, None if labels is None else labels.repeat(2))
        real_logits, fake_logits = logits.chunk(2)
        return real_logits, fake_logits


def measured_of(
    loss: Tensor, real_logits: Tensor, fake_logits: Tensor, penalties: Mapping[str, tuple[float, Tensor]]
) -> dict[str, Tensor]:
    """Return what a discriminator step reports, as 0-d tensors."""
    return {
        "loss_d": loss.detach().mean(),
        "d_accuracy": (real_logits > fake_logits).float().mean(),
        **{f"penalty_{name}": value.detach().mean() for name, (_, value) in penalties.items()},
    }


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
        collect_gradients(state, ["generator"], mean_over_ranks(loss, count))
        measured.append({"loss_g": loss.detach().mean()})
    descend(state, "generator")
    return mean_of(measured)


def simultaneous_step(
    state: TrainState, real: Batch, latents: Tensor, rng: torch.Generator, steps_taken: int
) -> dict[str, Tensor]:
    """Descend both losses from the same point, with the same fakes and one pass of D over them.

    Args:
        state: both networks and optimisers are changed.
        real: as in `discriminator_step`; G's loss is paired with them too, where it pairs.
        latents: (N, latent_dim).
        rng: that penalties draw from.
        steps_taken: as in `discriminator_step`.

    Returns:
        what both steps return.
    """
    recipe, discriminator = state.recipe, state.modules["discriminator"]
    count, measured = len(latents), []
    for start, stop in parts_of(count, state.micro_batch):
        part = real.part(start, stop)
        fake_images = generate(state, latents[start:stop], part.labels)
        fake = fake_images.detach().requires_grad_(True)
        real_logits, fake_logits = logits_of_pair(state, part.images, fake, part.labels)
        loss = LOSSES[recipe.loss].d(real_logits, fake_logits)
        loss_g = LOSSES[recipe.loss].g(real_logits.detach(), fake_logits)
        penalties = due_penalties(recipe, discriminator, part, fake, rng, steps_taken)
        if penalties:
            total = torch.stack([weight * value for weight, value in penalties.values()]).sum(0)
            collect_gradients(state, ["discriminator"], mean_over_ranks(total, count))
        both = mean_over_ranks(loss, count), mean_over_ranks(loss_g, count)
        gradients = (two_backwards if recipe.discriminator_mixes_images else one_backward)(
            *both, real_logits, fake_logits, fake, parameters_of(state.optimizers["discriminator"])
        )
        torch.autograd.backward(fake_images, gradients, inputs=parameters_of(state.optimizers["generator"]))
        measured.append({**measured_of(loss, real_logits, fake_logits, penalties), "loss_g": loss_g.detach().mean()})
    descend(state, "discriminator", "generator")
    return mean_of(measured)


def mean_over_ranks(values: Tensor, count: int) -> Tensor:
    """Return this rank's part of the mean over the batch: the sum of (n,) values / items of all ranks.

    Args:
        values: of a part of this rank's share.
        count: items of this rank's share.
    """
    return values.sum() / (count * ranks.current().size)


def parts_of(count: int, micro_batch: int | None) -> list[tuple[int, int]]:
    """Return (start, stop) of the parts that a batch is computed in: one, unless memory asks for more."""
    size = micro_batch or count
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def collect_gradients(state: TrainState, names: Sequence[str], loss: Tensor) -> None:
    """Add the gradients of a 0-d loss to those of the parameters of these of `state.modules`."""
    inputs = [parameter for name in names for parameter in parameters_of(state.optimizers[name])]
    torch.autograd.backward(loss, inputs=inputs)


def descend(state: TrainState, *names: str) -> None:
    """Take one optimiser step of each of these modules down the gradients that all ranks collected, and forget them."""
    recipe = state.recipe
    ranks.sum_gradients([parameter for name in names for parameter in parameters_of(state.optimizers[name])])
    for name in names:
        if (weights := weight_loss(state.modules[name], recipe.regularisation)) is not None:
            collect_gradients(state, [name], weights)
        state.optimizers[name].step()
        state.optimizers[name].zero_grad(set_to_none=True)
        if name == "discriminator":
            clip_weights(state.modules[name], recipe.regularisation)


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return what the optimiser changes."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


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
