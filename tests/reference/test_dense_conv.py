"""The dense-conv hybrid layer by layer; nearest upsampling is folded into the convolution after it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gansmith.build import build_discriminator, build_generator
from gansmith.recipes import RECIPES


def outputs_of(network: nn.Module, inputs: torch.Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """Return (kind, shape of one sample's output) of each layer, in order."""
    seen: list[tuple[str, tuple[int, ...]]] = []
    for layer in network.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda m, _, out: seen.append((type(m).__name__, tuple(out.shape[1:]))))
    with torch.no_grad():
        network.eval()(inputs, None)
    return [layer for layer in seen if layer[0] != "JoinedLatents"]


def test_generator_layer_by_layer():
    generator = build_generator(RECIPES["dense-conv"]())
    expected: list[tuple[str, tuple[int, ...]]] = []
    for width in (256, 512, 1024, 7 * 7 * 256):
        expected += [("Linear", (width,)), ("DenseBatchNorm", (width,)), ("ReLU", (width,))]
    for kind, width, side in (("Conv2d", 128, 7), ("UpsampledConv2d", 128, 14), ("UpsampledConv2d", 64, 28)):
        shape = (width, side, side)
        expected += [(kind, shape), ("BatchNorm2d", shape), ("ReLU", shape)]
    expected += [("Conv2d", (1, 28, 28)), ("Tanh", (1, 28, 28))]
    assert outputs_of(generator, torch.zeros(2, 100)) == expected
    assert {layer.kernel_size for layer in generator.modules() if isinstance(layer, nn.Conv2d)} == {(3, 3)}


def test_discriminator_layer_by_layer():
    discriminator = build_discriminator(RECIPES["dense-conv"]())
    dense = [layer for layer in outputs_of(discriminator, torch.zeros(2, 1, 28, 28)) if layer[0] in ("Linear", "Logit")]
    assert [shape[0] if shape else 1 for _, shape in dense] == [512, 256, 128, 1]
    assert next(discriminator.parameters()).shape == (512, 28 * 28)
    assert not any(isinstance(layer, nn.BatchNorm1d) for layer in discriminator.modules())


@pytest.mark.parametrize(("size", "num_doublings"), [((8, 8), 1), ((28, 20), 2), ((48, 48), 3), ((64, 64), 4)])
def test_the_map_is_doubled_as_often_as_the_size_asks(size, num_doublings):
    recipe = RECIPES["dense-conv"](size=size).shrunk()
    layers = outputs_of(build_generator(recipe), torch.zeros(2, recipe.generator.latent_dim))
    assert [kind for kind, _ in layers].count("UpsampledConv2d") == num_doublings
    assert [kind for kind, _ in layers].count("Conv2d") == 2
