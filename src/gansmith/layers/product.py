"""Convolutions 4x4 of stride 2 as one product of matrices: for small maps, on processors with units for that."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import conv2d, conv_transpose2d, pad

from gansmith import runtime

Operation = Callable[[Tensor, Tensor], Tensor]
Gradient = Callable[[Tensor, Tensor, Tensor], Tensor]

MOST_PIXELS = 64
"""Of the smaller map, as measured; on larger ones, copying windows takes what is gained."""
PAIRS_PER_PIXEL = 2**11
"""Pairs of channels for each pixel of the smaller map, at least."""


class HalvingConv2d(nn.Conv2d):
    """A convolution 4x4 of stride 2 that halves maps, by `halved`.

    Args:
        in_channels: of the map.
        out_channels: of the result.
        bias: add one.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 4, 2, 1, bias=bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, out_channels, H/2, W/2), rounded down, for maps (N, in_channels, H, W)."""
        return halved(maps, self.weight, self.bias)


class DoublingConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution 4x4 of stride 2 that doubles maps, by `doubled`.

    Args:
        in_channels: of the map.
        out_channels: of the result.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 4, 2, 1, bias=False)

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (N, out_channels, 2H, 2W) for maps (N, in_channels, H, W)."""
        return doubled(maps, self.weight, self.bias)


def halved(maps: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `conv2d(maps, weight, bias, stride=2, padding=1)`.

    Args:
        maps: (N, a, H, W).
        weight: (b, a, 4, 4).
        bias: (b,), or none.

    Returns:
        (N, b, H/2, W/2), rounded down.
    """
    height, width = maps.shape[2:]
    if not pays(maps, weight, height * width // 4) or height % 2 or width % 2:
        return conv2d(maps, weight, bias, stride=2, padding=1)
    return _with_bias(_bilinear(_halved, _pixels(maps), _pixels(weight)), bias)


def doubled(maps: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `conv_transpose2d(maps, weight, bias, stride=2, padding=1)`.

    Args:
        maps: (N, b, H, W).
        weight: (b, a, 4, 4).
        bias: (a,), or none.

    Returns:
        (N, a, 2H, 2W).
    """
    if not pays(maps, weight, math.prod(maps.shape[2:])):
        return conv_transpose2d(maps, weight, bias, stride=2, padding=1)
    return _with_bias(_bilinear(_doubled, _pixels(maps), _pixels(weight)), bias)


def pays(maps: Tensor, weight: Tensor, num_pixels: int) -> bool:
    """Return whether this form is used for a smaller map of so many pixels: where it was measured to be faster.

    That is in bfloat16 on processors with units for products of matrices (AMX), where the kernel is large and the maps
    are small: direct convolutions are slow then, above all the gradient of the weight.
    """
    if maps.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or not runtime.has_matrix_units():
        return False
    if torch.get_autocast_dtype("cpu") != torch.bfloat16 or maps.dtype == torch.float64:  # which autocast leaves
        return False
    return num_pixels <= MOST_PIXELS and math.prod(weight.shape[:2]) >= PAIRS_PER_PIXEL * num_pixels


def _pixels(values: Tensor) -> Tensor:
    """Return (N, H, W, C) in the precision of products, for (N, C, H, W)."""
    if torch.is_autocast_enabled(values.device.type):
        values = values.to(torch.get_autocast_dtype(values.device.type))
    return values.permute(0, 2, 3, 1)


def _with_bias(pixels: Tensor, bias: Tensor | None) -> Tensor:
    """Return (N, C, H, W), channels last in memory, with a bias (C,) added, for (N, H, W, C)."""
    return (pixels if bias is None else pixels + bias.to(pixels.dtype)).permute(0, 3, 1, 2)


# Between large maps x (N, 2h, 2w, a), small maps y (N, h, w, b) and a weight w (b, 4, 4, a) there is one number that is
# linear in each: the sum of the products of y and the convolution of x by w. Its gradients by y, x and w are the three
# functions below, and so the gradients of each are the other two, as often as one likes.


def _halved(large: Tensor, weight: Tensor) -> Tensor:
    """Return y's gradient: the convolution of x by w."""
    count, height, width, _ = large.shape
    return _product(_windows(large), weight.flatten(1).T, (count, height // 2, width // 2, len(weight)))


def _doubled(small: Tensor, weight: Tensor) -> Tensor:
    """Return x's gradient: the transposed convolution of y by w. A 2x2 square of it depends on one of y, half a pixel
    off.
    """
    (count, height, width, before), after = small.shape, weight.shape[3]
    padded = pad(small, (0, 0, 1, 1, 1, 1))
    squares = [padded[:, down : down + height + 1, right : right + width + 1] for down in (1, 0) for right in (1, 0)]
    kernel = weight.view(before, 2, 2, 2, 2, after).permute(1, 3, 0, 2, 4, 5).reshape(4 * before, 4 * after)
    rows = torch.mm(torch.cat(squares, 3).flatten(0, 2), kernel)
    result = rows.view(count, height + 1, width + 1, 2, 2, after).permute(0, 1, 3, 2, 4, 5)
    result = result.reshape(count, 2 * height + 2, 2 * width + 2, after)[:, 1:-1, 1:-1]
    return result.clone(memory_format=torch.contiguous_format)


def _taps(large: Tensor, small: Tensor) -> Tensor:
    """Return w's gradient: for each tap, the products of what it connects, summed over positions."""
    return _product(small.flatten(0, 2).T, _windows(large), (small.shape[3], 4, 4, large.shape[3]))


def _windows(large: Tensor) -> Tensor:
    """Return (N * h * w, 16 a): the 4x4 pixels that each pixel of a halved map depends on."""
    windows = pad(large, (0, 0, 1, 1, 1, 1)).unfold(1, 4, 2).unfold(2, 4, 2).permute(0, 1, 2, 4, 5, 3)
    return windows.reshape(math.prod(windows.shape[:3]), 16 * large.shape[3])


def _product(first: Tensor, second: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the product of two matrices in that shape; not a view, so that what comes after may change it in place."""
    result = first.new_empty(shape)
    torch.mm(first, second, out=result.view(len(first), second.shape[1]))
    return result


_GRADIENTS: dict[Operation, tuple[Gradient, Gradient]] = {
    _halved: (lambda large, weight, gradient: _bilinear(_doubled, gradient, weight),
              lambda large, weight, gradient: _bilinear(_taps, large, gradient)),
    _doubled: (lambda small, weight, gradient: _bilinear(_halved, gradient, weight),
               lambda small, weight, gradient: _bilinear(_taps, gradient, small)),
    _taps: (lambda large, small, gradient: _bilinear(_doubled, small, gradient),
            lambda large, small, gradient: _bilinear(_halved, large, gradient)),
}  # fmt: skip


class _Bilinear(Function):
    @staticmethod
    def forward(ctx: Any, operation: Operation, first: Tensor, second: Tensor) -> Tensor:
        ctx.operation = operation
        ctx.save_for_backward(first, second)
        return operation(first, second)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        of_first, of_second = _GRADIENTS[ctx.operation]
        _, needs_first, needs_second = ctx.needs_input_grad
        return (None, of_first(*ctx.saved_tensors, *gradients) if needs_first else None,
                of_second(*ctx.saved_tensors, *gradients) if needs_second else None)  # fmt: skip


def _bilinear(operation: Operation, first: Tensor, second: Tensor) -> Tensor:
    result: Tensor = _Bilinear.apply(operation, first, second)  # type: ignore[no-untyped-call]
    return result
