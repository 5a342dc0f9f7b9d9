"""The dense-conv hybrid: dense layers up to a small map, then convolutions with nearest upsampling; a dense D."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from gansmith.layers.blocks import DenseBatchNorm, initialise_glorot, to_map
from gansmith.layers.fold import folded, pairs_in
from gansmith.layers.labels import JoinedLatents
from gansmith.layers.resample import UpsampledConv2d
from gansmith.networks.mlp import MLPDiscriminatorNetwork
from gansmith.settings import DenseConvDiscriminator, DenseConvGenerator, MLPDiscriminator
from gansmith.sizes import Size, required_stages

DENSE_FACTORS, BASE_FACTOR, MAP_FACTOR = (4, 8, 16), 4, 2
"""Times `width`: the dense layers, the base map, every convolution but the last."""
DISCRIMINATOR_FACTORS = (8, 4, 2)


class DenseConvGeneratorNetwork(nn.Module):
    """Latents -> dense layers -> base map -> convolutions 3x3, the map doubled after each but the last -> images.

    Args:
        settings: width and latent dimension.
        size: (height, width) of the images; one that `sizes.stages_of` knows.
        channels: of the images.
        num_classes: 0 for none.
    """

    def __init__(self, settings: DenseConvGenerator, size: Size, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        stages, width = required_stages(size), settings.width
        self.latent_dim = settings.latent_dim
        self.join = JoinedLatents(settings.latent_dim, num_classes)
        self.base_shape = (BASE_FACTOR * width, stages.height, stages.width)
        before = self.join.out_features
        dense: list[nn.Module] = []
        for after in (*(factor * width for factor in DENSE_FACTORS), math.prod(self.base_shape)):
            dense += [nn.Linear(before, after, bias=False), DenseBatchNorm(after), nn.ReLU()]
            before = after
        self.dense = nn.Sequential(*dense)
        hidden = [*([MAP_FACTOR * width] * stages.num_doublings), width]
        maps: list[nn.Module] = [nn.Conv2d(BASE_FACTOR * width, hidden[0], 3, padding=1, bias=False)]
        for before, after in pairwise(hidden):
            maps += [nn.BatchNorm2d(before), nn.ReLU(), UpsampledConv2d(before, after, bias=False)]
        maps += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1), nn.Tanh()]
        self.maps = nn.Sequential(*maps)
        initialise_glorot(self)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N, C, H, W) in [-1, 1] for latents (N, latent_dim) and labels (N,) where there are classes."""
        images: Tensor = self.maps(to_map(self.dense(self.join(latents, labels)), self.base_shape))
        return images

    def for_sampling(self) -> DenseConvGeneratorNetwork:
        """Return a copy for eval mode with batch norm folded into the layers before; this network stays as it is."""
        return folded(self, [*pairs_in("dense", self.dense), *pairs_in("maps", self.maps)])


class DenseConvDiscriminatorNetwork(MLPDiscriminatorNetwork):
    """Images -> flatten -> dense layers -> one logit each. Arguments as `DenseConvGeneratorNetwork`."""

    def __init__(self, settings: DenseConvDiscriminator, size: Size, channels: int, num_classes: int = 0) -> None:
        hidden = tuple(factor * settings.width for factor in DISCRIMINATOR_FACTORS)
        dense = MLPDiscriminator(hidden=hidden, normalisation=settings.normalisation, dropout=settings.dropout)
        super().__init__(dense, size, channels, num_classes)
