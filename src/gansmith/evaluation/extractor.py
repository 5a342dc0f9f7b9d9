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

    def read(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return features and class probabilities of images (N, C, H, W) uint8, any N, in one pass.

        Features are (N, D) float32 on the CPU. Probabilities are (N, K) float32 on the CPU, or None where it knows no
        classes: of the `classifier`, of the data's own classes in their order; of `inception`, of ImageNet's.

        Raises:
            DataError: images of that shape cannot be read by it.
            UsageError: what the user's own module returned are no features.
        """
        ...
