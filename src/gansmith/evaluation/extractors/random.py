"""The offline default where there are no labels: convolutions with fixed random weights, never trained.

Naeem et al. (2020, section 4.3) find random embeddings the safer judge where images are unlike those of ImageNet. The
weights are drawn by NumPy's Philox, so they are the same on every platform and with every version of torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from gansmith import runtime
from gansmith.errors import UsageError
from gansmith.evaluation.extractors.preparation import (
    Setting,
    check_shape,
    checksum_of,
    exact_reading,
    preparation_text,
    resized,
    size_within,
)
from gansmith.images import to_float
from gansmith.report import ExtractorFacts
from gansmith.sizes import Size
from gansmith.training.classify import shape_of

SEED = 1
WIDTHS, GRIDS = (16, 32, 64), (2, 2, 1)
"""Of each stage: channels, and the side of the grid its map is averaged over: 64 + 128 + 64 features."""
LARGEST_SIDE = 64
SLOPE, LARGEST_BIAS = 0.2, 0.2
PIXELS_AT_ONCE = 400_000


class RandomNetwork(nn.Module):
    """Images (N, C, H, W) in [-1, 1] of any size -> (N, 256) features.

    Three stages of 3x3 convolution, LeakyReLU 0.2 and halving by the mean; each map is averaged over a grid, so that a
    feature tells what is where, at three scales. Weights are uniform, variance 2 / (1.04 * fan-in) (He et al. 2015).

    Args:
        channels: of the images.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        before = channels
        for number, width in enumerate(WIDTHS):
            stage = nn.Conv2d(before, width, 3, padding=1)
            limit = math.sqrt(3 * 2 / (1 + SLOPE**2) / (9 * before))
            with torch.no_grad():
                stage.weight.copy_(limit * _uniform(stage.weight.shape, channels, number, "weight"))
                stage.bias.copy_(LARGEST_BIAS * _uniform((width,), channels, number, "bias"))  # type: ignore[union-attr]
            self.stages.append(stage)
            before = width

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        features = []
        for stage, grid in zip(self.stages, GRIDS, strict=True):
            images = nn.functional.leaky_relu(stage(images), SLOPE)
            features.append(adaptive_avg_pool2d(images, grid).flatten(1))
            images = avg_pool2d(images, 2, ceil_mode=True)
        return torch.cat(features, 1)


def _uniform(shape: tuple[int, ...], *stream: int | str) -> Tensor:
    """Return float32 in [-1, 1): of Philox's integers, since NumPy may change how it draws anything else."""
    bits = np.random.Philox(key=runtime.seed_of(SEED, "random extractor", *stream)).random_raw(math.prod(shape))
    return torch.from_numpy((bits >> np.uint64(40)).astype(np.float32) / 2.0**23 - 1.0).reshape(shape)


@dataclass(frozen=True)
class RandomExtractor:
    """A random network that reads images of one number of channels and one size.

    Attributes:
        facts: its name and checksum.
        network: on the device it reads on.
        shape: (channels, height, width) of the images it takes.
        size: that they are read at.
    """

    facts: ExtractorFacts
    network: RandomNetwork
    shape: tuple[int, int, int]
    size: Size

    def read(self, images: Tensor) -> tuple[Tensor, None]:
        """Return (N, 256) features and no probabilities for uint8 images.

        Raises:
            DataError: they have another shape than the data it was made for.
        """
        check_shape(images, self.shape, "random")
        device = next(self.network.parameters()).device
        features = []
        with exact_reading():
            for part in torch.split(images, max(1, PIXELS_AT_ONCE // math.prod(self.size))):
                values = to_float(resized(part, self.size)).to(device, memory_format=torch.channels_last)
                features.append(self.network(values).cpu())
        return torch.cat(features), None


def make_random(setting: Setting) -> RandomExtractor:
    """Return the random network for images of these data's shape.

    Raises:
        UsageError: weights are given, which it has no use for.
    """
    if setting.weights is not None:
        raise UsageError(f"--weights {setting.weights}: random has fixed weights; weights are for inception and dinov2")
    shape = shape_of(setting.train)
    size = size_within(shape[1:], LARGEST_SIDE)
    network = RandomNetwork(shape[0]).requires_grad_(False).eval()
    preparation = preparation_text(shape[1:], size)
    facts = ExtractorFacts(
        name="random",
        checksum=checksum_of(network.state_dict(), preparation),
        dim=sum(width * grid**2 for width, grid in zip(WIDTHS, GRIDS, strict=True)),
        preparation=preparation,
        note="untrained convolutions with fixed weights",
    )
    network.to(setting.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return RandomExtractor(facts, network, shape, size)
