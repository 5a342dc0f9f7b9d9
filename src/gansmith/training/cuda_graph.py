"""CUDA graphs: what `graph.py` records steps with on a GPU. Only a GPU can test it: `tests/end_to_end/test_gpu.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from gansmith.training.graph import Work
from gansmith.training.state import TrainState


class CudaGraphs:
    """Records work as CUDA graphs, on a stream of its own, in one pool of memory.

    The pool may be shared because each graph leaves nothing there that another reads: gradients are gone when a step
    ends, weights and the optimisers' states lie outside, and results are copied out at once.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graphs: list[torch.cuda.CUDAGraph] = []

    def warm_up(self, work: Work) -> dict[str, Tensor]:
        """Do the work on the stream that records, as torch's notes on CUDA graphs ask for."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            measured = work()
        current.wait_stream(self._stream)
        return measured

    def record(self, state: TrainState, work: Work, generators: Sequence[torch.Generator]) -> Work:
        """Record the work. Arguments, result and errors as in `Recorder.record`."""
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        current = torch.cuda.current_stream(self._device)
        pool = self._graphs[0].pool() if self._graphs else None
        try:
            with capturable(state), torch.cuda.graph(graph, pool=pool, stream=self._stream):
                measured = work()
                values = torch.stack(list(measured.values()))
        except RuntimeError:
            # A recording that fails to end leaves its stream the current one, and the global generator recording.
            torch.cuda.set_stream(current)
            _leave_recording(self._device)
            raise
        self._graphs.append(graph)
        names = tuple(measured)

        def replay() -> dict[str, Tensor]:
            graph.replay()
            return dict(zip(names, values.clone().unbind(), strict=True))

        return replay


@contextmanager
def capturable(state: TrainState) -> Iterator[None]:
    """While entered, the optimisers count their steps and read their rates on the device.

    Not all the time: torch warns of steps that are then taken without a recording.
    """
    groups = [group for each in state.optimizers.values() for group in each.param_groups if "capturable" in group]
    for optimizer in state.optimizers.values():
        for parameter, entries in optimizer.state.items():
            if isinstance(entries.get("step"), Tensor):
                entries["step"] = entries["step"].to(parameter.device)
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False


def _leave_recording(device: torch.device) -> None:
    """Give the global generator of a GPU a fresh inner state, which no recording has begun on."""
    index = torch.cuda.current_device() if device.index is None else device.index
    torch.cuda.default_generators[index].graphsafe_set_state(torch.Generator(device).graphsafe_get_state())
