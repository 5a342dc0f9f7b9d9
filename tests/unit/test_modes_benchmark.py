"""`benchmarks/modes.py`: its counts against closed forms, its table and bar, what it trains again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gansmith.data import open_source
from gansmith.training import classify
from tests.benchmark_modules import benchmark


@pytest.fixture(scope="module")
def modes():
    with benchmark("modes") as module:
        yield module


@pytest.fixture(scope="module")
def stacked(modes):
    with benchmark("stacked") as module:
        yield module


def points(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).view(-1, 2, 1, 1)


def result(program, row: str, seed: int, **changes):
    made = program.Result(
        row=row, seed=seed, images=1000, recipe_id=program.recipe_of(row, 1000).id, num_samples=2500, modes=25, hit=25,
        rarest=60, good=0.9, reverse_kl=0.01, diverged=False, seconds=10.0, gansmith="0", machine={},
    )  # fmt: skip
    return replace(made, **changes)


class TestCounts:
    def test_centres_themselves_are_all_modes_and_good(self, modes):
        source = open_source("grid")
        found = modes.found_in(points(np.repeat(source.centres, 100, axis=0)), source)
        assert found == {"modes": 25, "hit": 25, "rarest": 100, "good": 1.0, "reverse_kl": 0.0}

    def test_one_centre_is_one_mode(self, modes):
        source = open_source("grid")
        found = modes.found_in(points(np.repeat(source.centres[:1], 2500, axis=0)), source)
        assert (found["modes"], found["hit"], found["rarest"]) == (1, 1, 0)
        assert found["reverse_kl"] == pytest.approx(np.log(25))

    def test_good_ends_at_three_standard_deviations(self, modes):
        source = open_source("grid")
        aside = np.array([[2.9 * source.std, 0.0], [3.1 * source.std, 0.0]])
        assert modes.found_in(points(source.centres[12] + aside), source)["good"] == 0.5

    def test_mode_needs_a_tenth_of_an_even_share(self, modes):
        source = open_source("grid")
        counts = [10, 9, *[108] * 22, 105]
        found = modes.found_in(points(np.repeat(source.centres, counts, axis=0)), source)
        assert sum(counts) == 2500
        assert (found["modes"], found["hit"], found["rarest"]) == (24, 25, 9)

    def test_nothing_good_has_no_divergence(self, modes):
        found = modes.found_in(points(np.full((5, 2), 0.95)), open_source("grid"))
        assert found == {"modes": 0, "hit": 0, "rarest": 0, "good": 0.0, "reverse_kl": None}


def test_rows_differ_in_loss_and_penalties_alone(modes):
    recipes = [modes.recipe_of(row, 1000) for row in modes.ROWS]
    assert len({each.replace(loss="hinge", penalties={}).id for each in recipes}) == 1
    assert len({each.id for each in recipes}) == len(modes.ROWS)
    assert {each.discriminator.normalisation for each in recipes} == {None}


def test_table_has_every_seed_and_says_what_diverged(modes):
    rows = [result(modes, modes.JUDGED, seed) for seed in range(2)]
    gone = {"modes": 0, "hit": 0, "rarest": 0, "good": 0.0, "reverse_kl": None, "diverged": True}
    rows += [result(modes, "plain", 0, modes=7, hit=12, rarest=0), result(modes, "plain", 1, **gone)]
    judged, plain = modes.table(rows).splitlines()[2:]
    assert judged == "| `relativistic-r1-r2` | 25, 25 | 25, 25 | 90.0% | 60, 60 | 0.010 | 1,000 |"
    assert plain == "| `plain` | 7, diverged | 12, 0 | 45.0% | 0, 0 | 0.010 | 1,000 |"


def test_bar_is_every_mode_with_every_seed_of_the_judged_row(modes):
    good, bad = result(modes, modes.JUDGED, 0), result(modes, modes.JUDGED, 1, modes=24)
    assert modes.failures([good, bad, result(modes, "plain", 0, modes=3)]) == [
        "below the bar: relativistic-r1-r2, seed 1, has 24 of 25 modes"
    ]


class TestFile:
    @pytest.fixture
    def trained(self, modes, monkeypatch):
        found = []

        def record(row, seed, images, pictures):
            found.append((row, seed))
            return result(modes, row, seed)

        class Pool:
            def __init__(self, *_, **__):
                pass

            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

            def submit(self, function, *arguments):
                future = modes.Future()
                future.set_result(function(*arguments))
                return future

        monkeypatch.setattr(modes, "trained", record)
        monkeypatch.setattr(modes, "ProcessPoolExecutor", Pool)
        return found

    def test_what_is_there_is_not_trained_again(self, modes, trained, tmp_path):
        out = tmp_path / "modes.jsonl"
        modes.fill(["plain"], [0], 1000, out, tmp_path, again=False)
        modes.fill(["plain", modes.JUDGED], [0, 1], 1000, out, tmp_path, again=False)
        assert trained == [("plain", 0), (modes.JUDGED, 0), ("plain", 1), (modes.JUDGED, 1)]
        modes.fill(["plain"], [0], 1000, out, tmp_path, again=True)
        assert trained[4:] == [("plain", 0)]

    def test_newest_with_the_settings_of_now_count(self, modes, trained, tmp_path):
        new, old = result(modes, "plain", 0, modes=3), result(modes, "plain", 0, modes=4)
        other = result(modes, "plain", 0, recipe_id="other")
        assert modes.newest([other, new, old], 1000) == [new]


@pytest.mark.slow
def test_stacked_images_are_trained_on_and_their_modes_recorded(modes, stacked, tmp_path, monkeypatch):
    monkeypatch.setenv("GANSMITH_CACHE", str(tmp_path / "cache"))  # a poor classifier is for no other test
    monkeypatch.setattr(classify, "default_num_steps", lambda num_images: 20)
    changes = ["generator.hidden=[8]", "discriminator.hidden=[8]"]
    record = stacked.train_stacked(
        "digits", 0.01, changes, tmp_path / "stacked.jsonl", recipe="mlp", num_samples=100, runs=tmp_path
    )
    assert modes.read_lines(tmp_path / "stacked.jsonl")[0] == record
    assert record["images_seen"] > 0
    assert 1 <= record["modes_beyond_misreading"] <= record["modes"] <= 100
    assert record["modes_kl"] > 0
