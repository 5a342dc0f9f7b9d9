"""`benchmarks/health.py` without its long trainings: what it counts as right, what it costs, and a quick run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from gansmith.report import Health
from gansmith.training import descent, step
from tests.benchmark_modules import BENCHMARKS, benchmark
from tests.end_to_end.processes import environment


@pytest.fixture(scope="module")
def health():
    with benchmark("health") as program:
        yield program


def said(*verdicts: str) -> list[Health]:
    return [Health(verdict=verdict, images=1, evidence="") for verdict in verdicts]


def result(health, **changes):
    case = next(iter(health.CASES))
    values = {
        "case": case, "seed": 0, "recipe_id": "0" * 8, "images": health.CASES[case].images,
        "judge": health.judge_hash(), "expected": health.CASES[case].expected, "said": ((1, "healthy", "", ""),),
        "is_right": False, "seconds": 1.0, "gansmith": "0", "machine": {},
    }  # fmt: skip
    return health.Result(**values | changes)


def test_is_short_enough_to_read():
    assert len((BENCHMARKS / "health.py").read_text().splitlines()) <= 300


def test_the_first_alarm_counts(health):
    assert health.first_alarm(said("healthy", "mode collapse", "healthy", "diverged")) == "mode collapse"
    assert health.first_alarm(said("healthy")) == "healthy"


def test_there_are_five_failures_with_reasons_and_ten_healthy_runs(health):
    from health_cases import FAILURES, HEALTHY_RUNS

    assert len(FAILURES) == 5
    assert all(case.reason and "healthy" not in case.expected for case in FAILURES.values())
    assert len(HEALTHY_RUNS) == 11
    assert all(case.expected == ("healthy",) for case in HEALTHY_RUNS.values())


def test_wrong_runs_are_named_with_what_was_said(health):
    (problem,) = health.failures([result(health), result(health, is_right=True)])
    assert problem.endswith("healthy was said; expected diverged or mode collapse")


def test_what_is_in_the_file_is_not_trained_again(health, tmp_path, monkeypatch):
    kept = result(health)
    (tmp_path / "out.jsonl").write_text(json.dumps(asdict(kept)) + "\n")
    benchmark = health.Benchmark(tmp_path, tmp_path / "out.jsonl", tmp_path)
    monkeypatch.setattr(benchmark, "_recipe_of", lambda case: SimpleNamespace(id=kept.recipe_id))
    monkeypatch.setattr(benchmark, "trained", lambda *arguments: pytest.fail("trained"))
    assert benchmark.result(kept.case, 0, again=False).said == [[1, "healthy", "", ""]]


def test_what_another_recipe_was_said_of_is_trained_again(health, tmp_path, monkeypatch):
    kept = result(health)
    (tmp_path / "out.jsonl").write_text(json.dumps(asdict(kept)) + "\n")
    benchmark = health.Benchmark(tmp_path, tmp_path / "out.jsonl", tmp_path)
    monkeypatch.setattr(benchmark, "_recipe_of", lambda case: SimpleNamespace(id="another"))
    monkeypatch.setattr(benchmark, "trained", lambda *arguments: kept)
    assert benchmark.result(kept.case, 0, again=False) is kept


def test_cost_is_a_share_and_leaves_the_modules_as_they_were(health):
    before = step.is_measured, step.measured_of_samples, descent.gradient_norm
    import health_cost

    measures, norms = health_cost.share_of("mlp", seconds=0.1)
    assert 0 < measures < 0.5
    assert 0 < norms < 0.5
    assert health_cost.ratio_of("mlp", seconds=0.02, pairs=2).ratio > 0.1
    assert (step.is_measured, step.measured_of_samples, descent.gradient_norm) == before


@pytest.mark.slow
def test_quick_run_of_the_program(tmp_path):
    words = [sys.executable, str(BENCHMARKS / "health.py"), "--quick"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "25 Gaussians, seed 0" in done.stdout
