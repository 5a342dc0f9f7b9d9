"""Spectral normalisation in float32, with one power iteration per training forward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

from gansmith.runtime import full_precision

EPSILON = 1e-12
FIRST_ITERATIONS = 15


class SpectralNorm(nn.Module):
    """W -> W / sigma(W), sigma the largest singular value of W as a matrix (Miyato et al. 2018, algorithm 1).

    Unlike torch's own, sigma is computed in float32 under autocast.

    Args:
        weight: the (out, in, ...) weight it will be applied to; 15 iterations are made at once.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("left", normalize(torch.randn_like(matrix[:, 0]), dim=0, eps=EPSILON))
        self.register_buffer("right", normalize(torch.randn_like(matrix[0]), dim=0, eps=EPSILON))
        for _ in range(FIRST_ITERATIONS):
            self._iterate(matrix)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        self.right.copy_(normalize(matrix.T @ self.left, dim=0, eps=EPSILON))
        self.left.copy_(normalize(matrix @ self.right, dim=0, eps=EPSILON))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight divided by its largest singular value, same shape, float32."""
        with full_precision(weight.device):
            matrix = weight.flatten(1)
            if self.training:
                self._iterate(matrix)
            # Clones, because the next forward pass changes the buffers before this one's backward.
            sigma = self.left.clone() @ (matrix @ self.right.clone())
            return weight / sigma


def spectral_norm(layer: nn.Module) -> nn.Module:
    """Apply `SpectralNorm` to the layer's `weight` and return the layer."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    parametrize.register_parametrization(layer, "weight", SpectralNorm(weight))
    return layer
