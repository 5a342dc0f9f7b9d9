"""Charts: round ticks, places of values, gaps, scales; and numbers as they are read."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gansmith.evaluation.charts import (
    Axis,
    Whisker,
    interval_chart,
    line_chart,
    log_ticks,
    nice_ticks,
    tick_text,
)
from gansmith.evaluation.exhibit import Curve, Line
from gansmith.evaluation.wording import duration, listed, numeral, p_text, range_text


@pytest.mark.parametrize(("low", "high", "ticks"), [
    (0, 100, [0, 20, 40, 60, 80, 100]), (0.13, 0.88, [0.2, 0.4, 0.6, 0.8]), (-3, 2, [-3, -2, -1, 0, 1, 2]),
    (128, 205_952, [50_000, 100_000, 150_000, 200_000]),
])  # fmt: skip
def test_ticks_are_round(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_there_are_two_to_eleven_ticks_and_all_are_inside(low, width):
    ticks = nice_ticks(low, low + width)
    assert 2 <= len(ticks) <= 11
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)


def test_log_ticks_are_powers_of_ten():
    assert log_ticks(0.01, 1000) == pytest.approx([0.01, 0.1, 1, 10, 100, 1000])


def test_axis_places_its_ends_and_middle():
    assert [Axis(0, 10, 50, 150).place(value) for value in (0, 5, 10)] == [50, 100, 150]
    assert [Axis(1, 100, 50, 150, is_log=True).place(value) for value in (1, 10, 100)] == pytest.approx([50, 100, 150])


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (0.05, "0.05"), (2000, "2000"), (20_000, "20k"), (1_500_000, "1.5M"), (1e-5, "1e-05"), (-3, "-3"),
])  # fmt: skip
def test_tick_labels_are_short(value, text):
    assert tick_text(value) == text


def curve(*lines: list[float]) -> Curve:
    drawn = tuple(Line(f"line {i}", tuple(map(float, range(len(ys)))), tuple(ys)) for i, ys in enumerate(lines))
    return Curve("Losses & more", "images seen", "loss", drawn)


def svg_of(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.search(r"<svg viewBox=\"0 0 500.*</svg>", html)[0])


def test_chart_is_well_formed_and_says_its_values_without_eyes():
    svg = svg_of(line_chart(curve([1.0, 2.0, 3.0], [3.0, 1.0, 0.5])))
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == "Losses & more: line 0 from 1 to 3; line 1 from 3 to 0.5000"
    assert len(svg.findall("path")) == 2


def test_points_lie_where_their_values_say():
    svg = svg_of(line_chart(curve([0.0, 10.0, 5.0])))
    points = [tuple(map(float, point.split())) for point in re.split("[ML]", svg.find("path").get("d"))[1:]]
    assert [x for x, _ in points] == pytest.approx([52, 270, 488])
    top, bottom = points[1][1], points[0][1]
    assert top < points[2][1] < bottom
    assert points[2][1] == pytest.approx((top + bottom) / 2, abs=0.01)


def test_value_that_is_no_number_breaks_the_line_and_nothing_else():
    path = svg_of(line_chart(curve([1.0, math.nan, 2.0, math.inf, 3.0]))).find("path").get("d")
    assert (path.count("M"), path.count("L")) == (3, 0)


def test_scale_is_logarithmic_only_for_values_above_zero_that_span_a_decade_and_a_half():
    assert "(log scale)" in line_chart(curve([1.0, 40.0]))
    for values in ([1.0, 20.0], [0.0, 200.0], [-1.0, 200.0]):
        assert "(log scale)" not in line_chart(curve(values))


def test_line_of_fewer_than_two_points_is_not_drawn():
    assert line_chart(curve([1.0], [math.nan, 1.0])) == ""
    assert line_chart(curve([2.0, 2.0])) != ""


def test_interval_chart_has_a_dot_a_row_and_a_whisker_where_there_is_an_interval():
    html = interval_chart("FD", [Whisker("a<b", 1.0, (0.5, 1.5), True), Whisker("c", 2.0, None)], 0.1, "real images")
    assert html.count("<circle") == 2
    assert html.count('<path class="whisker') == 1
    assert "a&lt;b" in html
    assert "real images" in html


@pytest.mark.parametrize(("value", "spread", "text"), [
    (12.345, 0.45, "12.35"), (12_345.6, 200, "12,346"), (0.00234, 0.00017, "0.00234"), (0.98765, None, "0.9877"),
    (10.0, None, "10"), (-0.001, 0.5, "0.00"), (0, None, "0"), (3e-9, None, "3e-09"), (math.nan, None, "nan"),
])  # fmt: skip
def test_numeral_has_as_many_digits_as_are_known(value, spread, text):
    assert numeral(value, spread) == text


def test_words_of_numbers():
    assert range_text(11.9, 12.8) == "11.90 to 12.80"
    assert range_text(1.0, 1.0) == "1 to 1"
    assert [duration(seconds) for seconds in (12.34, 240, 7384)] == ["12.3 s", "4 min 0 s", "2 h 3 min"]
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert [p_text(p) for p in (0.0001, 0.0034, 0.25, 1.0)] == ["p < 0.001", "p 0.003", "p 0.25", "p 1"]
