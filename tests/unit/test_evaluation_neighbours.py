"""Nearest neighbours, precision, recall, density, coverage: the definition, without any group, and odd points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gansmith.evaluation import neighbours
from gansmith.evaluation.intervals import groups_of
from gansmith.evaluation.neighbours import nearest, neighbourhood_estimates, neighbourhood_obstacle


def points(num: int, dim: int = 4, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(num, dim, generator=torch.Generator().manual_seed(seed))


def distances(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.cdist(one.double(), other.double(), compute_mode="donot_use_mm_for_euclid_dist")


def by_definition(real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
    """The four numbers from whole distance matrices."""

    def radii(side, k):
        return distances(side, side).sort(1).values[:, k]

    between = distances(real, fake)
    near, far = between <= radii(real, 3)[:, None], between <= radii(real, 5)[:, None]
    back = between <= radii(fake, 3)
    numbers = (near.any(0), back.any(1), far.double().sum(0) / 5, far.any(1))
    return {
        name: float(values.double().mean())
        for name, values in zip(("precision", "recall", "density", "coverage"), numbers, strict=True)
    }


def two_sides():
    return points(170), points(130, seed=1, scale=1.4) + 0.3, groups_of(170), groups_of(130)


class TestNearest:
    @pytest.mark.parametrize("skip_self", [False, True])
    def test_is_that_of_the_whole_matrix_in_any_chunks(self, skip_self, monkeypatch):
        monkeypatch.setattr(neighbours, "QUERIES_AT_ONCE", 7)
        monkeypatch.setattr(neighbours, "REFERENCES_AT_ONCE", 40)
        rows = points(150)
        whole = distances(rows, rows)
        if skip_self:
            whole.fill_diagonal_(torch.inf)
        expected = whole.sort(1)
        found, indices = nearest(rows, rows, 6, skip_self)
        assert torch.equal(indices, expected.indices[:, :6])
        torch.testing.assert_close(found.double(), expected.values[:, :6], rtol=1e-6, atol=0)

    def test_bytes_are_compared_exactly(self):
        images = torch.randint(0, 256, (100, 784), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        found, indices = nearest(images[:10], images, 1)
        assert (found == 0).all()
        assert indices[:, 0].tolist() == list(range(10))

    def test_points_far_from_the_origin_and_close_together_are_told_apart(self):
        rows = points(200, scale=1e-3) + 100
        found, indices = nearest(rows, rows, 2)
        assert (found[:, 0] == 0).all()
        assert torch.equal(indices[:, 1], distances(rows, rows).sort(1).indices[:, 1])

    @pytest.mark.parametrize(("k", "skip_self"), [(5, True), (6, False), (0, False)])
    def test_more_neighbours_than_there_are_are_refused(self, k, skip_self):
        with pytest.raises(ValueError, match=f"{k} nearest of"):
            nearest(points(5), points(5), k, skip_self)


class TestEstimates:
    def test_values_are_the_definition(self):
        real, fake, *_ = sides = two_sides()
        found = {name: estimate.value for name, estimate in neighbourhood_estimates(*sides).items()}
        assert found == pytest.approx(by_definition(real, fake), abs=1e-12)

    @pytest.mark.parametrize("sort", [False, True], ids=["random groups", "groups of neighbours"])
    def test_replicates_are_exactly_the_numbers_without_the_group(self, sort):
        real, fake, real_groups, fake_groups = two_sides()
        if sort:  # most neighbours of a point are of its own group: radii must be looked up anew
            real, real_groups = real[real[:, 0].argsort()], np.sort(np.minimum(real_groups, 3))
        estimates = neighbourhood_estimates(real, fake, real_groups, fake_groups)
        for group in range(0, 20, 2):
            expected = by_definition(real[real_groups != group], fake[fake_groups != group])
            assert {name: e.replicates[group] for name, e in estimates.items()} == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("offset", [0.0, 1000.0])
    def test_identical_sets_are_precise_and_recalled(self, offset):
        rows, groups = points(100) + offset, groups_of(100)
        estimates = neighbourhood_estimates(rows, rows, groups, groups)
        assert {name: estimates[name].value for name in ("precision", "recall", "coverage")} == {
            "precision": 1.0, "recall": 1.0, "coverage": 1.0,
        }  # fmt: skip
        assert estimates["precision"].interval is None  # all replicates are equal: no width is to be believed

    def test_sets_far_apart_have_nothing_in_common(self):
        estimates = neighbourhood_estimates(points(60), points(60, seed=1) + 100, groups_of(60), groups_of(60))
        assert {estimate.value for estimate in estimates.values()} == {0.0}

    def test_collapse_is_precise_and_not_recalled(self):
        real = points(200)
        estimates = neighbourhood_estimates(real, real[:1].repeat(200, 1), groups_of(200), groups_of(200))
        assert estimates["precision"].value == 1
        assert estimates["recall"].value == 1 / 200
        assert estimates["coverage"].value < 0.1

    @pytest.mark.faults
    def test_14_constant_features_are_exact(self):
        same, groups = torch.full((40, 3), 0.1), groups_of(40)
        estimates = neighbourhood_estimates(same, same, groups, groups)
        assert {name: estimate.value for name, estimate in estimates.items()} == {
            "precision": 1.0, "recall": 1.0, "density": 8.0, "coverage": 1.0,
        }  # fmt: skip

    @pytest.mark.faults
    def test_14_too_few_samples_are_named(self):
        assert neighbourhood_obstacle(7, 7) is None
        assert "6 samples: too few" in neighbourhood_obstacle(100, 6)
        assert "6 real images: too few" in neighbourhood_obstacle(6, 100)
        estimates = neighbourhood_estimates(points(7), points(7, seed=1), groups_of(7), groups_of(7))
        assert 0 <= estimates["precision"].value <= 1
