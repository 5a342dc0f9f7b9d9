"""One training step, as in the papers' algorithm boxes (Goodfellow et al. 2014, algorithm 1).

    for n_dis times:  draw real x and latents z;  descend  mean[ loss.d(D(x), D(G(z))) + penalties ]  in D
    draw latents z, or take those of the last D step;  descend  mean[ loss.g(D(x), D(G(z))) ]  in G
    average G's weights

Where the recipe augments, D(.) is D(T(.)) throughout, penalties included, each T a draw of its own.

That is the alternating update. In the simultaneous one both players descend from the same point, and the last D step
and the G step are one: `simultaneous_step`. Losses give one value per sample and are reduced here, once, over the batch
of all ranks, each of which computes its share of it. Nothing here waits for the device.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gansmith import runtime
from gansmith.build import build_networks, build_optimizer
from gansmith.data import Batch
from gansmith.losses import LOSSES
from gansmith.recipe import Recipe
from gansmith.training.augmentation import (
    adapt,
    build_augmenter,
    draw_transformations,
    probability_of,
    set_probability,
)
from gansmith.training.descent import (
    average,
    collect_gradients,
    descend,
    finite_statistics,
    mean_of,
    mean_over_ranks,
    parameters_of,
    parts_of,
    set_rates,
)
from gansmith.training.draws import Draws, seed_dropout
from gansmith.training.gradients import frozen, one_backward, start_of, two_backwards
from gansmith.training.lecam import lecam_of
from gansmith.training.measures import is_measured, measured_of_logits, measured_of_samples
from gansmith.training.scoring import (
    Pair,
    Scored,
    due_penalties,
    due_weights,
    generator_loss,
    logits_of_pair,
    note_logits,
    scored,
)
from gansmith.training.shared_pass import collect_from_one_pass
from gansmith.training.state import TrainState


def initial_state(recipe: Recipe, seed: int, device: torch.device, averaged: Sequence[str]) -> TrainState:
    """Return fresh networks with weights drawn from the seed, their optimisers, and copies of some as averages."""
    modules = {name: module.train() for name, module in build_networks(recipe, seed, device).items()}
    return TrainState(
        recipe=recipe,
        seed=seed,
        device=device,
        modules={**modules, **build_augmenter(recipe, device)},
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
    set_probability(state)
    with finite_statistics(state):
        measured = {**update(), **probability_of(state)}
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
        rng: that augmentation and penalties draw from.
        steps_taken: discriminator steps before this one; decides whose turn a lazy penalty is.

    Returns:
        `loss_d`, `d_accuracy`, `gradient_norm_d`, each `penalty_*` applied, and on some steps what `measures.py` does,
        as 0-d tensors.
    """
    count = len(real.images)
    pair = Pair(real, fake_images.detach(), *draw_transformations(state, count, rng, players=2))
    parts = [
        _collect(state, pair.part(start, stop), rng, steps_taken, count)
        for start, stop in parts_of(count, state.micro_batch)
    ]
    return {**_measured(state, pair, parts), **_descend(state, parts, count, "discriminator")}


def _collect(state: TrainState, pair: Pair, rng: torch.Generator, steps_taken: int, count: int) -> Scored:
    """Collect D's gradients at a part of `count` pairs."""
    weights = due_weights(state, steps_taken)
    if weights and state.recipe.penalties_share_pass:
        return collect_from_one_pass(state, pair, weights, count)[0]
    seen = pair.of_real(pair.real.images), pair.of_fake(pair.fake_images)
    real_logits, fake_logits = logits_of_pair(state, *seen, pair.real.labels)
    loss = LOSSES[state.recipe.loss].d(real_logits, fake_logits)
    penalties = lecam_of(state, real_logits, fake_logits) | due_penalties(state, pair, rng, steps_taken)
    total = loss + sum(weight * value for weight, value in penalties.values())
    collect_gradients(state, ["discriminator"], mean_over_ranks(total, count))
    return scored(loss, real_logits, fake_logits, penalties)


def _measured(state: TrainState, pair: Pair, parts: list[Scored]) -> dict[str, Tensor]:
    measured = mean_of([part.measured() for part in parts], [len(part.loss) for part in parts])
    if is_measured(state):
        labels = pair.real.labels if state.recipe.num_classes else None
        measured |= measured_of_samples(pair.real.images, pair.fake_images, labels)
        both = torch.cat([part.real_logits for part in parts]), torch.cat([part.fake_logits for part in parts])
        measured |= measured_of_logits(*both)
    return measured


def _descend(state: TrainState, parts: list[Scored], count: int, *names: str) -> dict[str, Tensor]:
    note_logits(state, parts)
    norms = descend(state, *names)
    adapt(state, count)
    return norms


