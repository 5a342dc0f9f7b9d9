"""Losses, one value per sample, never reduced here; reduction and penalties are the step's.

Adversarial ones are named pairs of functions of logits: `d` is what the discriminator minimises, `g` what the generator
minimises. Those of an autoencoder are the two terms of the elbo.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

PairLoss = Callable[[Tensor, Tensor], Tensor]
SMALLEST_VARIANCE = (2 / 255) ** 2 / 12
"""Of a pixel in [-1, 1], given its reconstruction: what rounding it to one of 256 values leaves unknown."""


@dataclass(frozen=True)
class AdversarialLoss:
    """How two players are scored.

    Attributes:
        d: (real_logits, fake_logits), each (N,) float32 -> (N,) float32, the discriminator's loss per pair.
        g: (real_logits, fake_logits) -> (N,) float32, the generator's loss per fake. `real_logits` is only used where
            `needs_real_in_g`; elsewhere any tensor may be passed.
        anchor: the logit at which D is undecided; None where only differences of logits mean something.
        needs_real_in_g: the generator's loss compares with real images; their logits are taken without a graph.
    """

    d: PairLoss
    g: PairLoss
    anchor: float | None = 0.0
    needs_real_in_g: bool = False


def cross_entropy_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-log sigmoid(D(x)) - log(1 - sigmoid(D(G(z)))) (Goodfellow et al. 2014, eq. 1), as softplus."""
    return softplus(-real_logits) + softplus(fake_logits)


def minimax_g(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """log(1 - sigmoid(D(G(z)))): the original saturating generator loss (Goodfellow et al. 2014, eq. 1)."""
    return -softplus(fake_logits)


def non_saturating_g(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-log sigmoid(D(G(z))) (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake_logits)


def least_squares_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """((D(x) - 1)^2 + D(G(z))^2) / 2 (Mao et al. 2017, eq. 9: a = 0, b = c = 1)."""
    return 0.5 * ((real_logits - 1).square() + fake_logits.square())


def least_squares_g(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """(D(G(z)) - 1)^2 / 2 (Mao et al. 2017, eq. 9)."""
    return 0.5 * (fake_logits - 1).square()


def wasserstein_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """D(G(z)) - D(x) (Arjovsky et al. 2017, eq. 2 negated); D must be kept Lipschitz by other means."""
    return fake_logits - real_logits


def negated_logits_g(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-D(G(z)): the generator loss of Wasserstein (Arjovsky et al. 2017) and of hinge (Lim & Ye 2017)."""
    return -fake_logits


def hinge_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Lim & Ye 2017; Miyato et al. 2018, eq. 17)."""
    return relu(1 - real_logits) + relu(1 + fake_logits)


def relativistic_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """softplus(-(D(x) - D(G(z)))) for pairs (Jolicoeur-Martineau 2019; Huang et al. 2024, eq. 1)."""
    return softplus(fake_logits - real_logits)


def relativistic_g(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """softplus(-(D(G(z)) - D(x))) for pairs (Huang et al. 2024, eq. 1)."""
    return softplus(real_logits - fake_logits)


LOSSES: dict[str, AdversarialLoss] = {
    "minimax": AdversarialLoss(cross_entropy_d, minimax_g),
    "non_saturating": AdversarialLoss(cross_entropy_d, non_saturating_g),
    "least_squares": AdversarialLoss(least_squares_d, least_squares_g, anchor=0.5),
    "wasserstein": AdversarialLoss(wasserstein_d, negated_logits_g, anchor=None),
    "hinge": AdversarialLoss(hinge_d, negated_logits_g),
    "relativistic": AdversarialLoss(relativistic_d, relativistic_g, anchor=None, needs_real_in_g=True),
}


def of_top(losses: Tensor, logits: Tensor, count: int) -> Tensor:
    """Return the losses of the samples with the highest logits, and 0 for the others (Sinha et al. 2020).

    Args:
        losses: (N,).
        logits: (N,) of the same samples.
        count: how many are kept, 1 to N.

    Returns:
        (N,), the kept losses x N / count: their mean over N is that of the kept.
    """
    chosen = torch.zeros_like(losses, dtype=torch.bool)
    chosen[logits.detach().topk(count).indices] = True
    return torch.where(chosen, losses * (len(losses) / count), 0.0)


def reconstruction_loss(images: Tensor, reconstructions: Tensor) -> Tensor:
    """-log p(x | z), in nats: a normal distribution around the reconstruction, of the variance that is most likely.

    The variance is one number, shared by all pixels of the batch, and the most likely one is their mean squared error,
    so that nothing is to be weighed (optimal sigma-VAE, Rybkin et al. 2021, section 3.2). It is a constant of the
    gradient, which is the same.

    Args:
        images: (N, C, H, W) float32 in [-1, 1].
        reconstructions: of the same shape.

    Returns:
        (N,) float32; the mean over N is D / 2 (log(2 pi mean squared error) + 1) for D values in an image.
    """
    squares = (images - reconstructions).square().flatten(1)
    variance = squares.detach().mean().clamp_min(SMALLEST_VARIANCE)
    return 0.5 * (squares / variance + torch.log(2 * math.pi * variance)).sum(1)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(q(z | x) || N(0, 1)), in nats, of independent normal latents (Kingma & Welling 2014, appendix B).

    Args:
        mean: (N, latent_dim) float32.
        log_variance: of the same shape.

    Returns:
        (N,) float32, 0 or more.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
