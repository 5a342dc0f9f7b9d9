"""Dropout whose mask costs one random byte a value, several times faster than torch's own on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

LEVELS = 256
LOWEST_INT64 = -(2**63)


class Dropout(nn.Module):
    """Zeroes values in training and scales the others up (Srivastava et al. 2014).

    On a CPU the share is rounded to a multiple of 1/256, and the scale is that of the rounded share; elsewhere, and for
    shares below 1/512, it is torch's.

    Args:
        share: of the values that are zeroed, 0 up to 1.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.threshold = min(round(share * LEVELS), LEVELS - 1)

    def forward(self, values: Tensor) -> Tensor:
        """Return a tensor like `values`; the mask is drawn from torch's global generator."""
        if not self.training:
            return values
        if values.device.type != "cpu" or self.threshold == 0 or not _is_dense(values):
            return dropout(values, self.share)
        words = torch.empty((values.numel() + 7) // 8, dtype=torch.int64).random_(LOWEST_INT64, None)
        drawn = words.view(torch.uint8)[: values.numel()].as_strided(values.shape, values.stride())
        scale = LEVELS / (LEVELS - self.threshold)
        below = self.threshold - 1
        kept = drawn.clamp_(below, self.threshold).sub_(below).to(values.dtype)  # 0 or 1, faster than a comparison
        return values * kept.mul_(scale)


def _is_dense(values: Tensor) -> bool:
    channels_last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
    return values.is_contiguous() or channels_last
