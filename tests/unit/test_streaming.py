"""Sets that are read by row groups while training: the order, what is held, what is replaced, and that runs resume."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gansmith
from gansmith.checkpoint import read_newest
from gansmith.data import StreamedSet, facts_of, open_data, open_for_training, open_source, streaming, survey
from gansmith.data.sources import StreamSource
from gansmith.data.windows import WindowOrder
from gansmith.errors import DataError, UsageError
from gansmith.recipes import RECIPES
from gansmith.restore import restore
from gansmith.training.objectives import OBJECTIVES
from tests.source_files import pixels, png, write_parts

SIZE, ROW_BYTES = (6, 5), 30
IMAGES = pixels(60)
LABELS = [row * 7 % 3 for row in range(60)]
seeds = st.integers(0, 2**63 - 1)
groups = st.lists(st.integers(1, 9), min_size=1, max_size=9)
widths = st.integers(1, 12)


def order_of(
    seed: int, num_rows: list[int], width: int, stream: str = "real_d", told: list | None = None
) -> WindowOrder:
    told = [] if told is None else told
    return WindowOrder(seed, np.array(num_rows), width, stream, lambda stream, wanted: told.append(list(wanted)))


@given(seeds, groups, widths, st.integers(0, 4))
def test_each_pass_shows_every_row_once(seed, num_rows, width, number):
    count = sum(num_rows)
    shown = order_of(seed, num_rows, width).indices(number * count, count)
    assert sorted(shown) == list(range(count))


@given(seeds, groups, widths, st.integers(0, 60), st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_reading_in_parts_equals_reading_at_once(seed, num_rows, width, start, counts):
    order = order_of(seed, num_rows, width)
    parts = [order.indices(start + sum(counts[:part]), count) for part, count in enumerate(counts)]
    assert np.array_equal(np.concatenate(parts), order_of(seed, num_rows, width).indices(start, sum(counts)))


@given(seeds, groups, widths, st.lists(st.integers(0, 200), min_size=2, max_size=6))
def test_a_row_depends_on_its_place_and_not_on_what_was_read_before(seed, num_rows, width, places):
    order = order_of(seed, num_rows, width)
    for place in places:
        assert order.indices(place, 1) == order_of(seed, num_rows, width).indices(place, 1)


def test_a_window_shows_the_rows_of_as_many_groups_shuffled():
    order = order_of(0, [5] * 12, 3)
    for window in range(8):  # two passes
        rows = order.indices(window * 15, 15)
        assert len(set(rows // 5)) == 3
        assert any(set(rows[place : place + 5] // 5) != {rows[place] // 5} for place in (0, 5, 10))


def test_groups_come_in_another_order_in_each_pass_stream_and_seed():
    passes = [order_of(0, [1] * 50, 1).indices(50 * number, 50).tolist() for number in range(2)]
    others = [
        order_of(0, [1] * 50, 1, "real_g").indices(0, 50).tolist(),
        order_of(1, [1] * 50, 1).indices(0, 50).tolist(),
    ]
    assert len({tuple(shown) for shown in [*passes, *others]}) == 4


@given(seeds, groups, widths, st.integers(0, 100), st.integers(1, 10))
def test_groups_read_ahead_are_those_of_the_batch_and_of_two_windows_at_most(seed, num_rows, width, start, count):
    told: list[list[int]] = []
    rows = order_of(seed, num_rows, width, told=told).indices(start, count)
    owners = np.searchsorted(np.cumsum(num_rows), rows, side="right")
    assert set(owners) <= set(told[0])
    if count <= min(num_rows):
        assert len(told[0]) <= 2 * width


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_parts(tmp_path / "pets", [png(image) for image in IMAGES], LABELS, num_files=3, rows_per_group=7)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "WINDOW_BYTES", 2 * 7 * ROW_BYTES)  # two row groups of seven rows


def stream_of(folder: Path, **settings: bool) -> StreamedSet:
    source = open_source(f"stream:{folder}")
    assert isinstance(source, StreamSource)
    data = open_for_training(source, SIZE, 1, **settings)
    assert isinstance(data, StreamedSet)
    return data


def test_rows_are_those_that_are_read_whole(folder):
    whole = open_data(folder, SIZE, 1)
    data = stream_of(folder, with_labels=True)
    batch = data.batch(np.arange(60)[::-1].copy())
    assert len(data) == 60
    assert np.array_equal(batch.images.numpy(), whole.images[::-1])
    assert batch.labels.tolist() == whole.labels[::-1].tolist()
    assert (data.name, data.class_names, data.class_counts) == (whole.name, whole.class_names, whole.class_counts)
    assert stream_of(folder).batch(np.arange(3)).labels is None
    data.close()


def test_facts_are_those_of_the_whole_set_but_for_counts(folder):
    whole, streamed = facts_of(open_source(folder)), facts_of(open_source(f"stream:{folder}"))
    assert (streamed.num_images, streamed.num_classes, streamed.size) == (60, 3, SIZE)
    assert (streamed.one_size, streamed.channels) == (whole.one_size, whole.channels)


def test_every_stream_holds_two_windows_at_most(folder, small_windows):
    data = stream_of(folder)
    orders = [data.order(0, stream) for stream in ("real_d", "real_g")]
    whole, held = open_data(folder, SIZE, 1), []
    for step in range(30):  # two passes
        for order in orders:
            rows = order.indices(4 * step, 4)
            assert np.array_equal(data.batch(rows).images.numpy(), whole.images[rows])
        held.append(data.bytes_held)
    assert 0 < max(held) <= 2 * 2 * streaming.WINDOW_BYTES
    data.close()


def test_row_group_larger_than_a_window_is_refused(folder, monkeypatch):
    monkeypatch.setattr(streaming, "WINDOW_BYTES", 7 * ROW_BYTES - 1)
    with pytest.raises(
        DataError, match=r"a row group of 7 rows takes .* MB at 6x5, a window holds .* smaller row groups"
    ):
        stream_of(folder)


def test_fingerprint_is_of_the_files_and_the_form_and_reads_no_row(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(StreamSource, "rows", None)
    first = stream_of(folder).fingerprint
    assert stream_of(shutil.copytree(folder, tmp_path / "elsewhere")).fingerprint == first
    assert open_for_training(open_source(f"stream:{folder}"), (8, 8), 1).fingerprint != first
    assert open_for_training(open_source(f"stream:{folder}"), SIZE, 1, fit="pad").fingerprint != first
    write_parts(folder, [png(image) for image in pixels(60, seed=1)], LABELS, num_files=3, rows_per_group=7)
    assert stream_of(folder).fingerprint != first


@pytest.mark.parametrize(
    "ask", [lambda text: open_data(text, SIZE, 1), survey, lambda text: open_source(f"stacked:{text}").listing("train")]
)
def test_what_needs_the_whole_set_says_so(folder, ask):
    with pytest.raises(
        UsageError, match=r"never at hand as a whole, .* give .*pets, which downloads it all, or a folder"
    ):
        ask(f"stream:{folder}")


def test_evaluating_while_training_is_refused_before_it_begins(folder, tmp_path):
    with pytest.raises(
        UsageError, match="--evaluate-every: a score is of all real images, and those of pets are streamed"
    ):
        gansmith.train(f"stream:{folder}", "mlp", images=64, evaluate_every=32, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def state_of(run: Path) -> tuple[dict[str, str], dict[str, int]]:
    checkpoint, _ = read_newest(run / "checkpoints")
    recipe = gansmith.load(run).recipe
    state = OBJECTIVES[recipe.objective].initialise(recipe, 0, torch.device("cpu"))
    assert checkpoint is not None
    restore(state, checkpoint)
    return state.digest(), state.counters


@pytest.mark.parametrize("settings", [{}, {"conditional": True}], ids=["plain", "conditional"])
def test_resume_equals_straight(settings, folder, small_windows, tmp_path):
    recipe = RECIPES["mlp"]().shrunk()

    def train(steps: int, out: str) -> None:
        settings_of_run = {**settings, "images": steps * recipe.batch_size, "save_every": 3 * recipe.batch_size}
        gansmith.train(
            f"stream:{folder}", "mlp", overrides=["batch_size=8", "generator.hidden=[16]", "discriminator.hidden=[16]"],
            out=tmp_path / out, quiet=True, **settings_of_run,
        )  # fmt: skip

    train(11, "straight")
    train(4, "resumed")  # 32 images: in the middle of the third window
    assert state_of(tmp_path / "resumed") != state_of(tmp_path / "straight")
    train(11, "resumed")
    assert state_of(tmp_path / "resumed") == state_of(tmp_path / "straight")
