"""Initial weights against the distributions that the papers name. Tolerances are 5 standard errors or more."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gansmith.build import build_discriminator, build_encoder, build_generator, build_networks
from gansmith.layers.blocks import initialise_glorot, initialise_normal
from gansmith.recipes import RECIPES

DCGANS = ["dcgan-28", "dcgan-32", "dcgan-small"]


def weights_of(network: nn.Module, *classes: type) -> list[torch.Tensor]:
    """Return the trained weights, those under spectral norm as they are stored."""
    found = []
    for layer in network.modules():
        if isinstance(layer, classes):
            stored = layer.parametrizations.weight.original if hasattr(layer, "parametrizations") else layer.weight
            found.append(stored.detach())
    return found


def biases_of(network: nn.Module) -> list[torch.Tensor]:
    return [tensor.detach() for name, tensor in network.named_parameters() if name.endswith("bias")]


def is_normal(values: torch.Tensor, mean: float, std: float) -> bool:
    values, count = values.flatten().double(), values.numel()
    scores = (values - mean) / std
    return (
        abs(float(scores.mean())) < 5 / math.sqrt(count)
        and abs(float(scores.square().mean()) - 1) < 5 * math.sqrt(2 / count)
        and abs(float((scores.abs() < 1).double().mean()) - 0.6827) < 5 * math.sqrt(0.22 / count)
    )


@pytest.mark.parametrize(
    ("name", "build"),
    [*((name, build) for name in DCGANS for build in (build_generator, build_discriminator)), ("vae", build_encoder)],
)
def test_dcgan_weights_are_normal_of_std_002(name, build):
    weights = weights_of(build(RECIPES[name]()), nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    assert len(weights) >= 3
    for weight in weights:
        assert is_normal(weight, 0.0, 0.02)


@pytest.mark.parametrize("name", DCGANS)
def test_dcgan_batch_norm_scales_are_normal_around_one(name):
    scales = weights_of(build_generator(RECIPES[name]()), nn.BatchNorm2d)
    for scale in scales:
        assert is_normal(scale, 1.0, 0.02)


@pytest.mark.parametrize("name", RECIPES)
def test_biases_begin_at_zero(name):
    for network in build_networks(RECIPES[name]()).values():
        biases = biases_of(network)
        assert biases and all((bias == 0).all() for bias in biases)


@pytest.mark.parametrize("name", ["mlp", "dense-conv"])
@pytest.mark.parametrize("build", [build_generator, build_discriminator])
def test_weights_are_uniform_with_glorots_bound(name, build):
    for weight in weights_of(build(RECIPES[name]()), nn.Linear, nn.Conv2d):
        bound = math.sqrt(6 / (sum(weight.shape[:2]) * math.prod(weight.shape[2:])))
        assert weight.abs().max() <= bound
        assert weight.abs().max() > bound * (1 - 10 / weight.numel())
        shares = weight.double().flatten() / bound
        assert abs(float(shares.mean())) < 5 / math.sqrt(3 * shares.numel())
        assert abs(float(shares.square().mean()) - 1 / 3) < 5 * math.sqrt(4 / 45 / shares.numel())


def test_normal_weights_have_the_same_std_whatever_the_width():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(500, 40), nn.Linear(40, 500), nn.Conv2d(3, 256, 5), nn.ConvTranspose2d(64, 8, 4))
    initialise_normal(module)
    assert all(is_normal(layer.weight.detach(), 0.0, 0.02) for layer in module)


def test_initialising_leaves_running_statistics_alone():
    norm = nn.BatchNorm2d(3)
    norm.running_mean += 2
    initialise_normal(norm)
    assert norm.running_mean.tolist() == [2.0, 2.0, 2.0]
    assert norm.running_var.tolist() == [1.0, 1.0, 1.0]


def test_glorot_leaves_layers_that_are_neither_dense_nor_convolutions_alone():
    others = nn.ModuleList([nn.BatchNorm2d(3), nn.Embedding(3, 4), nn.ConvTranspose2d(2, 3, 3)])
    before = {name: tensor.clone() for name, tensor in others.state_dict().items()}
    initialise_glorot(nn.Sequential(nn.Linear(3, 3), others))
    assert all(torch.equal(tensor, before[name]) for name, tensor in others.state_dict().items())
