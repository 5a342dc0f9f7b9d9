"""The embedded digits against scikit-learn's copy of the same data set."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from gansmith.data import open_data, open_source


@pytest.fixture(scope="module")
def theirs():
    return load_digits()


def test_embedded_digits_are_those_of_scikit_learn(theirs):
    with resources.files("gansmith.data").joinpath("digits.npz").open("rb") as file, np.load(file) as ours:
        assert ours["images"].shape == (1797, 8, 8)
        np.testing.assert_array_equal(ours["images"], theirs.images)
        np.testing.assert_array_equal(ours["labels"], theirs.target)


def test_every_fifth_digit_is_the_test_split_and_the_others_the_train_split():
    source = open_source("digits")
    train, test = (list(map(int, source.listing(split).names)) for split in ("train", "test"))
    assert test == list(range(4, 1797, 5))
    assert set(train) | set(test) == set(range(1797))
    assert not set(train) & set(test)


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_of_a_split_are_those_of_its_digits(theirs, split):
    listing = open_source("digits").listing(split)
    np.testing.assert_array_equal(listing.labels, theirs.target[[int(name) for name in listing.names]])
    assert listing.class_names == tuple("0123456789")


def test_every_digit_is_28_pixels_wide_with_a_black_frame_of_4():
    images = open_data("digits", (28, 28), 1).images
    assert images.shape == (1438, 1, 28, 28)
    inside = np.zeros((28, 28), bool)
    inside[4:24, 4:24] = True
    assert not images[:, :, ~inside].any()
    assert images[:, :, inside].reshape(len(images), -1).max(1).min() > 200


def test_digit_inside_the_frame_is_the_original_enlarged_to_20_pixels(theirs):
    data = open_data("digits", (28, 28), 1)
    for row, place in enumerate([0, 1, 2, 3, 5, 6]):
        grey = Image.fromarray(np.round(theirs.images[place] * 255 / 16).astype(np.uint8))
        enlarged = np.asarray(grey.resize((20, 20), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(data.images[row, 0, 4:24, 4:24], enlarged)
