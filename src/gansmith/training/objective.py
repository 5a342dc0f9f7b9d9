"""What a way of playing must offer. The loop, checkpoints and sampling use nothing else.

`adversarial.py` is the first objective; translation, restoration and autoencoders are others.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gansmith.data import Batch
from gansmith.recipe import Recipe
from gansmith.training.state import TrainState


class Objective(Protocol):
    """How the networks of a recipe play."""

    def initialise(self, recipe: Recipe, seed: int, device: torch.device) -> TrainState:
        """Return the state before the first step, a function of (recipe, seed) alone."""
        ...

    def batches(self, recipe: Recipe) -> dict[str, int]:
        """Return what one step eats: name -> number of items. The sum over names starting with "real_d" is what
        the step adds to the images seen.
        """
        ...

    def step(self, state: TrainState, batches: dict[str, Batch]) -> dict[str, Tensor]:
        """Change the state by one step; return name -> 0-d tensor on the device, never floats.

        Every random draw is a function of (seed, images seen) alone.
        """
        ...

    def settle(self, state: TrainState) -> None:
        """Make `state.ema` ready to be shown or saved (batch-norm statistics); a function of its weights alone."""
        ...

    def preview(self, state: TrainState, seed: int) -> Tensor:
        """Return samples (N, C, *space) float32 in [-1, 1] on the CPU, from latents fixed by `seed`."""
        ...

    def generator(self, state: TrainState) -> nn.Module:
        """Return the averaged generator that users get: (latents, labels) -> samples."""
        ...
