"""What one checkpoint is to hold, taken between two steps. Writing it is `checkpoint.py`, when is `saver.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt
from torch import Tensor

from gansmith import runtime
from gansmith.facts import Classes
from gansmith.recipe import Recipe
from gansmith.training.state import TrainState


class Progress(BaseModel):
    """How far training is: the content of state.json.

    Attributes:
        seed: of weights, order and every draw.
        counters: `images`, `steps`, and `retries` where there were some.
        seconds: of training so far.
        num_optimizer_tensors: in optimizers.safetensors; how many an optimiser keeps depends on its settings.
        is_settled: whether the averages' batch-norm statistics fit their weights; if not, loading measures them.
        classes: of the data, where the recipe is conditional.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seed: NonNegativeInt
    counters: dict[Literal["images", "steps", "retries"], NonNegativeInt] = Field(min_length=2)
    seconds: NonNegativeFloat
    num_optimizer_tensors: NonNegativeInt
    is_settled: bool
    classes: Classes | None = None


class HostCopies:
    """Copies of a state's tensors in host memory, in the same buffers each time.

    Those of a GPU's tensors are page-locked, so that the copies run at the full speed of the bus.
    """

    def __init__(self) -> None:
        self._buffers: list[dict[str, Tensor]] = []

    def of(self, groups: tuple[dict[str, Tensor], ...]) -> tuple[dict[str, Tensor], ...]:
        """Return copies of these tensors, contiguous and on the CPU; those of the last call are overwritten.

        Waits until they are made: whoever reads them afterwards touches no device.
        """
        if [_forms(group) for group in groups] != [_forms(group) for group in self._buffers]:
            self._buffers = [{name: _buffer_for(tensor) for name, tensor in group.items()} for group in groups]
        for group, buffers in zip(groups, self._buffers, strict=True):
            for name, tensor in group.items():
                buffers[name].copy_(tensor.detach().contiguous(), non_blocking=True)
        for device in {tensor.device for group in groups for tensor in group.values() if tensor.is_cuda}:
            torch.cuda.current_stream(device).synchronize()
        return tuple(self._buffers)


def _forms(group: Mapping[str, Tensor]) -> dict[str, tuple[Any, ...]]:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in group.items()}


def _buffer_for(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)


@dataclass(frozen=True)
class Snapshot:
    """What one checkpoint is to hold.

    Attributes:
        recipe: the resolved method.
        progress: how far training is.
        machine: what bit-for-bit repetition depends on (`runtime.machine_facts`).
        fingerprint: of the data.
        groups: tensors by "name/key", of the modules, their averages and the optimisers.
    """

    recipe: Recipe
    progress: Progress
    machine: dict[str, Any]
    fingerprint: str
    groups: tuple[dict[str, Tensor], ...]

    @classmethod
    def of(
        cls, state: TrainState, seconds: float, fingerprint: str, is_settled: bool = True,
        copies: HostCopies | None = None,
    ) -> Self:  # fmt: skip
        """Return the state as it is between two steps.

        Args:
            state: to be saved.
            seconds: of training so far.
            fingerprint: of the data.
            is_settled: whether `Objective.settle` was called after the last step.
            copies: where the tensors are copied to, so that training can go on; None: they are the state's own.
        """
        groups = (state.module_tensors(), state.ema_tensors(), state.optimizer_tensors())
        progress = Progress.model_validate(
            {
                "seed": state.seed,
                "counters": {name: count for name, count in state.counters.items() if count or name != "retries"},
                "seconds": seconds,
                "num_optimizer_tensors": len(groups[-1]),
                "is_settled": is_settled,
                "classes": state.classes,
            }
        )
        machine = runtime.machine_facts(state.device)
        return cls(state.recipe, progress, machine, fingerprint, copies.of(groups) if copies else groups)

    @property
    def images(self) -> int:
        """Real images seen so far."""
        return self.progress.counters["images"]
