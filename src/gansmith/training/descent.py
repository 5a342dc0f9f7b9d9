"""What every step is made of below its algorithm: learning rates, parts of a batch, gradients, descents, averages.

The algorithm, as in the papers, is `step.py`. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gansmith import ranks, schedule
from gansmith.ema import ema_decay, update_ema
from gansmith.optimizers import step_where
from gansmith.regularisation import clip_weights, weight_loss
from gansmith.settings import Adam
from gansmith.training.augmentation import signs_of
from gansmith.training.gradients import start_of
from gansmith.training.state import TrainState

RATE_OF_RETRY = 0.5
"""What learning rates are multiplied by each time that training goes back to a checkpoint."""


def set_rates(state: TrainState) -> None:
    """Give the optimisers what differs of this step from the recipe: learning rates, and beta2 of Adam.

    A rate that is a tensor is overwritten where it is: work recorded as a CUDA graph reads it there.
    """
    recipe, images, retries = state.recipe, state.counters["images"], state.counters["retries"]
    if recipe.learning_rate_schedule is None and recipe.burn_in is None and not retries:
        return
    factor = schedule.learning_rate_factor(recipe, images) * RATE_OF_RETRY**retries
    for name, optimizer in state.optimizers.items():
        settings = recipe.optimizer_of(name)
        rate = settings.learning_rate * factor
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
            if isinstance(settings, Adam):
                group["betas"] = (settings.beta1, schedule.beta2(recipe, settings, images))


def mean_over_ranks(values: Tensor, count: int) -> Tensor:
    """Return this rank's part of the mean over the batch: the sum of (n,) values / items of all ranks.

    Args:
        values: of a part of this rank's share.
        count: items of this rank's share.
    """
    return values.sum() / (count * ranks.current().size)


def parts_of(count: int, micro_batch: int | None) -> list[tuple[int, int]]:
    """Return (start, stop) of the parts that a batch is computed in: one, unless memory asks for more."""
    size = micro_batch or count
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def collect_gradients(state: TrainState, names: Sequence[str], loss: Tensor) -> None:
    """Add the gradients of a 0-d loss to those of the parameters of these of `state.modules`.

    Those of a loss that is no finite number are NaN, so that every rank skips the descent.
    """
    inputs = [parameter for name in names for parameter in parameters_of(state.optimizers[name])]
    torch.autograd.backward(loss, start_of(loss), inputs=inputs)


def descend(state: TrainState, *names: str) -> dict[str, Tensor]:
    """Take one optimiser step of each of these modules down the gradients that all ranks collected, and forget them.

    A module whose gradients are not all finite numbers is left as it was, and so is its optimiser.

    Returns:
        `gradient_norm_d` and the like, 0-d: Euclidean, over all ranks' batch; not finite where the step was skipped.
    """
    recipe, norms = state.recipe, dict[str, Tensor]()
    parameters = [parameter for name in names for parameter in parameters_of(state.optimizers[name])]
    ranks.sum_gradients(parameters, signs_of(state, names))
    for name in names:
        if (weights := weight_loss(state.modules[name], recipe.regularisation)) is not None:
            collect_gradients(state, [name], weights)
        norm = norms[f"gradient_norm_{name[0]}"] = gradient_norm(parameters_of(state.optimizers[name]))
        step_where(norm < torch.inf, state.optimizers[name])  # nor is NaN
        state.optimizers[name].zero_grad(set_to_none=True)
        if name == "discriminator":
            clip_weights(state.modules[name], recipe.regularisation)
    return norms


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the Euclidean norm of all gradients together, 0-d; infinite also where their squares overflow."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


@contextmanager
def finite_statistics(state: TrainState) -> Iterator[None]:
    """Leave batch norm's running statistics as they were wherever the step inside makes them no finite numbers.

    They would stay NaN for good. Spectral norm's vectors depend on weights alone.
    """
    if not (buffers := state.running_statistics):
        yield
        return
    before = torch.cat(buffers)
    yield
    after = torch.cat(buffers)
    mended = torch.where(after.isfinite(), after, before)
    torch._foreach_copy_(buffers, torch.split(mended, [len(buffer) for buffer in buffers]))


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return what the optimiser changes."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def average(state: TrainState, batch_size: int) -> None:
    """Move the EMA copies towards the modules; `state.counters["images"]` already includes this step."""
    recipe, images = state.recipe, state.counters["images"]
    seen = None if schedule.has_own_half_life(recipe) else images
    decay = ema_decay(schedule.ema_half_life(recipe, images), seen, batch_size)
    for name, averaged in state.ema.items():
        update_ema(averaged, state.modules[name], decay)


def mean_of(measured: Sequence[Mapping[str, Tensor]], counts: Sequence[int] | None = None) -> dict[str, Tensor]:
    """Return the mean of each name over the dictionaries that have it.

    Args:
        measured: 0-d tensors by name.
        counts: how many items each is the mean of; None: as many as any other.
    """
    if len(measured) == 1:
        return dict(measured[0])
    weights = counts or [1] * len(measured)
    names = {name: None for values in measured for name in values}
    means = {}
    for name in names:
        having = [(values[name], weight) for values, weight in zip(measured, weights, strict=True) if name in values]
        total = sum(weight for _, weight in having)
        means[name] = torch.stack([value * (weight / total) for value, weight in having]).sum()
    return means
