"""The recipe chosen for data, machine and budget: a pure function, monotone, with its reasons."""

from __future__ import annotations

import itertools

import pytest
import torch

from gansmith.budget import Budget
from gansmith.build import build_discriminator, build_generator
from gansmith.facts import DataFacts, MachineFacts
from gansmith.recipes.auto import BATCH, LARGE_BATCH, LARGE_GFLOPS, WIDTHS, Choice, auto, auto_family
from gansmith.request import Request

SPEEDS = (5.0, 100.0, 1_000.0, 30_000.0)
MINUTES = (0.1, 1.0, 10.0, 60.0, 600.0)
SIZES = [(8, 8), (16, 16), (28, 28), (32, 32), (48, 40), (64, 64)]


def data(size=(28, 28), channels=1, one_size=True, num_images=10_000, num_classes=0) -> DataFacts:
    return DataFacts(num_images, num_classes, size, one_size, channels)


def machine(gflops=100.0, precision="float32") -> MachineFacts:
    return MachineFacts("2 CPU threads", precision, gflops, 2**33)


def chosen(size=(28, 28), channels=1, gflops=100.0, num_classes=0, **budget) -> Choice:
    return auto(data(size, channels), machine(gflops), Budget.of(**budget), size, channels, num_classes)


def width(*arguments, **options) -> int:
    return chosen(*arguments, **options).recipe.generator.width


@pytest.mark.parametrize(
    ("size", "channels", "gflops", "minutes", "expected"),
    [
        ((28, 28), 1, 100.0, 3, ("dcgan", 32, 32)),
        ((28, 28), 1, 100.0, 10, ("dcgan", 32, 32)),
        ((28, 28), 1, 100.0, 600, ("dcgan", 96, 32)),
        ((32, 32), 3, 20.0, 10, ("dcgan", 16, 32)),
        ((32, 32), 3, 30_000.0, 20, ("dcgan", 128, 64)),
        ((64, 64), 3, 100.0, 10, ("dcgan", 16, 32)),
        ((64, 64), 3, 30_000.0, 60, ("dcgan", 128, 64)),
        ((1, 1), 2, 100.0, 10, ("mlp", None, 128)),
        ((5, 7), 1, 30_000.0, 600, ("mlp", None, 128)),
    ],
)
def test_what_is_chosen(size, channels, gflops, minutes, expected):
    recipe = chosen(size, channels, gflops, minutes=minutes).recipe
    generator, discriminator = recipe.generator, recipe.discriminator
    found = (generator.family, getattr(generator, "width", None), recipe.batch_size)
    assert found == expected
    assert discriminator.family == generator.family
    assert getattr(discriminator, "width", None) == found[1]


@pytest.mark.parametrize(("num_images", "is_augmented"), [(200, True), (999, True), (1_000, False), (60_000, False)])
def test_few_images_are_augmented_and_that_is_said(num_images, is_augmented):
    choice = auto(data(num_images=num_images), machine(), Budget.of(minutes=5), (28, 28), 1)
    assert choice.recipe.is_augmented == is_augmented
    assert any("augmentation" in reason and f"{num_images:,}" in reason for reason in choice.reasons) == is_augmented


def test_points_are_trained_by_pairs_with_both_penalties():
    recipe = chosen((1, 1), 2, minutes=5).recipe
    assert (recipe.loss, set(recipe.penalties)) == ("relativistic", {"r1", "r2"})
    assert recipe.generator.latent_dim == 2


@pytest.mark.parametrize(("size", "gflops"), list(itertools.product(SIZES, SPEEDS)))
def test_more_minutes_never_give_a_narrower_network(size, gflops):
    widths = [width(size, gflops=gflops, minutes=minutes) for minutes in MINUTES]
    assert widths == sorted(widths)
    assert set(widths) <= set(WIDTHS)


@pytest.mark.parametrize(("size", "gflops"), list(itertools.product(SIZES, SPEEDS)))
def test_more_images_never_give_a_narrower_network(size, gflops):
    widths = [width(size, gflops=gflops, images=images) for images in (100, 10**5, 10**6, 10**7, 10**9)]
    assert widths == sorted(widths)


@pytest.mark.parametrize(("size", "minutes"), list(itertools.product(SIZES, MINUTES)))
def test_a_faster_machine_never_gets_a_narrower_network_of_the_same_batch(size, minutes):
    speeds = [10.0, 100.0, 1_000.0, LARGE_GFLOPS - 1]
    widths = [width(size, gflops=gflops, minutes=minutes) for gflops in speeds]
    assert widths == sorted(widths)


