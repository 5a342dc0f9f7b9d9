"""Class coverage, reverse KL and the Inception score: closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from gansmith.evaluation.classes import class_coverage, inception_score, reverse_kl


def one_hot(labels: list[int], num_classes: int) -> torch.Tensor:
    return functional.one_hot(torch.tensor(labels), num_classes).float()


def test_coverage_counts_the_most_probable_class():
    probabilities = torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0], [0.2, 0.8, 0.0]])
    coverage = class_coverage(probabilities, [10, 10, 10])
    assert (coverage.hit, coverage.of, coverage.counts) == (2, 3, (1, 2, 0))
    assert coverage.reverse_kl == pytest.approx(math.log(3) + math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3)


def test_reverse_kl_of_equal_shares_is_zero_and_of_one_class_log_k():
    assert reverse_kl([5, 10, 15], [1, 2, 3]) == pytest.approx(0, abs=1e-15)
    assert reverse_kl([0, 7, 0, 0], [3, 3, 3, 3]) == pytest.approx(math.log(4))


def test_reverse_kl_is_infinite_for_fakes_of_a_class_without_reals():
    assert reverse_kl([1, 1], [5, 0]) == math.inf
    assert class_coverage(one_hot([0, 1], 2), [5, 0]).of == 1


@pytest.mark.parametrize(("counts", "real_counts"), [([1], [1, 2]), ([0, 0], [1, 1]), ([1, 1], [0, 0])])
def test_reverse_kl_of_nothing_is_refused(counts, real_counts):
    with pytest.raises(ValueError, match="classes"):
        reverse_kl(counts, real_counts)


def test_inception_score_is_the_number_of_classes_at_best_and_1_at_worst():
    assert inception_score(one_hot([0, 1, 2, 3] * 20, 4)) == pytest.approx((4, 0))
    assert inception_score(one_hot([2] * 80, 4)) == pytest.approx((1, 0))
    assert inception_score(torch.full((80, 4), 0.25)) == pytest.approx((1, 0))


def test_inception_score_is_of_each_split():
    mean, deviation = inception_score(one_hot([0] * 10 + [0, 1] * 5, 2), num_splits=2)
    assert (mean, deviation) == pytest.approx((1.5, 0.5))
    with pytest.raises(ValueError, match="5 samples cannot be 10 splits"):
        inception_score(torch.ones(5, 1))
