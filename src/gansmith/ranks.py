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
from itertools import count
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from gansmith.errors import AlreadyTold, GansmithError, RankLost, UsageError

Value = TypeVar("Value")
LONGEST_WAIT = timedelta(hours=6)
"""For the others, before a rank gives up: the first one may decode a large data set meanwhile. One that ends is noticed
at once."""
OUTCOME = "GANSMITH_OUTCOME"
"""Environment variable: the file in which `launch.py` looks for the exit code of the training."""
_is_alone = False
FIRST_TO_FAIL = "gansmith/failed"
SET_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_ENTRIES = count(1)


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
    if _is_alone or not (distributed.is_available() and distributed.is_initialized()):
        return Ranks()
    return Ranks(distributed.get_rank(), distributed.get_world_size(), local_rank())


def local_rank() -> int:
    """Return which of the processes that torchrun started on this machine this is."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def were_launched() -> bool:
    """Return whether torchrun started this process as one of several; batch systems set WORLD_SIZE too, but not all."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and all(name in os.environ for name in SET_BY_TORCHRUN)


def num_restarts() -> tuple[int, int]:
    """Return how often torchrun has started all processes again since the first time, and how often it would."""
    made, most = (os.environ.get(f"TORCHELASTIC_{name}", "0") for name in ("RESTART_COUNT", "MAX_RESTARTS"))
    return int(made), int(most)


@contextmanager
def joined(device_type: str) -> Iterator[Ranks]:
    """Meet the other processes that torchrun started, and leave them at the end.

    Gradients travel by NCCL between GPUs and by gloo between CPUs; what ranks agree on always travels by gloo, so that
    it waits for no GPU. Where a script has initialised torch's default group already, that is the one.

    Args:
        device_type: "cpu" or "cuda".

    Raises:
        AlreadyTold: an error ended this rank, and another one ended before it: the first error is the one to tell.
    """
    if distributed.is_initialized():
        yield current()
        return
    store, rank, size = next(rendezvous("env://", timeout=LONGEST_WAIT))
    entry = next(_ENTRIES)  # the same on every rank; the store of torchrun outlives this one
    backend = "cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT)
    try:
        yield current()
        if rank == 0:
            _leave_outcome(0)
    except BaseException as error:
        # A rank that was killed tells nothing: the launcher does, and starts all of them again.
        if (isinstance(error, RankLost) and OUTCOME in os.environ) or not _is_first_to_fail(store, entry):
            raise AlreadyTold("another rank has ended") from error
        _leave_outcome(_exit_code_of(error))
        raise
    finally:
        distributed.destroy_process_group()


@contextmanager
def alone() -> Iterator[None]:
    """While entered, this rank computes for itself: for what not every rank does."""
    global _is_alone
    before, _is_alone = _is_alone, True
    try:
        yield
    finally:
        _is_alone = before


def _is_first_to_fail(store: Store, entry: int) -> bool:
    try:
        return bool(store.add(f"{FIRST_TO_FAIL} {entry}", 1) == 1)
    except RuntimeError:  # the rank that keeps it is gone
        return False


def _exit_code_of(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return error.exit_code if isinstance(error, GansmithError) else 1


def _leave_outcome(code: int) -> None:
    if path := os.environ.get(OUTCOME):
        Path(path).write_text(str(code))


@contextmanager
def _together() -> Iterator[None]:
    """Translate torch's error for a rank that is gone."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise RankLost(
            "another rank has ended; what it said is above, or the system killed it. The same command goes on from the "
            f"last checkpoint ({str(error).splitlines()[0]})"
        ) from error


def share_of(count: int, name: str = "batch_size") -> tuple[int, int]:
    """Return (start, stop) of this rank's part of `count` items: contiguous, as many as each other rank's.

    Args:
        count: items of all ranks together.
        name: the field of the recipe that says so.

    Raises:
        UsageError: they cannot be divided evenly.
    """
    ranks = current()
    if count % ranks.size:
        raise UsageError(
            f"{name} {count} cannot be divided evenly among {ranks.size} ranks; "
            f"--set {name}={max(1, round(count / ranks.size)) * ranks.size}, or another number of ranks"
        )
    part = count // ranks.size
    return ranks.rank * part, (ranks.rank + 1) * part


def part_of(count: int, unit: int = 1) -> tuple[int, int]:
    """Return (start, stop) of this rank's part of `count` items, cut at multiples of `unit`: unequal, perhaps empty."""
    ranks = current()
    num_units = -(-count // unit)
    start, stop = (num_units * number // ranks.size * unit for number in (ranks.rank, ranks.rank + 1))
    return min(start, count), min(stop, count)


def sum_gradients(parameters: Iterable[Tensor], values: Iterable[Tensor] = ()) -> None:
    """Replace the gradients of these parameters by their sums over all ranks, in one flat all-reduce a data type; and
    these values by theirs.

    Parameters without a gradient are left out; they are the same ones on every rank, because every rank takes the same
    steps. Not torch's DistributedDataParallel, which fails where a backward pass leaves parameters without gradient, as
    that of a penalty does.
    """
    if current().size == 1:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for summed in (*(parameter.grad for parameter in parameters), *values):
        if summed is not None:
            by_type.setdefault(summed.dtype, []).append(summed)
    for gradients in by_type.values():
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with _together():
            distributed.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(old) for part, old in zip(parts, gradients, strict=True)])


def sum_in_place(values: Tensor) -> None:
    """Replace the values by their sums over all ranks."""
    if current().size > 1:
        with _together():
            distributed.all_reduce(values)


def stacked(values: Tensor) -> Tensor:
    """Return (ranks, ...): the values of each rank, which are of one shape, on their device. No gradient passes."""
    if current().size == 1:
        return values.detach()[None]
    parts = [torch.empty_like(values) for _ in range(current().size)]
    with _together():
        distributed.all_gather(parts, values.contiguous())
    return torch.stack(parts)


def rand(count: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """Return this rank's (count,) of uniform numbers in [0, 1) that all ranks draw together: `count` for each."""
    ranks = current()
    return torch.rand(ranks.size * count, generator=rng, device=device)[ranks.rank * count :][:count]


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite these tensors by those of rank 0."""
    if current().size > 1:
        for tensor in tensors:
            contiguous = tensor.detach().contiguous()  # channels-last weights are not
            with _together():
                distributed.broadcast(contiguous, 0)
            tensor.detach().copy_(contiguous)


def of_first(value: Value) -> Value:
    """Return rank 0's value on every rank. It is pickled, and travels between processes of one training only."""
    if current().size == 1:
        return value
    values = [value]
    with _together():
        distributed.broadcast_object_list(values, 0, device=torch.device("cpu"))
    return values[0]


def largest(value: int) -> int:
    """Return the largest of the numbers that the ranks give; on the CPU, so no GPU is waited for."""
    if current().size == 1:
        return value
    number = torch.tensor(value)
    with _together():
        distributed.all_reduce(number, distributed.ReduceOp.MAX)
    return int(number)


def means(values: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of each number over the ranks, which all give the same names."""
    if current().size == 1 or not values:
        return dict(values)
    numbers = torch.tensor(list(values.values()), dtype=torch.float64)
    with _together():
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
    with _together():
        distributed.all_gather_object(parts, rows.contiguous())
    return torch.cat(cast(list[Tensor], parts))


def wait_for_all() -> None:
    """Return once every rank is here."""
    largest(0)


@contextmanager
def first_before_others() -> Iterator[None]:
    """Let rank 0 do what is inside before the others do: what it leaves in the cache, they find there."""
    if not current().is_first:
        wait_for_all()
    yield
    if current().is_first:
        wait_for_all()
