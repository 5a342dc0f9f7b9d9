"""The residual networks against SNGAN's published configuration: counts, structure, order, initial weights."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, relu

from gansmith.build import build_discriminator, build_generator, num_parameters
from gansmith.layers.labels import ConditionalBatchNorm2d, Logit
from gansmith.networks.resnet import DownBlock, UpBlock
from gansmith.recipe import Recipe
from gansmith.recipes import RECIPES

RESNET = RECIPES["resnet"]


@pytest.fixture(scope="module")
def networks():
    """Generators and discriminators at 32x32, 48x48 and 32x32 with ten classes, without memory for weights."""
    recipes = {"32": RESNET(), "48": RESNET(size=(48, 48)), "32 conditional": RESNET(num_classes=10)}
    return {
        name: (build_generator(recipe, device="meta"), build_discriminator(recipe, device="meta"))
        for name, recipe in recipes.items()
    }


def of(network: nn.Module, *classes: type) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, classes)]


def widths(blocks: list[nn.Module]) -> list[int]:
    return [blocks[0].first.in_channels, *(block.first.out_channels for block in blocks)]


def conv(before: int, after: int, kernel: int) -> int:
    return before * after * kernel**2 + after


def test_published_numbers_of_parameters_at_32(networks):
    generator, discriminator = networks["32"]
    assert (num_parameters(generator), num_parameters(discriminator)) == (4_276_739, 1_053_825)


def test_numbers_of_parameters_at_32_with_classes_by_hand(networks):
    generator, discriminator = networks["32 conditional"]
    # Six conditional batch norms of 256 channels hold a scale and a shift for each of 10 classes instead of one.
    assert num_parameters(generator) == 4_276_739 + 6 * 2 * 256 * (10 - 1)
    assert num_parameters(discriminator) == 1_053_825 + 10 * 128


def test_numbers_of_parameters_at_48_by_hand(networks):
    generator, discriminator = networks["48"]
    ups, downs = [512, 256, 128, 64], [3, 64, 128, 256, 512, 1024]
    expected = 128 * 512 * 36 + 512 * 36 + 2 * 64 + conv(64, 3, 3)
    for before, after in pairwise(ups):
        expected += 2 * before + 2 * after + conv(before, after, 3) + conv(after, after, 3) + conv(before, after, 1)
    assert num_parameters(generator) == expected
    expected = 1024 + 1
    for before, after in pairwise(downs):
        expected += conv(before, after, 3) + conv(after, after, 3) + conv(before, after, 1)
    assert num_parameters(discriminator) == expected


def test_generator_at_32_is_three_up_blocks_of_256_from_4x4(networks):
    generator, _ = networks["32"]
    assert generator.latent_dim == 128
    assert generator.base_shape == (256, 4, 4)
    assert widths(of(generator, UpBlock)) == [256, 256, 256, 256]


def test_discriminator_at_32_is_two_down_and_two_plain_blocks_of_128(networks):
    _, discriminator = networks["32"]
    blocks = of(discriminator, DownBlock)
    assert widths(blocks) == [3, 128, 128, 128, 128]
    assert [block.is_first for block in blocks] == [True, False, False, False]
    assert [block.halves for block in blocks] == [True, True, False, False]
    assert [isinstance(block.shortcut, nn.Conv2d) for block in blocks] == [True, True, False, False]
    assert discriminator.logit.in_features == 128


def test_networks_at_48_double_their_widths_towards_6x6_and_3x3(networks):
    generator, discriminator = networks["48"]
    assert generator.base_shape == (512, 6, 6)
    assert widths(of(generator, UpBlock)) == [512, 256, 128, 64]
    blocks = of(discriminator, DownBlock)
    assert widths(blocks) == [3, 64, 128, 256, 512, 1024]
    assert [block.halves for block in blocks] == [True, True, True, True, False]
    assert all(isinstance(block.shortcut, nn.Conv2d) for block in blocks)


@pytest.mark.parametrize("name", ["32", "48", "32 conditional"])
def test_convolutions_are_3x3_but_for_the_shortcuts(networks, name):
    for network in networks[name]:
        for block in of(network, UpBlock, DownBlock):
            assert block.first.kernel_size == block.second.kernel_size == (3, 3)
            if isinstance(block.shortcut, nn.Conv2d):
                assert block.shortcut.kernel_size == (1, 1)
    assert networks[name][0].image.kernel_size == (3, 3)


@pytest.mark.parametrize("name", ["32", "48", "32 conditional"])
def test_spectral_norm_is_on_every_layer_of_d_and_on_none_of_g(networks, name):
    generator, discriminator = networks[name]
    layers = of(discriminator, nn.Conv2d, nn.Linear, nn.Embedding)
    assert all(nn.utils.parametrize.is_parametrized(layer, "weight") for layer in layers)
    assert bool(of(discriminator, nn.Embedding)) is (name == "32 conditional")
    assert not any(nn.utils.parametrize.is_parametrized(layer) for layer in generator.modules())
    assert not of(discriminator, nn.BatchNorm2d)


def test_batch_norm_is_conditional_in_blocks_alone(networks):
    plain, conditional = networks["32"][0], networks["32 conditional"][0]
    assert len(of(plain, nn.BatchNorm2d)) == len(of(conditional, nn.BatchNorm2d)) == 7
    assert [norm.affine for norm in of(conditional, nn.BatchNorm2d)] == [False] * 6 + [True]
    tables = [table for norm in of(conditional, ConditionalBatchNorm2d) for table in (norm.scale, norm.shift)]
    assert {(table.num_embeddings, table.embedding_dim) for table in tables} == {(10, 256)}


def test_published_training():
    recipe = RESNET()
    assert recipe.loss == "hinge"
    for adam in (recipe.generator_optimizer, recipe.discriminator_optimizer):
        assert (adam.name, adam.learning_rate, adam.beta1, adam.beta2) == ("adam", 2e-4, 0.0, 0.9)
    assert (recipe.discriminator_steps, recipe.batch_size, recipe.size_of_generator_batch) == (5, 64, 128)
    schedule = recipe.learning_rate_schedule
    assert schedule.length_images == 50_000 * 5 * 64 and schedule.final_factor == 0.0


def random_weights(block: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return block.double()


@pytest.mark.parametrize("num_classes", [0, 3])
def test_up_block_equals_the_published_order(num_classes):
    """Published: BN, ReLU, upsample, conv, BN, ReLU, conv; the shortcut is upsampled first, then convolved."""
    block, maps = random_weights(UpBlock(4, 6, num_classes)), torch.randn(5, 4, 3, 5, dtype=torch.float64)
    labels = torch.arange(5) % 3 if num_classes else None
    inner = interpolate(relu(block.first_norm(maps, labels)), scale_factor=2.0)
    inner = conv2d(inner, block.first.weight, block.first.bias, padding=1)
    inner = block.second(relu(block.second_norm(inner, labels)))
    expected = inner + block.shortcut(interpolate(maps, scale_factor=2.0))
    assert expected.shape == (5, 6, 6, 10)
    torch.testing.assert_close(block(maps, labels), expected)


def conv_3x3(layer, maps):
    """What the layer does before it pools."""
    return conv2d(maps, layer.weight, layer.bias, padding=1)


@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_down_block_equals_the_published_order(size):
    """Published: ReLU, conv, ReLU, conv, pool; the shortcut is convolved first, then pooled."""
    block = random_weights(DownBlock(4, 6, is_first=False, halves=True))
    maps = torch.randn(5, 4, *size, dtype=torch.float64)
    inner = conv_3x3(block.second, relu(block.first(relu(maps))))
    torch.testing.assert_close(block(maps), avg_pool2d(inner, 2) + avg_pool2d(block.shortcut(maps), 2))


def test_first_block_has_no_relu_before_the_image_and_pools_its_shortcut_first():
    block, maps = random_weights(DownBlock(3, 6, is_first=True, halves=True)), torch.randn(5, 3, 6, 8).double()
    expected = avg_pool2d(conv_3x3(block.second, relu(block.first(maps))), 2) + block.shortcut(avg_pool2d(maps, 2))
    torch.testing.assert_close(block(maps), expected)


def test_plain_block_adds_its_input():
    block, maps = random_weights(DownBlock(4, 4, is_first=False, halves=False)), torch.randn(5, 4, 6, 8).double()
    torch.testing.assert_close(block(maps), maps + block.second(relu(block.first(relu(maps)))))


def test_logit_is_of_the_sum_over_the_map_plus_the_projection():
    discriminator = build_discriminator(RESNET(num_classes=3).shrunk()).eval()
    images, labels = torch.rand(4, 3, 32, 32) * 2 - 1, torch.tensor([0, 1, 2, 1])
    sums = discriminator.features(images).sum((2, 3))
    logit = discriminator.logit
    expected = (sums @ logit.weight.T).squeeze(1) + logit.bias + (sums * logit.embedding.weight[labels]).sum(1)
    torch.testing.assert_close(discriminator(images, labels), expected)


def test_conditional_batch_norm_is_batch_norm_with_the_scale_and_shift_of_the_class():
    torch.manual_seed(0)
    norm, maps, labels = ConditionalBatchNorm2d(4, 3), torch.randn(6, 4, 5, 5), torch.arange(6) % 3
    nn.init.normal_(norm.scale.weight)
    nn.init.normal_(norm.shift.weight)
    mean, variance = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), keepdim=True, correction=0)
    scale, shift = (table.weight[labels][:, :, None, None] for table in (norm.scale, norm.shift))
    torch.testing.assert_close(norm(maps, labels), (maps - mean) / (variance + 1e-5).sqrt() * scale + shift)


def test_conditional_batch_norm_begins_the_same_for_every_class():
    norm, maps = ConditionalBatchNorm2d(4, 3), torch.randn(6, 4, 5, 5)
    expected = nn.BatchNorm2d(4)(maps)
    for label in range(3):
        torch.testing.assert_close(norm(maps, torch.full((6,), label)), expected)


def test_projection_logit_is_linear_with_the_inner_product_of_features_and_class():
    torch.manual_seed(0)
    logit, features, labels = Logit(7, 3), torch.randn(5, 7), torch.arange(5) % 3
    expected = features @ logit.weight[0] + logit.bias + torch.einsum("nd,nd->n", features, logit.embedding(labels))
    torch.testing.assert_close(logit(features, labels), expected)


def stored(layer: nn.Module) -> torch.Tensor:
    weight = layer.parametrizations.weight.original if hasattr(layer, "parametrizations") else layer.weight
    return weight.detach()


def gain_of(weight: torch.Tensor) -> float:
    """The gain of Glorot's uniform distribution that a weight was drawn with: std = gain * sqrt(2 / (in + out))."""
    area = math.prod(weight.shape[2:])
    return float(weight.square().mean().sqrt()) * math.sqrt(sum(weight.shape[:2]) * area / 2)


def test_glorot_gain_is_sqrt_2_in_the_3x3_convolutions_of_blocks_and_1_elsewhere():
    recipe: Recipe = RESNET().replace(
        generator=RESNET().generator.model_copy(update={"width": 32}),
        discriminator=RESNET().discriminator.model_copy(update={"width": 32}),
    )
    for network in (build_generator(recipe), build_discriminator(recipe)):
        in_blocks = {id(layer) for b in of(network, UpBlock, DownBlock) for layer in (b.first, b.second)}
        layers = of(network, nn.Conv2d, nn.Linear)
        assert len(layers) > len(in_blocks) >= 6
        for layer in layers:
            weight = stored(layer)
            gain = math.sqrt(2) if id(layer) in in_blocks else 1.0
            # The mean square of n uniform numbers has a relative standard error of sqrt(0.8 / n).
            tolerance = gain * 5 * math.sqrt(0.8 / weight.numel()) / 2
            assert abs(gain_of(weight) - gain) < max(tolerance, 1e-3), layer
