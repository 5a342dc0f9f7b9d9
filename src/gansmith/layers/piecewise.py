"""Passes through a network that is linear in its input wherever its activations keep their signs.

Of such a network, whose only activations are LeakyReLUs, let a_i be the slope of a logit l by the output of layer i at
input x, and let the signs be kept. Then what layer i's weight gets from the logit, and from its slope in a direction v,
are products of a_i with that layer's input, as it is for x and for v. They are linear in that input:

    s dl(x)/dw + c d<v, dl(x)/dx>/dw = s a_i (input i at x + (c / s) v, signs kept)

With v the gradient dl/dx, held fixed, the second term is that of c |dl/dx|^2 / 2. So one backward pass (to the a_i and
to dl/dx), a second forward pass with the signs of the first, and one product for each weight give the gradient of loss
and penalty together, exactly; differentiating twice would take a third more. `training/shared_pass.py` does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.functional import leaky_relu_

from gansmith.layers.blocks import SLOPE

Linear = Callable[[Tensor], Tensor]


class Pass:
    """A plain pass: what a network calls its linear layers and activations by."""

    def layer(self, linear: Linear, values: Tensor) -> Tensor:
        """Return what a layer that has parameters, linear but for its bias, makes of the values."""
        return linear(values)

    def activation(self, values: Tensor) -> Tensor:
        """Return LeakyReLU 0.2 of the values, which it overwrites: a layer's output that nothing else reads."""
        return leaky_relu_(values, SLOPE)


class RecordedPass(Pass):
    """A pass that can be repeated.

    Attributes:
        edges: of each layer's output, where its gradient is asked for.
        activated: the output of each activation, whose signs are those of its input.
    """

    def __init__(self) -> None:
        self.edges: list[GradientEdge] = []
        self.activated: list[Tensor] = []

    def layer(self, linear: Linear, values: Tensor) -> Tensor:
        """As of a plain pass, noted."""
        result = linear(values)
        self.edges.append(get_gradient_edge(result))
        return result

    def activation(self, values: Tensor) -> Tensor:
        """As of a plain pass, noted."""
        result = leaky_relu_(values, SLOPE)
        self.activated.append(result.detach())
        return result


class RepeatedPass(Pass):
    """A pass at other values with the signs of a recorded one; gradients go to parameters alone, layer by layer.

    Args:
        recorded: of the same network.

    Attributes:
        outputs: of the layers, in the order of `recorded.edges`.
    """

    def __init__(self, recorded: RecordedPass) -> None:
        self.outputs: list[Tensor] = []
        self._activated = iter(recorded.activated)

    def layer(self, linear: Linear, values: Tensor) -> Tensor:
        """As of a plain pass; what comes out has no graph to what went in."""
        self.outputs.append(linear(values.detach()))
        return self.outputs[-1].detach()

    def activation(self, values: Tensor) -> Tensor:
        """Return the values times 1 or 0.2, by the sign that was recorded."""
        result: Tensor = torch.ops.aten.leaky_relu_backward(values, next(self._activated), SLOPE, True)
        return result


PLAIN = Pass()


@runtime_checkable
class PiecewiseLinear(Protocol):
    """A discriminator that runs all its layers and activations through a pass that it is given."""

    def run(self, images: Tensor, labels: Tensor | None, through: Pass) -> Tensor:
        """Return (N,) logits; each depends on its own image alone."""
        ...
