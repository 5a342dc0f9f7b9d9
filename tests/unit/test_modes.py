"""Modes of stacked images, with readers that are right and that misread; the Fréchet distance within classes."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gansmith.errors import DataError
from gansmith.evaluation.frechet import frechet_distance
from gansmith.evaluation.modes import intra_class_distance, stacked_modes
from gansmith.evaluation.moments import moments_of

SIDE = 4


def stacked(modes: np.ndarray) -> Tensor:
    """(N, 3, 4, 4) uint8 whose channels have the brightness of the digits (N, 3)."""
    return torch.from_numpy(modes.astype(np.uint8))[:, :, None, None].expand(-1, -1, SIDE, SIDE).contiguous()


class BrightnessReader:
    """Reads the brightness as a digit, and one in `every` wrongly as the next digit."""

    def __init__(self, every: int | None = None) -> None:
        self.every = every

    def probabilities(self, images: Tensor) -> Tensor:
        digits = images[:, 0, 0, 0].long()
        if self.every:
            wrong = torch.rand(len(digits), generator=torch.Generator().manual_seed(int(digits.sum()))) < 1 / self.every
            digits = (digits + wrong) % 10
        return one_hot(digits, 10).float()


def generator_of(num_modes: int, num_samples: int = 26_000, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    modes = random.permutation(1000)[:num_modes]
    return np.stack(np.unravel_index(random.choice(modes, num_samples), (10, 10, 10)), 1)


class TestStackedModes:
    @pytest.mark.parametrize("num_modes", [1, 10, 100, 500, 999, 1000])
    def test_generator_of_exactly_k_modes_has_k(self, num_modes):
        found = stacked_modes(stacked(generator_of(num_modes)), BrightnessReader())
        assert found.num_modes == found.num_read == num_modes
        assert (found.num_samples, found.of) == (26_000, 1000)

    @pytest.mark.parametrize("num_modes", [1, 10, 100, 500, 999, 1000])
    def test_misreading_makes_no_modes_though_papers_would_count_some(self, num_modes):
        found = stacked_modes(stacked(generator_of(num_modes)), BrightnessReader(every=100))
        assert found.num_modes == num_modes
        assert found.num_read > num_modes or num_modes >= 999

    def test_mode_abc_is_100_a_10_b_c(self):
        counts = stacked_modes(stacked(np.array([[3, 1, 4], [0, 0, 7]])), BrightnessReader()).counts
        assert np.flatnonzero(counts).tolist() == [7, 314]

    @pytest.mark.parametrize(("num_modes", "kl"), [(1, math.log(1000)), (10, math.log(100)), (1000, 0.0)])
    def test_divergence_of_k_equal_modes_is_log_of_1000_over_k(self, num_modes, kl):
        modes = np.stack(np.unravel_index(np.tile(np.arange(num_modes), 3), (10, 10, 10)), 1)
        assert stacked_modes(stacked(modes), BrightnessReader()).kl == pytest.approx(kl, abs=1e-9)

    def test_divergence_is_from_the_real_counts_where_they_are_given(self):
        modes = np.array([[0, 0, 0]] * 3 + [[0, 0, 1]])
        real = np.zeros(1000, np.int64)
        real[:2] = 1
        assert stacked_modes(stacked(modes), BrightnessReader(), real).kl == pytest.approx(
            0.75 * math.log(1.5) + 0.25 * math.log(0.5)
        )

    def test_perfect_generator_has_about_the_divergence_that_its_count_gives(self):
        found = stacked_modes(stacked(generator_of(1000)), BrightnessReader())
        assert found.kl_of_perfect == pytest.approx(999 / 52_000)
        assert found.kl == pytest.approx(found.kl_of_perfect, rel=0.15)

    @pytest.mark.parametrize("shape", [(2, 1, 4, 4), (0, 3, 4, 4), (3, 4, 4)])
    def test_images_that_are_not_stacked_are_refused(self, shape):
        with pytest.raises(DataError, match="three channels"):
            stacked_modes(torch.zeros(shape, dtype=torch.uint8), BrightnessReader())


class TestIntraClass:
    def features(self, seed: int, count: int = 200) -> tuple[Tensor, np.ndarray]:
        labels = np.arange(count) % 2
        drawn = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
        return drawn + 5 * torch.from_numpy(labels)[:, None], labels

    def test_value_is_the_mean_of_the_distances_within_classes(self):
        (fake, fake_labels), (real, real_labels) = self.features(0), self.features(1, 300)
        found = intra_class_distance(fake, fake_labels, real, real_labels, 2)
        expected = [frechet_distance(moments_of(real[c::2]), moments_of(fake[c::2])) for c in range(2)]
        assert found.by_class == pytest.approx(expected)
        assert found.estimate is not None
        assert found.reason is None
        assert found.estimate.value == pytest.approx(np.mean(expected))
        low, high = found.estimate.interval
        assert 0 <= low < found.estimate.value < high

    def test_swapped_classes_are_far_though_all_together_are_near(self):
        (fake, labels), (real, real_labels) = self.features(0), self.features(1)
        right, swapped = (intra_class_distance(fake, asked, real, real_labels, 2) for asked in (labels, 1 - labels))
        assert right.estimate.value < 0.2
        assert swapped.estimate.value == pytest.approx(75, rel=0.1)  # 3 * 5^2

    @pytest.mark.faults
    @pytest.mark.parametrize(
        ("spoil", "text"),
        [
            (lambda fake, labels: (fake[:3], labels[:3]), "class 0: 2 samples and 3 features.*; class 1: 1 samples"),
            (lambda fake, labels: (fake[::2], labels[::2]), "class 1: 0 samples"),
            (lambda fake, labels: (fake.index_fill(0, torch.tensor([1]), math.nan), labels), "class 1: 1 of 100 "),
        ],
    )
    def test_14_class_without_a_distance_is_named_and_there_is_no_mean(self, spoil, text):
        real, real_labels = self.features(1)
        found = intra_class_distance(*spoil(*self.features(0)), real, real_labels, 2)
        assert found.estimate is None
        assert None in found.by_class
        assert not any(value is not None and math.isnan(value) for value in found.by_class)
        assert re.search(text, found.reason)
