"""Settings of a method that is the same but small: what `Recipe.shrunk` and so the contract tests train."""

from __future__ import annotations

from typing import Any

from gansmith.settings.base import Settings
from gansmith.settings.networks import whole_groups
from gansmith.settings.training import BurnIn

SHRINK, SMALLEST_WIDTH = 8, 4
"""Widths are divided by this, down to the smallest."""
SHRUNK_BATCH, SHRUNK_HALF_LIFE, SHRUNK_LENGTH = 8, 64, 1_000


def narrowed(network: Settings) -> Settings:
    """Return a network of the same family with few channels."""
    values = dict(network)
    changes: dict[str, Any] = {}
    if "hidden" in values:
        changes["hidden"] = tuple(max(width // SHRINK, SMALLEST_WIDTH) for width in values["hidden"])
    for name in ("width", "latent_dim"):
        if name in values:
            # Residual networks have as many channels at every resolution and need more.
            divisor = SHRINK**2 if values["family"] in ("resnet", "r3gan") else SHRINK
            changes[name] = max(values[name] // divisor, SMALLEST_WIDTH)
    if values["family"] == "r3gan":
        changes |= {"width": whole_groups(changes["width"]), "constant": 1, "blocks": 1}
    return network.model_copy(update=changes)


def shortened(burn_in: BurnIn) -> BurnIn:
    """Return a burn-in of a few steps."""
    half_life = burn_in.ema_half_life_images
    return burn_in.model_copy(
        update={
            "length_images": SHRUNK_LENGTH,
            "ema_half_life_images": None if half_life is None else min(half_life, SHRUNK_HALF_LIFE),
        }
    )
