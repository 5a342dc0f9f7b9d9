"""What every step is made of below its algorithm: learning rates, parts of a batch, gradients, descents, averages.

The algorithm, as in the papers, is `step.py`. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gansmith import ranks
from gansmith.ema import ema_decay, update_ema
from gansmith.regularisation import clip_weights, weight_loss
from gansmith.training.state import TrainState


def set_rates(state: TrainState) -> None:
    """Give the optimisers the learning rates of this step, where the recipe has a schedule.

    A rate that is a tensor is overwritten where it is: work recorded as a CUDA graph reads it there.
    """
    recipe = state.recipe
    if recipe.learning_rate_schedule is not None:
        factor = recipe.learning_rate_schedule.factor(state.counters["images"])
        for name, optimizer in state.optimizers.items():
            rate = recipe.optimizer_of(name).learning_rate * factor
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate


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
    """Add the gradients of a 0-d loss to those of the parameters of these of `state.modules`."""
    inputs = [parameter for name in names for parameter in parameters_of(state.optimizers[name])]
    torch.autograd.backward(loss, inputs=inputs)


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the Euclidean norm of all gradients together, 0-d; not finite where one of their values is not."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def descend(state: TrainState, *names: str) -> dict[str, Tensor]:
    """Take one optimiser step of each of these modules down the gradients that all ranks collected, and forget them.

    Returns:
        `gradient_norm_d` and the like, 0-d: of the gradients of each module, by its initial.
    """
    recipe, norms = state.recipe, dict[str, Tensor]()
    ranks.sum_gradients([parameter for name in names for parameter in parameters_of(state.optimizers[name])])
    for name in names:
        if (weights := weight_loss(state.modules[name], recipe.regularisation)) is not None:
            collect_gradients(state, [name], weights)
        norms[f"gradient_norm_{name[0]}"] = gradient_norm(parameters_of(state.optimizers[name]))
        state.optimizers[name].step()
        state.optimizers[name].zero_grad(set_to_none=True)
        if name == "discriminator":
            clip_weights(state.modules[name], recipe.regularisation)
    return norms


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return what the optimiser changes."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def average(state: TrainState, batch_size: int) -> None:
    """Move the EMA copies towards the modules; `state.counters["images"]` already includes this step."""
    decay = ema_decay(state.recipe.ema_half_life_images, state.counters["images"], batch_size)
    for name, averaged in state.ema.items():
        update_ema(averaged, state.modules[name], decay)


def mean_of(measured: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each name over the dictionaries that have it."""
    if len(measured) == 1:
        return dict(measured[0])
    names = {name: None for values in measured for name in values}
    return {name: torch.stack([values[name] for values in measured if name in values]).mean() for name in names}
