"""What acts on weights alone: L1 and L2 terms of a loss, and weight clipping. Penalties of D's gradient are
`penalties.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gansmith.layers.labels import ConditionalBatchNorm2d
from gansmith.settings import Regularisation


def weight_loss(module: nn.Module, settings: Regularisation) -> Tensor | None:
    """Return l1 * sum |w| + l2 * sum w^2 over the module's conv, dense and embedding weights, 0-d with a graph.

    Biases and the scales and shifts of batch norm are left alone. None where both weights are 0.
    """
    if not (settings.l1 or settings.l2):
        return None
    norms = [layer for layer in module.modules() if isinstance(layer, ConditionalBatchNorm2d)]
    scales = {id(parameter) for norm in norms for parameter in norm.parameters()}
    weights = [parameter for parameter in module.parameters() if parameter.ndim > 1 and id(parameter) not in scales]
    absolute = torch.stack([weight.abs().sum() for weight in weights]).sum()
    squared = torch.stack([weight.square().sum() for weight in weights]).sum()
    return settings.l1 * absolute + settings.l2 * squared


@torch.no_grad()
def clip_weights(module: nn.Module, settings: Regularisation) -> None:
    """Clamp every parameter to [-c, c] (Arjovsky et al. 2017, algorithm 1); nothing where clipping is off."""
    if settings.weight_clipping is not None:
        parameters: list[Tensor] = list(module.parameters())
        torch._foreach_clamp_min_(parameters, -settings.weight_clipping)
        torch._foreach_clamp_max_(parameters, settings.weight_clipping)
