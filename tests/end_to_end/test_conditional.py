"""A conditional run as a user has it: stopped, gone on with, run again from its config, asked for classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import gansmith
from tests.conftest import write_images

TRAIN = ("--recipe", "mlp", "--conditional", "--fit", "pad", "--quiet")


def train(*arguments: str) -> None:
    from gansmith.cli import main

    main(["train", *arguments, *([] if "--config" in arguments else TRAIN)])


def digests(run: Path) -> dict[str, str]:
    """Return the sha256 of the newest checkpoint's tensors."""
    newest = max((run / "checkpoints").iterdir())
    sums = json.loads((newest / "about.json").read_text())["sha256"]
    return {name: sums[name] for name in sums if name.endswith("safetensors")}


@pytest.fixture
def pets(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_images(image_folder / "owls", 4, size=(16, 20), seed=3)
    monkeypatch.chdir(tmp_path)
    return image_folder


def test_resume_and_rerun_of_a_conditional_run_are_the_straight_run(pets: Path) -> None:
    train(str(pets), "--images", "1024", "--out", "straight")
    train(str(pets), "--images", "512", "--out", "resumed")
    train(str(pets), "--images", "1024", "--out", "resumed")
    train("--config", "straight/config.yaml", "--out", "again", "--quiet")
    assert digests(Path("straight")) == digests(Path("resumed")) == digests(Path("again"))
    samples = gansmith.sample("again", 6, classes=["owls", "cats"])
    assert np.array_equal(samples, gansmith.sample("straight", 6, classes=[2, 0]))
    model = gansmith.load("straight")
    assert (model.classes.names, model.classes.counts) == (("cats", "dogs", "owls"), (12, 12, 4))


def test_config_of_data_that_have_changed_is_refused(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(str(pets), "--images", "128", "--out", "first")
    write_images(pets / "bees", 3, seed=5)
    with pytest.raises(SystemExit) as exit_:
        train("--config", "first/config.yaml", "--out", "again", "--quiet")
    assert exit_.value.code == 3
    assert "no longer those of the run to repeat" in capsys.readouterr().err


def test_a_run_remembers_to_keep_checkpoints(pets: Path) -> None:
    train(str(pets), "--images", "1024", "--out", "run", "--save-every", "128", "--keep-every", "256")
    train(str(pets), "--images", "2048", "--out", "run", "--save-every", "128")
    kept = sorted(int(entry.name) for entry in Path("run/checkpoints").iterdir())
    assert kept == [256, 512, 768, 1024, 1280, 1536, 1792, 1920, 2048]


def test_saving_a_model_into_a_run_is_refused(pets: Path) -> None:
    train(str(pets), "--images", "128", "--out", "run")
    with pytest.raises(gansmith.GansmithError, match="is a run folder"):
        gansmith.save_pretrained(gansmith.load("run"), "run")
