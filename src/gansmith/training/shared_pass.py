"""R1 and R2 from the same pass through D that gives its logits, as in the algorithm of R3GAN (Huang et al. 2024).

The penalties alone would take two passes more, forward and backward. They are computed in the precision of the pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from gansmith import ranks, runtime
from gansmith.data import Batch
from gansmith.layers.piecewise import PiecewiseLinear, RecordedPass, RepeatedPass
from gansmith.losses import LOSSES
from gansmith.runtime import at_least_float32
from gansmith.training.descent import collect_gradients, mean_over_ranks, measured_of, parameters_of
from gansmith.training.gradients import SMALLEST_START
from gansmith.training.state import TrainState

SHARED = ("r1", "r2")
"""The penalties that a pass over reals, then fakes, can give: those of the gradients there."""


@dataclass(frozen=True)
class Scored:
    """What a pass over pairs of real and fake has given, without a graph.

    Attributes:
        loss: (N,) of D.
        real_logits, fake_logits: (N,).
        penalties: name -> (weight, (N,) values), as `step.due_penalties`.
        slopes: (N, C, *space), the gradient of each fake's logit by the fake.
    """

    loss: Tensor
    real_logits: Tensor
    fake_logits: Tensor
    penalties: dict[str, tuple[float, Tensor]]
    slopes: Tensor

    def measured(self) -> dict[str, Tensor]:
        """Return what a discriminator step reports, as 0-d tensors."""
        return measured_of(self.loss, self.real_logits, self.fake_logits, self.penalties)


def collect_from_one_pass(
    state: TrainState, real: Batch, fake_images: Tensor, weights: dict[str, float], count: int
) -> Scored:
    """Collect D's gradients of the mean of loss and penalties, from one pass.

    Args:
        state: the gradients of its discriminator's parameters are added to.
        real: N images, with labels where the recipe is conditional.
        fake_images: (N, C, *space) of the same classes; no gradient goes to what made them.
        weights: of those of `SHARED` whose turn it is.
        count: pairs of this rank's share of the batch, of which these are a part.
    """
    discriminator = state.modules["discriminator"]
    images = torch.cat([real.images, fake_images.to(real.images.dtype)]).detach().requires_grad_(True)
    labels = None if real.labels is None else real.labels.repeat(2)
    with runtime.autocast(state.device, state.recipe.precision):
        if isinstance(discriminator, PiecewiseLinear):
            return _by_repeating(state, discriminator, images, labels, weights, count)
        logits = discriminator(images.view_as(images), labels)
        (slopes,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    values = _half_squares(slopes)
    losses = LOSSES[state.recipe.loss].d(*logits.chunk(2))
    total = losses + sum(weight * values[name] for name, weight in weights.items())
    collect_gradients(state, ["discriminator"], mean_over_ranks(total, count))
    return _scored(losses, logits, weights, slopes)


def _by_repeating(
    state: TrainState, discriminator: PiecewiseLinear, images: Tensor, labels: Tensor | None,
    weights: dict[str, float], count: int,
) -> Scored:  # fmt: skip
    """Do it without differentiating twice (`layers/piecewise.py`), to rounding the same."""
    recorded = RecordedPass()
    images = images.view_as(images)  # as in `penalties.input_gradients`
    logits = discriminator.run(images, labels, recorded)
    losses = LOSSES[state.recipe.loss].d(*logits.chunk(2))
    (starts,) = torch.autograd.grad(mean_over_ranks(losses, count), logits, retain_graph=True)
    scale = 1 / (count * ranks.current().size)
    # A pair that the loss is indifferent to still has slopes; what it adds is beyond float32.
    starts = torch.where(starts.abs() < scale * SMALLEST_START, scale * SMALLEST_START, starts)
    slopes, *outer = torch.autograd.grad(logits, [get_gradient_edge(images), *recorded.edges], starts)
    along = [-1, *[1] * (images.ndim - 1)]
    slopes = at_least_float32(slopes) / starts.view(along)
    both = [scale * weights.get(name, 0.0) for name in SHARED]
    factors = torch.cat([weight / part for weight, part in zip(both, starts.chunk(2), strict=True)])
    repeated = RepeatedPass(recorded)
    with torch.enable_grad():
        discriminator.run(torch.addcmul(images.detach(), factors.view(along), slopes), labels, repeated)
    parameters = parameters_of(state.optimizers["discriminator"])
    torch.autograd.backward(repeated.outputs, outer, inputs=parameters)
    return _scored(losses, logits, weights, slopes)


def _half_squares(slopes: Tensor) -> dict[str, Tensor]:
    squares = 0.5 * at_least_float32(slopes).flatten(1).square().sum(1)
    return dict(zip(SHARED, squares.chunk(2), strict=True))


def _scored(losses: Tensor, logits: Tensor, weights: dict[str, float], slopes: Tensor) -> Scored:
    values = _half_squares(slopes.detach())
    real_logits, fake_logits = logits.detach().chunk(2)
    penalties = {name: (weight, values[name]) for name, weight in weights.items()}
    return Scored(losses.detach(), real_logits, fake_logits, penalties, slopes.detach().chunk(2)[1])
