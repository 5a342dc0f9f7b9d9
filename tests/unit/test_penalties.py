"""Facts beyond the table's contract (`contracts/test_tables.py`)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gansmith.penalties import gradient_penalty, input_gradients, r1

SHAPE = (6, 2, 4, 5)


def images(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def half_square(samples, labels):
    """D(x) = |x|^2 / 2, whose gradient is x itself."""
    return 0.5 * samples.flatten(1).square().sum(1)


def test_input_gradients_are_those_of_each_image_flattened():
    found = input_gradients(half_square, images(0), None)
    torch.testing.assert_close(found, images(0).flatten(1))


def test_input_gradients_leave_the_images_without_a_graph():
    samples = images(0).requires_grad_(True)
    input_gradients(half_square, samples, None).sum().backward()
    assert samples.grad is None


def test_input_gradients_are_float32_for_bfloat16_images():
    assert input_gradients(half_square, images(0).bfloat16(), None).dtype == torch.float32


def test_labels_reach_the_discriminator():
    labels = torch.arange(6)

    def discriminator(samples, labels):
        return labels * samples.flatten(1).sum(1)

    value = r1(discriminator, images(0), images(1), labels, rng())
    torch.testing.assert_close(value, 0.5 * labels.square() * 40.0)


def test_r1_looks_at_the_real_images_alone():
    value = r1(half_square, images(0), images(1), None, rng())
    assert torch.equal(value, r1(half_square, images(0), torch.full(SHAPE, torch.nan), None, rng()))
    torch.testing.assert_close(value, 0.5 * images(0).flatten(1).square().sum(1))


def test_r1_agrees_with_finite_differences():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(40, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    real, step = images(0).double(), 1e-6
    directions = torch.eye(40, dtype=torch.float64).view(40, *SHAPE[1:])
    with torch.no_grad():
        slopes = [(network(real + step * d) - network(real - step * d)) / (2 * step) for d in directions]
    expected = 0.5 * torch.cat(slopes, 1).square().sum(1)
    value = r1(lambda samples, labels: network(samples).squeeze(1), real, real, None, rng())
    torch.testing.assert_close(value, expected, atol=1e-9, rtol=1e-7)


def test_gradient_penalty_is_taken_between_real_and_fake():
    real, fake = torch.full(SHAPE, 3.0), torch.full(SHAPE, 1.0)
    norms = gradient_penalty(half_square, real, fake, None, rng()).sqrt() + 1  # |x| of the mixed images, each constant
    levels = norms / 40**0.5
    assert ((levels >= 1) & (levels <= 3)).all()
    assert len(levels.unique()) == len(levels)


def test_gradient_penalty_of_equal_real_and_fake_does_not_depend_on_the_draw():
    real = images(0)
    expected = (real.flatten(1).norm(dim=1) - 1).square()
    torch.testing.assert_close(gradient_penalty(half_square, real, real.clone(), None, rng(3)), expected)


def test_gradient_penalty_is_a_function_of_its_random_generator():
    def value(seed):
        return gradient_penalty(half_square, images(0), images(1), None, rng(seed))

    assert torch.equal(value(1), value(1))
    assert not torch.equal(value(1), value(2))


def test_gradient_penalty_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    gradient_penalty(half_square, images(0), images(1), None, rng())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("penalty", [r1, gradient_penalty])
@pytest.mark.parametrize("shape", [(3, 7), (3, 1, 9), (3, 2, 4, 4)])
def test_samples_may_have_any_number_of_axes(penalty, shape):
    assert penalty(half_square, torch.randn(shape), torch.randn(shape), None, rng()).shape == (3,)
