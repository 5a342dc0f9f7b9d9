"""Means over the steps that were good, and by how many the others outnumber them."""

from __future__ import annotations

import math

import pytest
import torch

from gansmith.training import totals
from gansmith.training.totals import Totals


def add(into: Totals, **values: float) -> None:
    into.add({name: torch.tensor(value) for name, value in values.items()})


@pytest.mark.parametrize("block", [2, 256])
def test_means_are_over_good_steps_and_each_name_over_those_that_have_it(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "STEPS_A_BLOCK", block)
    sums = Totals()
    add(sums, loss=1.0, accuracy=0.5)
    add(sums, loss=math.nan, accuracy=0.0)
    add(sums, loss=3.0, accuracy=1.0, penalty=8.0)
    add(sums, loss=5.0, accuracy=0.0, penalty=math.inf)
    assert sums.means() == {"loss": 2.0, "accuracy": 0.75, "penalty": 8.0}
    assert (sums.num_failed, sums.trouble, sums.worst) == (2, 1, 1)


def test_names_of_no_good_step_are_left_out_and_a_reading_begins_anew() -> None:
    sums = Totals()
    assert sums.is_empty and sums.means() == {}
    add(sums, loss=math.nan)
    assert not sums.is_empty and sums.means() == {} and sums.num_failed == 1
    add(sums, loss=2.0)
    assert sums.means() == {"loss": 2.0} and sums.num_failed == 0


def test_trouble_goes_on_over_readings_and_isolated_failures_are_none() -> None:
    sums = Totals()
    for _ in range(4):
        add(sums, loss=math.nan)
    sums.means()
    assert (sums.trouble, sums.worst) == (4, 4)
    for value in (math.nan, 1.0, 1.0):
        add(sums, loss=value)
    sums.means()
    assert (sums.trouble, sums.worst) == (3, 5)
    for step in range(100):
        add(sums, loss=math.nan if step % 3 == 0 else 1.0)
    sums.means()
    assert sums.worst <= 4 and sums.trouble <= 1