def test_the_widths_tried_are_really_reached():
    found = {width(size, gflops=g, minutes=m) for size in SIZES for g in SPEEDS for m in MINUTES}
    assert found == set(WIDTHS)


def test_a_fast_machine_gets_larger_batches():
    assert chosen(gflops=LARGE_GFLOPS).recipe.batch_size == LARGE_BATCH
    assert chosen(gflops=LARGE_GFLOPS - 1).recipe.batch_size == BATCH


def test_a_wider_network_gets_lower_rates():
    recipes = [chosen(gflops=gflops, minutes=600).recipe for gflops in SPEEDS]
    by_width = sorted((r.generator.width, r.generator_optimizer.learning_rate) for r in recipes)
    rates = [rate for _, rate in by_width]
    assert rates == sorted(rates, reverse=True) and rates[0] > rates[-1]
    for recipe in recipes:
        assert recipe.discriminator_optimizer.learning_rate == 2 * recipe.generator_optimizer.learning_rate


def test_the_choice_is_a_function_of_its_arguments():
    assert chosen(minutes=3) == chosen(minutes=3)


@pytest.mark.parametrize("size", [(1, 1), (28, 28)])
@pytest.mark.parametrize("num_classes", [0, 7])
def test_size_channels_and_classes_are_those_asked_for(size, num_classes):
    recipe = chosen(size, 3, num_classes=num_classes).recipe
    assert (recipe.size, recipe.channels, recipe.num_classes) == (size, 3, num_classes)


def test_the_precision_is_that_of_the_machine_but_for_tiny_networks():
    for size, expected in (((28, 28), "bfloat16"), ((1, 1), "float32")):
        choice = auto(data(size), machine(precision="bfloat16"), Budget.of(), size, 1)
        assert choice.recipe.precision == expected
        assert any(f"precision {expected}" in reason for reason in choice.reasons)


@pytest.mark.parametrize(
    ("size", "one_size", "family"),
    [
        ((1, 1), True, "mlp"),
        ((7, 7), True, "mlp"),
        ((1, 7), True, "mlp"),
        ((8, 8), True, "dcgan"),
        ((2, 9), True, "dcgan"),
        ((3, 3), False, "dcgan"),
        ((500, 300), False, "dcgan"),
    ],
)
def test_points_and_the_smallest_images_are_for_dense_networks(size, one_size, family):
    assert auto_family(data(size, one_size=one_size)) == family


def test_reasons_tell_each_number_that_was_chosen():
    choice = chosen((28, 28), minutes=10)
    text = "\n".join(choice.reasons)
    recipe = choice.recipe
    for part in (
        "28x28 is a 7x7 map doubled 2 times",
        f"width {recipe.generator.width}: about",
        "generator updates in 10 minutes on 2 CPU threads",
        f"batch {recipe.batch_size}",
        f"rates {recipe.generator_optimizer.learning_rate:g} (G)",
        f"{recipe.discriminator_optimizer.learning_rate:g} (D)",
        "hinge loss, spectral norm in D",
        "precision float32",
    ):
        assert part in text
    assert all("\n" not in reason and len(reason) < 250 for reason in choice.reasons)
    (reason,) = (each for each in chosen(images=5_000_000).reasons if each.startswith("width"))
    assert "in 5,000,000 images or 10 minutes (counted on, as no --minutes is given) on 2 CPU threads" in reason


@pytest.mark.parametrize("size", [(1, 1), (28, 28)])
def test_reasons_tell_of_classes(size):
    def reasons(in_data=0, told=0) -> str:
        facts = data(size, num_classes=in_data)
        return "\n".join(auto(facts, machine(), Budget.of(), size, 1, told).reasons)

    assert "conditional" not in reasons()
    assert "unconditional: there are 7 classes; --conditional would tell the networks" in reasons(in_data=7)
    assert "conditional: the networks are told which of 7 classes" in reasons(in_data=7, told=7)
    assert "unconditional" not in reasons(in_data=7, told=7)


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (8, 9), (7, 200), (31, 33), (28, 28), (40, 48), (640, 480)])
@pytest.mark.parametrize("one_size", [True, False])
@pytest.mark.parametrize("num_classes", [0, 3])
def test_whatever_the_data_the_networks_can_be_built(size, one_size, num_classes):
    request = Request(conditional=bool(num_classes))
    recipe = request.resolve(data(size, 3, one_size, num_classes=num_classes), machine(), Budget.of()).recipe.shrunk()
    labels = torch.arange(2) if num_classes else None
    images = build_generator(recipe)(torch.randn(2, recipe.generator.latent_dim), labels)
    assert images.shape == (2, 3, *recipe.size)
    assert build_discriminator(recipe)(images, labels).shape == (2,)
