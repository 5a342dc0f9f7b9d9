"""`gansmith classify` as a person types it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import gansmith as library
from gansmith.training.classify import open_labelled
from tests.conftest import write_images
from tests.end_to_end.processes import gansmith


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a classifier of the digits was trained for 20,000 images."""
    folder = tmp_path_factory.mktemp("classify")
    result = gansmith("classify", "train", "digits", "--images", "20k", cwd=folder)
    assert result.returncode == 0, result.stderr
    (folder / "said.txt").write_text(result.stdout)
    return folder


def test_train_says_how_well_each_class_is_read_and_saves(trained: Path) -> None:
    said = (trained / "said.txt").read_text()
    for text in ("1,438 images of 10 classes, 28x28", "of 359 held-out images", "by class: 0 ", "at 95 %", "saved: "):
        assert text in said
    config = json.loads((trained / "runs" / "digits-classifier-1" / "config.json").read_text())
    assert config["accuracy"] > 0.97
    assert config["images_seen"] == 20096


def test_test_gives_the_accuracy_that_training_gave(trained: Path) -> None:
    said = (trained / "said.txt").read_text()
    result = gansmith("classify", "test", "digits", "--model", "runs/digits-classifier-1", cwd=trained)
    assert result.returncode == 0, result.stderr
    accuracy = next(line for line in said.splitlines() if line.startswith("accuracy"))
    assert accuracy.replace("held-out", "test") in result.stdout
    on_train = gansmith(
        "classify", "test", "digits", "--model", "runs/digits-classifier-1", "--split", "train", cwd=trained
    )
    assert "of 1,438 train images" in on_train.stdout


def test_data_without_a_test_split_holds_a_fifth_out_and_says_so(image_folder: Path, tmp_path: Path) -> None:
    arguments = ("classify", "train", "pets", "--images", "500", "--out", "judge", "--pooling", "average")
    result = gansmith(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "every fifth image is held out" in result.stdout
    assert "of 4 held-out images" in result.stdout
    again = gansmith(*arguments, cwd=tmp_path)
    assert again.returncode == 0, "a saved classifier may be replaced"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "texts"),
    [
        (["trian", "digits"], 2, ["classify trian: there is no such command (did you mean 'train'?)"]),
        (["train", "digits", "--images", "0", "--size", "3", "--poling", "max", "--seed", "x", "--minutes", "-1"], 2,
         ["5 mistakes", "'0' is not a count", "at least 4x4", "'--pooling'", "'x' is not", "'-1' is not"]),
        (["train", "digits", "--pooling", "maximum"], 2, ["must be max or average"]),
        (["train", "digits", "--out", "full"], 2, ["exists and is not a saved classifier"]),
        (["train", "digits", "--out", "generator"], 2, ["exists and is not a saved classifier"]),
        (["train", "digits", "--device", "cuda:7"], 2, ["this machine has"]),
        (["train", "nowhere"], 3, ["no such folder or zip"]),
        (["train", "flat"], 3, ["two classes or more"]),
        (["test", "digits", "--model", "nowhere"], 4, ["holds no classifier"]),
        (["test", "digits", "--model", "x", "--split", "tset"], 2, ["must be train or test (did you mean 'test'"]),
        (["test", "digits"], 2, ["--model"]),
    ],
)  # fmt: skip
def test_mistake_gives_its_exit_code_and_leaves_nothing(
    arguments: list[str], exit_code: int, texts: list[str], tmp_path: Path
) -> None:
    write_images(tmp_path / "flat", 6)
    (tmp_path / "full").mkdir()
    (tmp_path / "generator").mkdir()
    (tmp_path / "generator" / "config.json").write_text('{"format": 1, "recipe": {}}')
    (tmp_path / "full" / "notes.txt").write_text("hello")
    result = gansmith("classify", *arguments, cwd=tmp_path)
    assert result.returncode == exit_code, result.stderr
    assert "Traceback" not in result.stderr
    assert all(text in result.stderr for text in texts), result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"flat", "full", "generator"}


@pytest.mark.slow
def test_default_training_reads_99_percent_of_held_out_digits() -> None:
    splits = open_labelled("digits")
    assert library.train_classifier(splits.train, splits.held_out).accuracy >= 0.99


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(600)
def test_default_training_reads_99_percent_of_mnist_within_two_cpu_minutes(real_data: Path) -> None:
    splits = open_labelled(real_data / "mnist.zip")
    assert splits.has_test
    started = time.process_time()
    judge = library.train_classifier(splits.train, splits.held_out)
    assert judge.accuracy >= 0.992
    # Time of the processor, all threads together: what other processes do does not count.
    assert time.process_time() - started <= 240
