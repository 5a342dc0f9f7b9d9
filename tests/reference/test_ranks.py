"""Two ranks of half a batch each against one process with all of it, in float64, on the recipes' own networks."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from torch import Tensor, multiprocessing

from tests.reference.rank_cases import CASES, MISTAKES, NUM_RANKS, far_from_zero, train, work

Results = list[dict[str, dict[str, Tensor]]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What each of two ranks came to: all cases in one pair of processes, which take seconds to start."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(work, (port, folder), NUM_RANKS)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(NUM_RANKS)]


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_train_what_one_process_does(results: Results, name: str) -> None:
    expected = train(CASES[name])
    assert {tensor.dtype for key, tensor in expected.items() if key.endswith("weight")} == {torch.float64}
    assert largest_difference(results[0][name], expected) < 1e-10


@pytest.mark.parametrize("name", CASES)
def test_ranks_hold_the_same_state_bit_for_bit(results: Results, name: str) -> None:
    assert all(torch.equal(results[1][name][key], tensor) for key, tensor in results[0][name].items())


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_sums_of_ranks_would_show(results: Results, name: str) -> None:
    spoilt, _ = MISTAKES[name]
    assert largest_difference(results[0][name], results[0][spoilt]) > 1e-6


def test_statistics_over_ranks_are_exact_far_from_zero(results: Results) -> None:
    maps = far_from_zero().double()
    variance, mean = torch.var_mean(maps, (0, 2, 3), keepdim=True)
    parts = torch.cat([result["far from zero"]["maps"] for result in results])
    torch.testing.assert_close(parts.double(), (maps - mean) / variance.sqrt(), atol=0.01, rtol=0)
    torch.testing.assert_close(
        results[0]["far from zero"]["running_var"].double(), variance.flatten(), rtol=1e-3, atol=0
    )
