"""Small parts that every family is made of: the activation, the logit in float32, initial weights."""

from __future__ import annotations

from torch import Tensor, nn

from gansmith.runtime import full_precision

SLOPE = 0.2
"""Of every LeakyReLU."""
INITIAL_STD = 0.02


def leaky_relu() -> nn.LeakyReLU:
    """Return a LeakyReLU of slope 0.2."""
    return nn.LeakyReLU(SLOPE)


class Logit(nn.Linear):
    """The last layer of a discriminator: (N, in_features) -> (N,) logits, in float32 even under autocast."""

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return (N,) float32 logits for (N, in_features) features of any float type."""
        with full_precision(features.device):
            return super().forward(features.float()).squeeze(1)


def to_map(flat: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return (N, C, H, W) maps in channels-last memory for (N, H * W * C) values; no copy.

    Args:
        flat: (N, H * W * C).
        shape: (C, H, W).
    """
    channels, height, width = shape
    return flat.view(-1, height, width, channels).permute(0, 3, 1, 2)


def from_map(maps: Tensor) -> Tensor:
    """Return (N, H * W * C) for (N, C, H, W) maps; no copy where they are channels-last in memory.

    Flattening in the order of the memory spares this pass and the backward one a change of layout.
    """
    return maps.permute(0, 2, 3, 1).flatten(1)


def initialise_normal(module: nn.Module) -> None:
    """Draw conv and dense weights from N(0, 0.02), batch-norm scales from N(1, 0.02), no bias (Radford et al. 2016)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, INITIAL_STD)
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(layer.weight, 1.0, INITIAL_STD)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def initialise_glorot(module: nn.Module) -> None:
    """Draw dense weights from Glorot's uniform distribution; biases 0 (Glorot & Bengio 2010)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
