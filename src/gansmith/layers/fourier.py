"""Convolution of small maps as products of their Fourier coefficients: a fraction of the operations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gansmith.sizes import Size

LARGEST_SHARE = 0.6
"""Of the multiplications of the direct form: with more of them, changing the order of the maps costs what is gained."""
USUAL_BATCH = 32
"""Images that share the transform of a kernel."""
MOST_KERNEL_VALUES = 2**25
"""Transformed kernels are kept for the backward pass: 128 MB at the most, whatever the batch."""
SQUARES_KERNEL = 3
"""A kernel of 4 or 5 pixels and stride 2 reaches one 2x2 square in each direction."""


class FourierProducts(nn.Module):
    """A convolution of stride 1 that keeps the size of its map, by the convolution theorem (Mathieu et al. 2014).

    A map of H x W is transformed with a period of H + k // 2 by W + k // 2: what wraps around falls outside the map. Of
    the coefficients of real numbers, which are conjugates in pairs, one of each is computed, and the product of two
    complex ones by three real ones (Gauss). All of it is products of real matrices, the transforms too: for maps this
    small that is faster than a fast transform. Equal to rounding.

    Args:
        size: (H, W) of the maps.
        kernel: k, odd.
        carries: whether a tap says where a value goes, as in transposed convolutions, or where it comes from.
    """

    on_map: Tensor
    on_kernel: Tensor
    on_products: Tensor

    def __init__(self, size: Size, kernel: int, carries: bool) -> None:
        super().__init__()
        (height, width), reach = size, kernel // 2
        cosines, sines, shares = _waves(height + reach, width + reach)
        moves = torch.arange(kernel, device="cpu") - reach  # how far each tap carries a value
        moves = moves if carries else -moves
        is_real = sines.abs().flatten(1).amax(1) < 1e-9  # then one product does
        of_map = [wave[:, :height, :width].flatten(1) for wave in (cosines, sines)]
        of_kernel = [wave[:, moves[:, None] % wave.shape[1], moves % wave.shape[2]].flatten(1)
                     for wave in (cosines, sines)]  # fmt: skip
        # For coefficients x of the map and w of the kernel, there is Re(x w) times the cosine and Im(x w) times the
        # negative sine in the output. With the products p = (Re x + Im x) Re w, q = Re x (Im w - Re w) and
        # r = Im x (Re w + Im w), these are p - r and p + q.
        (c, s), (kc, ks), weighted = of_map, of_kernel, [shares[:, None] * wave for wave in of_map]
        matrices = {
            "on_map": (c + s, c[~is_real], s[~is_real]),
            "on_kernel": (kc, (ks - kc)[~is_real], (kc + ks)[~is_real]),
            "on_products": (weighted[0] + weighted[1], weighted[1][~is_real], -weighted[0][~is_real]),
        }
        for name, rows in matrices.items():
            matrix = torch.cat(rows)
            # float64, so that a network in float64 is exact
            self.register_buffer(name, matrix.T.contiguous() if name == "on_products" else matrix, persistent=False)

    def of_kernel(self, taps: Tensor) -> Tensor:
        """Return (R, a, b), what the products take of a kernel, for its taps (k * k, a, b)."""
        return _combined(self.on_kernel, taps)

    def forward(self, values: Tensor, kernels: Tensor) -> Tensor:
        """Return (H * W, N, out) for maps as (H * W, N, in) and kernels (R, in, out) from `of_kernel`."""
        return _combined(self.on_products, torch.bmm(_combined(self.on_map, values), kernels))


def _combined(matrix: Tensor, values: Tensor) -> Tensor:
    """Return (M, a, b), linear combinations by a matrix (M, K) of the K matrices in values (K, a, b).

    In float32 by one product for each of a, which is up to 1.8 times as fast, and lets images stay where they are in
    memory, (N, H, W, C). Backends of lower precision would copy what does not lie in order.
    """
    matrix = matrix.to(values.dtype)
    if torch.is_autocast_enabled(values.device.type):
        return torch.matmul(matrix, values.flatten(1)).view(-1, *values.shape[1:])
    return torch.bmm(matrix.expand(values.shape[1], -1, -1), values.transpose(0, 1)).transpose(0, 1)


class FourierConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of stride 1 that keeps the size of its map, or of stride 2 that doubles it, computed by
    `FourierProducts`: of a map of 7x7 and a kernel of 5x5 in about a sixth and a half of the multiplications.

    Args:
        in_channels: of the map.
        out_channels: of the result.
        kernel: in pixels; odd with stride 1, 4 or 5 with stride 2.
        size: (H, W) of the maps that go in.
        stride: 1 or 2.
    """

    fixed_kernels: Tensor | None

    def __init__(self, in_channels: int, out_channels: int, kernel: int, size: Size, stride: int = 1) -> None:
        added = kernel % 2 if stride == 2 else 0
        super().__init__(in_channels, out_channels, kernel, stride, (kernel - 1) // 2, added, bias=False)
        self.size = size
        products = FourierProducts(size, kernel if stride == 1 else SQUARES_KERNEL, carries=True)
        self.products = products.to(self.weight.device)  # which may have no memory
        self.register_buffer("fixed_kernels", None, persistent=False)
        self.is_fixed = False

    def kernels(self) -> Tensor:
        """Return (R, in, out), with stride 2 (R, in, 4 out): the form of the weight that is multiplied with."""
        if self.stride == (2, 2):
            return self.products.of_kernel(taps_of_squares(self.weight))
        return self.products.of_kernel(self.weight.permute(2, 3, 0, 1).flatten(0, 1))

    def fix(self) -> None:
        """From the next use on, keep the kernels of that use: for drawing samples, with weights that change no more."""
        self.is_fixed = True

    def _current_kernels(self) -> Tensor:
        if self.is_fixed and self.fixed_kernels is None:
            self.fixed_kernels = self.kernels().detach().contiguous()
        return self.kernels() if self.fixed_kernels is None else self.fixed_kernels

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (N, out, stride H, stride W), channels last in memory, for maps (N, in, H, W) of that size."""
        if not pays(maps, self.stride[0]):
            return super().forward(maps)
        count, before, height, width = maps.shape
        _check(self.size, (height, width))
        values = maps.permute(2, 3, 0, 1).reshape(height * width, count, before)
        result: Tensor = self.products(values, self._current_kernels())
        result = result.view(height, width, count, *self.stride, -1).permute(2, 0, 3, 1, 4, 5)
        result = result.reshape(count, self.stride[0] * height, self.stride[1] * width, -1).contiguous()
        return (result if self.bias is None else result + self.bias.to(result.dtype)).permute(0, 3, 1, 2)


class FourierConv2d(nn.Conv2d):
    """A convolution of stride 2 that halves its map, computed by `FourierProducts` on its 2x2 squares.

    Args:
        in_channels: of the map.
        out_channels: of the result.
        kernel: 4 or 5 pixels.
        size: (H, W) of the maps that come out; twice that goes in.
        bias: add one.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, size: Size, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel, 2, (kernel - 1) // 2, bias=bias)
        self.size = size
        self.products = FourierProducts(size, SQUARES_KERNEL, carries=False).to(self.weight.device)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, out, H, W), channels last in memory, for maps (N, in, 2H, 2W)."""
        if not pays(maps, self.stride[0]):
            return super().forward(maps)
        (count, before, *sides), (height, width) = maps.shape, self.size
        _check((2 * height, 2 * width), (sides[0], sides[1]))
        squares = maps.permute(2, 3, 0, 1).reshape(height, 2, width, 2, count, before).permute(0, 2, 4, 1, 3, 5)
        kernels = self.products.of_kernel(taps_of_squares(self.weight.transpose(0, 1), of_first=True))
        result: Tensor = self.products(squares.reshape(height * width, count, 4 * before), kernels)
        result = result.view(height, width, count, -1).permute(2, 0, 1, 3).contiguous()
        return (result if self.bias is None else result.add_(self.bias.to(result.dtype))).permute(0, 3, 1, 2)


def taps_of_squares(weight: Tensor, of_first: bool = False) -> Tensor:
    """Return the 3x3 taps over 2x2 squares that do what a kernel of stride 2 does to pixels.

    As `resample.squares_kernel`, but ordered as their products read them: the channels of a pixel lie together.

    Args:
        weight: (a, b, K, K), K 4 or 5.
        of_first: a, not b, are the channels of the pixels.

    Returns:
        (9, a, 4 b), or (9, 4 a, b).
    """
    first, second, kernel, _ = weight.shape
    before = 2 - (kernel - 1) // 2
    padded = pad(weight, (before, 6 - kernel - before) * 2).view(first, second, 3, 2, 3, 2)
    if of_first:
        return padded.permute(2, 4, 3, 5, 0, 1).reshape(9, 4 * first, second)
    return padded.permute(2, 4, 0, 3, 5, 1).reshape(9, first, 4 * second)


def takes_fewer(size: Size, kernel: int, stride: int, many: int, few: int) -> bool:
    """Return whether a layer takes clearly fewer multiplications here than in the direct form, and little memory.

    Args:
        size: (H, W) of the smaller of its two maps.
        kernel: in pixels.
        stride: 1 or 2.
        many: channels of the smaller map.
        few: of the larger one; with stride 1, of the one that comes out.
    """
    taps = kernel if stride == 1 else SQUARES_KERNEL
    positions, period = math.prod(size), math.prod(side + taps // 2 for side in size)
    num_real = math.prod(2 - (side + taps // 2) % 2 for side in size)
    num_products = num_real + 3 * (period - num_real) // 2
    pairs = many * stride**2 * few
    for_kernel = num_products * taps**2 * pairs / USUAL_BATCH
    here = num_products * (pairs + positions * (many + stride**2 * few)) + for_kernel
    is_less = here < LARGEST_SHARE * positions * kernel**2 * many * few
    return is_less and num_products * pairs <= MOST_KERNEL_VALUES


def pays(maps: Tensor, stride: int) -> bool:
    """Return whether this form is used: on CPUs, with stride 2 in float32 alone; elsewhere it was not measured."""
    return maps.device.type == "cpu" and (stride == 1 or not torch.is_autocast_enabled("cpu"))


def _check(size: Size, found: Size) -> None:
    assert found == size, f"maps of {found[0]}x{found[1]} in a layer for {size[0]}x{size[1]}"


def _waves(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what gives the Fourier coefficients of real (height, width) values, and how much of each makes the values.

    Of every two conjugate frequencies there is one: its cosine and its negative sine, each (F, height, width) float64,
    and its share (F,) float64, 2 / (height * width), or half of that where it is its own conjugate.
    """
    numbers = torch.arange(height * width, device="cpu")  # also where networks are built without memory
    up, right = numbers // width, numbers % width
    conjugate = (-up % height) * width + -right % width
    kept = numbers[numbers <= conjugate]
    turns = torch.outer(up, up).double() / height + torch.outer(right, right).double() / width
    angles = 2 * math.pi * turns[kept].view(-1, height, width)
    shares = torch.where(conjugate[kept] == kept, 1.0, 2.0).double() / len(numbers)
    return angles.cos(), -angles.sin(), shares
