"""Self-attention against a reference in NumPy, and what makes it safe to add to a network that trains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gansmith.layers.attention import SelfAttention, attention_at
from gansmith.runtime import autocast

CPU = torch.device("cpu")


def maps(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def attention(channels: int, gamma: float) -> SelfAttention:
    torch.manual_seed(0)
    layer = SelfAttention(channels).double()
    layer.gamma.data.fill_(gamma)
    return layer


def by_numpy(layer: SelfAttention, image: np.ndarray) -> np.ndarray:
    """x + gamma o for one map (C, H, W), position by position."""
    weights = {name: conv.weight.detach().numpy()[:, :, 0, 0] for name, conv in layer.named_children()}
    height, width = image.shape[1:]

    def pooled(values: np.ndarray) -> np.ndarray:
        places = [(i, j) for i in range(0, height, 2) for j in range(0, width, 2)]
        return np.stack([values[:, i : i + 2, j : j + 2].max((1, 2)) for i, j in places], 1)

    key, value = (pooled(np.einsum("oc,chw->ohw", weights[name], image)) for name in ("key", "value"))
    result = image.copy()
    for i in range(height):
        for j in range(width):
            scores = (weights["query"] @ image[:, i, j]) @ key
            shares = np.exp(scores - scores.max())
            attended = value @ (shares / shares.sum())
            result[:, i, j] += layer.gamma.item() * (weights["output"] @ attended)
    return result


@pytest.mark.parametrize("shape", [(2, 16, 4, 6), (1, 8, 7, 7), (3, 3, 2, 2), (1, 4, 1, 1)])
def test_it_is_the_weighted_sum_of_all_places_as_numpy_computes_it(shape):
    layer, given = attention(shape[1], 0.7), maps(*shape)
    expected = np.stack([by_numpy(layer, image) for image in given.numpy()])
    torch.testing.assert_close(layer(given).detach(), torch.from_numpy(expected))


def test_it_begins_as_the_identity_with_a_slope_in_gamma():
    torch.manual_seed(0)
    layer, given = SelfAttention(16).double(), maps(2, 16, 4, 4)
    result = layer(given)
    assert torch.equal(result, given)
    result.square().sum().backward()
    assert float(layer.gamma.grad) != 0


def test_channels_are_an_eighth_and_a_half_as_published():
    layer = SelfAttention(64)
    assert [conv.out_channels for conv in (layer.query, layer.key, layer.value, layer.output)] == [8, 8, 32, 64]


def test_second_derivatives_are_those_of_finite_differences():
    layer = attention(4, 0.9)
    given = maps(1, 4, 4, 4).requires_grad_(True)
    assert torch.autograd.gradgradcheck(layer, (given,))


def test_under_bfloat16_it_keeps_the_type_and_is_near():
    layer = attention(16, 0.5).float()
    given = maps(2, 16, 8, 8).float()
    exact = layer(given)
    with autocast(CPU, "bfloat16"):
        rough = layer(given.bfloat16())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.05 * float(exact.detach().abs().max()), rtol=0)


def test_it_sits_where_the_height_is_the_one_asked_for():
    assert attention_at(None, 8, (4, 6)) == attention_at(6, 8, (4, 6)) == []
    (layer,) = attention_at(4, 8, (4, 6))
    assert isinstance(layer, nn.Module) and layer.query.in_channels == 8
