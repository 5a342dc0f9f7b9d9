"""Real data sets as a user has them: zips of class folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gansmith
from gansmith.data import facts_of, open_source
from gansmith.request import Request

pytestmark = pytest.mark.data


def test_mnist_zip_is_ten_classes_of_grey_digits(real_data: Path) -> None:
    facts = facts_of(open_source(real_data / "mnist.zip"))
    assert (facts.num_images, facts.num_classes, facts.size, facts.one_size, facts.channels) == (
        60_000,
        10,
        (28, 28),
        True,
        1,
    )
    train = gansmith.open_data(real_data / "mnist.zip", (28, 28), 1)
    test = gansmith.open_data(real_data / "mnist.zip", (28, 28), 1, split="test")
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.class_names == test.class_names == tuple("0123456789")
    assert train.labels is not None
    assert test.labels is not None
    assert np.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert round(float(train.images[::10].mean()) / 255, 2) == 0.13
    assert not train.skipped
    assert train.num_refitted == 0


def test_cifar_zip_is_colour_at_its_own_size(real_data: Path) -> None:
    facts = facts_of(open_source(real_data / "cifar10-jpeg.zip"))
    assert (facts.num_images, facts.num_classes, facts.size, facts.channels) == (50_000, 10, (32, 32), 3)
    assert Request("dcgan-32").default_size(facts) == (32, 32)


def test_zip_without_images_is_a_data_error(real_data: Path) -> None:
    with pytest.raises(gansmith.GansmithError, match="no images found") as caught:
        facts_of(open_source(real_data / "fsdd.zip"))
    assert caught.value.exit_code == 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_default_recipe_learns_mnist_from_25_000_images(real_data: Path, tmp_path: Path) -> None:
    """A judge trained on MNIST is sure of most samples, in nearly all classes; benchmarks ask for more."""
    source = real_data / "mnist.zip"
    run = gansmith.train(source, images=25_000, out=tmp_path / "run", quiet=True)
    judge = gansmith.train_classifier(
        gansmith.open_data(source, (28, 28), 1), gansmith.open_data(source, (28, 28), 1, split="test"), num_steps=600
    )
    assert judge.accuracy > 0.95
    confidence, digits = judge.probabilities(gansmith.sample(run.folder, 1000, seed=1)).max(1)
    assert float((confidence > 0.9).float().mean()) > 0.3
    assert len(digits[confidence > 0.9].unique()) >= 9
