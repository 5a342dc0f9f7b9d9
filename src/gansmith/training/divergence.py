"""Training that goes on failing: back to the last checkpoint with lower rates, a few times; then advice."""

from __future__ import annotations

from gansmith.recipe import Recipe
from gansmith.training.descent import RATE_OF_RETRY
from gansmith.training.state import TrainState

MOST_RETRIES = 3
FURTHER = 10
"""By what a rate is divided in the advice, beyond the lowest that was tried."""


class RollBack(Exception):
    """Training cannot go on from here. Raised on all ranks at once, and never shown.

    Args:
        state: that training came to.
        reason: what is wrong with it.
    """

    def __init__(self, state: TrainState, reason: str) -> None:
        self.images, self.retries, self.reason = state.counters["images"], state.counters["retries"], reason
        super().__init__(reason)

    def announcement(self) -> str:
        """Return what happened and what is done about it, where something still is."""
        return (
            f"at {self.images:,} images, {self.reason}; nothing of that is saved: back to the last checkpoint "
            "(without one, to the start), with "
            f"learning rates x {RATE_OF_RETRY ** (self.retries + 1):g} and other draws "
            f"({self.retries + 1} of at most {MOST_RETRIES} times)"
        )

    def advice(self, recipe: Recipe) -> str:
        """Return what the user is told at the end."""
        lowest = RATE_OF_RETRY**self.retries
        trained = [name for name in ("generator", "discriminator") if getattr(recipe, name) is not None]
        rates = " ".join(
            f"--set {name}_optimizer.learning_rate={recipe.optimizer_of(name).learning_rate * lowest / FURTHER:.1g}"
            for name in trained
        )
        also = [
            *(["--set precision=float32"] if recipe.precision != "float32" else []),
            *(["another --set loss=..."] if recipe.objective == "adversarial" else []),
        ]
        return (
            f"diverged: at {self.images:,} images, {self.reason}, also after going back {self.retries} times with "
            f"rates down to x {lowest:g}; what was saved before is kept. "
            f"Start another run (--out) with lower rates: {rates}" + (f"; or with {' or '.join(also)}" if also else "")
        )
