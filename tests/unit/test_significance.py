"""Tests of differences, against SciPy and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gansmith.evaluation.significance import (
    holm,
    one_against_seeds,
    paired_jackknife,
    student_p,
    two_shares,
    welch,
)


@given(st.floats(-60, 60), st.floats(0.5, 300))
def test_student_tail_is_scipys(t, freedom):
    assert student_p(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-9, abs=1e-290)


def test_student_tail_at_its_ends():
    assert student_p(0, 19) == 1
    assert student_p(float("inf"), 19) == 0
    assert student_p(1, 1) == pytest.approx(0.5)  # Cauchy


def test_welch_is_scipys():
    random = np.random.default_rng(0)
    for counts in ((2, 2), (3, 8), (5, 5)):
        first, second = random.normal(0, 1, counts[0]).tolist(), random.normal(1, 3, counts[1]).tolist()
        assert welch(first, second) == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue, rel=1e-9)


def test_two_shares_is_the_chi_square_test_without_continuity_correction():
    table = [[30, 970], [55, 1445]]
    expected = stats.chi2_contingency(table, correction=False).pvalue
    assert two_shares(30 / 1000, 55 / 1500, 1000, 1500) == pytest.approx(expected, rel=1e-9)
    assert two_shares(0.0, 0.0, 10, 20) == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_against_seeds_is_the_two_sample_t_test_with_one_value_on_one_side():
    seeds = [10.0, 11.5, 12.0, 10.7]
    expected = stats.ttest_ind([14.0], seeds, equal_var=True).pvalue
    assert one_against_seeds(14.0, seeds) == pytest.approx(expected, rel=1e-9)


def test_without_spread_equal_values_are_alike_and_others_have_no_test():
    flat = [2.0] * 20
    assert paired_jackknife(flat, flat, 0.0) == 1
    assert paired_jackknife(flat, [1.0] * 20, 1.0) is None
    assert welch([10, 10, 10], [10, 10]) == 1
    assert welch([10, 10, 10], [9, 9]) is None
    assert one_against_seeds(9, [10, 10]) is None


def means_without_each_group(values: np.ndarray) -> list[float]:
    groups = np.array_split(values, 20)
    return [float(np.mean(np.concatenate(groups[:g] + groups[g + 1 :]))) for g in range(20)]


def test_shared_noise_of_the_reals_cancels_and_chance_is_found_as_often_as_said():
    """The score: mean of samples minus mean of reals. Two generators of the same quality differ in 5 % of trials."""
    random, found, trials = np.random.default_rng(3), 0, 400
    for _ in range(trials):
        real = 10 * random.normal(size=200)  # far noisier than the samples
        scores = [random.normal(size=200) - real for _ in range(2)]
        replicates = [means_without_each_group(score) for score in scores]
        found += paired_jackknife(*replicates, scores[0].mean() - scores[1].mean()) < 0.05
    assert 0.02 <= found / trials <= 0.08
    shifted = [random.normal(size=200) - real, random.normal(size=200) + 0.5 - real]
    replicates = [means_without_each_group(score) for score in shifted]
    assert paired_jackknife(*replicates, shifted[0].mean() - shifted[1].mean()) < 0.01
