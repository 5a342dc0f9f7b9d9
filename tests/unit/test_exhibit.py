"""What a report shows beside numbers, collected from a run folder."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from gansmith.evaluation import exhibit
from gansmith.evaluation.exhibit import (
    Exhibit,
    evaluation_curves,
    evenly,
    run_exhibit,
    run_frames,
    samples_picture,
    training_curves,
)
from tests import reports


def test_run_folder_gives_frames_oldest_first_curves_and_its_config(tmp_path):
    folder = reports.run_folder(tmp_path / "run")
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in reports.evaluations()))
    frames, curves, config = run_exhibit(folder)
    assert [frame.images for frame in frames] == [0, 25_600, 51_200]
    assert [curve.title for curve in curves] == [
        "fd_classifier of 2,000 samples while training", "Losses", "Discriminator accuracy", "Speed",
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


def evaluation(images: int, value: float | None, num_samples: int = 2_000) -> dict[str, object]:
    return {"images": images, "score": "fd", "num_samples": num_samples, "value": value}


def test_scores_while_training_on_other_counts_of_samples_are_other_curves():
    found = evaluation_curves([evaluation(1, 9.0), evaluation(2, 3.0, 10_000), evaluation(3, 8.0)])
    assert [(curve.title, curve.lines[0].ys) for curve in found] == [
        ("fd of 2,000 samples while training", (9.0, 8.0)), ("fd of 10,000 samples while training", (3.0,)),
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "what"), [("generator", "samples"), ("images", "images")])
def test_picture_of_what_is_measured_is_found_among_the_others(kind, what):
    subject = reports.report(kind=kind).subject
    picture = samples_picture(subject, torch.zeros(70, 1, 8, 8, dtype=torch.uint8))
    assert (picture.title, picture.alt) == (f"The {what}", f"A grid of {what} of dcgan-small")
    with Image.open(io.BytesIO(picture.png)) as opened:
        assert opened.size == (8 * 10 * 6 + 12,) * 2  # 8 cells of 8 pixels and gaps of 2 a row, enlarged six times
    assert Exhibit((reports.exhibit().pictures[0], picture)).samples == picture
    assert Exhibit(reports.exhibit().pictures[:1]).samples is None


def test_score_without_a_value_while_training_is_a_gap():
    found = evaluation_curves([evaluation(1, None), evaluation(2, 3.0)])
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
