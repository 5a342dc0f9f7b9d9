from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gansmith.data.order import Batch, Order

seeds = st.integers(0, 2**63 - 1)


@given(seeds, st.integers(1, 60), st.integers(0, 5))
def test_each_pass_shows_every_item_once(seed, num_items, number):
    shown = Order(seed, num_items, "real_d").indices(number * num_items, num_items)
    assert sorted(shown) == list(range(num_items))


@given(seeds, st.integers(1, 30), st.integers(0, 100), st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_reading_in_parts_equals_reading_at_once(seed, num_items, start, counts):
    order = Order(seed, num_items, "real_d")
    parts, place = [], start
    for count in counts:
        parts.append(order.indices(place, count))
        place += count
    assert np.array_equal(np.concatenate(parts), Order(seed, num_items, "real_d").indices(start, sum(counts)))


@given(seeds, st.integers(1, 20), st.lists(st.integers(0, 200), min_size=2, max_size=6))
def test_an_item_depends_on_its_place_and_not_on_what_was_read_before(seed, num_items, places):
    order = Order(seed, num_items, "real_d")
    for place in places:
        assert order.indices(place, 1) == Order(seed, num_items, "real_d").indices(place, 1)


def test_a_batch_may_be_larger_than_the_data_set():
    shown = Order(0, 3, "real_d").indices(1, 11)
    assert shown.shape == (11,)
    assert np.bincount(shown).max() <= 5 and np.bincount(shown).min() >= 3


def test_one_item_is_shown_again_and_again():
    assert Order(0, 1, "real_d").indices(5, 4).tolist() == [0, 0, 0, 0]


def test_indices_are_int64():
    assert Order(0, 10, "real_d").indices(0, 4).dtype == np.int64


def test_passes_seeds_and_streams_have_different_orders():
    def first_pass(seed=0, stream="real_d", number=0):
        return tuple(Order(seed, 100, stream).indices(100 * number, 100))

    orders = {first_pass(), first_pass(number=1), first_pass(number=2), first_pass(seed=1), first_pass(stream="real_g")}
    assert len(orders) == 5


def test_the_order_is_the_same_for_ever():
    assert Order(0, 10, "real_d").indices(0, 10).tolist() == [6, 5, 3, 2, 1, 4, 0, 9, 7, 8]


def test_every_item_is_equally_likely_to_come_first():
    firsts = np.bincount([int(Order(seed, 4, "real_d").indices(0, 1)[0]) for seed in range(800)], minlength=4)
    assert (abs(firsts - 200) < 60).all()  # standard deviation 12


@pytest.mark.parametrize("labels", [None, torch.arange(6)])
def test_a_part_of_a_batch_keeps_images_labels_and_condition_together(labels):
    batch = Batch(torch.arange(6).view(6, 1, 1, 1), labels, torch.arange(6) * 10)
    part = batch.part(2, 5)
    assert part.images.flatten().tolist() == [2, 3, 4]
    assert part.condition.tolist() == [20, 30, 40]
    assert part.labels is None if labels is None else part.labels.tolist() == [2, 3, 4]


def test_a_batch_without_labels_moves_without_labels():
    moved = Batch(torch.zeros(2, 1, 1, 1)).to(torch.device("meta"))
    assert moved.images.device.type == "meta"
    assert moved.labels is None and moved.condition is None
