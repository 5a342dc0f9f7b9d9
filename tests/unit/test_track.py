"""TensorBoard events, read back with TensorBoard's own reader."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from gansmith.errors import ResourceError, UsageError
from gansmith.images import save_grid
from gansmith.recipes import RECIPES
from gansmith.training import track
from gansmith.training.track import FOLDER, Tracker, require_tensorboard

RECIPE = RECIPES["mlp"]()


def record(images: int, loss: float) -> dict[str, object]:
    return {"images": images, "steps": images // 64, "seconds": images / 100, "time": 1000.0 + images, "loss_d": loss,
            "memory_mb": None}  # fmt: skip


def read(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run / FOLDER), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


def curve(run: Path, name: str = "loss_d") -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in read(run).Scalars(name)]


def tracked(run: Path, steps: list[int], loss: float, images: int = 0, records=()) -> None:
    tracker = Tracker(run, RECIPE, images, records)
    for step in steps:
        tracker.record(record(step, loss))
    tracker.close()


def test_every_number_of_a_record_is_a_curve_over_images_seen(tmp_path):
    tracked(tmp_path, [64, 128], 0.5)
    events = read(tmp_path)
    assert set(events.Tags()["scalars"]) == {"steps", "seconds", "loss_d"}
    assert curve(tmp_path) == [(64, 0.5), (128, 0.5)]
    assert [event.value for event in events.Scalars("steps")] == [1, 2]
    assert [event.wall_time for event in events.Scalars("loss_d")] == [1064.0, 1128.0]


def test_records_are_on_the_disk_before_the_tracker_is_closed(tmp_path):
    tracker = Tracker(tmp_path, RECIPE)
    tracker.record(record(64, 0.5))
    assert curve(tmp_path) == [(64, 0.5)]
    tracker.close()


def test_recipe_is_shown_as_text(tmp_path):
    tracked(tmp_path, [64], 0.5)
    (event,) = read(tmp_path).Tensors("recipe/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    assert f"    recipe id: {RECIPE.id}\n" in text
    assert "    loss: non_saturating\n" in text


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_preview_is_the_picture_pixel_for_pixel(tmp_path, channels):
    path = save_grid(torch.rand(6, channels, 8, 8) * 2 - 1, tmp_path / "000000064.png")
    tracker = Tracker(tmp_path, RECIPE)
    tracker.picture(path, 64)
    tracker.close()
    (event,) = read(tmp_path).Images("samples")
    assert event.step == 64
    (tmp_path / "back.png").write_bytes(event.encoded_image_string)
    with Image.open(path) as saved, Image.open(tmp_path / "back.png") as shown:
        mode = "RGBA" if channels == 4 else "RGB"
        np.testing.assert_array_equal(np.asarray(shown.convert(mode)), np.asarray(saved.convert(mode)))


def test_run_that_goes_on_from_a_checkpoint_has_no_point_twice(tmp_path):
    tracked(tmp_path, [100, 200, 300, 400], 1.0)
    tracked(tmp_path, [250, 300, 350], 2.0, images=200)
    assert curve(tmp_path) == [(100, 1.0), (200, 1.0), (250, 2.0), (300, 2.0), (350, 2.0)]
    assert len(read(tmp_path).Tensors("recipe/text_summary")) == 1


@pytest.mark.parametrize("seconds", [0, -60])
def test_processes_of_one_second_and_clocks_set_back_leave_the_points_in_order(tmp_path, monkeypatch, seconds):
    moments = itertools.count(1e9, seconds)
    clock = SimpleNamespace(time=lambda: next(moments))
    for module in (event_file_writer, track):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(5))
    for images in range(0, 1200, 100):  # the writers' numbers pass 9, 10: as names, the other way round
        tracked(tmp_path, [images + 50, images + 100], images / 100, images=images)
    assert [step for step, _ in curve(tmp_path)] == list(range(50, 1250, 50))


def test_files_keep_their_names_where_the_clock_went_on(tmp_path):
    tracked(tmp_path, [100], 1.0)
    (first,) = (tmp_path / FOLDER).iterdir()
    older = first.with_name(first.name.replace(first.name.split(".")[3], "1000000000"))
    first.rename(older)
    tracked(tmp_path, [200], 2.0, images=100)
    assert older.exists()  # an open TensorBoard goes on reading it
    assert curve(tmp_path) == [(100, 1.0), (200, 2.0)]


def test_pictures_after_the_checkpoint_are_hidden_too(tmp_path):
    path = save_grid(torch.zeros(1, 1, 8, 8), tmp_path / "grid.png")
    for images, steps in ((0, (100, 200, 300)), (200, (300,))):
        tracker = Tracker(tmp_path, RECIPE, images)
        for step in steps:
            tracker.picture(path, step)
        tracker.close()
    assert [event.step for event in read(tmp_path).Images("samples")] == [100, 200, 300]


def test_run_that_starts_over_shows_nothing_of_before(tmp_path):
    tracked(tmp_path, [100, 200], 1.0)
    tracked(tmp_path, [100], 2.0)
    assert curve(tmp_path) == [(100, 2.0)]
    assert len(read(tmp_path).Tensors("recipe/text_summary")) == 1


def test_run_that_was_not_tracked_before_shows_its_earlier_records(tmp_path):
    tracked(tmp_path, [300], 2.0, images=200, records=[record(100, 1.0), record(200, 1.0)])
    tracked(tmp_path, [400], 3.0, images=300, records=[record(100, 1.0), record(200, 1.0), record(300, 2.0)])
    assert curve(tmp_path) == [(100, 1.0), (200, 1.0), (300, 2.0), (400, 3.0)]


@pytest.mark.faults
def test_27_missing_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    for call in (require_tensorboard, lambda: Tracker(tmp_path, RECIPE)):
        with pytest.raises(UsageError, match=r"pip install 'gansmith\[track\]'") as raised:
            call()
        assert raised.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_a_resource_error(tmp_path):
    (tmp_path / FOLDER).write_text("")
    with pytest.raises(ResourceError, match="cannot be written to"):
        Tracker(tmp_path, RECIPE)


def test_whether_it_is_installed_is_answered_without_importing_it_or_torch():
    script = (
        "import sys; from gansmith.training.track import require_tensorboard; require_tensorboard(); "
        "assert not {'torch', 'tensorboard'} & set(sys.modules); print('light')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "light\n", done.stderr
