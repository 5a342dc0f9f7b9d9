"""Convolutions as one product of matrices: the same result and gradients as direct ones."""

import itertools
from unittest import mock

import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu_

from gansmith import runtime
from gansmith.layers import product
from gansmith.layers.product import DoublingConvTranspose2d, HalvingConv2d, doubled, halved
from gansmith.layers.resample import PooledConv2d, UpsampledConv2d

SIZES = [(1, 1), (2, 3), (4, 4), (5, 8)]
"""Of the smaller map."""


@pytest.fixture
def always():
    with mock.patch.object(product, "pays", return_value=True):
        yield


LAYERS = {
    "halving": lambda: HalvingConv2d(3, 5),
    "halving without bias": lambda: HalvingConv2d(3, 5, bias=False),
    "doubling": lambda: DoublingConvTranspose2d(3, 5),
    "pooled": lambda: PooledConv2d(3, 5),
    "upsampled": lambda: UpsampledConv2d(3, 5),
}


def direct_halved(maps, weight, bias=None):
    return conv2d(maps, weight, bias, stride=2, padding=1)


def direct_doubled(maps, weight, bias=None):
    return conv_transpose2d(maps, weight, bias, stride=2, padding=1)


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def case(size, is_halving, count=2):
    """Return the function, the direct one, maps, weight and bias."""
    torch.manual_seed(0)
    large, small = 3, 5
    shape = (count, large, 2 * size[0], 2 * size[1]) if is_halving else (count, small, *size)
    functions = (halved, direct_halved) if is_halving else (doubled, direct_doubled)
    return *functions, normal(*shape), normal(small, large, 4, 4), normal(small if is_halving else large)


@pytest.mark.parametrize("is_halving", [True, False])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_fold_into_a_product_is_exact_and_a_perturbed_tap_shows(always, size, is_halving):
    function, direct, maps, weight, bias = case(size, is_halving)
    found, expected = function(maps, weight, bias), direct(maps, weight, bias)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert found.is_contiguous(memory_format=torch.channels_last)
    gradient = torch.randn_like(expected)
    for ours, theirs in zip(*(torch.autograd.grad(output, [maps, weight, bias], gradient)
                              for output in (found, expected)), strict=True):  # fmt: skip
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    with torch.no_grad():
        weight[0, 0, 1, 2] += 1e-6
    assert not torch.allclose(function(maps, weight, bias), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("is_halving", [True, False])
def test_fold_into_a_product_has_exact_gradients_of_gradients(always, is_halving):
    function, _, maps, weight, bias = case((2, 3), is_halving)
    assert torch.autograd.gradcheck(function, (maps, weight, bias))
    assert torch.autograd.gradgradcheck(function, (maps, weight, bias))


@pytest.mark.parametrize("is_halving", [True, False])
def test_gradients_that_nobody_asks_for_are_not_computed(always, is_halving):
    function, _, maps, weight, _ = case((2, 2), is_halving)
    with mock.patch.object(product, "_taps", side_effect=AssertionError):
        function(maps, weight.detach()).sum().backward()
    assert weight.grad is None
    assert maps.grad is not None


@pytest.mark.parametrize("is_halving", [True, False])
def test_empty_batches_and_odd_sides_are_as_in_torch(always, is_halving):
    function, direct, maps, weight, bias = case((4, 4), is_halving, count=0)
    assert function(maps, weight, bias).shape == direct(maps, weight, bias).shape
    maps = normal(2, maps.shape[1], 7, 5)
    torch.testing.assert_close(function(maps, weight, bias), direct(maps, weight, bias), atol=1e-12, rtol=0)


@pytest.mark.parametrize("is_halving", [True, False])
def test_maps_may_lie_in_any_order(always, is_halving):
    function, direct, maps, weight, bias = case((2, 3), is_halving)
    for order in itertools.permutations(range(4)):
        back = sorted(range(4), key=order.__getitem__)
        strange = [
            values.detach().permute(order).contiguous().permute(back).requires_grad_() for values in (maps, weight)
        ]
        found, expected = function(*strange, bias), direct(*strange, bias)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
        gradient = torch.randn_like(expected).permute(order).contiguous().permute(back)
        for ours, theirs in zip(*(torch.autograd.grad(output, strange, gradient) for output in (found, expected)),
                                strict=True):  # fmt: skip
            torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize("is_halving", [True, False])
def test_product_errs_little_in_bfloat16(always, is_halving):
    """Relative to the spread of each; the direct convolution errs as much."""
    function, direct, *exact = case((4, 4), is_halving, count=8)
    single = [values.detach().float().requires_grad_() for values in exact]
    gradient = torch.randn_like(direct(*exact))
    expected = [direct(*exact), *torch.autograd.grad(direct(*exact), exact, gradient)]
    errors = []
    for compute in (function, direct):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = compute(*single)
        assert output.dtype == torch.bfloat16
        found = [output, *torch.autograd.grad(output, single, gradient.to(output.dtype))]
        assert {values.dtype for values in found[1:]} == {torch.float32}
        errors.append([((values.double() - right).std() / right.std()).item()
                       for values, right in zip(found, expected, strict=True)])  # fmt: skip
    for ours, theirs in zip(*errors, strict=True):
        assert ours < 1.3 * theirs + 1e-4


@pytest.mark.parametrize(
    ("channels", "side", "is_used"),
    [((512, 256), 4, True), ((256, 128), 4, True), ((256, 128), 8, False), ((512, 256), 8, True), ((64, 64), 4, False),
     ((4096, 1024), 16, False)],
)  # fmt: skip
def test_products_are_for_small_maps_and_large_kernels(monkeypatch, channels, side, is_used):
    with torch.device("meta"):
        weight = torch.empty(*channels, 4, 4)
    maps = torch.empty(0, channels[0], side, side)
    monkeypatch.setattr(runtime, "has_matrix_units", lambda: True)
    with torch.autocast("cpu", dtype=torch.float16):
        assert not product.pays(maps, weight, side**2)
    assert not product.pays(maps, weight, side**2)  # without autocast
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product.pays(maps, weight, side**2) == is_used
        assert not product.pays(maps.to("meta"), weight, side**2)
        assert not product.pays(maps.double(), weight, side**2)
        monkeypatch.setattr(runtime, "has_matrix_units", lambda: False)
        assert not product.pays(maps, weight, side**2)


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_by_products_are_those_of_torch(name, count):
    """What follows may change the result in place, as activations do."""
    torch.manual_seed(0)
    layer, maps = LAYERS[name]().double(), torch.randn(count, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    results = []
    for is_used in (True, False):
        with mock.patch.object(product, "pays", return_value=is_used):
            output = leaky_relu_(layer(maps), 0.2)
        results.append([output, *torch.autograd.grad(output.square().sum(), [maps, *layer.parameters()])])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-11)
