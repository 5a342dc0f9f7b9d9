"""Two ranks of half a batch each against one process with all of it, in float64, on the recipes' own networks."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from torch import Tensor, multiprocessing

from gansmith import ranks
from gansmith.evaluation.evaluator import measure
from gansmith.evaluation.features import features_of
from gansmith.evaluation.opening import open_context
from gansmith.models import sample
from gansmith.training.log import Display
from tests.reference.rank_cases import (
    CASES,
    MISTAKES,
    NUM_RANKS,
    NUM_SAMPLES,
    asked_of,
    far_from_zero,
    save_model,
    train,
    work,
)

Results = list[dict[str, dict[str, Tensor]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ranks leave what they came to."""
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    """What each of two ranks came to: all cases in one pair of processes, which take seconds to start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    save_model(folder)
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


def test_ranks_draw_and_read_the_samples_of_one_process_bit_for_bit(results: Results, folder: Path) -> None:
    expected = open_context(asked_of(folder), Display(quiet=True))
    for result in (result["evaluated"] for result in results):
        assert torch.equal(result["images"], expected.samples.images)
        assert torch.equal(result["read"], expected.fake.values)
        assert torch.equal(result["real"], features_of(expected.real.train, None, expected.extractor).values)
        assert torch.equal(result["sampled"], sample(folder / "model", NUM_SAMPLES, seed=3, truncation=1.0))


def test_rank_0_alone_has_the_scores_and_they_are_those_of_one_process(results: Results, folder: Path) -> None:
    expected = measure(asked_of(folder), quiet=True)
    assert results[0]["evaluated"]["scores"] == {score.name: score.value for score in expected.report.scores}
    assert results[1]["evaluated"]["scores"] is None


@pytest.mark.parametrize(("count", "unit"), [(1, 1), (7, 1), (1100, 128), (5, 8), (1024, 128)])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_parts_of_ranks_are_everything_once_and_whole_units(count, unit, size, monkeypatch) -> None:
    ends = []
    for rank in range(size):
        monkeypatch.setattr(ranks, "current", lambda rank=rank: ranks.Ranks(rank, size))
        ends.append(ranks.part_of(count, unit))
    assert [start for start, _ in ends] == [0, *(stop for _, stop in ends[:-1])]
    assert ends[-1][1] == count
    assert all(start % unit == 0 or start == count for start, _ in ends)
    assert max(stop - start for start, stop in ends) <= (-(-count // unit) // size + 1) * unit
