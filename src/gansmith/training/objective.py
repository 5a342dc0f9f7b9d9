"""What a way of playing must offer. The loop, checkpoints and sampling use nothing else.

`adversarial.py` and `autoencoder.py` are the two there are (`objectives.py`); translation and restoration are others.
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
        """Return what one step eats: name -> number of items. "real_d" are what the step adds to the images seen.

        A name stands for an order of the data: objectives that read "real_d" see the same images in the same order.
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

    def preview(self, state: TrainState, seed: int, reals: Batch) -> Tensor:
        """Return samples (N, C, *space) float32 in [-1, 1] on the CPU, from latents fixed by `seed`.

        Args:
            state: settled.
            seed: of the latents.
            reals: the items of the grid of reals, float32 in [-1, 1] on the CPU, for what is made of them.
        """
        ...

    def generator(self, state: TrainState) -> nn.Module:
        """Return the averaged generator that users get: (latents, labels) -> samples."""
        ...
