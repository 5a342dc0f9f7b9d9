"""Distances and neighbours against torchmetrics, SciPy and scikit-learn on the same features."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg

from gansmith.evaluation.frechet import frechet_distance
from gansmith.evaluation.kernel import kernel_distance
from gansmith.evaluation.moments import moments_of
from gansmith.evaluation.neighbours import nearest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "metrics.py"


@pytest.fixture(scope="module")
def program():
    """The benchmark, which knows how to ask the references."""
    spec = importlib.util.spec_from_file_location("metrics_benchmark", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(PROGRAM.parent))  # as when it is run
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(PROGRAM.parent))
    del sys.modules[spec.name]


@pytest.fixture
def sides(program) -> tuple[torch.Tensor, torch.Tensor]:
    return program.features(600, 24, 0), 1.1 * program.features(600, 24, 1) + 0.1


def test_frechet_distance_is_that_of_scipys_matrix_root(sides):
    real, fake = (side.double().numpy() for side in sides)
    covariances = [np.cov(side.T) for side in (real, fake)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(real.mean(0) - fake.mean(0)).sum() + np.trace(sum(covariances) - 2 * root)
    assert frechet_distance(*map(moments_of, sides)) == pytest.approx(expected, rel=1e-9)


def test_nearest_neighbours_are_those_of_scikit_learn(program, sides):
    np.testing.assert_allclose(nearest(*sides, 5)[0], program.their_nearest(*sides, 5), rtol=1e-6)


def test_precision_recall_density_and_coverage_are_those_of_scikit_learns_distances(program, sides):
    expected = program.their_neighbourhoods(*sides)
    np.testing.assert_allclose(program.our_neighbourhoods(*sides), expected, rtol=1e-6)
    assert (expected > 0.05).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
class TestTorchmetrics:
    def test_frechet_distance_is_theirs(self, program, sides):
        assert frechet_distance(*map(moments_of, sides)) == pytest.approx(
            float(program.their_frechet(*sides)), rel=1e-4
        )

    def test_kernel_distance_is_theirs_of_one_subset_of_all(self, program, sides):
        assert kernel_distance(*sides) == pytest.approx(float(program.their_kernel(*sides)), rel=1e-4)

    def test_their_subsets_scatter_around_the_kernel_distance(self, program, sides):
        torch.manual_seed(0)
        means = [float(program.their_kernel(*sides, subsets=25, subset_size=100)) for _ in range(8)]
        assert min(means) < kernel_distance(*sides) < max(means)
        assert np.mean(means) == pytest.approx(kernel_distance(*sides), abs=np.std(means))


@pytest.mark.slow
def test_intervals_hold_the_expectation_in_simulated_trials(program):
    held = program.coverages(8, 500, 200, (program.frechet, program.kernel))
    assert all(0.9 <= share <= 0.985 for share in held.values()), held


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torchmetrics
def test_a_quick_run_of_the_program_meets_its_bars(program, real_data, tmp_path, monkeypatch, capsys):
    arguments = ["metrics.py", "--quick", "--data", str(real_data / "mnist.zip"), "--json", str(tmp_path / "rows.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    program.main()
    assert "NOT MET" not in capsys.readouterr().out
    assert (tmp_path / "rows.json").exists()
