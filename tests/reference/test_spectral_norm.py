"""Our spectral norm against the singular values that torch.linalg computes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gansmith.layers.norm import SpectralNorm, spectral_norm

SHAPES = [(7, 5), (5, 7), (1, 9), (9, 1), (6, 3, 4, 4), (1, 2, 3, 3)]


def largest(weight: torch.Tensor) -> torch.Tensor:
    return torch.linalg.svdvals(weight.detach().flatten(1).double())[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_after_many_iterations_the_divisor_is_the_largest_singular_value(shape):
    torch.manual_seed(0)
    weight = torch.randn(shape)
    norm = SpectralNorm(weight)
    for _ in range(300):
        norm(weight)
    # The error of sigma shrinks as (s2 / s1)^(2 * iterations): only float32 rounding is left.
    torch.testing.assert_close(norm(weight).double(), weight.double() / largest(weight), atol=1e-6, rtol=1e-5)


def test_one_iteration_per_forward_follows_a_slowly_changing_weight():
    torch.manual_seed(0)
    layer = spectral_norm(nn.Linear(20, 10))
    original = layer.parametrizations.weight.original
    layer(torch.zeros(1, 20))
    for _ in range(200):
        with torch.no_grad():
            original += 0.003 * torch.randn_like(original)
        layer(torch.zeros(1, 20))
    assert float(largest(layer.eval().weight)) == pytest.approx(1.0, abs=0.05)


def test_sigma_is_never_overestimated():
    torch.manual_seed(0)
    for _ in range(20):
        weight = torch.randn(8, 8)
        assert float(largest(SpectralNorm(weight)(weight))) >= 1 - 1e-5


def test_the_result_does_not_depend_on_the_scale_of_the_weight():
    torch.manual_seed(0)
    weight = torch.randn(6, 8)
    norm = SpectralNorm(weight).eval()
    torch.testing.assert_close(norm(1000 * weight), norm(weight))


@pytest.mark.parametrize("make", [lambda: nn.Linear(12, 6), lambda: nn.Conv2d(3, 6, 2)])
def test_weight_is_float32_and_the_same_under_autocast(make):
    torch.manual_seed(0)
    layer = spectral_norm(make()).eval()
    expected = layer.weight
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight = layer.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, expected)


def test_training_under_autocast_moves_the_vectors_as_in_float32():
    torch.manual_seed(0)
    one = spectral_norm(nn.Linear(12, 6))
    other = copy.deepcopy(one)
    one(torch.zeros(1, 12))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        other(torch.zeros(1, 12))
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))


def test_eval_changes_no_buffer_and_training_does():
    torch.manual_seed(0)
    layer = spectral_norm(nn.Linear(40, 30))
    before = [buffer.clone() for buffer in layer.buffers()]
    layer.eval()(torch.zeros(1, 40))
    assert all(torch.equal(a, b) for a, b in zip(layer.buffers(), before, strict=True))
    layer.train()(torch.zeros(1, 40))
    assert not any(torch.equal(a, b) for a, b in zip(layer.buffers(), before, strict=True))


def test_the_vectors_stay_unit_vectors():
    torch.manual_seed(0)
    norm = SpectralNorm(torch.randn(6, 8))
    for _ in range(5):
        norm(torch.randn(6, 8))
    assert float(norm.left.norm()) == pytest.approx(1.0, abs=1e-6)
    assert float(norm.right.norm()) == pytest.approx(1.0, abs=1e-6)


def test_two_forwards_before_one_backward_work():
    torch.manual_seed(0)
    layer = spectral_norm(nn.Conv2d(2, 4, 3))
    real, fake = torch.randn(2, 2, 5, 5), torch.randn(2, 2, 5, 5)
    (layer(real).sum() - layer(fake).square().sum()).backward()
    gradient = layer.parametrizations.weight.original.grad
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_gradient_of_the_weight_counts_sigma_in():
    torch.manual_seed(0)
    norm = SpectralNorm(torch.randn(4, 3)).double().eval()
    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (weight,))


def test_gradient_is_orthogonal_to_the_weight_because_scale_does_not_matter():
    torch.manual_seed(0)
    norm, weight = SpectralNorm(torch.randn(4, 3)).eval(), torch.randn(4, 3, requires_grad=True)
    norm(weight).square().sum().backward()
    assert abs(float((weight.grad * weight.detach()).sum())) < 1e-4


def test_only_the_original_weight_and_bias_are_trained():
    layer = spectral_norm(nn.Linear(3, 2))
    assert {name for name, _ in layer.named_parameters()} == {"bias", "parametrizations.weight.original"}
