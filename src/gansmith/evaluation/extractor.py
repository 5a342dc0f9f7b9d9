"""What turns images into features: the protocol that every extractor keeps. The extractors are in `extractors/`."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from gansmith.report import ExtractorFacts


class Extractor(Protocol):
    """Images into features, and for some into class probabilities.

    The same images give the same features however they are batched (to rounding).
    """

    @property
    def facts(self) -> ExtractorFacts:
        """Name, checksum, dimension, preparation."""
        ...

    def features(self, images: Tensor) -> Tensor:
        """Return (N, D) float32 features on the CPU for images (N, C, H, W) uint8; any N.

        Raises:
            DataError: images of that shape cannot be read by it.
        """
        ...

    def probabilities(self, images: Tensor) -> Tensor | None:
        """Return (N, K) float32 class probabilities on the CPU for images (N, C, H, W) uint8; None: it knows none.

        Those of the `classifier` are of the data's own classes, in their order; those of `inception` of ImageNet's.
        """
        ...
