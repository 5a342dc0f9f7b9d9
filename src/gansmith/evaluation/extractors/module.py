"""The user's own module as an extractor, through the Python API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gansmith.errors import UsageError
from gansmith.evaluation.extractors.preparation import Setting, checksum_of, exact_reading
from gansmith.images import to_float
from gansmith.report import ExtractorFacts

IMAGES_AT_ONCE = 128
NUM_PROBED = 2


@dataclass(frozen=True)
class ModuleExtractor:
    """A module that takes images (N, C, H, W) float32 in [-1, 1] and returns (N, D) features.

    It stays on its own device and is put in eval mode while it reads.

    Attributes:
        facts: the name of its class, the checksum of its weights and that name.
        module: the user's.
    """

    facts: ExtractorFacts
    module: nn.Module

    @classmethod
    def of(cls, module: nn.Module, setting: Setting) -> ModuleExtractor:
        """Return it with the dimension found by reading two real images.

        Raises:
            UsageError: weights are given beside it, or what it returns are no features.
        """
        if setting.weights is not None:
            raise UsageError(f"weights={setting.weights}: a module brings its own; load them before")
        probe = setting.train.batch(np.arange(NUM_PROBED, dtype=np.int64) % len(setting.train)).images
        dim = _features(module, probe).shape[1]
        name, preparation = type(module).__name__, "none (float32 in [-1, 1])"
        checksum = checksum_of(module.state_dict(), f"{name}, {preparation}")
        facts = ExtractorFacts(name=name, checksum=checksum, dim=dim, preparation=preparation, note="the user's own")
        return cls(facts, module)

    def read(self, images: Tensor) -> tuple[Tensor, None]:
        """Return (N, D) features and no probabilities for uint8 images.

        Raises:
            UsageError: what the module returns are no (N, D) finite-typed features.
        """
        parts = [_features(self.module, part) for part in torch.split(images, IMAGES_AT_ONCE)]
        return torch.cat(parts), None


def _features(module: nn.Module, images: Tensor) -> Tensor:
    """Return (N, D) float32 features of uint8 images on the CPU."""
    first = next(iter(module.state_dict().values()), images)
    was_training = module.training
    module.eval()
    try:
        with exact_reading():
            came = module(to_float(images).to(first.device))
    finally:
        module.train(was_training)
    if not isinstance(came, Tensor) or came.ndim != 2 or len(came) != len(images) or not came.is_floating_point():
        expected = f"({len(images)}, D) floating-point features for {len(images)} images"
        raise UsageError(f"extractor {type(module).__name__}: returned {_described(came)}; expected {expected}")
    return came.float().cpu()


def _described(value: Any) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
