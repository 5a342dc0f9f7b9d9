"""Moments, Fréchet distance and its extrapolation, kernel distance: closed forms, properties, degenerate features."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gansmith.evaluation.frechet import (
    frechet_distance,
    frechet_estimate,
    frechet_infinity,
    frechet_infinity_estimate,
    frechet_obstacle,
    infinity_obstacle,
)
from gansmith.evaluation.intervals import NUM_GROUPS, groups_of
from gansmith.evaluation.kernel import kernel_distance, kernel_estimate
from gansmith.evaluation.moments import Moments, features_obstacle, grouped_moments, moments_of, total


def normal(num: int, dim: int = 8, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    """Correlated features."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(99)) / math.sqrt(dim)
    return torch.randn(num, dim, generator=generator) @ mix + shift


def close(one: Moments, other: Moments, tolerance: float = 1e-12) -> bool:
    pairs = ((one.mean, other.mean), (one.scatter, other.scatter))
    return one.count == other.count and all(torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in pairs)


class TestMoments:
    def test_mean_and_covariance_are_numpys(self):
        features = normal(500, shift=30)
        moments = moments_of(features)
        np.testing.assert_allclose(moments.mean, features.double().numpy().mean(0), rtol=1e-13)
        np.testing.assert_allclose(moments.covariance, np.cov(features.double().numpy().T), rtol=1e-11)

    @pytest.mark.parametrize("batch", [1, 7, 64, 500])
    def test_streaming_does_not_depend_on_batch_size(self, batch):
        features = normal(500, shift=3)
        assert close(total([moments_of(part) for part in features.split(batch)]), moments_of(features), 1e-11)

    def test_without_is_the_inverse_of_merged(self):
        some, others = moments_of(normal(300, shift=5)), moments_of(normal(40, seed=1))
        assert close(some.merged(others).without(others), some, 1e-11)
        empty = moments_of(normal(0))
        assert close(some.merged(empty).without(empty), some)

    def test_groups_add_up(self):
        features = normal(333)
        assert close(total(grouped_moments(features, groups_of(333))), moments_of(features), 1e-11)

    def test_nothing_is_left_without_all_and_no_more_can_be_taken(self):
        moments = moments_of(normal(5))
        assert close(moments.without(moments), moments_of(normal(0)))
        with pytest.raises(ValueError, match="6 rows cannot be taken from 5"):
            moments.without(moments_of(normal(6)))


class TestFrechetDistance:
    def test_of_axis_aligned_normals_is_the_closed_form(self):
        def diagonal(mean, deviations):
            return Moments(101, torch.tensor(mean).double(), 100 * torch.diag(torch.tensor(deviations).double() ** 2))

        distance = frechet_distance(diagonal([0, 0, 1], [1, 2, 3]), diagonal([1, 0, -1], [2, 2, 0]))
        assert distance == pytest.approx(1 + 4 + 1 + 0 + 9, rel=1e-12)

    def test_is_symmetric_and_zero_of_itself(self):
        one, other = moments_of(normal(300)), moments_of(normal(300, seed=1, shift=1))
        assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), rel=1e-10)
        assert frechet_distance(one, one) == pytest.approx(0, abs=1e-10)

    def test_does_not_change_under_rotation(self):
        rotation = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))[
            0
        ]
        one, other = normal(300).double(), normal(300, seed=1).double() * 2
        rotated = frechet_distance(moments_of(one @ rotation), moments_of(other @ rotation))
        assert rotated == pytest.approx(frechet_distance(moments_of(one), moments_of(other)), rel=1e-10)

    @pytest.mark.faults
    def test_14_singular_covariances_are_exact(self):
        narrow, other = normal(300, dim=3), normal(300, dim=3, seed=1, shift=1)
        expected = frechet_distance(moments_of(narrow), moments_of(other))
        pad = torch.full((300, 60), 0.1)
        padded = [moments_of(torch.cat([part, part[:, :1], pad], 1)) for part in (narrow, other)]
        doubled = [moments_of(torch.cat([part, part[:, :1]], 1)) for part in (narrow, other)]
        assert frechet_distance(*padded) == pytest.approx(frechet_distance(*doubled), rel=1e-9)
        assert frechet_distance(*padded) > expected
        assert frechet_distance(padded[0], padded[0]) == pytest.approx(0, abs=1e-9)

    @pytest.mark.faults
    def test_14_constant_features_are_exact(self):
        constants = [moments_of(torch.full((50, 4), value)) for value in (0.25, 1.25)]
        assert frechet_distance(*constants) == 4
        assert frechet_distance(constants[0], moments_of(torch.zeros(50, 4))) == 0.25

    def test_replicates_leave_a_group_out_of_both_sides(self):
        real, fake = normal(300), normal(200, seed=1, shift=0.3)
        real_groups, fake_groups = groups_of(300), groups_of(200)
        estimate = frechet_estimate(grouped_moments(real, real_groups), grouped_moments(fake, fake_groups))
        assert estimate.value == pytest.approx(frechet_distance(moments_of(real), moments_of(fake)), rel=1e-10)
        for group in (0, 19):
            parts = moments_of(real[real_groups != group]), moments_of(fake[fake_groups != group])
            assert estimate.replicates[group] == pytest.approx(frechet_distance(*parts), rel=1e-10)


