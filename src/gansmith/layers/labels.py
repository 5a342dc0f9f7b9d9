"""How networks are told the class of a sample: joined to the latents, projected onto D's features, in batch norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from gansmith.runtime import at_least_float32, full_precision

EMBEDDING_DIM = 64


def required(labels: Tensor | None) -> Tensor:
    """Return the labels.

    Raises:
        ValueError: there are none, but the network was built for classes.
    """
    if labels is None:
        raise ValueError("this network is conditional: it needs labels (N,) int64")
    return labels


class JoinedLatents(nn.Module):
    """Latents with an embedding of the class, normalised to length 1, joined to them.

    Against latents of length sqrt(latent_dim), the class is a hint at first: with an embedding as long as the latents,
    the generator learns one image for each class and ignores the latents (docs/log.md).

    Args:
        latent_dim: of the latents.
        num_classes: 0 leaves the latents as they are.

    Attributes:
        out_features: values per sample that come out.
    """

    def __init__(self, latent_dim: int, num_classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, EMBEDDING_DIM) if num_classes else None
        self.out_features = latent_dim + (EMBEDDING_DIM if num_classes else 0)

    def forward(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return (N, out_features) for latents (N, latent_dim) and labels (N,) int64 (None where no classes are)."""
        if self.embedding is None:
            return latents
        return torch.cat([latents, normalize(self.embedding(required(labels)), dim=1)], 1)


class Logit(nn.Linear):
    """The last layer of a discriminator: (N, in_features) -> (N,) logits, in float32 even under autocast.

    With classes, the inner product of the features with an embedding of the class is added (projection
    discriminator, Miyato & Koyama 2018, eq. 3).

    Args:
        in_features: of a sample.
        num_classes: 0 for none.
    """

    def __init__(self, in_features: int, num_classes: int = 0) -> None:
        super().__init__(in_features, 1)
        self.embedding = nn.Embedding(num_classes, in_features) if num_classes else None
        if self.embedding is not None:
            nn.init.xavier_uniform_(self.embedding.weight)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N,) float32 logits for (N, in_features) features of any float type and labels (N,) int64."""
        with full_precision(features.device):
            features = at_least_float32(features)
            logits: Tensor = super().forward(features).squeeze(1)
            if self.embedding is not None:
                logits = logits + (features * self.embedding(required(labels))).sum(1)
            return logits


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose scale and shift depend on the class (Dumoulin et al. 2017); plain without classes.

    Args:
        num_channels: of the maps.
        num_classes: 0 for none.
    """

    def __init__(self, num_channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(num_channels, affine=not num_classes)
        self.scale = nn.Embedding(num_classes, num_channels) if num_classes else None
        self.shift = nn.Embedding(num_classes, num_channels) if num_classes else None
        if self.scale is not None and self.shift is not None:
            nn.init.ones_(self.scale.weight)
            nn.init.zeros_(self.shift.weight)

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """Return normalised maps (N, C, H, W) for maps of that shape and labels (N,) int64."""
        normalised: Tensor = self.norm(maps)
        if self.scale is None or self.shift is None:
            return normalised
        labels = required(labels)
        scale, shift = (table(labels).to(normalised.dtype)[:, :, None, None] for table in (self.scale, self.shift))
        return torch.addcmul(shift, normalised, scale)
