"""Tensors by name, back into modules and optimisers: what does not fit is named, nothing is copied by halves unsaid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gansmith.checkpoint import TENSOR_FILES, Checkpoint
from gansmith.errors import CheckpointError
from gansmith.training.state import TrainState


def restore(state: TrainState, checkpoint: Checkpoint) -> None:
    """Put a checkpoint into a freshly initialised state of the same recipe.

    Raises:
        CheckpointError: keys are missing or unexpected, or shapes differ; they are named.
    """
    modules, ema, optimizers = (checkpoint.tensors[name] for name in TENSOR_FILES)
    copy_tensors(state.module_tensors(), modules, checkpoint.path / "modules.safetensors")
    copy_tensors(state.ema_tensors(), ema, checkpoint.path / "ema.safetensors")
    state.counters = {"retries": 0} | {str(name): count for name, count in checkpoint.state.counters.items()}
    state.classes = checkpoint.state.classes
    restore_optimizers(
        state, optimizers, checkpoint.state.num_optimizer_tensors, checkpoint.path / "optimizers.safetensors"
    )


@torch.no_grad()
def copy_tensors(into: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path, of: str = "the recipe") -> None:
    """Copy tensors by name into existing ones; raises as `check_tensors`, before anything is copied."""
    check_tensors(into, found, path, of)
    for name, tensor in into.items():
        tensor.copy_(found[name])


def check_tensors(into: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path, of: str = "the recipe") -> None:
    """Check that tensors fit others by name and shape.

    Args:
        into: what they are for; on the device "meta" it takes no memory.
        found: what there is.
        path: of the file, for the message.
        of: what `into` belongs to, for the message.

    Raises:
        CheckpointError: the names or shapes are not the same; up to five of them are named, with `path`.
    """
    problems = [f"{name} is missing" for name in into.keys() - found.keys()]
    problems += [f"{name} is not expected" for name in found.keys() - into.keys()]
    problems += [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(into[name].shape)}"
        for name in into.keys() & found.keys()
        if into[name].shape != found[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(f"{path}: does not fit {of}: {'; '.join(sorted(problems)[:5])}{more}")


def restore_optimizers(state: TrainState, found: Mapping[str, Tensor], expected: int, path: Path) -> None:
    """Put tensors named as by `TrainState.optimizer_tensors` into the optimisers; raises as `restore`.

    Args:
        state: its optimisers are changed.
        found: the tensors.
        expected: how many there should be.
        path: where they are from, for the message.
    """
    entries: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in state.optimizers}
    for key, value in found.items():
        parts = re.fullmatch(r"([^/]+)/(\d+)/([^/]+)", key)
        parameters = _parameters_of(state.optimizers[parts[1]]) if parts and parts[1] in state.optimizers else []
        if parts is None or int(parts[2]) >= len(parameters):
            raise CheckpointError(f"{path}: {key} is not expected by the recipe's optimisers")
        parameter = parameters[int(parts[2])]
        if value.ndim and value.shape != parameter.shape:
            shapes = f"{tuple(value.shape)}, expected {tuple(parameter.shape)}"
            raise CheckpointError(f"{path}: {key} has shape {shapes}")
        # The memory layout of the parameter (channels last), or every later step would be slower.
        laid_out = torch.empty_like(parameter).copy_(value) if value.ndim else value
        entries[parts[1]].setdefault(int(parts[2]), {})[parts[3]] = laid_out
    if len(found) != expected:
        raise CheckpointError(f"{path}: holds {len(found)} tensors, {expected} were saved")
    for name, optimizer in state.optimizers.items():
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": entries[name], "param_groups": groups})


def _parameters_of(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
