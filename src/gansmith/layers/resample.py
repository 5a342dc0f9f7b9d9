"""Changing the size of maps."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad, pixel_shuffle

from gansmith.layers.product import doubled, halved
from gansmith.runtime import full_precision

MOST_THIN_CHANNELS = 4
"""Up to so many channels an image is thin: grey, colour, colour and alpha."""


BILINEAR = (1 / 8, 3 / 8, 3 / 8, 1 / 8)
"""The filter of bilinear resizing by 2, along one axis."""


def bilinear_doubled(maps: Tensor, gain: float = 4.0) -> Tensor:
    """Return (N, C, 2H, 2W): zeros put between the pixels of maps (N, C, H, W) and around them, filtered by
    [1, 3, 3, 1] along both axes, times the gain; with 4, a constant map stays constant inside (Karras et al. 2020).
    """
    doubled: Tensor = _BilinearDoubled.apply(maps, gain)  # type: ignore[no-untyped-call]
    return doubled


def bilinear_halved(maps: Tensor, gain: float = 1.0) -> Tensor:
    """Return (N, C, H/2, W/2) for maps (N, C, H, W) of even sides: zeros put around them, filtered by [1, 3, 3, 1]
    along both axes, every other pixel kept, times the gain. The transpose of doubling with the same gain.
    """
    halved: Tensor = _BilinearHalved.apply(maps, gain)  # type: ignore[no-untyped-call]
    return halved


class _BilinearDoubled(torch.autograd.Function):
    """In float32 for maps in bfloat16, which on a CPU is 30 times faster."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, gain: float) -> Tensor:
        ctx.gain, channels = gain, maps.shape[1]
        dtype = torch.float32 if maps.dtype == torch.bfloat16 and maps.device.type == "cpu" else maps.dtype
        kernel = _bilinear_kernel(channels, gain, dtype, maps.device)
        with full_precision(maps.device):
            doubled = conv_transpose2d(maps.to(dtype), kernel, stride=2, padding=1, groups=channels)
        return doubled.to(maps.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return bilinear_halved(gradients[0], ctx.gain), None


class _BilinearHalved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, gain: float) -> Tensor:
        ctx.gain, channels = gain, maps.shape[1]
        kernel = _bilinear_kernel(channels, gain, maps.dtype, maps.device)
        with full_precision(maps.device):
            return conv2d(maps, kernel, stride=2, padding=1, groups=channels)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return bilinear_doubled(gradients[0], ctx.gain), None


@functools.cache
def _bilinear_kernel(channels: int, gain: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the filter for each channel, (channels, 1, 4, 4), times the gain."""
    line = torch.tensor(BILINEAR, dtype=dtype, device=device)
    return (gain * torch.outer(line, line)).expand(channels, 1, 4, 4).contiguous()


class UpsampledConv2d(nn.Conv2d):
    """Nearest upsampling x2, then a convolution 3x3 with padding 1, in 4/9 of the operations.

    Computed as one transposed convolution 4x4 of stride 2, whose kernel is the 3x3 kernel summed over the four ways in
    which its taps fall on equal neighbours: the same map to rounding, 1.3 to 3 times faster on a CPU.

    Args:
        in_channels: of the map.
        out_channels: of the result.
        bias: add one.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, out_channels, 2H, 2W) for maps (N, in_channels, H, W)."""
        kernel = corners_kernel(self.weight).flip(2, 3).transpose(0, 1)
        result = doubled(maps, kernel)
        # Not given to it: the gradient of a transposed convolution's bias takes long on a CPU.
        return result if self.bias is None else result.add_(self.bias.to(result.dtype).view(-1, 1, 1))


class PooledConv2d(nn.Conv2d):
    """A convolution 3x3 with padding 1, then the mean of each 2x2 square, in 4/9 of the operations.

    Computed as one convolution 4x4 of stride 2, whose kernel is the mean of the 3x3 kernel moved to the four corners:
    the same map to rounding.

    Args:
        in_channels: of the map.
        out_channels: of the result.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, out_channels, H/2, W/2), rounded down, for maps (N, in_channels, H, W)."""
        return halved(maps, corners_kernel(self.weight) / 4, self.bias)


def corners_kernel(weight: Tensor) -> Tensor:
    """Return kernels 3x3 (..., 3, 3) moved to the four corners of 4x4, and summed."""
    wide = pad(weight, (0, 1)) + pad(weight, (1, 0))
    return pad(wide, (0, 0, 0, 1)) + pad(wide, (0, 0, 1, 0))


class ThinConv2d(nn.Conv2d):
    """A convolution of stride 2 from an image of few channels, computed at stride 1.

    The image becomes a map of half its size whose channels are the pixels of each 2x2 square, and the kernel one of 3x3
    taps over those squares: the same map to rounding. Backends are slow at one to three channels, above all at the
    gradient of the image (11 to 5 ms for 256 images of 28x28 on a CPU).

    Args:
        in_channels: of the image, whose height and width are even.
        out_channels: of the map.
        kernel: 4 or 5 pixels.
        bias: add one.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel, 2, (kernel - 1) // 2, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, out_channels, H/2, W/2) for images (N, in_channels, H, W)."""
        return conv2d(squares_of(images), squares_kernel(self.weight), self.bias, padding=1)


class ThinConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of stride 2 to an image of few channels: the transpose of `ThinConv2d`.

    Args:
        in_channels: of the map.
        out_channels: of the image.
        kernel: 4 or 5 pixels.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        padding = (kernel - 1) // 2
        super().__init__(in_channels, out_channels, kernel, 2, padding, output_padding=kernel % 2, bias=False)

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (N, out_channels, 2H, 2W) for maps (N, in_channels, H, W)."""
        kernel = squares_kernel(self.weight).transpose(0, 1).flip(2, 3)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        return pixels_of(conv2d(maps, kernel, bias, padding=1))


def squares_of(images: Tensor) -> Tensor:
    """Return (N, 4C, H/2, W/2), channels-last in memory: the pixels of each 2x2 square of images (N, C, H, W)."""
    count, channels, height, width = images.shape
    squares = images.reshape(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(count, height // 2, width // 2, 4 * channels).permute(0, 3, 1, 2)


def pixels_of(squares: Tensor) -> Tensor:
    """Return the images (N, C, 2H, 2W) whose 2x2 squares these are (N, 4C, H, W): the inverse of `squares_of`."""
    return pixel_shuffle(squares, 2)


def squares_kernel(weight: Tensor) -> Tensor:
    """Return the kernel (out, 4 in, 3, 3) over 2x2 squares that does what one of stride 2 does to pixels.

    Output i of stride 2 reads the pixels from 2i - p to 2i - p + K - 1, p = (K - 1) // 2. They lie in the squares from
    i - 1 to i + 1, whose other taps are 0.

    Args:
        weight: (out, in, K, K), K 4 or 5.
    """
    kernel = weight.shape[2]
    before = 2 - (kernel - 1) // 2
    padded = pad(weight, (before, 6 - kernel - before) * 2)
    out_channels, in_channels = weight.shape[:2]
    squares = padded.view(out_channels, in_channels, 3, 2, 3, 2).permute(0, 1, 3, 5, 2, 4)
    return squares.reshape(out_channels, 4 * in_channels, 3, 3)
