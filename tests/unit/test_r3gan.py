"""The networks of R3GAN: published counts, initial weights, mirrored halves, filters, precision; the recipes."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from gansmith.build import build_discriminator, build_generator, build_networks, num_parameters
from gansmith.layers.resample import bilinear_doubled, bilinear_halved
from gansmith.networks.r3gan import Block, Stage, widths_of
from gansmith.recipe import Adam, R3GANDiscriminator, R3GANGenerator, Recipe
from gansmith.recipes import RECIPES
from gansmith.runtime import autocast
from gansmith.sampling import sample
from gansmith.schedule import augmentation_probability, ema_half_life, learning_rate_factor, penalty_factor

CPU = torch.device("cpu")
PUBLISHED = ["r3gan-cifar10", "r3gan-stacked-mnist", "r3gan-64", "r3gan-256"]


def recipe_of(size=(28, 28), channels=1, num_classes=0, **settings) -> Recipe:
    settings = {"width": 32, "constant": 1, "blocks": 1} | settings
    return Recipe(
        size=size,
        channels=channels,
        num_classes=num_classes,
        generator=R3GANGenerator(**settings),
        discriminator=R3GANDiscriminator(**settings),
    )


def test_cifar10_with_10_classes_has_the_published_numbers_of_parameters():
    networks = build_networks(RECIPES["r3gan-cifar10"](num_classes=10), device="meta")
    counts = {name: num_parameters(network) for name, network in networks.items()}
    assert counts == {"generator": 20_781_952, "discriminator": 21_280_512}
    assert {name: f"{count / 1e6:.2f}" for name, count in counts.items()} == {
        "generator": "20.78",
        "discriminator": "21.28",
    }


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("r3gan-cifar10", [768] * 4),
        ("r3gan-stacked-mnist", [768] * 4),
        ("r3gan-64", [768] * 4 + [384]),
        ("r3gan-256", [768] * 4 + [384, 192, 96]),
    ],
)
def test_published_widths_from_the_base_map_up_with_two_blocks_each(name, widths):
    networks = build_networks(RECIPES[name](), device="meta")
    for role, network in networks.items():
        stages = [module for module in network.modules() if isinstance(module, Stage)]
        found = [stage.blocks[0].first.in_channels for stage in stages]
        assert found == (widths if role == "generator" else widths[::-1])
        assert {len(stage.blocks) for stage in stages} == {2}


@pytest.mark.parametrize(
    ("name", "batch", "rates", "gamma", "half_life", "probability", "length"),
    [
        ("r3gan-cifar10", 512, (2e-4, 5e-5), (0.05, 0.005), (0, 5_000_000), 0.55, 20_000_000),
        ("r3gan-stacked-mnist", 512, (2e-4, 2e-4), (1, 0.1), (0, 500_000), None, 2_000_000),
        ("r3gan-64", 256, (2e-4, 5e-5), (2, 0.2), (0, 500_000), 0.3, 20_000_000),
        ("r3gan-256", 256, (2e-4, 5e-5), (150, 15), (0, 500_000), 0.3, 20_000_000),
    ],
)
def test_published_settings_at_the_start_and_after_the_burn_in(
    name, batch, rates, gamma, half_life, probability, length
):
    recipe = RECIPES[name]()
    assert (recipe.batch_size, recipe.loss, recipe.generator.latent_dim) == (batch, "relativistic", 64)
    assert recipe.discriminator_steps == 1 and recipe.update == "alternating"
    assert recipe.penalties_share_pass and recipe.penalties["r1"] == recipe.penalties["r2"]
    assert recipe.generator_optimizer == recipe.discriminator_optimizer
    adam = recipe.generator_optimizer
    assert (adam.beta1, adam.beta2, adam.epsilon, recipe.burn_in.beta2) == (0.0, 0.99, 1e-8, 0.9)
    for images, index in ((0, 0), (length, 1), (10 * length, 1)):
        assert adam.learning_rate * learning_rate_factor(recipe, images) == pytest.approx(rates[index])
        assert recipe.penalties["r1"].weight * penalty_factor(recipe, images) == pytest.approx(gamma[index])
        assert ema_half_life(recipe, images) == half_life[index]
        if probability is not None:
            assert augmentation_probability(recipe, probability, images) == [0, probability][index]


@pytest.mark.parametrize("name", ["r3gan-small", "r3gan-cifar10"])
def test_initial_weights_have_the_stated_deviations(name):
    for network in build_networks(RECIPES[name](num_classes=10)).values():
        blocks = [module for module in network.modules() if isinstance(module, Block)]
        gain = math.sqrt(2 / 1.04) * len(blocks) ** -0.25
        inside = {id(block.first) for block in blocks} | {id(block.second) for block in blocks}
        zero = {id(block.third) for block in blocks}
        for layer in network.modules():
            if not isinstance(layer, nn.Conv2d | nn.Linear):
                continue
            if id(layer) in zero:
                assert not layer.weight.any()
                continue
            fan_in = layer.weight[0].numel()
            expected = (gain if id(layer) in inside else 1.0) / math.sqrt(fan_in)
            tolerance = 5 / math.sqrt(2 * layer.weight.numel())
            assert layer.weight.std().item() == pytest.approx(expected, rel=tolerance)


def test_base_maps_head_and_embeddings_have_the_stated_deviations():
    networks = build_networks(RECIPES["r3gan-cifar10"](num_classes=10))
    generator, head = networks["generator"], networks["discriminator"].logit
    for values, expected in (
        (generator.base.maps, 1.0),
        (generator.embedding.weight, 1 / math.sqrt(10)),
        (head.filter, 1 / 4),
        (head.embedding.weight, 1 / math.sqrt(768 * 10)),
    ):
        assert values.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * values.numel()))


def test_a_block_begins_as_the_identity():
    maps = torch.randn(2, 32, 7, 7)
    discriminator = build_discriminator(recipe_of())
    assert torch.equal(discriminator.stages[-1].blocks[0](maps), maps)


@pytest.mark.parametrize("size", [(28, 28), (40, 48), (64, 64)])
def test_the_discriminator_mirrors_the_generator(size):
    recipe = recipe_of(size, 3, width=64, constant=2, blocks=2)
    shapes = {
        name: [[tuple(weight.shape) for weight in stage.blocks.parameters()] for stage in network.stages]
        for name, network in build_networks(recipe, device="meta").items()
    }
    assert shapes["generator"] == shapes["discriminator"][::-1]


def test_groups_have_16_channels_and_widths_are_multiples_of_8():
    assert widths_of(96, 1, 5) == [96, 48, 24, 16, 8]
    recipe = recipe_of((64, 64), width=96)
    for network in build_networks(recipe, device="meta").values():
        grouped = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.groups > 1]
        assert grouped and all(layer.in_channels == 16 * layer.groups for layer in grouped)


def test_a_width_that_makes_no_whole_groups_is_refused():
    with pytest.raises(ValidationError, match="multiple of 8"):
        R3GANGenerator(width=20)


def test_convolutions_between_resolutions_are_only_where_widths_differ():
    kept, changed = (build_generator(recipe_of(constant=constant)) for constant in (3, 1))
    assert [stage.transition for stage in kept.stages] == [None] * 3
    assert [stage.transition is None for stage in changed.stages] == [True, False, False]


def test_the_head_looks_at_the_whole_base_map_by_a_filter_for_each_channel():
    discriminator = build_discriminator(recipe_of((28, 24), width=32))
    assert discriminator.logit.filter.shape == (1, 32, 7, 6)
    maps = torch.randn(3, 32, 7, 6)
    weight = discriminator.logit.filter.transpose(0, 1)
    features = torch.conv2d(maps, weight, groups=32).flatten(1)
    torch.testing.assert_close(discriminator.logit(maps), discriminator.logit.dense(features)[:, 0])


def test_the_bilinear_filter_keeps_a_constant_map_constant_inside():
    ones = torch.ones(1, 2, 6, 8)
    doubled, halved = bilinear_doubled(ones), bilinear_halved(ones)
    assert (doubled.shape, halved.shape) == ((1, 2, 12, 16), (1, 2, 3, 4))
    torch.testing.assert_close(doubled[:, :, 1:-1, 1:-1], torch.ones(1, 2, 10, 14))
    torch.testing.assert_close(halved[:, :, 1:-1, 1:-1], torch.ones(1, 2, 1, 2))
    assert doubled[0, 0, 0, 0].item() == pytest.approx(9 / 16) and halved[0, 0, 0, 0].item() == pytest.approx(49 / 64)


def test_the_bilinear_filter_of_a_point():
    point = torch.zeros(1, 1, 4, 4)
    point[..., 1, 1] = 1
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    expected = torch.zeros(8, 8)
    expected[1:5, 1:5] = torch.outer(line, line)
    torch.testing.assert_close(bilinear_doubled(point)[0, 0], expected)


@pytest.mark.parametrize("resized", [bilinear_doubled, bilinear_halved])
def test_the_bilinear_filter_can_be_differentiated_twice(resized):
    maps = torch.randn(1, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(resized, maps)
    torch.autograd.gradgradcheck(resized, maps)


def test_only_the_three_highest_resolutions_are_in_bfloat16():
    recipe = recipe_of((64, 64), width=64)  # maps of 4, 8, 16, 32, 64
    generator, discriminator = build_generator(recipe), build_discriminator(recipe)
    kinds = {}
    for role, network in (("generator", generator), ("discriminator", discriminator)):
        for stage in network.stages:
            stage.register_forward_hook(
                lambda _, __, maps, role=role: kinds.__setitem__((role, maps.shape[2]), maps.dtype)
            )
    with torch.no_grad(), autocast(CPU, "bfloat16"):
        logits = discriminator(generator(torch.randn(2, 64)))
    low, high = torch.float32, torch.bfloat16
    expected = {4: low, 8: low, 16: high, 32: high, 64: high}
    assert kinds == {(role, side): kind for role in ("generator", "discriminator") for side, kind in expected.items()}
    assert logits.dtype == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in generator.parameters())


def test_samples_beyond_the_range_of_images_are_cut_off_where_they_are_drawn():
    generator = build_generator(recipe_of())
    with torch.no_grad():
        generator.image.weight *= 10
        raw = generator(torch.randn(8, 64))
    assert raw.abs().max() > 1
    samples = sample(generator, 8, precision="float32")
    assert samples.abs().max() == 1 and generator.training


def test_the_small_recipe_fits_28_and_32_pixels_and_trains_both_players_from_one_pass():
    for size, channels in (((28, 28), 1), ((32, 32), 3)):
        recipe = RECIPES["r3gan-small"](size=size, channels=channels)
        assert (recipe.loss, recipe.update, recipe.penalties_share_pass) == ("relativistic", "simultaneous", True)
        assert isinstance(recipe.generator_optimizer, Adam) and recipe.generator_optimizer.beta1 == 0
        assert all(num_parameters(network) < 10**6 for network in build_networks(recipe, device="meta").values())
