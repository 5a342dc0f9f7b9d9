"""The roof of the machine: how many operations per second its best convolution reaches, in a precision."""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import Tensor

from gansmith.runtime import DTYPES
from gansmith.settings import Precision

SHAPES = ((32, 128, 16), (32, 256, 16), (64, 256, 16), (64, 128, 32), (64, 64, 32))
"""(batch, channels in and out, side) of the maps of 3x3 convolutions that are tried."""
TRIAL_SECONDS = 0.25


class Roof:
    """The best of several large convolutions, found at once, and measured again whenever asked.

    Args:
        precision: of maps and weights.
        seconds: of one measurement.

    Attributes:
        shape: of the best one.
        found: its floating-point operations per second when it was found.
    """

    def __init__(self, precision: Precision, seconds: float = TRIAL_SECONDS) -> None:
        self.precision, self._seconds = precision, seconds
        rates = {shape: self._measure(shape) for shape in SHAPES}
        self.shape = max(rates, key=lambda shape: rates[shape])
        self.found = rates[self.shape]

    def measure(self) -> float:
        """Return floating-point operations per second now, of the median repetition."""
        return self._measure(self.shape)

    @torch.no_grad()
    def _measure(self, shape: tuple[int, int, int]) -> float:
        batch, channels, side = shape
        dtype = DTYPES[self.precision]
        maps = torch.randn(batch, channels, side, side, dtype=dtype).to(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
        _seconds_of(maps, weight)
        times: list[float] = []
        while sum(times) < self._seconds or len(times) < 3:
            times.append(_seconds_of(maps, weight))
        return 2.0 * batch * side**2 * channels**2 * 9 / median(times)


def _seconds_of(maps: Tensor, weight: Tensor) -> float:
    started = time.perf_counter()
    torch.nn.functional.conv2d(maps, weight, padding=1)
    return time.perf_counter() - started
