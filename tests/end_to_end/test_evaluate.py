"""`gansmith evaluate` as a person types it: a run, somebody's images, papers' scores, and the mistakes people make."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import gansmith
from gansmith.cli import main
from gansmith.evaluation.extractors import inception
from gansmith.report import load_report
from tests.conftest import write_images
from tests.end_to_end.processes import gansmith as command
from tests.inception_weights import write_random_weights

TINY = ["generator.hidden=[16]", "discriminator.hidden=[16]", "batch_size=64"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short conditional run on the embedded digits."""
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    gansmith.train("digits", "mlp", overrides=TINY, size=(8, 8), images=256, conditional=True, out=folder, quiet=True)
    return folder


def said_by(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    main(["evaluate", *map(str, arguments)])
    return capsys.readouterr().out


def test_run_is_measured_against_its_own_data_and_gets_a_report(run, capsys):
    said = said_by(capsys, run, "--samples", "600", "--scores", "fd,precision,classes,memorisation")
    report = load_report(run / "report.json")
    assert [score.name for score in report.scores][:2] == ["fd_classifier", "precision_classifier"]
    assert report.reference.name == "digits"
    assert report.subject.recipe_name == "mlp"
    assert "held-out reals" in said
    assert "fd_classifier" in said
    assert "against 1,438 images of digits (train" in said
    page = (run / "report.html").read_text()
    for title in ("Real images", "Rows of classes", "The worst pairs", "Measure it again"):
        assert title in page, title
    assert "://" not in page.replace("http://www.w3.org/", "")


def test_command_in_the_report_measures_the_same_again(run, tmp_path, capsys):
    said_by(capsys, run, "--samples", "300", "--scores", "fd,kd", "--seed", "4", "--reals", "500", "--out", tmp_path)
    first = load_report(tmp_path / "report.json")
    arguments = first.command.split()[1:]
    assert arguments[0] == "evaluate"
    main([*arguments, "--out", str(tmp_path / "again")])
    second = load_report(tmp_path / "again" / "report.json")
    assert [score.value for score in first.scores] == [score.value for score in second.scores]
    assert second.reference.num_compared == 500
    assert "300 samples against 500 real images" in second.scores[0].protocol


@pytest.mark.parametrize("form", ["folder", "zip", "npz"])
def test_anyones_images_are_measured_and_stay_as_they_are(form, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = {"folder": "theirs", "zip": "theirs.zip", "npz": "theirs.npz"}[form]
    gansmith.save_images(gansmith.sample(str(run), 120), tmp_path / name)
    before = sorted(os.listdir(tmp_path / "theirs")) if form == "folder" else []
    said = said_by(capsys, name, "--data", "digits", "--scores", "kd", "--extractor", "random")
    report = load_report(tmp_path / "theirs-evaluation" / "report.json")
    assert report.subject.kind == "images"
    assert report.subject.num_samples == 120
    assert "theirs-evaluation/report.html" in said
    assert before == (sorted(os.listdir(tmp_path / "theirs")) if form == "folder" else [])


def test_checkpoint_and_saved_model_are_measured_as_their_run_is(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    gansmith.save_pretrained(gansmith.load(run), tmp_path / "saved")
    checkpoint = next((run / "checkpoints").iterdir())
    values = []
    for path in (run, checkpoint, tmp_path / "saved"):
        said_by(capsys, path, "--data", "digits", "--samples", "300", "--scores", "kd", "--out", tmp_path / "out")
        values.append(load_report(tmp_path / "out" / "report.json").scores[0].value)
    assert values[0] == values[1] == values[2]


def test_colour_images_of_another_size_and_no_test_split(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "real", 80, (20, 24), 0, "RGBA")
    write_images(tmp_path / "fake", 70, (16, 16), 1, "RGB")
    said = said_by(capsys, "fake", "--data", "real", "--scores", "fd,kd,memorisation")
    assert "real images are brought from 20x24 of 3 channels to 16x16 of 3 channels" in said
    assert "fd_random: 80 real images and 256 features" in said
    assert "no test split: training images stand in for held-out ones" in said


def test_mistakes_are_told_at_once_and_before_anything_is_read(tmp_path):
    result = command("evaluate", "nowhere", "--samples", "1", "--scores", "fd,coverag", "--extractor", "incepton",
                     "--split", "val", cwd=tmp_path)  # fmt: skip
    assert result.returncode == 2
    for words in (
        "nowhere: no such run, checkpoint, saved model, folder or file of images",
        "--samples 1: must be at least 2",
        "score 'coverag' is unknown (did you mean 'coverage'",
        "--extractor incepton: must be classifier or random or inception or dinov2 (did you mean 'inception'?)",
        "--split val: must be train or test",
    ):
        assert words in result.stderr, result.stderr


def test_images_without_real_ones_say_what_is_missing(image_folder, tmp_path):
    result = command("evaluate", str(image_folder), cwd=tmp_path)
    assert result.returncode == 2
    assert "say which real images to compare with: --data DATA" in result.stderr


def test_run_whose_data_moved_says_where_it_looked(tmp_path, monkeypatch, capsys):
    write_images(tmp_path / "old", 40)
    gansmith.train(tmp_path / "old", "mlp", overrides=TINY, images=64, out=tmp_path / "run", quiet=True)
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(tmp_path / "run")])
    assert ended.value.code == 3
    assert f"{tmp_path / 'old'}: no such folder or zip" in capsys.readouterr().err
    said = said_by(capsys, tmp_path / "run", "--data", tmp_path / "new", "--scores", "kd", "--samples", "40")
    assert "not what the run was trained on" not in said


def test_other_data_than_the_runs_are_named(run, tmp_path, capsys):
    write_images(tmp_path / "others", 80, (8, 8))
    said = said_by(capsys, run, "--data", tmp_path / "others", "--samples", "100", "--scores", "kd,memorisation",
                   "--out", tmp_path / "out")  # fmt: skip
    assert "others: not what the run was trained on" in said
    assert "copies of those would not be seen" in said


@pytest.mark.faults
def test_27_fid_without_the_extra_says_what_to_install_and_where_weights_go(run, monkeypatch, capsys):
    monkeypatch.setattr(inception.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(inception, "PACKAGE", "torch_fidelity_that_is_not_there")
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(run), "--scores", "fid"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "pip install 'gansmith[fid]'" in said
    assert "--weights PATH" in said
    assert inception.FILE_NAME in said


@pytest.mark.slow
def test_fid_with_other_weights_runs_and_is_not_called_fid(run, tmp_path, capsys):
    weights = write_random_weights(tmp_path / "weights.pth")
    said = said_by(capsys, run, "--scores", "fid,kid", "--weights", weights, "--samples", "40", "--reals", "60",
                   "--out", tmp_path / "out")  # fmt: skip
    assert "NOT the published weights" in said
    report = load_report(tmp_path / "out" / "report.json")
    assert [score.name for score in report.scores] == ["fd_inception", "kd_inception"]
    assert report.scores[0].value is None
    assert "2,048 features" in (report.scores[0].reason or "")
    assert report.scores[1].value is not None
    assert "NOT the published weights" in report.extractor.note


@pytest.mark.slow
def test_scores_on_request_run_and_say_first_how_long(run, tmp_path, capsys):
    said = said_by(capsys, run, "--scores", "is,intra-fd,adversarial,worth", "--samples", "2000", "--out", tmp_path)
    assert "adversarial: about " in said
    assert "worth: about " in said
    report = load_report(tmp_path / "report.json")
    found = {score.name: score for score in report.scores}
    assert 1 <= (found["is_classifier"].value or 0) <= 10
    accuracy = found["adversarial_accuracy"]
    assert (accuracy.value or 0) > 0.9  # hardly trained
    assert (accuracy.verdict or "").startswith("told apart: ")
    assert len(found["worth"].details["fake"]) == 3
    assert (found["worth"].verdict or "").startswith("training on both ")
    assert "as the generator was asked for" in found["intra_fd_classifier"].protocol


@pytest.mark.slow
def test_modes_of_stacked_images_are_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    real = gansmith.open_data("stacked:digits", (8, 8), 3)
    assert real.labels is not None
    few = [np.moveaxis(np.asarray(real.images[place]), 0, -1) for place in np.flatnonzero(real.labels < 30)]
    np.savez(tmp_path / "few.npz", images=np.stack(few))
    said_by(capsys, "few.npz", "--data", "stacked:digits", "--scores", "modes")
    modes, sure, kl = load_report(tmp_path / "few-evaluation" / "report.json").scores
    assert modes.details["of"] == 1000
    assert (sure.value or 0) <= (modes.value or 0)
    assert (sure.value or 0) == pytest.approx(30, abs=10)  # of so few samples not every mode is there
    assert (kl.value or 0) > 2
    said = said_by(capsys, "few.npz", "--data", "digits", "--scores", "modes")
    assert "modes: digits is not stacked; give --data stacked:DATA" in said


def test_evaluations_json_is_plain(run, tmp_path, capsys):
    said_by(capsys, run, "--samples", "60", "--scores", "kd", "--quiet", "--out", tmp_path)
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "report.json").read_text())["scores"][0]["name"] == "kd_classifier"
