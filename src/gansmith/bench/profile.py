"""Where the time of a step goes: what the profiler counts of each operation, grouped into the words of a GAN."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.profiler import ProfilerActivity, profile

GROUPS = (
    ("convolution", r"conv"),
    ("batch norm", r"batch_norm"),
    ("activation", r"relu|tanh|softplus|sigmoid|threshold"),
    ("dropout and noise", r"dropout|random|bernoulli|normal_|randn"),
    ("optimiser", r"adam|_foreach|optimizer|lerp|addcdiv|addcmul"),
    ("spectral norm", r"::mv$|::addmv|::dot$|vector_norm|::outer|mvbackward|dotbackward"),
    ("dense", r"::(add|b|badd)?mm|mmbackward|::linear|::matmul"),
    ("pooling and resizing", r"pool|upsample|::pad|constant_pad"),
    ("copies and casts", r"copy|contiguous|clone|::cat|::to$|stack|index|fill_|zero"),
)
"""Name and pattern of what operations are called; the first that fits."""
DATA, OTHER = "data", "other"


def group_of(operation: str) -> str:
    """Return the group of an operation such as "aten::convolution_backward"."""
    name = operation.lower()
    return next((group for group, pattern in GROUPS if re.search(pattern, name)), OTHER)


def shares_of_time(read: Callable[[], Any], train: Callable[[Any], object], steps: int) -> dict[str, float]:
    """Return group -> share of the processor's time, largest first; they sum to 1.

    Args:
        read: returns a batch; all that it does is `data`.
        train: takes a step on it.
        steps: how many.
    """
    batches: list[Any] = []
    reading = _times_of(lambda: batches.extend(read() for _ in range(steps)))
    training = _times_of(lambda: [train(batch) for batch in batches])
    times = {DATA: sum(reading.values())}
    for operation, microseconds in training.items():
        group = group_of(operation)
        times[group] = times.get(group, 0.0) + microseconds
    total = sum(times.values())
    return {group: value / total for group, value in sorted(times.items(), key=lambda item: -item[1])}


def _times_of(work: Callable[[], object]) -> dict[str, float]:
    with _without_stderr(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    return {event.key: event.self_cpu_time_total for event in profiler.key_averages()}


@contextmanager
def _without_stderr() -> Iterator[None]:
    """The profiler writes lines of its own to the file descriptor, which no setting turns off."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
