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
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from gansmith import runtime
from gansmith.build import build_networks, build_optimizer
from gansmith.data import Batch
from gansmith.losses import LOSSES
from gansmith.penalties import PENALTIES
from gansmith.recipe import PenaltySettings, Recipe
from gansmith.training.descent import (
    average,
    collect_gradients,
    descend,
    mean_of,
    mean_over_ranks,
    parameters_of,
    parts_of,
    set_rates,
)
from gansmith.training.draws import seed_dropout
from gansmith.training.gradients import frozen, one_backward, two_backwards
from gansmith.training.measures import is_measured, measured_of_logits, measured_of_samples
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


def whole_step(state: TrainState, num_images: int, update: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Take one step: what is the host's work around `update`, which is the device's.

    Args:
        state: changed.
        num_images: real images that the step shows, over all ranks.
        update: changes the networks; the counters are not its to change.

    Returns:
        what `update` does.
    """
    seed_dropout(state)
    set_rates(state)
    measured = update()
    state.counters["images"] += num_images
    state.counters["steps"] += 1
    average(state, num_images)
    return measured


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
        `loss_d`, `d_accuracy`, each `penalty_*` applied, `gradient_norm_d`, and on some steps what `measures.py` does,
        as 0-d tensors.
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
        measured.append(measured_of(state, loss, real_logits, fake_logits, penalties))
    return {**mean_of(measured), **measured_on_some(state, real, fake_images), **descend(state, "discriminator")}


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
    state: TrainState, loss: Tensor, real_logits: Tensor, fake_logits: Tensor,
    penalties: Mapping[str, tuple[float, Tensor]],
) -> dict[str, Tensor]:  # fmt: skip
    """Return what a discriminator step reports, as 0-d tensors."""
    return {
        "loss_d": loss.detach().mean(),
        "d_accuracy": (real_logits > fake_logits).float().mean(),
        **{f"penalty_{name}": value.detach().mean() for name, (_, value) in penalties.items()},
        **(measured_of_logits(real_logits, fake_logits) if is_measured(state) else {}),
    }


def measured_on_some(state: TrainState, real: Batch, fake_images: Tensor) -> dict[str, Tensor]:
    """Return what `measured_of_samples` does, on the steps that are measured."""
    if not is_measured(state):
        return {}
    return measured_of_samples(real.images, fake_images, real.labels if state.recipe.num_classes else None)


def due_penalties(
    recipe: Recipe, discriminator: nn.Module, real: Batch, fake_images: Tensor, rng: torch.Generator, steps_taken: int
) -> dict[str, tuple[float, Tensor]]:
    """Return name -> (weight, (N,) values) of the penalties whose turn it is; a lazy one weighs `every` times more."""
    return {
        name: (settings.weight * settings.every,
               PENALTIES[name](discriminator, real.images, fake_images, real.labels, rng))
        for name, settings in recipe.penalties.items()
        if is_due(settings, steps_taken)
    }  # fmt: skip


def is_due(penalty: PenaltySettings, steps_taken: int) -> bool:
    """Return whether it is a penalty's turn, after so many discriminator steps."""
    return steps_taken % penalty.every == 0


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
        `loss_g` and `gradient_norm_g`, as 0-d tensors.
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
    return {**mean_of(measured), **descend(state, "generator")}


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
        measured.append(
            {**measured_of(state, loss, real_logits, fake_logits, penalties), "loss_g": loss_g.detach().mean()}
        )
    norms = descend(state, "discriminator", "generator")
    return {**mean_of(measured), **measured_on_some(state, part, fake), **norms}
