"""Rows 15 and 16: a batch that does not fit into memory; batches of one, and of more images than there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import gansmith
from gansmith.checkpoint import checkpoint_folders
from gansmith.data import Batch
from gansmith.recipes import RECIPES
from gansmith.training.adversarial import Adversarial
from gansmith.training.estimate import SMALL_BATCHES
from gansmith.training.state import TrainState
from tests.conftest import write_images
from tests.faults import command
from tests.faults.limits import half_a_gigabyte
from tests.faults.test_checkpoints import refused

pytestmark = pytest.mark.faults
HUGE = "train digits --recipe mlp --size 8 --set batch_size=131072 --save-every 131072 --out run"
NORMED = "train digits --recipe dcgan-28 --set generator.width=16 --out run --images 64"


def sums(run: Path) -> dict[str, str]:
    newest = checkpoint_folders(run / "checkpoints")[0]
    found: dict[str, str] = json.loads((newest / "about.json").read_text())["sha256"]
    return {name: found[name] for name in ("modules.safetensors", "optimizers.safetensors", "ema.safetensors")}


@pytest.mark.slow
def test_15_batch_that_does_not_fit_is_computed_in_parts_and_resumes_exactly(tmp_path: Path) -> None:
    """Under a real limit on memory; what is stored goes on, and is run again, the same without it."""
    first = command.gansmith(f"{HUGE} --images 131072", tmp_path, half_a_gigabyte)
    assert first.code == 0, first.errors
    said = re.search(r"a batch of 131072 does not fit into memory: computed (\d+) images at a time", first.output)
    assert said is not None, first.output
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["micro_batch"] == int(said[1])
    assert command.gansmith(f"{HUGE} --images 262144", tmp_path).code == 0
    straight = command.gansmith("train --config run/config.yaml --out straight", tmp_path)
    assert straight.code == 0, straight.errors
    assert sums(tmp_path / "run") == sums(tmp_path / "straight")


def test_15_batch_norm_needs_the_batch_whole_so_the_batch_that_fits_is_named_and_then_trains(tmp_path: Path) -> None:
    result = command.gansmith(f"{NORMED} --set batch_size=65536", tmp_path, half_a_gigabyte)
    refused(result, 6, "a batch of 65536 needs about", "batch norm needs the batch whole")
    (fits,) = re.findall(r"--set batch_size=(\d+) fits", result.errors)
    assert int(fits) >= 16
    smaller = command.gansmith(f"{NORMED} --set batch_size={fits}", tmp_path, half_a_gigabyte)
    assert smaller.code == 0, smaller.errors


def test_15_networks_that_do_not_fit_are_refused_before_they_are_made(tmp_path: Path) -> None:
    result = command.gansmith("train digits --recipe dcgan-28 --set generator.width=100000 --images 64", tmp_path)
    refused(result, 6, "the networks take at least", "take narrower ones", "--set generator.width=")
    assert result.seconds < 60


@pytest.mark.gpu
def test_15_batch_that_does_not_fit_on_the_gpu_is_computed_in_parts(tmp_path: Path) -> None:
    """What the estimate leaves room for is taken away before the training starts."""
    recipe = RECIPES["dcgan-small"](precision="bfloat16").replace(batch_size=4096)
    torch.cuda.set_per_process_memory_fraction(1 / 160)
    try:
        run = gansmith.train("digits", recipe, images=8192, out=tmp_path / "run", device="cuda", quiet=True)
        assert run.images_seen == 8192
        normed = RECIPES["dcgan-28"]().replace(batch_size=2**17)
        with pytest.raises(gansmith.GansmithError, match="batch norm needs it whole") as caught:
            gansmith.train("digits", normed, images=2**17, out=tmp_path / "normed", device="cuda", quiet=True)
        assert caught.value.exit_code == 6
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def only_fits(monkeypatch: pytest.MonkeyPatch, images: int) -> list[int]:
    """Let steps on more images at once run out of memory; return what sizes are tried."""
    step, tried = Adversarial.step, []

    def limited(self: Adversarial, state: TrainState, batches: dict[str, Batch]) -> Any:
        at_once = state.micro_batch or len(batches["real_d"].images)
        if state.counters["images"] >= TRAINED or state.recipe.batch_size != BATCH:
            tried.append(at_once)
            if at_once > images:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, state, batches)

    monkeypatch.setattr(Adversarial, "step", limited)
    return tried


BATCH, TRAINED, OF_ESTIMATE = 64, 128, SMALL_BATCHES


def test_15_batch_that_ran_out_of_memory_is_halved_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = RECIPES["mlp"]().shrunk().replace(batch_size=BATCH)
    tried = only_fits(monkeypatch, 32)
    gansmith.train("digits", recipe, images=256, save_every=128, out=tmp_path / "run")
    said = capsys.readouterr().out
    assert "out of memory: from the last checkpoint on, batches are computed 32 images at a time" in said
    assert "going on from 128 images" in said
    assert tried == [*OF_ESTIMATE, 64, 32, 32]
    monkeypatch.undo()
    only_fits(monkeypatch, 31)
    with pytest.raises(gansmith.GansmithError, match="out of memory even with 32 images at a time") as caught:
        gansmith.train("digits", recipe, images=256, save_every=128, out=tmp_path / "other", quiet=True)
    assert caught.value.exit_code == 6


def test_15_batch_norm_ran_out_of_memory_and_the_batch_that_fits_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES["dense-conv"]().shrunk().replace(batch_size=BATCH)
    tried = only_fits(monkeypatch, 17)
    with pytest.raises(gansmith.GansmithError, match="batch norm needs it whole: --set batch_size=16 fits") as caught:
        gansmith.train("digits", recipe, images=256, out=tmp_path / "run", quiet=True)
    assert caught.value.exit_code == 6
    assert tried == [*OF_ESTIMATE, 64, 32, 16, 16]
    fitting = recipe.replace(batch_size=16)
    assert gansmith.train("digits", fitting, images=64, out=tmp_path / "other", quiet=True).images_seen == 64


@pytest.mark.parametrize("name", RECIPES, ids=[f"16-{name}" for name in RECIPES])
def test_batch_of_one_image_trains(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = RECIPES[name]().shrunk()
    run = gansmith.train(
        "digits", recipe.replace(batch_size=1, generator_batch_size=None), images=10, out=tmp_path / "run"
    )
    assert run.images_seen == 10
    assert ("a batch of one image: batch norm" in capsys.readouterr().out) == recipe.has_batch_norm
    assert gansmith.sample(run.folder, 2).isfinite().all()


@pytest.mark.parametrize("count", [1, 2, 3, 100], ids="16-{}-images".format)
def test_data_of_few_images_is_said_at_the_start_and_trains(
    count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "photos", count)
    run = gansmith.train(tmp_path / "photos", "mlp", images=256, out=tmp_path / "run")
    assert run.images_seen == 256
    said = capsys.readouterr().out
    assert "fewer images than one batch of 128: each batch shows some of them more than once" in said
    assert f"warning: only {count} image" in said


def test_16_batch_larger_than_the_data_is_said_and_trains(tmp_path: Path) -> None:
    train = "train digits --recipe mlp --set batch_size=2000 --images 4k --out run"
    result = command.gansmith(train, tmp_path)
    assert result.code == 0, result.errors
    assert "fewer images than one batch of 2000" in result.output