def generator_step(
    state: TrainState, real: Batch | None, labels: Tensor | None, draws: Draws, fake_images: Tensor | None = None
) -> dict[str, Tensor]:
    """Descend G's loss; D passes gradients on but collects none of its own.

    Args:
        state: its generator and that optimiser are changed.
        real: N images to pair the fakes with, for a loss that needs them; their logits are taken without a graph.
        labels: (N,) of the fakes, or None.
        draws: N latents, and what augmentation draws from.
        fake_images: (N, C, H, W) with a graph, if they are made already; else they are made from the latents.

    Returns:
        `loss_g` and `gradient_norm_g` as 0-d tensors.
    """
    recipe, discriminator, latents = state.recipe, state.modules["discriminator"], draws.latents
    count, measured = len(latents), []
    players = 1 if real is None else 2
    of_fakes, *of_reals = draw_transformations(state, count, draws.rng, players, draws.batches)
    for start, stop in parts_of(count, state.micro_batch):
        part_labels = None if labels is None else labels[start:stop]
        fake = generate(state, latents[start:stop], part_labels) if fake_images is None else fake_images
        with frozen(discriminator), runtime.autocast(state.device, recipe.precision):
            fake_logits = discriminator(of_fakes.part(start, stop)(fake), part_labels)
            real_logits = fake_logits.detach()
            if real is not None:
                with torch.no_grad():
                    seen = of_reals[0].part(start, stop)(real.images[start:stop])
                    real_logits = discriminator(seen, part_labels)
        loss = generator_loss(state, real_logits, fake_logits)
        collect_gradients(state, ["generator"], mean_over_ranks(loss, count))
        measured.append({"loss_g": loss.detach().mean()})
    counts = [stop - start for start, stop in parts_of(count, state.micro_batch)]
    return {**mean_of(measured, counts), **descend(state, "generator")}


def simultaneous_step(
    state: TrainState, real: Batch, latents: Tensor, rng: torch.Generator, steps_taken: int
) -> dict[str, Tensor]:
    """Descend both losses from the same point, with the same fakes and one pass of D over them.

    Args:
        state: both networks and optimisers are changed.
        real: as in `discriminator_step`; G's loss is paired with them too, where it pairs.
        latents: (N, latent_dim).
        rng: that augmentation and penalties draw from; both players see the same draws.
        steps_taken: as in `discriminator_step`.

    Returns:
        what both steps return.
    """
    count, parts, fakes, losses = len(latents), [], [], []
    transformations = draw_transformations(state, count, rng, players=2)
    for start, stop in parts_of(count, state.micro_batch):
        own = [each.part(start, stop) for each in transformations]
        fake_images = generate(state, latents[start:stop], real.part(start, stop).labels)
        pair = Pair(real.part(start, stop), fake_images.detach(), *own)
        part, loss_g, gradients = _collect_both(state, pair, rng, steps_taken, count)
        torch.autograd.backward(
            fake_images, gradients.to(fake_images.dtype), inputs=parameters_of(state.optimizers["generator"])
        )
        parts.append(part)
        fakes.append(pair.fake_images.detach())
        losses.append({"loss_g": loss_g.detach().mean()})
    measured = _measured(state, Pair(real, torch.cat(fakes)), parts) | mean_of(losses, [len(fake) for fake in fakes])
    return {**measured, **_descend(state, parts, count, "discriminator", "generator")}


def _collect_both(
    state: TrainState, pair: Pair, rng: torch.Generator, steps_taken: int, count: int
) -> tuple[Scored, Tensor, Tensor]:
    """Collect D's gradients at a part of `count` pairs; return also G's loss (N,) and its gradient at the fakes."""
    recipe, weights = state.recipe, due_weights(state, steps_taken)
    if weights and recipe.penalties_share_pass:
        found, slopes = collect_from_one_pass(state, pair, weights, count)
        fake_logits = found.fake_logits.clone().requires_grad_(True)
        loss_g = generator_loss(state, found.real_logits, fake_logits)
        mean_g = mean_over_ranks(loss_g, count)
        (starts,) = torch.autograd.grad(mean_g, fake_logits, start_of(mean_g))
        return found, loss_g, slopes * starts.view(-1, *[1] * (slopes.ndim - 1))
    fake = pair.fake_images.requires_grad_(True)
    real_logits, fake_logits = logits_of_pair(
        state, pair.of_real(pair.real.images), pair.of_fake(fake), pair.real.labels
    )
    loss = LOSSES[recipe.loss].d(real_logits, fake_logits)
    loss_g = generator_loss(state, real_logits.detach(), fake_logits)
    anchored = lecam_of(state, real_logits, fake_logits)
    total = loss + sum(weight * value for weight, value in anchored.values())
    penalties = due_penalties(state, pair, rng, steps_taken)
    if penalties:
        added = torch.stack([weight * value for weight, value in penalties.values()]).sum(0)
        collect_gradients(state, ["discriminator"], mean_over_ranks(added, count))
    gradients = (two_backwards if recipe.discriminator_mixes_images else one_backward)(
        mean_over_ranks(total, count), mean_over_ranks(loss_g, count), real_logits, fake_logits, fake,
        parameters_of(state.optimizers["discriminator"]),
    )  # fmt: skip
    return scored(loss, real_logits, fake_logits, anchored | penalties), loss_g, gradients
