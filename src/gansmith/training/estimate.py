"""What a run would take, found by trying a few steps: layers, FLOPs, memory, time. Behind `--dry-run`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from gansmith import runtime
from gansmith.budget import Budget
from gansmith.build import num_parameters
from gansmith.data import Batch
from gansmith.recipe import Recipe
from gansmith.training.objective import Objective
from gansmith.training.state import TrainState

TRIED_STEPS, TRIED_SECONDS = 5, 3.0
SMALL_BATCHES = (2, 4)


@dataclass(frozen=True)
class Layer:
    """One row of a network's table.

    Attributes:
        network: its name in the training state.
        kind: class of the layer.
        shape: of one sample's output.
        parameters: trainable numbers.
    """

    network: str
    kind: str
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Estimate:
    """What one step takes on this machine.

    Attributes:
        layers: of every network, in the order in which they are first used.
        parameters: network -> trainable numbers.
        flops: floating-point operations of a step, backward passes included, lazy penalties spread evenly.
        memory_bytes: of the process after the tried steps (libraries included), or None if unknown.
        seconds: per step, after a first one that is not counted.
        images: real images seen per step.
    """

    layers: tuple[Layer, ...]
    parameters: dict[str, int]
    flops: float
    memory_bytes: int | None
    seconds: float
    images: int

    def lines(self, budget: Budget) -> list[str]:
        """Return the estimate as text, with what the budget comes to."""
        lines = []
        for network, total in self.parameters.items():
            lines.append(f"{network}: {total:,} parameters")
            for layer in (layer for layer in self.layers if layer.network == network):
                shape = " x ".join(map(str, layer.shape)) or "1"
                lines.append(f"  {layer.kind:<24}{shape:>16}{layer.parameters:>14,}")
        rate = self.images / self.seconds
        memory = "unknown" if self.memory_bytes is None else f"{self.memory_bytes / 1e6:,.0f} MB"
        lines.append(
            f"one step: {self.images} images, {self.flops / 1e9:,.1f} GFLOP, {self.seconds * 1e3:,.1f} ms here"
        )
        lines.append(f"memory of the process: {memory}; speed: {rate:,.0f} img/s")
        if budget.images:
            lines.append(f"{budget.images:,} images would take about {budget.images / rate / 60:,.1f} minutes")
        if budget.minutes:
            lines.append(f"{budget.minutes:g} minutes would show it about {budget.minutes * 60 * rate:,.0f} images")
        return lines


def estimate(recipe: Recipe, objective: Objective, device: torch.device) -> Estimate:
    """Return what a step of the recipe takes, by taking some on random images."""
    state = objective.initialise(recipe, 0, device)
    batches = random_batches(objective, recipe, device)
    layers = _layers_of(state, objective, batches)
    seconds = _seconds_per_step(state, objective, batches)
    return Estimate(
        layers=tuple(layers),
        parameters={name: count for name, module in state.modules.items() if (count := num_parameters(module))},
        flops=step_flops(recipe, objective, device),
        memory_bytes=runtime.memory_in_use(device),
        seconds=seconds,
        images=objective.batches(recipe)["real_d"],
    )


def random_batches(objective: Objective, recipe: Recipe, device: torch.device) -> dict[str, Batch]:
    """Return one step's batches of noise, with labels where the recipe is conditional."""
    sizes = objective.batches(recipe)
    shape = (recipe.channels, *recipe.size)
    return {
        name: Batch(_noise(count, shape, device), _some_labels(count, recipe, device)) for name, count in sizes.items()
    }


def _noise(count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.rand(count, *shape, device=device) * 2 - 1


def _some_labels(count: int, recipe: Recipe, device: torch.device) -> Tensor | None:
    return torch.arange(count, device=device) % recipe.num_classes if recipe.num_classes else None


def _layers_of(state: TrainState, objective: Objective, batches: dict[str, Batch]) -> list[Layer]:
    """Take one step (the first, slow one) and note what each layer put out."""
    layers: dict[nn.Module, Layer] = {}
    hooks = []

    def note(network: str, layer: nn.Module, output: Any) -> None:
        if layer not in layers:
            kind = type(layer).__name__.removeprefix("Parametrized")
            layers[layer] = Layer(network, kind, tuple(output.shape[1:]), num_parameters(layer))

    for network, module in state.modules.items():
        for layer in _layers_in(module) if num_parameters(module) else ():
            hooks.append(layer.register_forward_hook(lambda m, _, out, network=network: note(network, m, out)))
    objective.step(state, batches)
    for hook in hooks:
        hook.remove()
    return list(layers.values())


def _layers_in(module: nn.Module) -> Iterator[nn.Module]:
    """Yield what a table lists: modules with parameters of their own, with what is inside them, or with none inside."""
    inside = list(module.children())
    if not inside or parametrize.is_parametrized(module) or next(module.parameters(recurse=False), None) is not None:
        yield module
    else:
        for child in inside:
            yield from _layers_in(child)


def _seconds_per_step(state: TrainState, objective: Objective, batches: dict[str, Batch]) -> float:
    times: list[float] = []
    while len(times) < TRIED_STEPS and sum(times) < TRIED_SECONDS:
        started = time.perf_counter()
        measured = objective.step(state, batches)
        float(next(iter(measured.values())))  # waits for the device
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def step_flops(recipe: Recipe, objective: Objective, device: torch.device) -> float:
    """Return the floating-point operations of one step, backward passes included, lazy penalties spread evenly.

    They are counted on two small batches and extrapolated: some grow with the batch, and some, such as the transform of
    a kernel, do not.
    """
    few, more = (_flops_at(with_batch(recipe, batch), objective, device) for batch in SMALL_BATCHES)
    for_each = (more - few) / (SMALL_BATCHES[1] - SMALL_BATCHES[0])
    return few + for_each * (recipe.batch_size - SMALL_BATCHES[0])


def _flops_at(recipe: Recipe, objective: Objective, device: torch.device) -> float:
    bare = _count(recipe.replace(penalties={}), objective, device)
    total = bare
    for every in {settings.every for settings in recipe.penalties.values()}:
        due = {name: settings for name, settings in recipe.penalties.items() if settings.every == every}
        total += (_count(recipe.replace(penalties=due), objective, device) - bare) / every
    return total


def with_batch(recipe: Recipe, batch_size: int) -> Recipe:
    """Return the recipe with another batch size, the generator's in proportion."""
    generator_batch = recipe.generator_batch_size and batch_size * recipe.generator_batch_size // recipe.batch_size
    return recipe.replace(batch_size=batch_size, generator_batch_size=generator_batch or None)


def _count(recipe: Recipe, objective: Objective, device: torch.device) -> float:
    state = objective.initialise(recipe, 0, device)
    batches = random_batches(objective, recipe, device)
    with FlopCounterMode(display=False) as counter:
        objective.step(state, batches)
    return float(counter.get_total_flops())
