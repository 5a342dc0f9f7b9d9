"""Minibatch standard deviation of known images, and what it does with odd batches."""

from __future__ import annotations

import pytest
import torch

from gansmith.layers.minibatch_std import MinibatchStd, group_deviations
from gansmith.runtime import autocast

SHAPE = (3, 2, 2)


def constant(*values: float) -> torch.Tensor:
    """Images that are one value everywhere."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, *SHAPE)


def test_deviation_of_constant_images_is_that_of_their_values():
    maps = constant(0.0, 2.0, 4.0, 6.0)
    result = MinibatchStd()(maps)
    assert torch.equal(result[:, :3], maps)
    torch.testing.assert_close(result[:, 3], torch.full((4, 2, 2), 5**0.5))


def test_it_is_the_mean_of_the_deviations_of_all_features():
    values = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    expected = values.std(0, correction=0).mean()
    torch.testing.assert_close(group_deviations(values), expected.expand(4))


def test_groups_of_four_lie_across_the_batch():
    # Of eight images the even ones are equal, and the odd ones are not.
    found = group_deviations(constant(1.0, 0.0, 1.0, 2.0, 1.0, 4.0, 1.0, 6.0))
    torch.testing.assert_close(found, torch.tensor([0.0, 5**0.5] * 4), atol=2e-4, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 9, 11, 13, 30])
def test_every_image_is_in_one_group_of_the_batch_where_four_do_not_divide_it(count):
    sizes = []
    for chosen in range(count):  # the group of an image is what changes with it
        values = torch.zeros(count, *SHAPE)
        values[chosen] = 1
        changed = group_deviations(values) > 1e-3
        assert changed[chosen] or count == 1
        sizes.append(int(changed.sum()))
    assert all(min(count, 4) <= size <= 7 for size in sizes) or count == 1


def test_one_image_alone_has_no_deviation_and_a_finite_slope():
    maps = torch.randn(1, *SHAPE, requires_grad=True)
    result = MinibatchStd()(maps)
    assert result[:, 3].abs().max() < 2e-4
    result.sum().backward()
    assert torch.equal(maps.grad, torch.ones(1, *SHAPE))


def test_gradients_pass_through_the_deviation_twice():
    values = torch.randn(5, *SHAPE, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(group_deviations, (values,))
    assert torch.autograd.gradgradcheck(group_deviations, (values,))


def test_under_bfloat16_it_keeps_the_type_and_is_computed_in_float32():
    maps = (1 + 0.02 * torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0))).bfloat16()
    with autocast(torch.device("cpu"), "bfloat16"):
        result = MinibatchStd()(maps)
    assert result.dtype == torch.bfloat16
    assert torch.equal(result[:, 3, 0, 0], group_deviations(maps.float()).bfloat16())
