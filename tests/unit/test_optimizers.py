"""Steps that a flag skips: nothing changes then, and the other steps are those that torch's optimisers take."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gansmith import optimizers
from gansmith.build import build_optimizer
from gansmith.optimizers import step_where
from gansmith.settings import SGD, Adam, RMSprop

STEPS = 8
Make = Callable[[Iterable[nn.Parameter]], Optimizer]
OURS: dict[str, Make] = {
    "adam": lambda parameters: build_optimizer(Adam(), parameters),
    "rmsprop": lambda parameters: build_optimizer(RMSprop(), parameters),
    "sgd": lambda parameters: build_optimizer(SGD(), parameters),
    "sgd with momentum": lambda parameters: build_optimizer(SGD(momentum=0.9), parameters),
}
THEIRS: dict[str, Make] = {
    "adam of torch": lambda parameters: torch.optim.Adam(parameters, foreach=True),
    "rmsprop of torch": lambda parameters: torch.optim.RMSprop(parameters, momentum=0.5, centered=True),
    "sgd of torch with momentum": lambda parameters: torch.optim.SGD(parameters, 0.1, 0.9),
}


def start(make: Make) -> tuple[list[nn.Parameter], Optimizer]:
    rng = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape, generator=rng)) for shape in ((3, 4), (4,), ())]
    return parameters, make(parameters)


def give_gradients(parameters: list[nn.Parameter], step: int, value: float | None = None) -> None:
    rng = torch.Generator().manual_seed(100 + step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=rng)
    if value is not None:
        parameters[0].grad[0, 0] = value  # type: ignore[index]


def averages_of(optimizer: Optimizer) -> list[Tensor]:
    """The state without RMSprop's count of steps, on which nothing depends."""
    return [
        value
        for entries in optimizer.state.values()
        for name, value in entries.items()
        if isinstance(value, Tensor) and not (name == "step" and isinstance(optimizer, optimizers.RMSprop))
    ]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("skipped", [{0}, {3}, {0, 1, 5, 7}], ids=str)
@pytest.mark.parametrize("name", OURS | THEIRS)
def test_skipped_steps_leave_everything_as_if_they_had_not_been(name: str, skipped: set[int], bad: float) -> None:
    make = (OURS | THEIRS)[name]
    parameters, optimizer = start(make)
    others, other = start(make)
    for step in range(STEPS):
        give_gradients(parameters, step, bad if step in skipped else None)
        step_where(torch.tensor(step not in skipped), optimizer)
        if step not in skipped:
            give_gradients(others, step)
            other.step()
    assert all(torch.equal(a, b) for a, b in zip(parameters, others, strict=True))
    for one, two in zip(averages_of(optimizer), averages_of(other), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("rate", [1e-2, torch.tensor(2.0**-7)], ids=["number", "tensor"])
def test_rmsprop_is_that_of_torch(rate: float | Tensor) -> None:
    settings = RMSprop(learning_rate=float(rate))
    parameters, ours = start(lambda some: build_optimizer(settings, some))
    others, theirs = start(lambda some: torch.optim.RMSprop(some, float(rate), settings.alpha, settings.epsilon))
    for group in ours.param_groups:
        group["lr"] = copy.copy(rate)
    for step in range(STEPS):
        for some, optimizer in ((parameters, ours), (others, theirs)):
            give_gradients(some, step)
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(parameters, others, strict=True))
    assert theirs.state_dict()["state"].keys() == ours.state_dict()["state"].keys()
