"""Multilayer perceptrons: the generator and discriminator of the first GAN (Goodfellow et al. 2014)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from gansmith.layers.blocks import apply_spectral_norm, dense_stack, initialise_glorot
from gansmith.layers.fold import folded, pairs_in
from gansmith.layers.labels import JoinedLatents, Logit
from gansmith.settings import MLPDiscriminator, MLPGenerator
from gansmith.sizes import Size


class MLPGeneratorNetwork(nn.Module):
    """Latents -> dense layers -> images.

    Args:
        settings: widths and latent dimension.
        size: (height, width) of the images.
        channels: of the images.
        num_classes: 0 for none.
    """

    def __init__(self, settings: MLPGenerator, size: Size, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        self.latent_dim = settings.latent_dim
        self.shape = (channels, *size)
        self.join = JoinedLatents(settings.latent_dim, num_classes)
        hidden = dense_stack((self.join.out_features, *settings.hidden), settings.normalisation)
        self.layers = nn.Sequential(*hidden, nn.Linear(settings.hidden[-1], math.prod(self.shape)), nn.Tanh())
        initialise_glorot(self)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N, C, H, W) in [-1, 1] for latents (N, latent_dim) and labels (N,) where there are classes."""
        images: Tensor = self.layers(self.join(latents, labels)).view(-1, *self.shape)
        return images

    def for_sampling(self) -> MLPGeneratorNetwork:
        """Return a copy for eval mode with batch norm folded into the layers before; this network stays as it is."""
        return folded(self, pairs_in("layers", self.layers))


class MLPDiscriminatorNetwork(nn.Module):
    """Images -> flatten -> dense layers -> one logit each. Arguments as `MLPGeneratorNetwork`."""

    def __init__(self, settings: MLPDiscriminator, size: Size, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        widths = (channels * math.prod(size), *settings.hidden)
        layers = dense_stack(widths, settings.normalisation, settings.dropout, skip_first_norm=True)
        self.features = nn.Sequential(nn.Flatten(), *layers)
        self.logit = Logit(widths[-1], num_classes)
        initialise_glorot(self)
        if settings.normalisation == "spectral":
            apply_spectral_norm(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N,) float32 logits for images (N, C, H, W) in [-1, 1] and labels (N,) where there are classes."""
        logits: Tensor = self.logit(self.features(images), labels)
        return logits
