"""Batches on the device: the same ones, wherever they are read from. What travels is tested on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gansmith import runtime
from gansmith.data import Batch, open_data
from gansmith.data.feed import BATCHES_BEFORE, Feed, Resident
from tests.contracts.dummy_objective import PairedWaves

CPU = torch.device("cpu")


def equal(one: Batch, other: Batch) -> bool:
    pairs = zip((one.images, one.labels, one.condition), (other.images, other.labels, other.condition), strict=True)
    return all(a is b is None or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def test_a_data_set_held_by_the_device_gives_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gansmith.data.feed.ITEMS_A_COPY", 100)
    data = open_data("digits", (8, 8), 1)
    resident = Resident(data, CPU)
    for indices in (np.array([3, 1, 3]), np.arange(len(data)), np.array([len(data) - 1])):
        batch = resident.batch(indices)
        assert batch.images.dtype == torch.uint8
        assert equal(batch, data.batch(indices))


def test_a_cpu_holds_no_second_copy() -> None:
    data = open_data("digits", (8, 8), 1)
    feed = Feed(data, CPU)
    for number in range(BATCHES_BEFORE + 3):
        assert equal(feed.batch(np.array([number, 5])), data.batch(np.array([number, 5])))
    assert feed._resident is None


@pytest.mark.parametrize(("free", "is_held"), [(4.1, True), (3.9, False)])
def test_a_gpu_holds_what_takes_less_than_a_quarter_of_what_is_free_after_some_batches(
    free: float, is_held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free memory is looked at once training has taken its own; a GPU is played by the CPU."""
    data, asked = open_data("digits", (8, 8), 1), []
    monkeypatch.setattr("gansmith.data.feed.sent", lambda value, device: value)
    monkeypatch.setattr("gansmith.data.feed.Resident", lambda data, device: Resident(data, CPU))

    def available(device: torch.device) -> int:
        asked.append(device)
        return int(free * data.images.nbytes)

    monkeypatch.setattr(runtime, "available_memory", available)
    feed = Feed(data, torch.device("cuda"))
    for _ in range(BATCHES_BEFORE):
        feed.batch(np.array([1]))
    assert not asked
    for number in range(3):
        assert equal(feed.batch(np.array([number])), data.batch(np.array([number])))
    assert (feed._resident is not None) == is_held
    assert len(asked) == 1


def test_data_that_is_no_decoded_array_is_fed_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gansmith.data.feed.sent", lambda value, device: value)
    waves = PairedWaves()
    feed = Feed(waves, torch.device("cuda"))
    for _ in range(BATCHES_BEFORE + 2):
        assert equal(feed.batch(np.array([0, 2])), waves.batch(np.array([0, 2])))
