"""LeCam regularisation: D's logits are held near moving averages of those of the other kind (Tseng et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gansmith import ranks
from gansmith.training.state import TrainState

LECAM = "lecam"
DECAY = 0.99


class Anchors(nn.Module):
    """Moving averages of D's logits of reals and of fakes, 0 at first. No parameter: it is state, and learns nothing.

    Attributes:
        real, fake: 0-d float32.
    """

    real: Tensor
    fake: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))

    def forward(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return (D(x) - a_fake)^2 + (D(G(z)) - a_real)^2, (N,), for logits (N,) (Tseng et al. 2021, eq. 3)."""
        return (real_logits - self.fake).square() + (fake_logits - self.real).square()


def begin_lecam(state: TrainState) -> None:
    """Give a fresh state its anchors, where the recipe has LeCam regularisation."""
    if state.recipe.regularisation.lecam:
        state.modules[LECAM] = Anchors().to(state.device)


def lecam_of(state: TrainState, real_logits: Tensor, fake_logits: Tensor) -> dict[str, tuple[float, Tensor]]:
    """Return {"lecam": (weight, (N,) values)} against the anchors of the steps before, or nothing where it is off."""
    if LECAM not in state.modules:
        return {}
    return {LECAM: (state.recipe.regularisation.lecam, state.modules[LECAM](real_logits, fake_logits))}


@torch.no_grad()
def move_anchors(state: TrainState, logits: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Move the anchors by a hundredth towards the mean logits of a discriminator step, over the batch of all ranks.

    Logits that are no numbers move nothing: an anchor would never be one again.

    Args:
        state: its anchors are changed, if it has any.
        logits: of reals and of fakes, each (n,), of each part of this rank's share.
    """
    anchors = state.modules.get(LECAM)
    if isinstance(anchors, Anchors):
        sums = torch.stack([torch.cat(kind).sum() for kind in zip(*logits, strict=True)])
        ranks.sum_in_place(sums)
        count = ranks.current().size * sum(len(real) for real, _ in logits)
        for anchor, mean in zip((anchors.real, anchors.fake), sums / count, strict=True):
            anchor.lerp_(torch.where(mean.isfinite(), mean, anchor), 1 - DECAY)
