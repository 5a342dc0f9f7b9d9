"""Network families, one a file, and the two tables that name them.

To add a family: its settings in `recipe.py`, its file here, one line in each table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from gansmith.networks.dcgan import DCGANDiscriminatorNetwork, DCGANGeneratorNetwork
from gansmith.networks.dense_conv import DenseConvDiscriminatorNetwork, DenseConvGeneratorNetwork
from gansmith.networks.mlp import MLPDiscriminatorNetwork, MLPGeneratorNetwork
from gansmith.networks.resnet import ResNetDiscriminatorNetwork, ResNetGeneratorNetwork

NetworkClass = Callable[[Any, tuple[int, int], int, int], nn.Module]
"""(settings, (height, width), channels, num_classes) -> the network; num_classes 0: it takes no labels."""

GENERATORS: dict[str, NetworkClass] = {
    "mlp": MLPGeneratorNetwork,
    "dcgan": DCGANGeneratorNetwork,
    "dense-conv": DenseConvGeneratorNetwork,
    "resnet": ResNetGeneratorNetwork,
}

DISCRIMINATORS: dict[str, NetworkClass] = {
    "mlp": MLPDiscriminatorNetwork,
    "dcgan": DCGANDiscriminatorNetwork,
    "dense-conv": DenseConvDiscriminatorNetwork,
    "resnet": ResNetDiscriminatorNetwork,
}
