"""The exponential moving average of a generator's weights, and batch-norm statistics that fit it.

Everything a user sees comes from the average in eval mode; the training modules are never touched here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from gansmith import runtime
from gansmith.facts import Classes
from gansmith.settings import Precision

SETTLING_BATCHES, SETTLING_LATENTS = 16, 128
WARM_UP_SHARE = 0.05
"""The half-life is at most this share of the images seen, so that the first weights are soon forgotten."""


def ema_decay(half_life_images: float, images_seen: int | None, batch_size: int) -> float:
    """Return the weight of the old average: 0.5 ^ (batch / half-life), 0 for a half-life of 0 (Huang et al. 2024).

    Args:
        half_life_images: from the recipe; shortened to 5 % of `images_seen` at the start of training.
        images_seen: real images shown to D so far, this step's included; None where the recipe has a schedule of its
            own, which nothing shortens.
        batch_size: images of this step.
    """
    half_life = half_life_images if images_seen is None else min(half_life_images, WARM_UP_SHARE * images_seen)
    return 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0


@torch.no_grad()
def update_ema(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move every parameter of `average` towards `module`: average = decay * average + (1 - decay) * module.

    Buffers are left alone: spectral-norm vectors do not occur in a generator, and batch-norm statistics are measured
    by `restore_batch_norm`.
    """
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1.0 - decay)


def settle_generator(generator: nn.Module, seed: int, precision: Precision, classes: Classes | None = None) -> None:
    """Give an averaged generator batch-norm statistics that fit its weights, from 16 batches of 128 latents.

    Args:
        generator: called as generator(latents, labels); with an attribute `latent_dim`.
        seed: of the run; it fixes the latents and labels.
        precision: that the run computes in.
        classes: of a conditional generator; labels are drawn by how often the classes occur.
    """
    device = next(generator.parameters()).device
    rng = runtime.generator_for(device, seed, "batch norm")
    with runtime.autocast(device, precision):
        restore_batch_norm(generator, _inputs(cast(int, generator.latent_dim), rng, classes))


def _inputs(latent_dim: int, rng: torch.Generator, classes: Classes | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    counts = None if classes is None else torch.tensor(classes.counts, dtype=torch.float32, device=rng.device)
    for _ in range(SETTLING_BATCHES):
        latents = torch.randn(SETTLING_LATENTS, latent_dim, generator=rng, device=rng.device)
        yield latents, None if counts is None else counts.multinomial(SETTLING_LATENTS, True, generator=rng)


@torch.no_grad()
def restore_batch_norm(generator: nn.Module, batches: Iterable[tuple[Tensor, Tensor | None]]) -> None:
    """Set the batch-norm statistics of an averaged generator to the mean over these batches, then eval mode.

    Averaged weights do not go with averaged statistics. The result depends on weights and batches alone. A generator
    without batch norm is only put into eval mode.

    Args:
        generator: called as generator(latents, labels).
        batches: of (latents (N, latent_dim) float32, labels (N,) int64 or None) on the generator's device.
    """
    generator.eval()
    layers = [layer for layer in generator.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
        layer.train()
    for latents, labels in batches:
        generator(latents, labels)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
