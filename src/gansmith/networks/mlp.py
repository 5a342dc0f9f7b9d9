"""Multilayer perceptrons: the generator and discriminator of the first GAN (Goodfellow et al. 2014)."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from gansmith.layers.blocks import Logit, initialise_glorot, leaky_relu
from gansmith.recipe import MLPDiscriminator, MLPGenerator
from gansmith.sizes import Size


class MLPGeneratorNetwork(nn.Module):
    """Latents -> dense layers -> images.

    Args:
        settings: widths and latent dimension.
        size: (height, width) of the images.
        channels: of the images.
    """

    def __init__(self, settings: MLPGenerator, size: Size, channels: int) -> None:
        super().__init__()
        self.latent_dim = settings.latent_dim
        self.shape = (channels, *size)
        widths = (settings.latent_dim, *settings.hidden)
        layers = [layer for before, after in pairwise(widths) for layer in (nn.Linear(before, after), leaky_relu())]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], math.prod(self.shape)), nn.Tanh())
        initialise_glorot(self)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N, C, H, W) in [-1, 1] for latents (N, latent_dim); labels are not used."""
        images: Tensor = self.layers(latents).view(-1, *self.shape)
        return images


class MLPDiscriminatorNetwork(nn.Module):
    """Images -> flatten -> dense layers -> one logit each. Arguments as `MLPGeneratorNetwork`."""

    def __init__(self, settings: MLPDiscriminator, size: Size, channels: int) -> None:
        super().__init__()
        widths = (channels * math.prod(size), *settings.hidden)
        layers = [layer for before, after in pairwise(widths) for layer in (nn.Linear(before, after), leaky_relu())]
        self.features = nn.Sequential(nn.Flatten(), *layers)
        self.logit = Logit(widths[-1])
        initialise_glorot(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N,) float32 logits for images (N, C, H, W) in [-1, 1]; labels are not used."""
        logits: Tensor = self.logit(self.features(images))
        return logits
