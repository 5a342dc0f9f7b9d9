"""The exponential moving average of a generator's weights, and batch-norm statistics that fit it.

Everything a user sees comes from the average in eval mode; the training modules are never touched here.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gansmith import runtime
from gansmith.recipe import Precision

SETTLING_BATCHES, SETTLING_LATENTS = 16, 128
WARM_UP_SHARE = 0.05
"""The half-life is at most this share of the images seen, so that the first weights are soon forgotten."""


def ema_decay(half_life_images: int, images_seen: int, batch_size: int) -> float:
    """Return the weight of the old average: 0.5 ^ (batch / half-life), 0 for a half-life of 0 (Huang et al. 2024).

    Args:
        half_life_images: from the recipe; shortened to 5 % of `images_seen` at the start of training.
        images_seen: real images shown to D so far, this step's included.
        batch_size: images of this step.
    """
    half_life = min(float(half_life_images), WARM_UP_SHARE * images_seen)
    return 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0


@torch.no_grad()
def update_ema(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move every parameter of `average` towards `module`: average = decay * average + (1 - decay) * module.

    Buffers are left alone: spectral-norm vectors do not occur in a generator, and batch-norm statistics are measured
    by `restore_batch_norm`.
    """
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1.0 - decay)


def settle_generator(generator: nn.Module, latent_dim: int, seed: int, precision: Precision) -> None:
    """Give an averaged generator batch-norm statistics that fit its weights, from 16 batches of 128 latents.

    Args:
        generator: called as generator(latents, None).
        latent_dim: how many latents a sample takes.
        seed: of the run; it fixes the latents.
        precision: that the run computes in.
    """
    device = next(generator.parameters()).device
    rng = runtime.generator_for(device, seed, "batch norm")
    shape = (SETTLING_LATENTS, latent_dim)
    batches = (torch.randn(shape, generator=rng, device=device) for _ in range(SETTLING_BATCHES))
    with runtime.autocast(device, precision):
        restore_batch_norm(generator, batches)


@torch.no_grad()
def restore_batch_norm(generator: nn.Module, latent_batches: Iterable[Tensor]) -> None:
    """Set the batch-norm statistics of an averaged generator to the mean over these batches, then eval mode.

    Averaged weights do not go with averaged statistics. The result depends on weights and latents alone. A generator
    without batch norm is only put into eval mode.

    Args:
        generator: called as generator(latents, None).
        latent_batches: each (N, latent_dim) float32 on the generator's device.
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
    for latents in latent_batches:
        generator(latents, None)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
