"""What is said of the data before training."""

from __future__ import annotations

import pytest

from gansmith.recipe import Augmentation
from gansmith.recipes import RECIPES
from gansmith.training.description import few_images_lines


@pytest.mark.parametrize(("count", "said"), [(1, "only 1 image to"), (100, "only 100 images to"), (999, "only 999 ")])
def test_few_images_are_warned_of_with_what_helps(count, said):
    warning, helps, judge = few_images_lines(count)
    assert warning.startswith(f"warning: {said}")
    assert "more images" in helps
    assert "augmentation.policy" in helps
    assert "memorisation" in judge


def test_augmentation_that_is_there_is_not_recommended():
    recipe = RECIPES["dcgan-small"]()
    assert "--set augmentation.policy=diffaugment" in few_images_lines(100, recipe)[1]
    assert "augmentation" not in few_images_lines(100, recipe.replace(augmentation=Augmentation()))[1]


def test_augmentation_that_cannot_be_is_not_recommended():
    assert "augmentation" not in few_images_lines(100, RECIPES["vae"]())[1]
    assert "augmentation" not in few_images_lines(100, RECIPES["mlp"](size=(2, 2)))[1]


def test_enough_images_are_not_warned_of():
    assert few_images_lines(1_000) == []
