"""Images looked up at other places: linear in the image, so its derivatives are its transpose and itself.

torch's `grid_sample` cannot be differentiated twice. Places here never need a gradient, and what is left is a linear
map of the image: its backward pass is the transpose, whose backward pass is the map again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

BILINEAR = 0
ZEROS, REFLECTION = 0, 2
"""torch's numbers of how to interpolate, and of what lies outside an image."""
TAPS = (0.0245, -0.1359, 0.6114)
"""Lanczos-3 half-way between two pixels, from 2.5 to 0.5 pixels away; with their mirror images they sum to 1."""


def refinement(length: int) -> Tensor:
    """Return the (2 * length + 1, length) matrix that doubles the resolution of a row of pixels.

    The finer points lie half a pixel apart, from edge to edge; every second one is a pixel and keeps its value, so
    flips, quarter turns and shifts by whole pixels are exact. Beyond the edges the row is mirrored.
    """
    matrix = torch.zeros(2 * length + 1, length)
    places = torch.arange(length)
    matrix[2 * places + 1, places] = 1.0
    between = torch.arange(length + 1)
    for offset, weight in zip(range(-3, 3), (*TAPS, *reversed(TAPS)), strict=True):
        place = (between + offset) % (2 * length)
        mirrored = torch.minimum(place, 2 * length - 1 - place)
        matrix.index_put_((2 * between, mirrored), torch.tensor(weight), accumulate=True)
    return matrix


def warp(images: Tensor, affine: Tensor, fine: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return each image seen through its affine map.

    Between pixels values are interpolated: of images refined twofold (Lanczos-3) bilinearly, since bilinear alone would
    take a third of the power of the finest details, and D would look at blurred images most of the time. What is made
    smaller (up to 1.5 times, seldom more) is not filtered against aliasing any further.

    Args:
        images: (N, C, H, W) float.
        affine: (N, 2, 3), from (x, y, 1) of a pixel of the result to (x, y) in the image, both in [-1, 1] from edge to
            edge; no gradient passes.
        fine: `refinement` of H and of W; beyond the edges the image is mirrored. None: pixels are only shifted by whole
            ones, and zeros lie beyond.
    """
    height, width = images.shape[2:]
    affine = affine.detach().to(images.dtype)
    across, down = (_centres(length, affine) for length in (width, height))
    grid = (across * affine[:, None, :, 0])[:, None] + (down * affine[:, None, :, 1] + affine[:, None, :, 2])[
        :, :, None
    ]
    if fine is None:
        return _Warp.apply(images, grid, ZEROS, False)  # type: ignore[no-any-return, no-untyped-call]
    rows, columns = (matrix.to(images.dtype) for matrix in fine)
    finer = rows @ (images @ columns.T)
    return _Warp.apply(finer, grid, REFLECTION, True)  # type: ignore[no-any-return, no-untyped-call]


def _centres(length: int, like: Tensor) -> Tensor:
    """Return (length, 1): where pixels lie between -1 and 1."""
    places = torch.arange(length, dtype=like.dtype, device=like.device)
    return ((2 * places + 1) / length - 1)[:, None]


class _Warp(Function):
    """(N, C, H, W) images and (N, h, w, 2) places -> (N, C, h, w)."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor, padding: int, corners: bool) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.settings = images.shape[2:], padding, corners
        return torch.ops.aten.grid_sampler_2d(images, grid, BILINEAR, padding, corners)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (grid,) = ctx.saved_tensors
        return _Transposed.apply(gradients[0], grid, *ctx.settings), None, None, None  # type: ignore[no-untyped-call]


class _Transposed(Function):
    """The transpose of `_Warp`: (N, C, h, w) -> (N, C, H, W)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, grid: Tensor, size: torch.Size, padding: int, corners: bool) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.settings = padding, corners
        shape_alone = values.new_zeros(()).expand(*values.shape[:2], *size)
        arguments = values, shape_alone, grid, BILINEAR, padding, corners
        return torch.ops.aten.grid_sampler_2d_backward(*arguments, [True, False])[0]  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (grid,) = ctx.saved_tensors
        return _Warp.apply(gradients[0], grid, *ctx.settings), None, None, None, None  # type: ignore[no-untyped-call]
