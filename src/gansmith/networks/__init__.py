"""Network families, one a file, and the two tables that name them.

To add a family: its settings in `recipe.py`, its file here, one line in each table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from gansmith.networks.dcgan import DCGANDiscriminatorNetwork, DCGANGeneratorNetwork
from gansmith.networks.mlp import MLPDiscriminatorNetwork, MLPGeneratorNetwork

NetworkClass = Callable[[Any, tuple[int, int], int], nn.Module]
"""(settings, (height, width), channels) -> the network."""

GENERATORS: dict[str, NetworkClass] = {
    "mlp": MLPGeneratorNetwork,
    "dcgan": DCGANGeneratorNetwork,
}

DISCRIMINATORS: dict[str, NetworkClass] = {
    "mlp": MLPDiscriminatorNetwork,
    "dcgan": DCGANDiscriminatorNetwork,
}
