"""Each command once, as a person types it, and the mistakes people make."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import yaml
from PIL import Image

from gansmith.checkpoint import checkpoint_folders
from gansmith.training.log import Metrics
from tests.conftest import write_images
from tests.end_to_end.processes import gansmith


def pixels_of(file: Path | IO[bytes]) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short run in `runs/digits-mlp-1`."""
    folder = tmp_path_factory.mktemp("trained")
    result = gansmith("train", "digits", "--recipe", "mlp", "--images", "3k", "--save-every", "1k", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_train_leaves_a_complete_run_folder(trained: Path) -> None:
    run = trained / "runs" / "digits-mlp-1"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"] == "digits"
    assert config["recipe"]["generator"]["family"] == "mlp"
    assert [path.name for path in checkpoint_folders(run / "checkpoints")] == ["000000003072", "000000002048"]
    grids = sorted(path.name for path in (run / "samples").iterdir())
    assert grids == ["000000000.png", "000001024.png", "000002048.png", "000003072.png"]
    assert pixels_of(run / "reals.png").shape == pixels_of(run / "samples" / grids[0]).shape
    records = Metrics(run / "metrics.jsonl").read()
    names = {"images", "seconds", "images_per_second", "loss_d", "loss_g", "d_accuracy", "memory_mb"}
    assert names <= records[-1].keys()


def test_same_command_without_out_finds_its_run_and_another_request_gets_a_new_one(trained: Path) -> None:
    again = gansmith("train", "digits", "--recipe", "mlp", "--images", "3k", cwd=trained)
    assert "digits-mlp-1: finished already" in again.stdout
    more = gansmith("train", "digits", "--recipe", "mlp", "--images", "4k", cwd=trained)
    assert "digits-mlp-1: going on from 3,072 images" in more.stdout
    other = gansmith("train", "digits", "--recipe", "mlp", "--images", "500", "--seed", "1", cwd=trained)
    assert "digits-mlp-2" in other.stdout


def test_config_reruns_the_run_bit_for_bit(trained: Path) -> None:
    source = trained / "runs" / "digits-mlp-1" / "config.yaml"
    for name in ("a", "b"):
        shutil.copy(source, trained / f"{name}.yaml")
        result = gansmith("train", "--config", f"{name}.yaml", "--images", "1k", "--out", name, cwd=trained)
        assert result.returncode == 0, result.stderr
    sums = [
        json.loads((checkpoint_folders(trained / name / "checkpoints")[0] / "about.json").read_text())["sha256"]
        for name in ("a", "b")
    ]
    assert sums[0]["modules.safetensors"] == sums[1]["modules.safetensors"]


def test_config_with_another_recipe_than_its_id_is_refused(trained: Path) -> None:
    text = (trained / "runs" / "digits-mlp-1" / "config.yaml").read_text()
    (trained / "edited.yaml").write_text(text.replace("loss: non_saturating", "loss: hinge"))
    result = gansmith("train", "--config", "edited.yaml", "--out", "edited", cwd=trained)
    assert result.returncode == 2
    assert "its recipe was edited" in result.stderr


def test_dry_run_of_a_config_shows_its_recipe(trained: Path) -> None:
    result = gansmith("train", "--config", "runs/digits-mlp-1/config.yaml", "--dry-run", "--minutes", "2", cwd=trained)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("mlp (")
    assert "2 minutes would show it about" in result.stdout


def test_damaged_config_of_another_run_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "runs" / "digits-mlp-7").mkdir(parents=True)
    (tmp_path / "runs" / "digits-mlp-7" / "config.yaml").write_text("")
    result = gansmith("train", "digits", "--recipe", "mlp", "--images", "128", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "passed over" in result.stderr
    assert "digits-mlp-8" in result.stdout


def test_sample_writes_each_form_with_the_same_pixels(trained: Path) -> None:
    for out in ("grid.png", "folder", "pack.zip", "pack.npz"):
        result = gansmith("sample", "runs/digits-mlp-1", "-n", "10", "--seed", "3", "--out", out, cwd=trained)
        assert result.returncode == 0, result.stderr
    arrays = np.load(trained / "pack.npz")["images"]
    assert arrays.shape == (10, 28, 28, 1)
    assert arrays.dtype == np.uint8
    assert len(list((trained / "folder").iterdir())) == 10
    assert np.array_equal(pixels_of(trained / "folder" / "000004.png"), arrays[4, :, :, 0])
    with zipfile.ZipFile(trained / "pack.zip") as archive, archive.open("000004.png") as file:
        assert np.array_equal(pixels_of(file), arrays[4, :, :, 0])


def test_interpolate_writes_a_looping_animation(trained: Path) -> None:
    options = ("-n", "4", "--frames", "12", "--out", "walk.webp")
    result = gansmith("interpolate", "runs/digits-mlp-1", *options, cwd=trained)
    assert result.returncode == 0, result.stderr
    with Image.open(trained / "walk.webp") as walk:
        assert walk.n_frames == 12
        assert walk.info["loop"] == 0


def test_show_tells_of_a_recipe_a_run_and_a_checkpoint(trained: Path) -> None:
    recipe = gansmith("show", "dcgan-28", cwd=trained)
    assert "loss: non_saturating" in recipe.stdout
    run = gansmith("show", "runs/digits-mlp-1", cwd=trained)
    assert "newest checkpoint" in run.stdout
    checkpoint = checkpoint_folders(trained / "runs" / "digits-mlp-1" / "checkpoints")[0]
    assert "images seen" in gansmith("show", str(checkpoint), cwd=trained).stdout


def test_recipes_lists_every_recipe(trained: Path) -> None:
    from gansmith.recipes import RECIPES

    listed = gansmith("recipes", cwd=trained).stdout
    assert all(name in listed for name in RECIPES)


def test_dry_run_shows_networks_and_costs_and_writes_nothing(tmp_path: Path) -> None:
    result = gansmith("train", "digits", "--dry-run", "--images", "200k", "--recipe", "dcgan-small", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for text in ("generator: 884,448 parameters", "64 x 7 x 7", "GFLOP", "MB", "200,000 images would take about"):
        assert text in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("  ")]
    assert ["FourierConvTranspose2d", "64", "x", "7", "x", "7", "204,800"] in rows
    listed = sum(int(row[-1].replace(",", "")) for row in rows)
    totals = [line.split()[1] for line in result.stdout.splitlines() if line.endswith(" parameters")]
    assert listed == sum(int(total.replace(",", "")) for total in totals)
    assert list(tmp_path.iterdir()) == []


def test_folder_with_a_broken_image_trains_and_names_it(tmp_path: Path) -> None:
    write_images(tmp_path / "photos" / "a", 30, (40, 50), mode="RGB")
    (tmp_path / "photos" / "a" / "broken.jpg").write_bytes(b"\xff\xd8 not an image")
    result = gansmith("train", "photos", "--images", "64", "--size", "16", "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "training at 16x16" in result.stdout
    assert "skipped a/broken.jpg" in result.stdout
    assert "30 of them brought to 16x16" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "exit_code", "texts"),
    [
        (["train", "digits", "--recipe", "dcgn-32", "--images", "abc"], 2, ["2 mistakes", "'dcgan-32'", "'abc'"]),
        (["train", "digits", "--images", "-1"], 2, ["'-1' is not a count"]),
        (["train", "digits", "--size", "30"], 2, ["30x30 does not fit", "the nearest that fits is 28x28"]),
        (["train", "digits", "--set", "generator.widht=3"], 2, ["'widht'", "did you mean 'width'"]),
        (["train", "digits", "--set", "generator_optimizer.learning_rate=0"], 2, ["a rate of 0 would train nothing"]),
        (["train", "digits", "--recip", "mlp"], 2, ["--recip: there is no such option", "'--recipe'"]),
        (["trian"], 2, ["there is no such command (did you mean 'train'?)"]),
        (["train", "digits", "--device", "cuda:7"], 2, ["this machine has"]),
        (["train", "nowhere"], 3, ["nowhere: no such folder or zip"]),
        (["sample", "nowhere"], 4, ["no such run folder"]),
        (["show", "dcgan-29"], 2, ["neither a path nor a recipe", "'dcgan-28'"]),
        (["train", "--config", "nowhere.yaml"], 2, ["nowhere.yaml: cannot be read"]),
    ],
)  # fmt: skip
def test_mistake_gives_its_exit_code_and_says_what_to_do(
    arguments: list[str], exit_code: int, texts: list[str], tmp_path: Path
) -> None:
    result = gansmith(*arguments, cwd=tmp_path)
    assert result.returncode == exit_code, result.stderr
    assert "Traceback" not in result.stderr
    for text in texts:
        assert text in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_damaged_checkpoints_are_named_and_never_a_silent_fresh_start(tmp_path: Path) -> None:
    train = ("train", "digits", "--recipe", "mlp", "--save-every", "1k", "--out", "run", "--images")
    assert gansmith(*train, "3k", cwd=tmp_path).returncode == 0
    newest, _ = checkpoint_folders(tmp_path / "run" / "checkpoints")
    (newest / "modules.safetensors").write_bytes((newest / "modules.safetensors").read_bytes()[:-100])
    result = gansmith(*train, "4k", cwd=tmp_path)
    assert result.returncode == 0
    assert f"{newest.name}/modules.safetensors: damaged" in result.stderr
    assert "going on from 2,048 images" in result.stdout
    for folder in checkpoint_folders(tmp_path / "run" / "checkpoints"):
        (folder / "about.json").write_text("{}")
    refused = gansmith(*train, "5k", cwd=tmp_path)
    assert refused.returncode == 4
    assert refused.stderr.count("about.json is missing or damaged") == 2
    assert gansmith("sample", "run", cwd=tmp_path).returncode == 4
