"""Optimiser steps that are taken or skipped as a flag on the device says, which the host does not wait for.

torch's fused optimisers look at such a flag, `found_inf`. RMSprop has no fused form: the one here does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer


class RMSprop(torch.optim.RMSprop):
    """torch's RMSprop without momentum (Tieleman & Hinton 2012), which skips its step where `found_inf` is 1.

    Bit for bit the same numbers otherwise. Its counter of steps counts skipped ones; nothing depends on it.

    Attributes:
        found_inf: 0-d float32 on the device, or None.
    """

    found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step down the gradients, which a skipped one makes 0."""
        for group in self.param_groups:
            parameters, gradients, averages, counts = [], [], [], []  # type: ignore[var-annotated]
            self._init_group(group, parameters, gradients, averages, [], [], counts)  # type: ignore[no-untyped-call]
            if not parameters:
                continue
            kept: float | Tensor = group["alpha"]
            if self.found_inf is not None:
                kept = torch.where(self.found_inf == 1, 1.0, kept)
                for gradient in gradients:  # a masked fill would take ten times as long on a CPU
                    gradient.nan_to_num_(0.0, 0.0, 0.0)
                torch._foreach_mul_(gradients, 1.0 - self.found_inf)
            torch._foreach_add_(counts, 1)
            torch._foreach_mul_(averages, kept)
            torch._foreach_addcmul_(averages, gradients, gradients, value=1 - group["alpha"])
            roots = torch._foreach_sqrt(averages)
            torch._foreach_add_(roots, group["eps"])
            if isinstance(group["lr"], Tensor):  # read on the device, as recorded work needs
                torch._foreach_div_(roots, -group["lr"])
                torch._foreach_addcdiv_(parameters, gradients, roots)
            else:
                torch._foreach_addcdiv_(parameters, gradients, roots, value=-group["lr"])


@torch.no_grad()
def step_where(is_good: Tensor, optimizer: Optimizer) -> None:
    """Take an optimiser step if `is_good`, a 0-d bool on the device, which is not waited for.

    If not, parameters and the optimiser's averages are bit for bit what they were. Optimisers without such a flag,
    which no recipe builds, have them put back.
    """
    if isinstance(optimizer, RMSprop) or (isinstance(optimizer, Adam | SGD) and optimizer.defaults["fused"]):
        if isinstance(optimizer, SGD):
            _begin_momentum(optimizer)
        optimizer.found_inf = (~is_good).float()  # type: ignore[union-attr]
        optimizer.step()
        optimizer.found_inf = None  # type: ignore[union-attr]
        return
    before = {key: tensor.clone() for key, tensor in _changed_by(optimizer).items()}
    optimizer.step()
    for key, tensor in _changed_by(optimizer).items():
        tensor.copy_(torch.where(is_good, tensor, before.get(key, 0.0)))  # averages begin as 0


def _begin_momentum(optimizer: SGD) -> None:
    """Let momentum begin as 0: torch (2.13) leaves it undefined where the first step is skipped."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else []:
            if parameter.grad is not None and optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _changed_by(optimizer: Optimizer) -> dict[tuple[int, str], Tensor]:
    """Return parameters, averages and what is counted on the device, by parameter and name."""
    found: dict[tuple[int, str], Tensor] = {}
    for number, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        found[number, ""] = parameter
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor) and value.device == parameter.device:
                found[number, name] = value
    return found
