"""Network families, one a file, and the tables that name them.

To add a family: its settings in `settings.py`, its file here, one line in the tables of what it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from gansmith.networks.dcgan import DCGANDiscriminatorNetwork, DCGANEncoderNetwork, DCGANGeneratorNetwork
from gansmith.networks.dense_conv import DenseConvDiscriminatorNetwork, DenseConvGeneratorNetwork
from gansmith.networks.mlp import MLPDiscriminatorNetwork, MLPGeneratorNetwork
from gansmith.networks.r3gan import R3GANDiscriminatorNetwork, R3GANGeneratorNetwork
from gansmith.networks.resnet import ResNetDiscriminatorNetwork, ResNetGeneratorNetwork

NetworkClass = Callable[[Any, tuple[int, int], int, int], nn.Module]
"""(settings, (height, width), channels, number) -> the network. The number is num_classes (0: it takes no labels), and
latent_dim for an encoder.
"""

GENERATORS: dict[str, NetworkClass] = {
    "mlp": MLPGeneratorNetwork,
    "dcgan": DCGANGeneratorNetwork,
    "dense-conv": DenseConvGeneratorNetwork,
    "resnet": ResNetGeneratorNetwork,
    "r3gan": R3GANGeneratorNetwork,
}

DISCRIMINATORS: dict[str, NetworkClass] = {
    "mlp": MLPDiscriminatorNetwork,
    "dcgan": DCGANDiscriminatorNetwork,
    "dense-conv": DenseConvDiscriminatorNetwork,
    "resnet": ResNetDiscriminatorNetwork,
    "r3gan": R3GANDiscriminatorNetwork,
}

ENCODERS: dict[str, NetworkClass] = {
    "dcgan": DCGANEncoderNetwork,
}
