"""Several processes that train one state together: which of them this is, its share of a batch, what they agree on.

Each is a *rank* and holds the whole state; a batch is divided among them, and gradients are summed. With one process
every function here returns what it was given. Starting and restarting processes is torchrun's work (`launch.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed

from gansmith.errors import UsageError

Value = TypeVar("Value")
LONGEST_WAIT = timedelta(minutes=30)
"""For the others, before a rank gives up: the first one may decode a large data set meanwhile."""


@dataclass(frozen=True)
class Ranks:
    """Where this process stands among those that train together.

    Attributes:
        rank: 0 is the one that writes and speaks.
        size: how many there are.
        local: number on this machine, which is also the number of its GPU.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0


def current() -> Ranks:
    """Return where this process stands; alone unless `joined` is entered."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Ranks()
    return Ranks(distributed.get_rank(), distributed.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))


def were_launched() -> bool:
    """Return whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device_type: str) -> Iterator[Ranks]:
    """Meet the other processes that torchrun started, and leave them at the end.

    Gradients travel by NCCL between GPUs and by gloo between CPUs; what ranks agree on always travels by gloo, so that
    it waits for no GPU.

    Args:
        device_type: "cpu" or "cuda".
    """
    backend = "cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=LONGEST_WAIT)
    try:
        yield current()
    finally:
        distributed.destroy_process_group()


def share_of(count: int) -> tuple[int, int]:
    """Return (start, stop) of this rank's part of `count` items: contiguous, as many as each other rank's.

    Raises:
        UsageError: they cannot be divided evenly.
    """
    ranks = current()
    if count % ranks.size:
        raise UsageError(
            f"a batch of {count} cannot be divided evenly among {ranks.size} ranks; "
            f"--set batch_size={max(1, round(count / ranks.size)) * ranks.size}, or another number of ranks"
        )
    part = count // ranks.size
    return ranks.rank * part, (ranks.rank + 1) * part


def part_of(count: int, unit: int = 1) -> tuple[int, int]:
    """Return (start, stop) of this rank's part of `count` items, cut at multiples of `unit`: unequal, perhaps empty."""
    ranks = current()
    num_units = -(-count // unit)
    start, stop = (num_units * number // ranks.size * unit for number in (ranks.rank, ranks.rank + 1))
    return min(start, count), min(stop, count)


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace the gradients of these parameters by their sums over all ranks, in one flat all-reduce a data type.

    Parameters without a gradient are left out; they are the same ones on every rank, because every rank takes the same
    steps. Not torch's DistributedDataParallel, which fails where a backward pass leaves parameters without gradient, as
    that of a penalty does.
    """
    if current().size == 1:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_type.values():
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(old) for part, old in zip(parts, gradients, strict=True)])


def rand(count: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """Return this rank's (count,) of uniform numbers in [0, 1) that all ranks draw together: `count` for each."""
    ranks = current()
    return torch.rand(ranks.size * count, generator=rng, device=device)[ranks.rank * count :][:count]


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite these tensors by those of rank 0."""
    if current().size > 1:
        for tensor in tensors:
            contiguous = tensor.detach().contiguous()  # channels-last weights are not
            distributed.broadcast(contiguous, 0)
            tensor.detach().copy_(contiguous)


def of_first(value: Value) -> Value:
    """Return rank 0's value on every rank. It is pickled, and travels between processes of one training only."""
    if current().size == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, 0)
    return values[0]


def largest(value: int) -> int:
    """Return the largest of the numbers that the ranks give; on the CPU, so no GPU is waited for."""
    if current().size == 1:
        return value
    number = torch.tensor(value)
    distributed.all_reduce(number, distributed.ReduceOp.MAX)
    return int(number)


def means(values: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of each number over the ranks, which all give the same names."""
    if current().size == 1 or not values:
        return dict(values)
    numbers = torch.tensor(list(values.values()), dtype=torch.float64)
    distributed.all_reduce(numbers)
    return dict(zip(values, (numbers / current().size).tolist(), strict=True))


def gathered(rows: Tensor) -> Tensor:
    """Return the rows of every rank, in the order of the ranks, on the CPU; their numbers may differ.

    Args:
        rows: (N, ...) on the CPU, of one type and shape of a row everywhere.
    """
    if current().size == 1:
        return rows
    parts: list[object] = [None] * current().size
    distributed.all_gather_object(parts, rows.contiguous())
    return torch.cat(cast(list[Tensor], parts))


def wait_for_all() -> None:
    """Return once every rank is here."""
    if current().size > 1:
        distributed.monitored_barrier(timeout=LONGEST_WAIT) if distributed.get_backend() == "gloo" else largest(0)


@contextmanager
def first_before_others() -> Iterator[None]:
    """Let rank 0 do what is inside before the others do: what it leaves in the cache, they find there."""
    if not current().is_first:
        wait_for_all()
    yield
    if current().is_first:
        wait_for_all()
