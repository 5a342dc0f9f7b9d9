"""`benchmarks/quality_per_minute.py` without training: its ratio, its file, what it trains again, its verdict."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest

from gansmith import runtime
from gansmith.facts import MachineFacts
from tests.benchmark_modules import benchmark


@pytest.fixture(scope="module")
def quality():
    with benchmark("quality_per_minute") as module:
        yield module


def result(quality, method: str, seed: int, value: float, **changes):
    made = quality.Result(
        method=method, seed=seed, minutes=4.0, recipe_id="0" * 8, plain_hash=None, data="mnist", num_samples=10_000,
        fd_classifier=value, interval=(value - 1, value + 1), held_out=None, extractor="e" * 8, weights="averaged",
        precision="float32", images_seen=1000, training_seconds=240.0, gansmith="0", machine={}, others_share=0.0,
    )  # fmt: skip
    return replace(made, **changes)


def results(quality, auto: list[float], plain: list[float]):
    found = []
    for method, values in ((quality.JUDGED, auto), (quality.PLAIN, plain), ("dcgan-28", plain)):
        found += [result(quality, method, seed, value) for seed, value in enumerate(values)]
    return found


class TestRatio:
    def test_is_the_geometric_mean_over_seeds(self, quality):
        value, interval = quality.ratio_of(results(quality, [1.0, 2.0, 4.0], [4.0, 4.0, 4.0]))
        assert value == pytest.approx(0.5)
        reach = 4.302653 * math.log(2) / math.sqrt(3)  # t(2), and logarithms one apart in units of log 2
        assert interval == pytest.approx((0.5 * math.exp(-reach), 0.5 * math.exp(reach)), rel=1e-5)

    def test_of_one_seed_has_no_interval(self, quality):
        assert quality.ratio_of(results(quality, [1.0], [4.0])) == (pytest.approx(0.25), None)


class TestVerdict:
    def test_half_the_distance_is_enough_and_more_is_not(self, quality):
        assert quality.failures(results(quality, [1.0] * 3, [2.001] * 3), quality.FULL) == []
        (problem,) = quality.failures(results(quality, [1.0] * 3, [1.9] * 3), quality.FULL)
        assert problem == "above the bar: auto has 0.526 of the plain loop's distance, must be at most 0.5"

    def test_quick_run_judges_nothing(self, quality):
        assert quality.failures(results(quality, [9.0], [1.0]), quality.QUICK) == []

    def test_two_classifiers_are_no_comparison(self, quality):
        first, *others = results(quality, [1.0], [9.0])
        (problem,) = quality.failures([replace(first, extractor="other"), *others], quality.QUICK)
        assert "judged by different classifiers (eeeeeeee, other)" in problem

    def test_trainings_beside_other_programs_are_not_believed(self, quality):
        first, *others = results(quality, [1.0], [9.0])
        (problem,) = quality.failures([replace(first, others_share=0.5), *others], quality.FULL)
        assert "other programs ran beside 1 of the trainings" in problem


def test_table_has_every_method_its_seeds_and_whose_weights_are_judged(quality):
    text = quality.table(results(quality, [1.0, 2.0, 4.0], [4.0, 4.0, 4.0]), quality.FULL)
    assert "2.33   1.00, 2.00, 4.00; weights averaged" in text
    assert "auto / plain dcgan-28: 0.500 (95 %" in text
    assert text.endswith("at most 0.5: ok")
    assert all(f"\n{method} " in text for method in quality.FULL.methods)


class TestFile:
    def test_results_survive_it_newest_first(self, quality, tmp_path):
        path, kept = tmp_path / "new" / "results.jsonl", results(quality, [1.0], [2.0])
        assert quality.read_results(path) == []
        for each in kept:
            quality.append_line(path, asdict(each))
        read = quality.read_results(path)
        assert [each.method for each in read] == [each.method for each in kept[::-1]]
        assert read == kept[::-1]


class TestResuming:
    """What is trained is recorded instead of being done."""

    @pytest.fixture
    def run(self, quality, tmp_path, monkeypatch):
        facts = MachineFacts("2 CPU threads", "float32", 100.0, 2**33)  # or `auto` might choose otherwise each time
        monkeypatch.setattr(runtime, "measure_machine", lambda *_: facts)
        plan = quality.Plan(4.0, (0, 1), 10, is_judged=True)
        benchmark = quality.Benchmark("digits", tmp_path / "results.jsonl", tmp_path / "runs", plan)

        def run(again: bool = False, plain_hash: str = "p", others_share: float = 0.0) -> list[tuple[str, int, bool]]:
            trained = []

            def record(self, method, seed, key, is_anew):
                trained.append((method, seed, is_anew))
                made = result(quality, method, seed, 1.0, others_share=others_share)
                return replace(made, **{name: getattr(key, name) for name in quality.Key._fields})

            monkeypatch.setattr(quality.Benchmark, "_trained", record)
            monkeypatch.setattr(benchmark, "plain_hash", plain_hash)
            assert len(benchmark.results(again)) == 4
            return trained

        return run

    def test_second_run_trains_nothing(self, quality, run):
        assert run() == [(method, seed, False) for seed in (0, 1) for method in quality.FULL.methods]
        assert run() == []

    def test_again_trains_all_anew(self, quality, run):
        run()
        assert run(again=True) == [(method, seed, True) for seed in (0, 1) for method in quality.FULL.methods]
        assert run() == []

    def test_changed_plain_loop_is_trained_again_alone(self, quality, run):
        run()
        assert run(plain_hash="changed") == [(quality.PLAIN, seed, False) for seed in (0, 1)]

    def test_disturbed_trainings_are_repeated_from_their_start(self, quality, run):
        run(others_share=0.5)
        assert run() == [(method, seed, True) for seed in (0, 1) for method in quality.FULL.methods]
        assert run() == []
