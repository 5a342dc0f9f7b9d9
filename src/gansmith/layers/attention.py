"""Self-attention over a map: what is far apart can agree (Zhang et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from gansmith.runtime import at_least_float32
from gansmith.sizes import Size


class SelfAttention(nn.Module):
    """x + gamma * o, o the values of the whole map weighed by softmax over keys (Zhang et al. 2019, eq. 1 to 3).

    Convolutions 1x1 without bias make queries and keys of C/8 channels and values of C/2; keys and values are pooled by
    the maximum of 2x2 squares, as in the paper's code. gamma begins at 0, where the layer is the identity. Products and
    softmax are written out: torch's fused attention has no second derivative, which penalties need.

    Args:
        num_channels: C, of the map.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        narrow, half = max(1, num_channels // 8), max(1, num_channels // 2)
        self.query = nn.Conv2d(num_channels, narrow, 1, bias=False)
        self.key = nn.Conv2d(num_channels, narrow, 1, bias=False)
        self.value = nn.Conv2d(num_channels, half, 1, bias=False)
        self.output = nn.Conv2d(half, num_channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (N, C, H, W) of the shape and type of those given."""
        query = self.query(maps).flatten(2)
        key, value = (max_pool2d(layer(maps), 2, ceil_mode=True).flatten(2) for layer in (self.key, self.value))
        weights = at_least_float32(query.transpose(1, 2) @ key).softmax(2)
        attended = value @ weights.to(value.dtype).transpose(1, 2)
        count, _, height, width = maps.shape
        total: Tensor = maps + self.gamma * self.output(attended.view(count, -1, height, width))
        return total


def attention_at(height: int | None, num_channels: int, size: Size) -> list[nn.Module]:
    """Return the layer for a map of (height, width) `size` where attention is to sit at that height, else nothing."""
    return [SelfAttention(num_channels)] if size[0] == height else []
