"""What `synchronised` does to a module; that the numbers are those of one process is tests/reference/test_ranks.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gansmith import ranks
from gansmith.layers.labels import ConditionalBatchNorm2d
from gansmith.layers.sync import SynchronisedBatchNorm, synchronised


@pytest.fixture
def one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "current", lambda: ranks.Ranks(0, 2))


def test_alone_there_is_nothing_to_synchronise():
    layer = nn.BatchNorm2d(3)
    synchronised(layer)
    assert type(layer) is nn.BatchNorm2d


@pytest.mark.usefixtures("one_of_two")
@pytest.mark.parametrize("make", [lambda: nn.BatchNorm2d(3), lambda: ConditionalBatchNorm2d(3, 2)])
def test_ranks_change_the_layer_and_nothing_that_it_holds(make):
    module = make()
    before = module.state_dict(keep_vars=True)
    synchronised(module)
    after = module.state_dict(keep_vars=True)
    assert any(isinstance(layer, SynchronisedBatchNorm) for layer in module.modules())
    assert list(before) == list(after)
    assert all(after[name] is tensor for name, tensor in before.items())


@pytest.mark.usefixtures("one_of_two")
def test_evaluation_is_that_of_the_layer_before():
    layer, maps = nn.BatchNorm2d(3).eval(), torch.randn(2, 3, 4, 4)
    expected = layer(maps)
    synchronised(layer)
    assert torch.equal(layer(maps), expected)


@pytest.mark.usefixtures("one_of_two")
def test_an_unknown_batch_norm_is_refused_by_name():
    with pytest.raises(TypeError, match="0: BatchNorm3d cannot be synchronised over ranks; there are BatchNorm1d,"):
        synchronised(nn.Sequential(nn.BatchNorm3d(3)))
