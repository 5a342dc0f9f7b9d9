"""What a report shows beside numbers, collected from a run folder."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from gansmith.evaluation import exhibit
from gansmith.evaluation.exhibit import evaluation_curves, evenly, run_exhibit, run_frames, training_curves
from tests import reports


def test_run_folder_gives_frames_oldest_first_curves_and_its_config(tmp_path):
    folder = reports.run_folder(tmp_path / "run")
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in reports.evaluations()))
    frames, curves, config = run_exhibit(folder)
    assert [frame.images for frame in frames] == [0, 25_600, 51_200]
    assert [curve.title for curve in curves] == [
        "fd_classifier while training", "Losses", "Discriminator accuracy", "Speed",
    ]  # fmt: skip
    assert curves[0].lines[0].ys == tuple(line["value"] for line in reports.evaluations())
    assert [line.name for line in curves[1].lines] == ["discriminator", "generator"]
    assert config == "recipe:\n  loss: hinge\n"


def test_empty_folder_gives_nothing(tmp_path):
    assert run_exhibit(tmp_path) == ((), (), None)


@pytest.mark.parametrize(("count", "most", "chosen"), [
    (3, 24, [0, 1, 2]), (100, 4, [0, 33, 66, 99]), (100, 1, [99]), (5, 2, [0, 4]), (0, 3, []),
])  # fmt: skip
def test_evenly_chosen_items_keep_first_and_last(count, most, chosen):
    assert evenly(range(count), most) == chosen


def test_many_frames_are_thinned_and_the_newest_stays(tmp_path):
    folder = reports.run_folder(tmp_path / "run", frames=range(0, 4000, 100))
    found = [frame.images for frame in run_frames(folder)]
    assert (len(found), found[0], found[-1]) == (24, 0, 3900)
    assert [frame.images for frame in run_frames(folder, most=1)] == [3900]


def test_points_are_thinned_to_500_with_both_ends():
    line = training_curves(reports.records(3000))[0].lines[0]
    assert len(line.xs) == len(line.ys) == 500
    assert (line.xs[0], line.xs[-1]) == (128, 128 + 860 * 2999)


def test_loss_that_is_no_number_is_a_gap():
    line = training_curves([{"images": 1, "loss_d": 1.0}, {"images": 2, "loss_d": None}])[0].lines[0]
    assert line.ys[0] == 1.0
    assert math.isnan(line.ys[1])


def test_whatever_an_objective_records_has_its_line():
    record = {"images": 1, "seconds": 2.0, "memory_mb": 9, "loss": 1.0, "kl": 3.0, "reconstruction_error": 0.1,
              "penalty_gradient_penalty": 2.0}  # fmt: skip
    assert [(curve.title, curve.lines[0].name) for curve in training_curves([record])] == [
        ("Losses", "loss"), ("Penalties", "gradient penalty"), ("KL divergence", "KL"),
        ("Reconstruction error", "reconstruction error"),
    ]  # fmt: skip


def test_score_without_a_value_while_training_is_a_gap():
    found = evaluation_curves([{"images": 1, "score": "fd", "value": None}, {"images": 2, "score": "fd", "value": 3.0}])
    assert math.isnan(found[0].lines[0].ys[0])
    assert found[0].lines[0].ys[1] == 3.0


def test_half_written_frame_is_passed_over_and_named(tmp_path, caplog):
    folder = reports.run_folder(tmp_path / "run")
    broken = folder / "samples" / "000025600.png"
    broken.write_bytes(broken.read_bytes()[:100])
    assert [frame.images for frame in run_frames(folder)] == [0, 51_200]
    assert str(broken) in caplog.text


def test_frames_over_the_limit_become_smaller_and_stay_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(exhibit, "FRAMES_BYTES", 4_000)
    monkeypatch.setattr(exhibit, "SMALLER", ((80, 85), (40, 65)))
    (tmp_path / "samples").mkdir()
    for images in range(2):
        noise = np.random.default_rng(images).integers(0, 256, (100, 100, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "samples" / f"{images}.png")
    frames = run_frames(tmp_path)
    assert len(frames) == 2
    for frame in frames:
        with Image.open(io.BytesIO(frame.png)) as picture:
            assert (picture.format, picture.size) == ("WEBP", (40, 40))
