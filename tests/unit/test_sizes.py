from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gansmith.sizes import Stages, can_make, nearest_size, parse_size, size_text, stages_of

sides = st.integers(1, 300)
SQUARES_TO_64 = [8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64]


@pytest.mark.parametrize(
    ("size", "stages"),
    [
        ((28, 28), Stages(7, 7, 2)),
        ((32, 32), Stages(4, 4, 3)),
        ((48, 48), Stages(6, 6, 3)),
        ((48, 64), None),
        ((48, 40), Stages(6, 5, 3)),
        ((20, 24), Stages(5, 6, 2)),
        ((8, 14), Stages(4, 7, 1)),
        ((1024, 1024), Stages(4, 4, 8)),
    ],
)
def test_stages_are_a_base_of_4_to_7_and_doublings(size, stages):
    assert stages_of(size) == stages


@pytest.mark.parametrize(
    "size", [(4, 4), (7, 7), (18, 18), (30, 30), (31, 31), (28, 32), (16, 32), (0, 0), (2048, 2048)]
)
def test_sizes_that_no_doubling_reaches_have_no_stages(size):
    assert stages_of(size) is None


def test_the_square_sizes_up_to_64_are_known():
    assert [side for side in range(1, 65) if stages_of((side, side))] == SQUARES_TO_64


@given(st.integers(4, 7), st.integers(4, 7), st.integers(1, 8))
def test_every_base_times_a_power_of_two_is_recognised(height, width, num_doublings):
    scale = 2**num_doublings
    assert stages_of((height * scale, width * scale)) == Stages(height, width, num_doublings)


@given(sides, sides)
def test_stages_multiply_back_to_the_size(height, width):
    stages = stages_of((height, width))
    if stages is not None:
        scale = 2**stages.num_doublings
        assert (stages.height * scale, stages.width * scale) == (height, width)
        assert {stages.height, stages.width} <= {4, 5, 6, 7}


@given(sides, sides)
def test_dense_networks_make_any_size(height, width):
    assert can_make("mlp", (height, width))


@pytest.mark.parametrize("size", [(0, 28), (28, 0), (-4, 28)])
def test_no_family_makes_an_empty_image(size):
    assert not can_make("mlp", size)
    assert not can_make("dcgan", size)


@given(sides, sides)
def test_nearest_size_is_no_farther_than_any_other(height, width):
    def distance(size):
        return abs(size[0] - height) + abs(size[1] - width)

    nearest = nearest_size("dcgan", (height, width))
    assert can_make("dcgan", nearest)
    others = [(h << k, w << k) for k in range(1, 9) for h in range(4, 8) for w in range(4, 8)]
    assert distance(nearest) == min(map(distance, others))


@pytest.mark.parametrize(
    ("size", "nearest"), [((28, 28), (28, 28)), ((31, 31), (32, 32)), ((1, 1), (8, 8)), ((64, 51), (56, 48))]
)
def test_nearest_sizes_by_hand(size, nearest):
    assert nearest_size("dcgan", size) == nearest


def test_nearest_size_of_a_dense_network_is_the_size_itself():
    assert nearest_size("mlp", (31, 17)) == (31, 17)


@pytest.mark.parametrize(
    ("text", "size"), [("64", (64, 64)), ("48x64", (48, 64)), ("48X64", (48, 64)), ("007", (7, 7)), ("1x2", (1, 2))]
)
def test_size_is_one_side_or_height_x_width(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "64x", "x64", "0", "0x4", "-4", "4.5", "big", "1x2x3", "64 x 64", "1e2"])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="is not a size; write one side") as error:
        parse_size(text)
    assert repr(text) in str(error.value)


@given(sides, sides)
def test_size_text_parses_back(height, width):
    assert parse_size(size_text((height, width))) == (height, width)
