"""Rows 2, 3, 4, 7 and 9: checkpoints that are damaged, forged, of another run, of a later version, of another machine.

Each file cut and flipped, one by one: `tests/unit/test_checkpoint.py`.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.faults.command import Result, gansmith
from tests.faults.runs import RUN_IMAGES, TINY, change_about, change_tensors, checkpoints, replace

pytestmark = pytest.mark.faults
GO_ON = f"{TINY} --images {RUN_IMAGES + 256}"


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def refused(result: Result, code: int, *texts: str) -> None:
    """Check that a command ended with this code, one that a person understands."""
    assert result.code == code, result.output + result.errors
    assert "Traceback" not in result.errors
    for text in texts:
        assert text in result.errors, result.errors


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("modules.safetensors", cut(0.0)),
        ("optimizers.safetensors", cut(0.3)),
        ("ema.safetensors", cut(0.999)),
        ("modules.safetensors", flip),
        ("about.json", flip),
    ],
    ids=["02-empty", "02-cut-at-30-percent", "02-cut-at-99.9-percent", "02-one-bit-flipped", "02-about-json-flipped"],
)
def test_damaged_newest_checkpoint_is_named_and_the_one_before_used(
    file: str, damage: Callable[[bytes], bytes], small_run: Path
) -> None:
    newest, before = checkpoints(small_run)
    (newest / file).write_bytes(damage((newest / file).read_bytes()))
    result = gansmith(GO_ON, small_run)
    assert result.code == 0, result.errors
    assert f"{newest.name}" in result.errors
    assert file in result.errors
    assert "damaged" in result.errors
    assert f"run: going on from {int(before.name)} images" in result.output
    assert int(checkpoints(small_run)[0].name) == RUN_IMAGES + 256


def test_03_no_whole_checkpoint_is_an_error_with_each_reason_and_no_fresh_start(small_run: Path) -> None:
    newest, before = checkpoints(small_run)
    (newest / "state.json").unlink()
    (before / "modules.safetensors").write_bytes(b"")
    for command in (GO_ON, "sample run"):
        refused(
            gansmith(command, small_run), 4, "no usable checkpoint is left",
            f"{newest.name}/state.json: cannot be read", f"{before.name}/modules.safetensors: damaged (0 bytes",
        )  # fmt: skip
    assert checkpoints(small_run) == [newest, before]


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.sentinel),)


def as_file(folder: Path, sentinel: Path) -> str:
    torch.save({"generator": Bomb(sentinel)}, folder / "model.pt")
    return "model.pt"


def as_folder(folder: Path, sentinel: Path) -> str:
    (folder / "model").mkdir()
    (folder / "model" / "model.pkl").write_bytes(pickle.dumps(Bomb(sentinel)))
    return "model"


def as_checkpoint_file(folder: Path, sentinel: Path) -> str:
    for checkpoint in checkpoints(folder):
        replace(checkpoint / "modules.safetensors", pickle.dumps(Bomb(sentinel)))
    return "run"


def as_saved_model(folder: Path, sentinel: Path) -> str:
    (folder / "saved").mkdir()
    (folder / "saved" / "model.safetensors").write_bytes(pickle.dumps(Bomb(sentinel)))
    (folder / "saved" / "config.json").write_bytes(pickle.dumps(Bomb(sentinel)))
    return "saved"


@pytest.mark.parametrize(
    "form", [as_file, as_folder, as_checkpoint_file, as_saved_model],
    ids=["04-pickle-file", "04-folder-with-a-pickle", "04-pickle-as-safetensors", "04-pickle-as-saved-model"],
)  # fmt: skip
def test_pickle_bomb_is_refused_and_nothing_executed(form: Callable[[Path, Path], str], small_run: Path) -> None:
    sentinel = small_run / "executed"
    name = form(small_run, sentinel)
    refused(gansmith(f"sample {name}", small_run), 4, name)
    if name == "run":
        refused(gansmith(GO_ON, small_run), 4, "no usable checkpoint is left")
    assert not sentinel.exists()
    assert not (small_run / "samples.png").exists()


def with_header(length: int) -> Callable[[Path], None]:
    return lambda file: replace(file, struct.pack("<Q", length) + b"{}" * 100)


def cut_and_vouched(file: Path) -> None:
    replace(file, cut(0.6)(file.read_bytes()))


def without_a_key(file: Path) -> None:
    change_tensors(file, lambda tensors: tensors.pop("generator/layers.0.weight"))


def with_another_shape(file: Path) -> None:
    change_tensors(file, lambda tensors: tensors.update({"generator/layers.0.weight": torch.zeros(3, 2)}))


def with_giant_networks(file: Path) -> None:
    recipe = json.loads((file.parent / "recipe.json").read_text())
    recipe["generator"]["hidden"] = [10**6, 10**6]
    replace(file.parent / "recipe.json", json.dumps(recipe).encode())


@pytest.mark.parametrize(
    ("forge", "texts"),
    [
        (cut_and_vouched, ["cannot be read"]),
        (with_header(2**62), ["cannot be read"]),
        (without_a_key, ["ema.safetensors: does not fit the recipe", "layers.0.weight is missing"]),
        (with_another_shape, ["ema.safetensors: does not fit the recipe", "layers.0.weight has shape (3, 2)"]),
        (with_giant_networks, ["ema.safetensors: does not fit the recipe", "expected (1000000, 100)"]),
    ],
    ids=["04-truncated", "04-giant-header", "04-missing-key", "04-wrong-shape", "04-giant-networks"],
)  # fmt: skip
def test_forged_safetensors_are_refused_by_name(
    forge: Callable[[Path], None], texts: list[str], small_run: Path
) -> None:
    for checkpoint in checkpoints(small_run):
        forge(checkpoint / "ema.safetensors")
    refused(gansmith("sample run", small_run), 4, *texts)
    assert not (small_run / "samples.png").exists()


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"format": 2}', "\0", "[]"],
    ids=["04-about-deeply-nested", "04-about-without-fields", "04-about-binary", "04-about-a-list"],
)  # fmt: skip
def test_about_json_of_another_kind_is_refused(content: str, small_run: Path) -> None:
    for checkpoint in checkpoints(small_run):
        (checkpoint / "about.json").write_text(content)
    refused(gansmith("sample run", small_run), 4, "about.json is missing or damaged")


def test_04_about_json_without_the_machine_is_refused(small_run: Path) -> None:
    for checkpoint in checkpoints(small_run):
        change_about(checkpoint, machine=None)
    refused(gansmith(GO_ON, small_run), 4, "about.json")


def test_07_another_recipe_or_data_in_the_same_folder_is_refused_with_each_difference(small_run: Path) -> None:
    other = "train digits --recipe dcgan-28 --seed 3 --out run --images 768"
    refused(
        gansmith(other, small_run), 2, "run holds another run:", "recipe: the run has 'mlp', asked for 'dcgan-28'",
        "size: the run has [8, 8], asked for null", "seed: the run has 0, asked for 3", "choose another --out",
    )  # fmt: skip


def test_07_finished_run_says_so_and_how_to_go_on(small_run: Path) -> None:
    result = gansmith(f"{TINY} --images {RUN_IMAGES}", small_run)
    assert result.code == 0
    assert f"run: finished already, {RUN_IMAGES} images seen; go on with a larger --images" in result.output


def test_07_checkpoint_of_a_newer_format_names_the_version_and_is_not_passed_over(small_run: Path) -> None:
    newest, _ = checkpoints(small_run)
    change_about(newest, format=99, version="9.8.7")
    for command in (GO_ON, "sample run"):
        refused(gansmith(command, small_run), 4, "written by gansmith 9.8.7 in format 99", "upgrade gansmith")


def test_07_edited_recipe_in_the_config_is_refused(small_run: Path) -> None:
    config = small_run / "run" / "config.yaml"
    config.write_text(config.read_text().replace("loss: non_saturating", "loss: hinge"))
    refused(gansmith(GO_ON, small_run), 2, "its recipe was edited", "recipe_id")


def test_09_checkpoint_of_a_gpu_and_other_threads_goes_on_and_is_said_to_be_inexact(small_run: Path) -> None:
    newest, _ = checkpoints(small_run)
    machine = json.loads((newest / "about.json").read_text())["machine"]
    change_about(newest, machine={**machine, "device": "NVIDIA H100 80GB HBM3", "threads": 16})
    result = gansmith(GO_ON, small_run)
    assert result.code == 0, result.errors
    assert f"going on from {RUN_IMAGES} images" in result.output
    assert "device was NVIDIA H100 80GB HBM3, is cpu: the rest will not be bit for bit the same" in result.output
    assert "threads was 16, is 1" in result.output
    stored = json.loads((checkpoints(small_run)[0] / "about.json").read_text())["machine"]
    assert stored["device"] == "cpu"


def test_07_config_of_the_run_itself_is_no_other_run(small_run: Path) -> None:
    """Budget, steps between checkpoints and memory are not the method: changing them goes on."""
    config = yaml.safe_load((small_run / "run" / "config.yaml").read_text())
    config["budget"]["images"] = 10_000
    (small_run / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    assert gansmith(f"{GO_ON} --keep-every 256", small_run).code == 0
