"""Adversarial evaluation: noise is told from digits, digits from digits are not, and the test part has no say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gansmith.classifiers import wilson_interval
from gansmith.data import open_data
from gansmith.errors import DataError
from gansmith.evaluation import detection
from gansmith.evaluation.detection import Detection, detect, estimate_seconds


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return np.array(open_data("digits", (8, 8), 1).images)


def noise(count: int, seed: int = 0, size=(1, 8, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size), dtype=np.uint8)


class TestDetection:
    def test_accuracy_interval_and_verdict_are_of_the_counts(self):
        found = Detection(num_right=620, num_test=1000, num_train=1000, num_steps=5, seconds=1.0)
        assert found.accuracy == 0.62
        assert found.interval == wilson_interval(620, 1000)
        assert found.verdict == "told apart: 62.0 % (59.0 % to 65.0 %) of images read right; guessing is 50 %"

    @pytest.mark.parametrize("right", [510, 490, 400])
    def test_guessing_and_worse_is_not_telling_apart(self, right):
        assert Detection(right, 1000, 1000, 5, 1.0).verdict.startswith("not told apart")


class TestDetect:
    def test_noise_is_told_from_digits(self, digits):
        found = detect(digits[:200], noise(300), num_steps=40)
        assert found.accuracy > 0.95
        assert (found.num_train, found.num_test, found.num_steps) == (200, 200, 40)
        assert found.verdict.startswith("told apart")

    def test_same_distribution_is_guessed(self):
        found = detect(noise(300, 1), noise(300, 2), num_steps=40)
        low, high = found.interval
        assert low <= 0.5 <= high

    def test_rarer_kind_decides_how_many_are_taken_and_halves_are_equal(self, monkeypatch):
        seen = {}

        def spy(train, test, *args, **kwargs):
            seen.update(train=train, test=test)
            raise InterruptedError

        monkeypatch.setattr(detection, "train_classifier", spy)
        real, fake = np.arange(41, dtype=np.uint8), np.arange(100, 200, dtype=np.uint8)
        for kind in (torch.from_numpy, np.asarray):
            with pytest.raises(InterruptedError):
                detect(*(kind(np.tile(values[:, None, None, None], (1, 1, 4, 4))) for values in (real, fake)))
            parts = [seen[name].images[:, 0, 0, 0] for name in ("train", "test")]
            for part, name in zip(parts, ("train", "test"), strict=True):
                np.testing.assert_array_equal(seen[name].labels, part >= 100)
                assert (part >= 100).sum() == (part < 100).sum() == 20
            assert len(set(np.concatenate(parts).tolist())) == 80

    def test_same_seed_repeats_and_another_divides_otherwise(self):
        brighter = noise(150, 2) // 2 + 100
        found = [detect(noise(150, 1), brighter, seed, num_steps=12).num_right for seed in (0, 0, 1, 2, 3)]
        assert found[0] == found[1]
        assert len(set(found)) > 1

    def test_progress_rises(self, digits, monkeypatch):
        monkeypatch.setattr("gansmith.training.classify.PROGRESS_SECONDS", 0.0)
        told: list[float] = []
        detect(digits[:40], noise(40), on_progress=told.append, num_steps=4)
        assert told == [0.25, 0.5, 0.75, 1.0]

    @pytest.mark.parametrize(
        ("real", "fake", "text"),
        [
            (noise(40), noise(19), "40 held-out real images and 19 samples: .* at least 20"),
            (noise(40), noise(40, size=(3, 8, 8)), r"samples are \(3, 8, 8\), real images \(1, 8, 8\)"),
            (noise(40) / 255, noise(40), "real images: float64 .* must be uint8"),
            (noise(40), noise(40)[:, 0], r"samples: uint8 of shape \(40, 8, 8\)"),
        ],
    )
    def test_what_cannot_be_judged_is_said(self, real, fake, text):
        with pytest.raises(DataError, match=text):
            detect(real, fake)

    def test_estimate_grows_with_the_steps(self, digits):
        few, many = (estimate_seconds(digits, num_steps=steps) for steps in (10, 10_000))
        assert 0 < few < many
