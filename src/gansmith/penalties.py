"""Penalties of the discriminator at images: one value per sample, in float32 whatever the precision of the rest.

Of its gradient there (r1, r2, gradient_penalty), and of its change under a small change of the image (consistency).
What acts on weights alone (L1, L2, weight clipping) is `regularisation.py`.
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
        discriminator: (samples, labels) -> (N,) logits. Where a logit also depends on other samples, the gradient is
            that of the sum of all logits, as StyleGAN2 takes it with minibatch deviation (Karras et al. 2020).
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


LARGEST_SHIFT, SHIFT_SHARE = 4, 8
"""Pixels, and an image's side / its largest shift: 4 pixels at 32, as in the paper, and from there on."""


def moved(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return images (N, C, H, W), each perhaps mirrored left to right, and shifted by up to 4 pixels with reflection.

    Of smaller sides than 32, by up to an eighth. Drawn per image from `rng`, which must live on the images' device.
    """
    height, width = images.shape[2:]
    count, device = len(images), images.device
    is_mirrored, down, right = (ranks.rand(count, rng, device)[:, None] for _ in range(3))
    rows, columns = _shifted(height, down), _shifted(width, right)
    columns = torch.where(is_mirrored < 0.5, width - 1 - columns, columns)
    of = torch.arange(count, device=device)[:, None, None]
    return images[of, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _shifted(side: int, share: Tensor) -> Tensor:
    """Return (N, side): which pixel comes to each place; shares (N, 1) in [0, 1) choose the shift."""
    largest = min(LARGEST_SHIFT, max(1, side // SHIFT_SHARE), side - 1)
    shift = (share * (2 * largest + 1)).long() - largest
    places = (torch.arange(side, device=share.device) + shift).abs()
    return side - 1 - (side - 1 - places).abs()


def _consistency(discriminator: Discriminator, images: Tensor, labels: Tensor | None, rng: torch.Generator) -> Tensor:
    images = at_least_float32(images.detach())
    both = torch.cat([images, moved(images, rng)])
    with full_precision(images.device):
        logits, of_moved = discriminator(both, None if labels is None else labels.repeat(2)).chunk(2)
        return (logits - of_moved).square()


def consistency(
    discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor | None, rng: torch.Generator
) -> Tensor:
    """(D(x) - D(T(x)))^2, T a random flip and shift: weight is lambda, 10 in the paper (Zhang et al. 2020, eq. 3)."""
    return _consistency(discriminator, real, labels, rng)


def balanced_consistency(
    discriminator: Discriminator, real: Tensor, fake: Tensor, labels: Tensor | None, rng: torch.Generator
) -> Tensor:
    """`consistency` at the real images plus that at the generated ones (bCR, Zhao et al. 2021), of equal weight."""
    return _consistency(discriminator, real, labels, rng) + _consistency(discriminator, fake, labels, rng)


PENALTIES: dict[str, Penalty] = {
    "r1": r1,
    "r2": r2,
    "gradient_penalty": gradient_penalty,
    "consistency": consistency,
    "balanced_consistency": balanced_consistency,
}
BARE = frozenset({"consistency", "balanced_consistency"})
"""Penalties that transform images by themselves: D sees these as they are, where it sees others transformed."""
AT_FAKES = frozenset({"r2"})
"""Penalties at the generated images: D sees these as it sees fakes, where it sees either transformed."""
