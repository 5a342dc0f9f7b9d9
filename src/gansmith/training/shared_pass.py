"""R1 and R2 from the same pass through D that gives its logits, as in the algorithm of R3GAN (Huang et al. 2024).

The penalties alone would take two passes more, forward and backward. They are computed in the precision of the pass.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from gansmith import ranks, runtime
from gansmith.augment import UNCHANGED
from gansmith.layers.piecewise import PiecewiseLinear, RecordedPass, RepeatedPass
from gansmith.losses import LOSSES
from gansmith.runtime import at_least_float32
from gansmith.training.descent import collect_gradients, mean_over_ranks, parameters_of
from gansmith.training.gradients import SMALLEST_START, start_of
from gansmith.training.lecam import lecam_of
from gansmith.training.scoring import Pair, Scored, scored
from gansmith.training.state import TrainState

SHARED = ("r1", "r2")
"""The penalties that a pass over reals, then fakes, can give: those of the gradients there."""
View = Callable[[Tensor], Tensor]


def collect_from_one_pass(
    state: TrainState, pair: Pair, weights: dict[str, float], count: int
) -> tuple[Scored, Tensor]:
    """Collect D's gradients of the mean of loss and penalties, from one pass.

    Args:
        state: the gradients of its discriminator's parameters are added to.
        pair: N reals and N fakes, and what is done to them before D sees them: slopes are at the images before that.
        weights: of those of `SHARED` whose turn it is.
        count: pairs of this rank's share of the batch, of which these are a part.

    Returns:
        what D has made of them, and (N, C, *space), the gradient of each fake's logit by the fake.
    """
    discriminator, real = state.modules["discriminator"], pair.real
    images = torch.cat([real.images, pair.fake_images.to(real.images.dtype)]).detach().requires_grad_(True)
    labels = None if real.labels is None else real.labels.repeat(2)

    def seen(both: Tensor) -> Tensor:
        if pair.of_real is UNCHANGED:
            return both.view_as(both)  # as in `penalties.input_gradients`
        reals, fakes = both.chunk(2)
        return torch.cat([pair.of_real(reals), pair.of_fake(fakes)])

    with runtime.autocast(state.device, state.recipe.precision):
        if isinstance(discriminator, PiecewiseLinear):
            return _by_repeating(state, discriminator, images, seen, labels, weights, count)
        logits = discriminator(seen(images), labels)
        (slopes,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    losses, anchored = _losses(state, logits)
    penalties = anchored | _half_squares(slopes, weights)
    total = losses + sum(weight * value for weight, value in penalties.values())
    collect_gradients(state, ["discriminator"], mean_over_ranks(total, count))
    real_logits, fake_logits = logits.chunk(2)
    return scored(losses, real_logits, fake_logits, penalties), slopes.detach().chunk(2)[1]


def _by_repeating(
    state: TrainState, discriminator: PiecewiseLinear, images: Tensor, seen: View, labels: Tensor | None,
    weights: dict[str, float], count: int,
) -> tuple[Scored, Tensor]:  # fmt: skip
    """Do it without differentiating twice (`layers/piecewise.py`), to rounding the same.

    What is done to images before D sees them is linear in them but for a constant, so that D is as linear as before.
    """
    recorded = RecordedPass()
    logits = discriminator.run(seen(images), labels, recorded)
    losses, anchored = _losses(state, logits)
    mean = mean_over_ranks(losses + sum(weight * value for weight, value in anchored.values()), count)
    (starts,) = torch.autograd.grad(mean, logits, start_of(mean), retain_graph=True)
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
        discriminator.run(seen(torch.addcmul(images.detach(), factors.view(along), slopes)), labels, repeated)
    parameters = parameters_of(state.optimizers["discriminator"])
    torch.autograd.backward(repeated.outputs, outer, inputs=parameters)
    real_logits, fake_logits = logits.chunk(2)
    found = scored(losses, real_logits, fake_logits, anchored | _half_squares(slopes, weights))
    return found, slopes.chunk(2)[1]


def _losses(state: TrainState, logits: Tensor) -> tuple[Tensor, dict[str, tuple[float, Tensor]]]:
    """Return D's loss of the pairs, and what LeCam adds to it."""
    real_logits, fake_logits = logits.chunk(2)
    return LOSSES[state.recipe.loss].d(real_logits, fake_logits), lecam_of(state, real_logits, fake_logits)


def _half_squares(slopes: Tensor, weights: dict[str, float]) -> dict[str, tuple[float, Tensor]]:
    squares = 0.5 * at_least_float32(slopes).flatten(1).square().sum(1)
    values = dict(zip(SHARED, squares.chunk(2), strict=True))
    return {name: (weight, values[name]) for name, weight in weights.items()}
