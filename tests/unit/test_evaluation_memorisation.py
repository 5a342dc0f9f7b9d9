"""Memorisation: copies are flagged, other images are not, duplicates in the training set hide nothing."""

from __future__ import annotations

import pytest
import torch

from gansmith.data import open_data
from gansmith.evaluation.memorisation import (
    memorisation,
    memorisation_obstacle,
    nearest_other_training,
    nearest_training,
)


def smooth(num: int, seed: int, side: int = 12) -> torch.Tensor:
    """Random smooth images, (N, 1, side, side) uint8."""
    small = torch.rand(num, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return (255 * torch.nn.functional.interpolate(small, size=(side, side), mode="bilinear")).byte()


def noisy(images: torch.Tensor, share: float) -> torch.Tensor:
    noise = share * 255 * torch.randn(images.shape, generator=torch.Generator().manual_seed(5))
    return (images + noise).clamp(0, 255).byte()


@pytest.fixture(scope="module")
def train() -> torch.Tensor:
    return smooth(400, 0)


@pytest.fixture(scope="module")
def held_out(train):
    return nearest_training(smooth(300, 1), train)


class TestVerdict:
    @pytest.mark.parametrize("share", [0.0, 0.02, 0.05])
    def test_copies_and_noisy_copies_are_flagged(self, train, held_out, share):
        verdict = memorisation(nearest_training(noisy(train[100:200], share), train), held_out)
        assert verdict.flagged
        assert verdict.share > 0.9
        assert verdict.distance_ratio < 0.5

    def test_other_images_are_not_flagged(self, train, held_out):
        verdict = memorisation(nearest_training(smooth(300, 2), train), held_out)
        assert not verdict.flagged
        assert verdict.share < 0.02
        assert verdict.distance_ratio == pytest.approx(1, abs=0.1)

    def test_some_copies_among_many_images_are_flagged_and_are_the_worst_pairs(self, train, held_out):
        fakes = torch.cat([smooth(270, 3), train[40:70]])
        verdict = memorisation(nearest_training(fakes, train), held_out)
        assert verdict.flagged
        assert verdict.share == pytest.approx(0.1, abs=0.01)
        assert verdict.interval[0] > verdict.held_out_interval[1]
        assert [(pair.fake - 270 + 40, pair.distance) for pair in verdict.pairs] == [
            (pair.train, 0) for pair in verdict.pairs
        ]

    def test_too_few_images_to_tell_are_not_flagged(self, train):
        few = nearest_training(smooth(2, 1), train)
        assert not memorisation(nearest_training(train[:1], train), few).flagged


class TestNearness:
    def test_distance_is_in_grey_levels(self, train):
        shifted = train.clone()
        shifted[0] = 100
        lighter = torch.full_like(train[:1], 103)
        found = nearest_training(lighter, shifted)
        assert found.distances.tolist() == [3]
        assert found.indices.tolist() == [0]

    @pytest.mark.parametrize("share", [0.0, 0.02])
    def test_duplicates_in_the_training_set_hide_no_copy(self, train, share):
        doubled = train.repeat(8, 1, 1, 1)
        copies = nearest_training(noisy(train[:50], share), doubled)
        assert copies.share > 0.9

    def test_without_held_out_images_training_images_stand_in_and_are_not_their_own_copies(self, train):
        stand_in = nearest_other_training(train)
        assert stand_in.is_stand_in
        assert stand_in.share < 0.02
        verdict = memorisation(nearest_training(train[:100], train), stand_in)
        assert verdict.flagged
        assert verdict.is_stand_in

    def test_duplicates_among_stand_ins_are_said(self, train):
        assert nearest_other_training(train.repeat(2, 1, 1, 1)).share == 1

    def test_large_images_are_averaged_to_32_pixels(self):
        train = smooth(60, 0, side=96)
        copies = nearest_training(train[:20], train)
        assert (copies.distances == 0).all()
        assert copies.indices.tolist() == list(range(20))

    def test_too_few_training_images_are_named(self):
        assert memorisation_obstacle(52) is None
        assert "51 training images" in memorisation_obstacle(51)


@pytest.mark.data
@pytest.mark.slow
def test_mnist_copies_are_flagged_and_held_out_images_are_not(real_data):
    train, test = (
        torch.from_numpy(open_data(real_data / "mnist.zip", (28, 28), 1, split).images[:5000].copy())
        for split in ("train", "test")
    )
    held_out = nearest_training(test[:1000], train)
    assert held_out.share < 0.005
    assert not memorisation(nearest_training(test[1000:2000], train), held_out).flagged
    for share in (0.0, 0.02, 0.05):
        copies = memorisation(nearest_training(noisy(train[:500], share), train), held_out)
        assert copies.flagged
        assert copies.share > 0.95
