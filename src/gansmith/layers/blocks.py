"""Small parts that every family is made of: activation, dense batch norm, memory layout, initial weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import batch_norm

from gansmith.layers.dropout import Dropout
from gansmith.layers.norm import spectral_norm

SLOPE = 0.2
"""Of every LeakyReLU."""
INITIAL_STD = 0.02


def leaky_relu() -> nn.LeakyReLU:
    """Return a LeakyReLU of slope 0.2 that overwrites its input: what no layer before it needs again."""
    return nn.LeakyReLU(SLOPE, inplace=True)


class DenseBatchNorm(nn.BatchNorm1d):
    """Batch norm of dense features. A batch of one has no spread of its own: the running statistics take its place."""

    def forward(self, features: Tensor) -> Tensor:
        """Return normalised (N, num_features) features."""
        if self.training and len(features) == 1:
            return batch_norm(
                features, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(features)


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
        if any(parameter.is_meta for parameter in layer.parameters(recurse=False)):
            continue  # a second of imports, for nothing
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, INITIAL_STD)
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(layer.weight, 1.0, INITIAL_STD)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def initialise_glorot(module: nn.Module) -> None:
    """Draw conv and dense weights from Glorot's uniform distribution; biases 0 (Glorot & Bengio 2010)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def apply_spectral_norm(module: nn.Module) -> None:
    """Apply spectral norm to every conv, dense and embedding weight inside (Miyato et al. 2018)."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            spectral_norm(layer)


def dense_stack(
    widths: Sequence[int], normalisation: str | None, dropout: float = 0.0, skip_first_norm: bool = False
) -> nn.Sequential:
    """Return dense layers with LeakyReLU 0.2 for (N, widths[0]) features.

    Args:
        widths: of the input and of each layer.
        normalisation: "batch" puts batch norm before each activation; any other value, nothing.
        dropout: share dropped after each activation.
        skip_first_norm: no batch norm after the first layer, as in discriminators.
    """
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(widths)):
        has_norm = normalisation == "batch" and not (skip_first_norm and index == 0)
        layers.append(nn.Linear(before, after, bias=not has_norm))
        layers += [DenseBatchNorm(after)] if has_norm else []
        layers += [Dropout(dropout)] if dropout else []
        layers.append(leaky_relu())  # with dropout before it, the same: values are scaled by 0 or more
    return nn.Sequential(*layers)