class TestInfinity:
    def test_removes_most_of_the_bias_of_few_samples(self):
        real = moments_of(normal(50_000, dim=16))
        finite, infinite = [], []
        for seed in range(1, 9):
            fake = normal(400, dim=16, seed=seed)
            finite.append(frechet_distance(real, moments_of(fake)))
            infinite.append(frechet_infinity(real, fake))
        assert np.mean(finite) > 0.15
        assert abs(np.mean(infinite)) < 0.15 * np.mean(finite)

    def test_estimate_has_the_same_value_and_replicates_around_it(self):
        real, fake = normal(600), normal(500, seed=1, shift=0.2)
        groups = groups_of(600)
        estimate = frechet_infinity_estimate(grouped_moments(real, groups), fake, groups_of(500))
        assert estimate.value == pytest.approx(frechet_infinity(moments_of(real), fake), rel=1e-9)
        assert len(estimate.replicates) == NUM_GROUPS
        assert np.mean(estimate.replicates) == pytest.approx(estimate.value, rel=0.1)

    def test_is_a_function_of_features_and_seed(self):
        real, fake = moments_of(normal(600)), normal(500, seed=1)
        assert frechet_infinity(real, fake) == frechet_infinity(real, fake)
        assert frechet_infinity(real, fake) != frechet_infinity(real, fake, seed=1)

    @pytest.mark.slow
    def test_large_features_have_a_value_without_replicates(self):
        real, fake = normal(2200, dim=520), normal(2200, dim=520, seed=1)
        estimate = frechet_infinity_estimate(grouped_moments(real, groups_of(2200)), fake, groups_of(2200))
        assert math.isfinite(estimate.value)
        assert estimate.interval is None


class TestObstacles:
    @pytest.mark.faults
    def test_14_no_more_samples_than_features_have_no_frechet_distance(self):
        assert frechet_obstacle(1000, 129, 128) is None
        assert "128 samples and 128 features" in frechet_obstacle(1000, 128, 128)
        assert "128 real images and 128 features" in frechet_obstacle(128, 1000, 128)

    @pytest.mark.faults
    def test_14_too_few_samples_have_no_extrapolation(self):
        assert infinity_obstacle(1000, 512, 128) is None
        assert "at least 512" in infinity_obstacle(1000, 511, 128)
        assert "see the kernel distance" in infinity_obstacle(1000, 100, 128)
        fewest = frechet_infinity_estimate(
            grouped_moments(normal(60), groups_of(60)), normal(32, seed=1), groups_of(32)
        )
        assert all(math.isfinite(value) for value in (fewest.value, *fewest.replicates))

    @pytest.mark.faults
    def test_14_features_that_are_nan_infinite_or_one_are_named(self):
        assert features_obstacle(normal(2)) is None
        assert "1 sample;" in features_obstacle(normal(1))
        assert "0 samples;" in features_obstacle(normal(0))
        bad = normal(10)
        bad[3, 1], bad[4, 0] = math.nan, math.inf
        assert features_obstacle(bad) == "2 of 10 samples have features that are NaN or infinite"


def plain_kernel_distance(real: torch.Tensor, fake: torch.Tensor) -> float:
    """The definition, with loops over nothing but the matrices."""

    def kernel(a, b):
        return ((a @ b.T) / a.shape[1] + 1) ** 3

    real, fake = real.double(), fake.double()
    num, other = len(real), len(fake)
    within = (kernel(real, real).sum() - kernel(real, real).trace()) / (num * (num - 1))
    within += (kernel(fake, fake).sum() - kernel(fake, fake).trace()) / (other * (other - 1))
    return float(within - 2 * kernel(real, fake).mean())


class TestKernelDistance:
    def test_is_the_definition(self):
        real, fake = normal(300), normal(200, seed=1, shift=0.2)
        assert kernel_distance(real, fake) == pytest.approx(plain_kernel_distance(real, fake), rel=1e-5)

    def test_of_two_points_each_is_the_closed_form(self):
        real, fake = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0]])
        assert kernel_distance(real, fake) == pytest.approx(3**3 + 1 - 2 * (1 + 2**3 + 1 + 3**3) / 4)

    def test_is_unbiased_so_it_can_be_negative(self):
        values = [kernel_distance(normal(60, seed=2 * s), normal(60, seed=2 * s + 1)) for s in range(60)]
        assert min(values) < 0
        assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(len(values))

    def test_float32_products_are_as_good_as_float64(self):
        real, fake = normal(1500, dim=64, shift=1), normal(1500, dim=64, seed=1, shift=1.02)
        assert kernel_distance(real, fake) == pytest.approx(kernel_distance(real.double(), fake.double()), rel=1e-4)

    def test_replicates_leave_a_group_out_of_both_sides(self):
        real, fake = normal(300), normal(200, seed=1, shift=0.3)
        real_groups, fake_groups = groups_of(300), groups_of(200)
        estimate = kernel_estimate(real, fake, real_groups, fake_groups)
        assert estimate.value == pytest.approx(kernel_distance(real, fake), rel=1e-5)
        for group in (0, 19):
            expected = kernel_distance(real[real_groups != group], fake[fake_groups != group])
            assert estimate.replicates[group] == pytest.approx(expected, rel=1e-5)

    @pytest.mark.faults
    def test_14_fewer_samples_than_features_and_constant_features_have_one(self):
        assert math.isfinite(kernel_distance(normal(5, dim=64), normal(4, dim=64, seed=1)))
        assert kernel_distance(torch.ones(9, 4), torch.ones(9, 4)) == 0
