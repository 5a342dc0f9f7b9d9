"""The folded upsampling against upsampling and convolution, in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d, interpolate

from gansmith.layers.resample import UpsampledConv2d


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 8, 5, 6), (3, 4, 7, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_nearest_upsampling_and_a_convolution_with_all_gradients(shape, bias):
    torch.manual_seed(0)
    layer = UpsampledConv2d(shape[1], 3, bias).double()
    maps = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    published = conv2d(interpolate(maps, scale_factor=2.0, mode="nearest"), layer.weight, layer.bias, padding=1)
    inputs = [maps, *layer.parameters()]
    weights = torch.randn_like(published)
    expected = torch.autograd.grad(published, inputs, weights)
    folded = layer(maps)
    torch.testing.assert_close(folded, published, atol=1e-13, rtol=0)
    for ours, theirs in zip(torch.autograd.grad(folded, inputs, weights), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
