"""Layers that compute a convolution with fewer operations: the same result and gradients, in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, conv_transpose2d

from gansmith.layers.fourier import FourierConv2d, FourierConvTranspose2d
from gansmith.layers.resample import PooledConv2d, ThinConv2d, ThinConvTranspose2d

TOLERANCE = {"atol": 1e-12, "rtol": 0}


def results(layer, function, maps):
    """Return the output and the gradients of maps and parameters, for a fixed gradient of the output."""
    maps = maps.clone().requires_grad_(True)
    output = function(layer, maps)
    torch.manual_seed(1)
    gradients = torch.autograd.grad(output, [maps, *layer.parameters()], torch.randn(output.shape, dtype=output.dtype))
    return [output.detach(), *gradients]


def direct_thin(layer, images):
    return conv2d(images, layer.weight, layer.bias, stride=2, padding=layer.padding)


def direct_thin_transposed(layer, maps):
    kernel = layer.kernel_size[0]
    return conv_transpose2d(maps, layer.weight, None, 2, (kernel - 1) // 2, kernel % 2)


def direct_fourier(layer, maps):
    return conv_transpose2d(maps, layer.weight, None, layer.stride, layer.padding, layer.output_padding)


def direct_pooled(layer, maps):
    return avg_pool2d(conv2d(maps, layer.weight, layer.bias, padding=1), 2)


CASES = [
    *((f"pooled {size}", PooledConv2d(3, 4), direct_pooled, (2, 3, *size)) for size in ((2, 2), (8, 6), (7, 5))),
    *((f"thin {kernel} of {channels}", ThinConv2d(channels, 6, kernel), direct_thin, (2, channels, 12, 8))
      for kernel in (4, 5) for channels in (1, 2, 3, 4)),
    *((f"thin transposed {kernel} to {channels}", ThinConvTranspose2d(6, channels, kernel), direct_thin_transposed,
       (2, 6, 5, 4)) for kernel in (4, 5) for channels in (1, 2, 3, 4)),
    *((f"Fourier {kernel} on {size}", FourierConvTranspose2d(3, 4, kernel, size), direct_fourier, (2, 3, *size))
      for kernel in (1, 3, 5) for size in ((1, 1), (2, 3), (4, 4), (7, 7), (5, 8))),
    *((f"Fourier {kernel} doubling {size}", FourierConvTranspose2d(3, 4, kernel, size, stride=2), direct_fourier,
       (2, 3, *size)) for kernel in (4, 5) for size in ((1, 1), (2, 3), (4, 4), (7, 7), (5, 8))),
    *((f"Fourier {kernel} halving to {size}", FourierConv2d(3, 4, kernel, size), direct_thin,
       (2, 3, 2 * size[0], 2 * size[1])) for kernel in (4, 5) for size in ((1, 1), (2, 3), (4, 4), (7, 7), (5, 8))),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "direct", "shape"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_fold_of_a_convolution_is_exact_and_a_perturbed_tap_shows(layer, direct, shape):
    torch.manual_seed(0)
    layer = copy.deepcopy(layer).double()
    nn.init.normal_(layer.weight)
    maps = torch.randn(shape, dtype=torch.float64)
    for found, expected in zip(results(layer, type(layer).forward, maps), results(layer, direct, maps), strict=True):
        torch.testing.assert_close(found, expected, **TOLERANCE)
    perturbed = copy.deepcopy(layer)
    with torch.no_grad():
        perturbed.weight[0, 0, -1, -1] += 1e-6
    found, expected = results(perturbed, type(layer).forward, maps), results(layer, direct, maps)
    larger = max(shape[2:], tuple(found[0].shape[2:]))
    same_output = min(larger) <= layer.kernel_size[0] - 1 - layer.padding[0]  # the tap carries every value out
    assert torch.allclose(found[0], expected[0], **TOLERANCE) == same_output


@pytest.mark.parametrize(
    ("layer", "direct", "shape"),
    [
        (ThinConv2d(1, 3, 5), direct_thin, (2, 1, 8, 8)),
        (FourierConv2d(3, 2, 5, (4, 4)), direct_thin, (2, 3, 8, 8)),
        (FourierConvTranspose2d(3, 2, 5, (4, 4)), direct_fourier, (2, 3, 4, 4)),
    ],
    ids=["thin", "Fourier halving", "Fourier stem"],
)
def test_fold_of_a_convolution_can_be_differentiated_twice(layer, direct, shape):
    torch.manual_seed(0)
    layer = copy.deepcopy(layer).double()
    maps = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def penalty(function):
        (gradient,) = torch.autograd.grad(function(layer, maps).square().sum(), maps, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), layer.weight)[0]

    torch.testing.assert_close(penalty(type(layer).forward), penalty(direct), atol=1e-9, rtol=1e-11)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (FourierConvTranspose2d(32, 16, 5, (7, 7)), (8, 32, 7, 7)),
        (FourierConvTranspose2d(32, 16, 5, (7, 7), stride=2), (8, 32, 7, 7)),
        (FourierConv2d(16, 32, 5, (7, 7)), (8, 16, 14, 14)),
    ],
    ids=["stem", "doubling", "halving"],
)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)], ids=str)
def test_fourier_convolution_errs_little_in_the_precisions_of_training(layer, shape, dtype, error):
    """Relative to the output's spread; the direct convolution errs by 2e-7, and by 3e-3 in bfloat16."""
    torch.manual_seed(0)
    maps, layer = torch.randn(shape).to(memory_format=torch.channels_last), layer.to(memory_format=torch.channels_last)
    exact = copy.deepcopy(layer).double()(maps.double())
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = layer(maps)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)  # else batch norm and activations take twice as long
    assert ((found.double() - exact).std() / exact.std()).item() < error
