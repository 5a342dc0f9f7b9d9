"""Worth to a classifier: samples that teach help, samples that mislead hurt, and the arithmetic between."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gansmith.data import DataSet, open_data
from gansmith.errors import DataError, UsageError
from gansmith.evaluation import worth as module
from gansmith.evaluation.trials import Joined, labelled
from gansmith.evaluation.worth import OverSeeds, Worth, estimate_seconds, worth


def made(num: int = 40, num_classes: int = 2, seed: int = 0, size=(4, 4)) -> DataSet:
    """Noise whose brightness is the class."""
    labels = np.arange(num, dtype=np.int64) % num_classes
    noise = np.random.default_rng(seed).integers(0, 40, (num, 1, *size)) + 150 * labels[:, None, None, None]
    return labelled(noise.astype(np.uint8), labels, tuple(f"c{i}" for i in range(num_classes)), "made")


def found(real: list[float], both: list[float]) -> Worth:
    seeds = tuple(range(len(real)))
    return Worth(OverSeeds(tuple(real)), OverSeeds(tuple(real)), OverSeeds(tuple(both)), seeds, 10, 10, 10, 5, 1.0)


class TestVerdict:
    @pytest.mark.parametrize(
        ("real", "both", "text"),
        [
            # differences -0.3, -0.4, -0.5 points: half the interval is t(2) * 0.1 / sqrt(3) = 4.303 * 0.0577 = 0.248
            ([0.990, 0.991, 0.992], [0.987, 0.987, 0.987], "hurts: -0.4 points (-0.6 to -0.2)"),
            ([0.987, 0.987, 0.987], [0.990, 0.991, 0.992], "helps: +0.4 points (+0.2 to +0.6)"),
            ([0.990, 0.990, 0.990], [0.991, 0.990, 0.989], "makes no difference that 3 seeds show: +0.0 points"),
            ([0.990, 0.990], [0.990, 0.990], "makes no difference that 2 seeds show: +0.0 points (+0.0 to +0.0)"),
        ],
    )
    def test_verdict_follows_the_paired_interval(self, real, both, text):
        assert found(real, both).verdict.startswith(f"training on both {text}")

    def test_gain_is_paired_by_seed(self):
        assert found([0.5, 0.75], [0.75, 0.5]).gain.values == (0.25, -0.25)
        assert found([0.5, 0.75], [0.75, 0.5]).real.mean == 0.625


class TestWorth:
    def test_samples_of_the_wrong_class_hurt_and_true_ones_alone_suffice(self):
        real, held_out = made(60), made(40, seed=1)
        good, bad = (
            worth(real, held_out, made(300, seed=2).images, labels, seeds=(0, 1), num_steps=25)
            for labels in (np.arange(300) % 2, 1 - np.arange(300) % 2)
        )
        assert good.fake.values == (1.0, 1.0)
        assert good.real.values == (1.0, 1.0)
        assert max(bad.fake.values) < 0.1
        assert max(bad.both.values) < 0.5
        assert bad.verdict.startswith("training on both hurts: -")
        assert (good.num_real, good.num_fake, good.num_held_out, good.num_steps) == (60, 300, 40, 25)

    def test_three_trainings_a_seed_see_real_fake_and_all_with_equal_steps(self, monkeypatch):
        calls = []

        def spy(train, held_out, num_steps, seed, **_):
            calls.append((len(train), num_steps, seed, train.batch(np.arange(len(train))).images))
            return type("Trained", (), {"accuracy": len(calls) / 10})()

        monkeypatch.setattr(module, "train_classifier", spy)
        real, fakes = made(50), made(20, seed=3)
        result = worth(real, made(10), torch.from_numpy(fakes.images), torch.from_numpy(fakes.labels), (4, 5),
                       num_real=30, num_steps=7)  # fmt: skip
        assert [call[:3] for call in calls] == [(n, 7, seed) for seed in (4, 5) for n in (30, 20, 50)]
        assert torch.equal(calls[2][3], torch.cat([calls[0][3], calls[1][3]]))
        assert not torch.equal(calls[0][3], calls[3][3])
        assert result.real.values == (0.1, 0.4)
        assert result.fake.values == (0.2, 0.5)
        assert result.both.values == (0.3, 0.6)

    def test_progress_rises_to_one(self, monkeypatch):
        monkeypatch.setattr("gansmith.training.classify.PROGRESS_SECONDS", 0.0)
        told: list[float] = []
        data = made(10)
        worth(data, data, data.images, data.labels, (0, 1), on_progress=told.append, num_steps=2)
        assert told == pytest.approx(np.arange(1, 13) / 12)

    @pytest.mark.parametrize(
        ("change", "error", "text"),
        [
            ({"seeds": (0,)}, UsageError, "at least two"),
            ({"num_real": 41}, UsageError, "num_real 41: made has 40 images"),
            ({"num_real": 0}, UsageError, "must be 1 to 40"),
            ({"fake_labels": np.zeros(3)}, DataError, r"40 images with labels of shape \(3,\)"),
            ({"fake_labels": np.full(40, 2)}, DataError, "labels 2 to 2; made has classes 0 to 1"),
            ({"fake_labels": np.full(40, -1)}, DataError, "labels -1 to -1"),
            ({"fakes": np.zeros((40, 1, 4, 4))}, DataError, "must be uint8"),
            ({"fakes": np.zeros((40, 1, 5, 4), np.uint8)}, DataError, "different shapes"),
            ({"held_out": made(40, 3)}, DataError, "different classes"),
        ],
    )
    def test_what_does_not_fit_is_said(self, change, error, text):
        good = made()
        with pytest.raises(error, match=text):
            worth(**{"train": good, "held_out": good, "fakes": good.images, "fake_labels": good.labels} | change)

    def test_estimate_is_of_all_trainings(self):
        data = made()
        assert estimate_seconds(data, 2, num_steps=10_000) > 10 * estimate_seconds(data, 2, num_steps=100) > 0


class TestJoined:
    def test_batch_is_in_the_order_of_the_indices(self):
        first, second = made(6), made(5, seed=1)
        joined, indices = Joined(first, second), np.array([10, 0, 6, 5, 6, 2])
        batch = joined.batch(indices)
        assert len(joined) == 11
        np.testing.assert_array_equal(batch.images, np.concatenate([first.images, second.images])[indices])
        np.testing.assert_array_equal(batch.labels, joined.labels[indices])
        np.testing.assert_array_equal(joined.batch(np.array([1])).images, first.images[1:2])


@pytest.mark.slow
@pytest.mark.data
def test_more_digits_help_a_classifier_of_few_and_misread_ones_hurt(real_data) -> None:
    train, held_out = (open_data(real_data / "mnist.zip", (28, 28), 1, split=split) for split in ("train", "test"))
    rows = np.random.default_rng(0).permutation(len(train))[:2000]
    fakes, labels = np.asarray(train.images)[rows], train.labels[rows]
    helps = worth(train, held_out, fakes, labels, num_real=200, num_steps=80)
    hurts = worth(train, held_out, fakes, (labels + 1) % 10, num_real=200, num_steps=80)
    assert helps.verdict.startswith("training on both helps: +")
    assert hurts.verdict.startswith("training on both hurts: -")
