"""Intervals against closed forms; what a jackknife covers is simulated in benchmarks/metrics.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gansmith.evaluation.intervals import (
    NUM_GROUPS,
    Estimate,
    groups_of,
    jackknife,
    seeds_interval,
    student_quantile,
    wilson_interval,
)


def test_groups_are_balanced_random_and_a_function_of_count_and_seed():
    groups = groups_of(1007)
    assert sorted(set(np.bincount(groups, minlength=NUM_GROUPS))) == [50, 51]
    assert (groups == groups_of(1007)).all()
    assert (groups != groups_of(1007, seed=1)).mean() > 0.8
    assert (np.diff(groups) % NUM_GROUPS != 1).mean() > 0.8  # not in turn


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 19, 100])
def test_student_quantile_is_that_of_scipy(freedom):
    assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


def test_jackknife_of_a_mean_is_students_interval_of_the_group_means():
    values = np.random.default_rng(0).normal(size=(NUM_GROUPS, 50))
    replicates = [np.delete(values, group, 0).mean() for group in range(NUM_GROUPS)]
    expected = stats.t.interval(0.95, NUM_GROUPS - 1, values.mean(), stats.sem(values.mean(1)))
    assert jackknife(values.mean(), replicates) == pytest.approx(expected, rel=1e-9)


def test_seeds_interval_is_students():
    values = [0.9, 0.95, 0.91, 0.97]
    assert seeds_interval(values) == pytest.approx(stats.t.interval(0.95, 3, np.mean(values), stats.sem(values)))


@pytest.mark.parametrize("interval", [lambda: jackknife(1.0, [1.0]), lambda: seeds_interval([1.0])])
def test_one_value_has_no_interval(interval):
    with pytest.raises(ValueError, match="at least 2"):
        interval()


def test_wilson_interval_is_the_published_one():
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998
    assert wilson_interval(0, 20)[0] == 0


class TestEstimate:
    def test_interval_stays_within_the_bounds(self):
        estimate = Estimate(0.99, tuple(0.99 + 0.01 * (-1) ** group for group in range(NUM_GROUPS)), (0.0, 1.0))
        low, high = estimate.interval
        assert low < 0.95
        assert high == 1

    def test_without_replicates_there_is_no_interval(self):
        assert Estimate(1.0).interval is None
        assert Estimate(1.0).bounds == (-math.inf, math.inf)
