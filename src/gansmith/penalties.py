"""Gradient penalties of the discriminator: one value per sample, in float32 whatever the precision of the rest.

What is not a function of D's gradient (L1, L2, weight clipping) is `regularisation.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gansmith import ranks
from gansmith.runtime import at_least_float32, full_precision

Discriminator = Callable[[Tensor, Tensor | None], Tensor]
Penalty = Callable[[Discriminator, Tensor, Tensor, Tensor | None, torch.Generator], Tensor]
"""(discriminator, real, fake, labels, rng) -> (N,): real and fake (N, C, *space) float32, labels (N,) or None."""


def input_gradients(discriminator: Discriminator, samples: Tensor, labels: Tensor | None) -> Tensor:
    """Return dD/dx of each sample, (N, C * space) float32, with a graph, so that it can be trained on.

    Args:
        discriminator: (samples, labels) -> (N,) logits, each of which depends on its own sample alone.
        samples: (N, C, *space) float32; the gradient stops here.
        labels: (N,) int64 or None.
    """
    samples = at_least_float32(samples.detach()).requires_grad_(True)
    with full_precision(samples.device):
        # Given a view, not the leaf: torch counts operations (`train --dry-run`, `bench`) by hooks that leaves refuse.
        logits = discriminator(samples.view_as(samples), labels)
        (gradients,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
    return gradients.flatten(1)


def r1(discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor | None, rng: torch.Generator) -> Tensor:
    """|dD/dx|^2 / 2 at the real images: weight is gamma (Mescheder et al. 2018, eq. 9)."""
    return 0.5 * input_gradients(discriminator, real, labels).square().sum(1)


def r2(discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor | None, rng: torch.Generator) -> Tensor:
    """|dD/dx|^2 / 2 at the generated images: weight is gamma (Mescheder et al. 2018, eq. 10)."""
    return 0.5 * input_gradients(discriminator, fake, labels).square().sum(1)


def gradient_penalty(
    discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor | None, rng: torch.Generator
) -> Tensor:
    """(|dD/dx| - 1)^2 at points between pairs of real and fake: weight is lambda (Gulrajani et al. 2017, eq. 3).

    The mixing share is uniform and drawn per sample from `rng`, which must live on the device of `real`.
    """
    share = ranks.rand(real.shape[0], rng, real.device)
    real, fake = at_least_float32(real), at_least_float32(fake)
    mixed = torch.lerp(fake, real, share.to(real.dtype).view(-1, *[1] * (real.ndim - 1)))
    norms: Tensor = torch.linalg.vector_norm(input_gradients(discriminator, mixed, labels), dim=1)
    return (norms - 1).square()


PENALTIES: dict[str, Penalty] = {
    "r1": r1,
    "r2": r2,
    "gradient_penalty": gradient_penalty,
}
