"""Minibatch standard deviation: D sees how much images differ from each other (Karras et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gansmith.runtime import at_least_float32, full_precision

GROUP = 4
EPSILON = 1e-8


class MinibatchStd(nn.Module):
    """Appends a channel: the standard deviation of each feature over a group of images, averaged over all features.

    Karras et al. 2018, section 3, with the groups of four of their code. Where four do not divide the batch, groups are
    one larger, or as large as the batch allows; one image alone has a deviation of next to 0. Of several ranks each
    has groups of its own images.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, C + 1, H, W) for maps (N, C, H, W), of their type."""
        with full_precision(maps.device):
            spread = group_deviations(at_least_float32(maps)).to(maps.dtype)
        count, _, height, width = maps.shape
        return torch.cat([maps, spread.view(count, 1, 1, 1).expand(count, 1, height, width)], 1)


def group_deviations(values: Tensor) -> Tensor:
    """Return (N,): the mean deviation of the group of each of (N, ...) values; groups lie across the batch."""
    flat = values.flatten(1)
    num_groups = max(1, len(flat) // GROUP)
    size, num_larger = divmod(len(flat), num_groups)
    if not num_larger:
        return _deviations(flat, num_groups)
    larger, others = torch.split(flat, [num_larger * (size + 1), (num_groups - num_larger) * size])
    return torch.cat([_deviations(part, len(part) // width) for part, width in ((larger, size + 1), (others, size))])


def _deviations(flat: Tensor, num_groups: int) -> Tensor:
    grouped = flat.view(-1, num_groups, flat.shape[1])
    deviations: Tensor = (grouped.var(0, correction=0) + EPSILON).sqrt().mean(1)
    return deviations.repeat(len(grouped))
