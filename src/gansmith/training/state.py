"""Everything that training changes, in four dictionaries. Checkpoint, EMA and ranks walk them and know no names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gansmith.facts import Classes
from gansmith.recipe import Recipe


@dataclass
class TrainState:
    """What a checkpoint holds, and where it lives.

    Attributes:
        recipe: the resolved method.
        seed: of weights, data order and every draw.
        device: where the modules are.
        modules: what is trained, by name; and what else changes in training, in buffers of modules without parameters.
        optimizers: by name.
        ema: averaged copies of some of `modules`, under the same names, in eval mode.
        counters: `images` (real images seen, over all steps and ranks), `steps`, and `retries` (how often training went
            back to a checkpoint, with lower rates).
        classes: of the data, where the recipe is conditional.
        micro_batch: items computed at once where a whole batch does not fit into memory; None: whole batches.
    """

    recipe: Recipe
    seed: int
    device: torch.device
    modules: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]
    ema: dict[str, nn.Module]
    counters: dict[str, int] = field(default_factory=lambda: {"images": 0, "steps": 0, "retries": 0})
    classes: Classes | None = None
    micro_batch: int | None = None

    def module_tensors(self) -> dict[str, Tensor]:
        """Return every parameter and buffer of `modules` as "name/key"."""
        return _tensors_of(self.modules)

    def ema_tensors(self) -> dict[str, Tensor]:
        """Return every parameter and buffer of `ema` as "name/key"."""
        return _tensors_of(self.ema)

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the optimisers' states as "name/parameter index/key"."""
        return {
            f"{name}/{index}/{key}": value
            for name, optimizer in self.optimizers.items()
            for index, entries in optimizer.state_dict()["state"].items()
            for key, value in entries.items()
            if isinstance(value, Tensor)
        }

    @cached_property
    def running_statistics(self) -> list[Tensor]:
        """Batch norm's means and variances, each (C,), of `modules`."""
        buffers = [each for module in self.modules.values() for each in module.named_buffers()]
        return [buffer for name, buffer in buffers if name.endswith(("running_mean", "running_var"))]

    def digest(self) -> dict[str, str]:
        """Return the sha256 of each tensor's bytes, by group and name: two equal digests are two equal states."""
        groups = {
            "modules": self.module_tensors(),
            "ema": self.ema_tensors(),
            "optimizers": self.optimizer_tensors(),
        }
        return {
            f"{group}/{name}": _digest(tensor) for group, tensors in groups.items() for name, tensor in tensors.items()
        }

    def is_finite(self) -> bool:
        """Return whether every weight is a finite number (one device synchronisation)."""
        parameters = [parameter for module in self.modules.values() for parameter in module.parameters()]
        return bool(torch.stack([parameter.isfinite().all() for parameter in parameters]).all())


def _tensors_of(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{name}/{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def _digest(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().flatten()
    return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()
