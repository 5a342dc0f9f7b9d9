from __future__ import annotations

import pytest
import torch

from gansmith.layers.dropout import Dropout

SHAPE = (16, 8, 9, 7)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_share_of_zeros_and_scale_of_the_rest(share, dtype, memory_format):
    torch.manual_seed(0)
    values = torch.ones(64, *SHAPE[1:], dtype=dtype).contiguous(memory_format=memory_format)
    dropped = Dropout(share)(values)
    assert dropped.dtype == dtype and dropped.stride() == values.stride()
    rounded = round(share * 256) / 256
    assert abs(rounded - share) <= 1 / 512
    assert float((dropped == 0).float().mean()) == pytest.approx(rounded, abs=0.012)  # 32,256 draws: 4 sigma
    torch.testing.assert_close(dropped[dropped != 0].unique(), torch.tensor([1 / (1 - rounded)], dtype=dtype))


def test_every_place_is_dropped_now_and_then():
    torch.manual_seed(0)
    layer, ones = Dropout(0.5), torch.ones(SHAPE).contiguous(memory_format=torch.channels_last)
    total = sum(layer(ones) for _ in range(60))
    assert float(total.min()) > 0 and float(total.max()) < 120  # 2^-60 that a place is always kept or always dropped


def test_gradient_goes_where_values_go():
    torch.manual_seed(0)
    values = torch.ones(SHAPE, requires_grad=True)
    dropped = Dropout(0.3)(values)
    dropped.sum().backward()
    torch.testing.assert_close(values.grad, dropped.detach())


def test_it_is_a_function_of_the_global_seed_and_nothing_in_eval_mode():
    layer, values = Dropout(0.3), torch.ones(SHAPE)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(layer(values))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])
    assert layer.eval()(values) is values


def test_other_memory_layouts_and_tiny_shares_work():
    torch.manual_seed(0)
    transposed = torch.ones(40, 50).T[::2]
    assert Dropout(0.5)(transposed).shape == (25, 40)
    assert float((Dropout(0.001)(torch.ones(100_000)) == 0).float().mean()) == pytest.approx(0.001, abs=4e-4)
