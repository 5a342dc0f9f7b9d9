"""What a step measures of itself beside its losses, for `training/health.py` to judge: logits, and the samples at hand.

Nothing is generated, drawn or changed for it, and nothing waits for the device. It is done on some steps only, so that
it takes less than a hundredth of the time of even the smallest networks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from gansmith.training.state import TrainState

EVERY_STEPS, EVERY_IMAGES = 32, 4096
"""Steps between two measured ones, fewer where a step shows many images."""
MOST_SAMPLES = 32
"""Of a batch that are compared with one another."""
SIDE = 8
"""Pixels that images are averaged to before they are compared: shapes and colours, not noise."""
NEAR = 0.1
"""Of the mean distance of reals: a pair of samples that are nearer is near-identical."""
SMALLEST = 1 / 255
"""Root mean square difference of values in [-1, 1], half a step of uint8: reals no farther apart are all one image."""
OTHER_CLASS = 1e-6
"""Weight of a pair of two classes beside one of the same."""
SATURATED = 0.99
"""Size of a value in [-1, 1] from which on it is saturated."""


def is_measured(state: TrainState) -> bool:
    """Return whether the next step is one of those that are measured: a function of its number alone."""
    recipe = state.recipe
    images = recipe.batch_size * recipe.discriminator_steps
    return state.counters["steps"] % max(1, min(EVERY_STEPS, EVERY_IMAGES // images)) == 0


MOST_MARGIN = 1e6
"""In standard deviations: what is measured of a good step is a finite number, also where all logits are alike."""


@torch.no_grad()
def measured_of_logits(real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
    """Return how far D's logits (N,) of reals lie above those of fakes.

    `margin`: difference of the means; `relative_margin`: over the root mean square of the two standard deviations, up
    to a million.
    """
    real, fake = real_logits.float(), fake_logits.float()
    margin = real.mean() - fake.mean()
    spread = torch.stack([real, fake]).var(1, correction=0).mean().sqrt()
    return {"margin": margin, "relative_margin": (margin / spread.clamp_min(1e-12)).clamp(-MOST_MARGIN, MOST_MARGIN)}


@torch.no_grad()
def measured_of_samples(real_images: Tensor, fake_images: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
    """Return how the samples of a batch lie among themselves and to its reals, 0-d; of a batch of one, nothing.

    Distances are root mean square differences of 8 x 8 pictures, or of coordinates; with classes, within a class, so
    that many classes do not hide that each has collapsed.

    Args:
        real_images: (N, C, H, W) in [-1, 1].
        fake_images: likewise, made for the same labels.
        labels: (N,), where the networks are told the class.

    Returns:
        `diversity`: mean distance of two samples over that of two reals, 1 where the reals are all alike;
        `energy_distance`: of samples and reals, over twice their mean distance, 0 (alike) to 1 (Szekely & Rizzo 2013);
        `near_identical`, `near_identical_reals`: share of pairs nearer than a tenth of the mean distance of reals;
        `saturation`: share of values beyond 0.99, above the share of the reals'.
    """
    count = min(len(fake_images), MOST_SAMPLES)
    if count < 2:
        return {}
    reals, fakes = real_images[:count].float(), fake_images[:count].float()
    points = torch.cat([_small(fakes), _small(reals)])
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist") / points.shape[1] ** 0.5
    pairs = _pairs(distances[:count, :count], None if labels is None else labels[:count])
    blocks = distances.view(2, count, 2, count).transpose(1, 2)  # of fakes and reals, with fakes and reals
    means = (blocks * pairs).sum((2, 3))
    of_fakes, between, of_reals = means[0, 0], means[0, 1], means[1, 1]
    near = ((blocks < NEAR * of_reals) * pairs).sum((2, 3))
    beyond = (torch.stack([fakes, reals]).abs() > SATURATED).float().mean((1, 2, 3, 4))
    return {
        "diversity": torch.where(of_reals < SMALLEST, 1.0, of_fakes / of_reals.clamp_min(SMALLEST)),
        "energy_distance": (1 - (of_fakes + of_reals) / (2 * between).clamp_min(SMALLEST)).clamp_min(0),
        "near_identical": near[0, 0],
        "near_identical_reals": near[1, 1],
        "saturation": beyond[0] - beyond[1],
    }


def _small(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) as (N, C * 8 * 8) means over areas; fewer values where a side is below 8."""
    height, width = images.shape[2:]
    size = min(height, SIDE), min(width, SIDE)
    return (images if size == (height, width) else adaptive_avg_pool2d(images, size)).flatten(1)


def _pairs(like: Tensor, labels: Tensor | None) -> Tensor:
    """Return weights (n, n) of pairs that sum to 1: alike for all of two different places and one class, 0 for others.

    Where no two are of one class, all pairs weigh alike: nothing is asked of the device for it.
    """
    weights = torch.ones_like(like).fill_diagonal_(0)
    if labels is not None:
        weights = weights * ((labels[:, None] == labels).to(like.dtype) + OTHER_CLASS)
    return weights / weights.sum()
