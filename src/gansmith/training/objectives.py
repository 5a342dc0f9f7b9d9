"""The table of objectives, by the names that recipes use."""

from __future__ import annotations

from gansmith.training.adversarial import Adversarial
from gansmith.training.autoencoder import Autoencoder
from gansmith.training.graph import Recordable

OBJECTIVES: dict[str, Recordable] = {
    "adversarial": Adversarial(),
    "autoencoder": Autoencoder(),
}
