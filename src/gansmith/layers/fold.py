"""Batch norm in eval mode folded into the linear layer before it: the same function with one pass less.

For drawing samples only: a folded network is a copy, and learns nothing from being trained.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def fold_batch_norm(layer: nn.Module, norm: nn.Module) -> None:
    """Change weight and bias of a layer so that it gives what `norm`, in eval mode, makes of its output.

    Args:
        layer: dense, convolution or transposed convolution, of one group. A dense one with more outputs than `norm`
            has channels is one whose output becomes a map by `to_map`, channels last.
        norm: batch norm with running statistics, affine or not.
    """
    assert isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale if norm.bias is None else norm.bias - norm.running_mean * scale
    if isinstance(layer, nn.Linear):
        positions = layer.out_features // norm.num_features
        scale, shift = scale.repeat(positions), shift.repeat(positions)
    shape = [1] * layer.weight.ndim
    shape[1 if isinstance(layer, nn.ConvTranspose2d) else 0] = -1
    bias: Tensor = shift if layer.bias is None else shift + layer.bias * scale
    layer.weight = nn.Parameter(layer.weight * scale.view(shape), requires_grad=False)
    layer.bias = nn.Parameter(bias, requires_grad=False)


def folded(network: Network, pairs: Iterable[tuple[str, str]]) -> Network:
    """Return a copy of a network in eval mode with each batch norm folded into its layer; the network stays as it is.

    Args:
        network: whose weights have no parametrisation, such as spectral norm.
        pairs: names inside it: of a layer, and of the batch norm that alone reads the layer's output.
    """
    result = copy.deepcopy(network).requires_grad_(False).eval()
    for layer, norm in pairs:
        fold_batch_norm(result.get_submodule(layer), result.get_submodule(norm))
        result.set_submodule(norm, nn.Identity())
    return result


def pairs_in(name: str, layers: nn.Sequential) -> list[tuple[str, str]]:
    """Return the names of a layer and the batch norm right after it, wherever there are such two.

    Args:
        name: of `layers` in their network.
        layers: run one after another, and read by nothing else.
    """
    return [
        (f"{name}.{index}", f"{name}.{index + 1}")
        for index, (layer, norm) in enumerate(pairwise(layers))
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
        and isinstance(norm, nn.modules.batchnorm._BatchNorm)
    ]
