"""Convolution of small maps as products of their Fourier coefficients: a fraction of the operations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class FourierConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of stride 1 that keeps the size of its map, by the convolution theorem (Mathieu et al.
    2014).

    A map of H x W is transformed with a period of H + k // 2 by W + k // 2: what wraps around falls outside the map. Of
    the coefficients of real numbers, which are conjugates in pairs, one of each is computed. All of it is products of
    real matrices, the transforms too: for maps this small that is faster than a fast transform. Maps of 7x7 and kernels
    of 5x5 take a fifth of the multiplications, forward and backward. Equal to rounding.

    Args:
        in_channels: of the map.
        out_channels: of the result.
        kernel: k, odd, in pixels.
        size: (H, W) of the maps.
    """

    analysis: Tensor
    synthesis: Tensor
    crossed_synthesis: Tensor
    on_kernel: Tensor
    fixed_kernels: Tensor | None

    def __init__(self, in_channels: int, out_channels: int, kernel: int, size: tuple[int, int]) -> None:
        super().__init__(in_channels, out_channels, kernel, 1, kernel // 2, bias=False)
        self.size = height, width = size
        reach = kernel // 2
        waves, shares = _waves(height + reach, width + reach)
        moves = torch.arange(kernel, device="cpu") - reach  # how far each tap carries a value
        on_kernel = waves[..., moves[:, None] % waves.shape[2], moves % waves.shape[3]].flatten(2)
        on_map = waves[..., :height, :width].flatten(2)
        # For coefficients x of the map and w of the kernel, of the output there is Re(x w) times the cosine and Im(x w)
        # times the negative sine: what x is to Re w, and, turned by a quarter, to Im w.
        weighted = on_map * shares[:, None, None]
        crossed = torch.stack([weighted[:, 1], -weighted[:, 0]], 1)
        constants = {
            "analysis": on_map.flatten(0, 1),
            "synthesis": weighted.flatten(0, 1).T.contiguous(),
            "crossed_synthesis": crossed.flatten(0, 1).T.contiguous(),
            "on_kernel": on_kernel.transpose(0, 1).flatten(0, 1),
        }
        for name, matrix in constants.items():
            # float64, so that a network in float64 is exact
            self.register_buffer(name, matrix.to(self.weight.device), persistent=False)
        self.register_buffer("fixed_kernels", None, persistent=False)

    def kernels(self) -> Tensor:
        """Return the coefficients of the kernels, (2, F, in, out): real parts, then imaginary ones."""
        taps = self.weight.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
        found = torch.matmul(self.on_kernel.to(taps.dtype), taps)
        return found.view(2, -1, self.in_channels, self.out_channels)

    @torch.no_grad()
    def fix(self) -> None:
        """Compute the kernels once and for all: for drawing samples, with weights that change no more."""
        self.fixed_kernels = self.kernels()

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (N, out, H, W), channels last in memory, for maps (N, in, H, W) of the size that was given."""
        count, before, height, width = maps.shape
        assert (height, width) == self.size, f"maps of {height}x{width} in a layer for {self.size}"
        real, imaginary = self.kernels() if self.fixed_kernels is None else self.fixed_kernels
        values = maps.permute(2, 3, 0, 1).reshape(height * width, -1)
        found = torch.matmul(self.analysis.to(self.weight.dtype), values).view(-1, 2 * count, before)  # real, imaginary
        rows = self.analysis.shape[0]
        by_real, by_imaginary = torch.bmm(found, real).view(rows, -1), torch.bmm(found, imaginary).view(rows, -1)
        straight = torch.matmul(self.synthesis.to(self.weight.dtype), by_real)
        values = torch.addmm(straight, self.crossed_synthesis.to(straight.dtype), by_imaginary)
        result = values.view(height, width, count, -1).permute(2, 0, 1, 3).contiguous()
        return (result if self.bias is None else result + self.bias.to(result.dtype)).permute(0, 3, 1, 2)


def _waves(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return what gives the Fourier coefficients of real (height, width) values, and how much of each makes the values.

    Of every two conjugate frequencies there is one: its cosine and negative sine, (F, 2, height, width) float64, and
    its share (F,) float64, 2 / (height * width), or half of that where it is its own conjugate.
    """
    numbers = torch.arange(height * width, device="cpu")  # also where networks are built without memory
    up, right = numbers // width, numbers % width
    conjugate = (-up % height) * width + -right % width
    kept = numbers[numbers <= conjugate]
    turns = torch.outer(up, up).double() / height + torch.outer(right, right).double() / width
    angles = 2 * math.pi * turns[kept].view(-1, height, width)
    shares = torch.where(conjugate[kept] == kept, 1.0, 2.0).double() / len(numbers)
    return torch.stack([angles.cos(), -angles.sin()], 1), shares
