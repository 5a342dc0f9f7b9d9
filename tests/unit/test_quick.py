"""The score of evaluations while training, against the same distance computed at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gansmith import sampling
from gansmith.data import DataSet, open_data
from gansmith.errors import DataError, UsageError
from gansmith.evaluation import quick
from gansmith.evaluation.extractors import choose_extractor
from gansmith.evaluation.frechet import frechet_distance
from gansmith.evaluation.moments import moments_of
from gansmith.evaluation.quick import QuickScore, quick_score
from gansmith.facts import Classes
from gansmith.images import to_float, to_uint8
from gansmith.training.log import Display

CPU = torch.device("cpu")
NUM = 600


class Blobs(nn.Module):
    """Latents (N, 64) as 8x8 images, brighter with the number of the class."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.latent_dim = 64
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        shift = 0.0 if labels is None else labels[:, None] / 4
        return torch.tanh(self.factor * latents + shift).view(-1, 1, 8, 8)


@pytest.fixture(scope="module")
def images() -> DataSet:
    """The embedded digits at 8x8, without their classes."""
    digits = open_data("digits", (8, 8), 1)
    return DataSet("digits", digits.images, None, (), "plain" + digits.fingerprint, (), 0)


@pytest.fixture
def score(images: DataSet, monkeypatch: pytest.MonkeyPatch) -> QuickScore:
    monkeypatch.setattr(quick, "NUM_SAMPLES", NUM)
    return quick_score(images, None, "float32", CPU, Display(quiet=True))


def never() -> bool:
    return False


@pytest.mark.parametrize("classes", [None, Classes(("a", "b", "c"), (1, 2, 3))], ids=["plain", "conditional"])
def test_value_is_the_distance_of_all_samples_to_all_images(
    score: QuickScore, images: DataSet, classes: Classes | None
) -> None:
    generator = Blobs(0.5)
    reader = choose_extractor("random", images, device=CPU)
    labels = None if classes is None else sampling.labels_of(0, NUM, classes)
    samples = to_uint8(sampling.sample(generator, NUM, 0, labels, precision="float32"))
    real = reader.read(images.batch(np.arange(len(images))).images)[0]
    expected = frechet_distance(moments_of(real), moments_of(reader.read(samples)[0]))
    assert score.value(generator, classes, never) == pytest.approx(expected, rel=1e-5)
    assert (score.name, score.num_samples, score.extractor) == ("fd_random", NUM, reader.facts.checksum)


class Copies(Blobs):
    """Latents as real images."""

    def __init__(self, images: DataSet) -> None:
        super().__init__(1.0)
        self.images = images

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return to_float(self.images.batch((latents[:, 0].abs() * 1e4).long().numpy() % len(self.images)).images)


def test_real_images_have_a_far_lower_value_than_noise(score: QuickScore, images: DataSet) -> None:
    values = [score.value(generator, None, never) for generator in (Copies(images), Blobs(0.5), Blobs(50.0))]
    assert all(value is not None and values[0] is not None and value > 20 * values[0] for value in values[1:])


def test_generator_that_makes_nan_has_no_value(score: QuickScore) -> None:
    with pytest.raises(DataError, match="the samples are not finite numbers"):
        score.value(Blobs(float("nan")), None, never)


def test_stop_is_heard_before_the_next_part(score: QuickScore) -> None:
    asked: list[bool] = []

    def after_the_first() -> bool:
        asked.append(True)
        return len(asked) > 1

    assert score.value(Blobs(0.5), None, after_the_first) is None
    assert len(asked) == 2


def test_estimated_seconds_are_above_zero(score: QuickScore) -> None:
    assert 0 < score.estimate_seconds(Blobs(0.5), None) < 60


def test_too_few_images_are_refused_with_the_reason(images: DataSet) -> None:
    few = DataSet("few", images.images[:200], None, (), "few", (), 0)
    with pytest.raises(UsageError, match="--evaluate-every: few has 200 images; its score is of 256 features"):
        quick_score(few, None, "float32", CPU, Display(quiet=True))


def test_features_of_the_real_images_are_kept(images: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANSMITH_CACHE", str(tmp_path))
    monkeypatch.setattr(quick, "NUM_SAMPLES", NUM)
    score = quick_score(images, None, "float32", CPU, Display(quiet=True))
    kept = sorted((tmp_path / "features").iterdir())
    assert kept
    times = [path.stat().st_mtime_ns for path in kept]
    again = quick_score(images, None, "float32", CPU, Display(quiet=True))
    assert sorted((tmp_path / "features").iterdir()) == kept
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert torch.equal(again.real.scatter, score.real.scatter)
