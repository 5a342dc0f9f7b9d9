"""Checkpoints: written whole or not at all, verified before use, never unpickled, the last good one found."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch

from gansmith.checkpoint import (
    FILES,
    FORMAT,
    OWN_SUM,
    NewerFormatError,
    checkpoint_folders,
    clean_up,
    read_checkpoint,
    read_newest,
    save_checkpoint,
    sum_of_about,
)
from gansmith.data import Batch
from gansmith.errors import CheckpointError, ResourceError
from gansmith.facts import Classes
from gansmith.recipe import SGD, Recipe, RMSprop
from gansmith.recipes import RECIPES
from gansmith.restore import restore
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.state import TrainState

CPU = torch.device("cpu")


def new_state(recipe: Recipe, seed: int = 3) -> TrainState:
    return OBJECTIVES[recipe.objective].initialise(recipe, seed, CPU)


def train_one_step(state: TrainState) -> None:
    recipe, rng = state.recipe, torch.Generator().manual_seed(state.counters["images"])
    objective = OBJECTIVES[recipe.objective]
    with torch.random.fork_rng(devices=[]):
        objective.step(
            state,
            {
                name: Batch(torch.rand(size, recipe.channels, *recipe.size, generator=rng) * 2 - 1)
                for name, size in objective.batches(recipe).items()
            },
        )


def tiny_recipe() -> Recipe:
    return RECIPES["mlp"](size=(4, 4)).shrunk()


def tiny_state() -> TrainState:
    state = new_state(tiny_recipe())
    train_one_step(state)
    return state


def save_twice(folder: Path) -> tuple[Path, Path, TrainState]:
    """Two checkpoints, older and newer, and the state that the newer one holds."""
    state = tiny_state()
    older = save_checkpoint(state, folder, 1.0, "data")
    train_one_step(state)
    return older, save_checkpoint(state, folder, 2.0, "data"), state


def write_about(path, about) -> None:
    """Write about.json with a sum of its own that is right."""
    about = {**about, OWN_SUM: sum_of_about(about)}
    (path / "about.json").write_text(json.dumps(about))


def with_right_sums(path: Path) -> None:
    """Make about.json vouch for the files as they are."""
    about = json.loads((path / "about.json").read_text())
    about["sha256"] = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in FILES}
    write_about(path, about)


def change_tensors(file: Path, change) -> None:
    tensors = safetensors.torch.load(file.read_bytes())
    change(tensors)
    file.write_bytes(safetensors.torch.save(tensors))
    with_right_sums(file.parent)


class TestRoundTrip:
    @pytest.mark.parametrize("name", RECIPES)
    def test_every_tensor_and_counter_comes_back(self, name, tmp_path):
        recipe = RECIPES[name]().shrunk()
        state = new_state(recipe)
        train_one_step(state)
        path = save_checkpoint(state, tmp_path, 12.5, "abc")
        fresh = new_state(recipe, seed=4)
        checkpoint = read_checkpoint(path)
        restore(fresh, checkpoint)
        assert fresh.digest() == state.digest()
        assert any(key.startswith("optimizers/") for key in state.digest())
        assert fresh.counters == state.counters
        assert checkpoint.recipe == recipe
        assert checkpoint.state.seed == 3
        assert checkpoint.state.seconds == 12.5
        assert checkpoint.about["data_fingerprint"] == "abc"

    @pytest.mark.parametrize("optimizer", [RMSprop(), SGD(momentum=0.9), SGD(momentum=0.0)], ids=str)
    def test_other_optimisers_come_back_too(self, optimizer, tmp_path):
        recipe = tiny_recipe().replace(generator_optimizer=optimizer, discriminator_optimizer=optimizer)
        state, fresh = new_state(recipe), new_state(recipe, seed=4)
        train_one_step(state)
        restore(fresh, read_checkpoint(save_checkpoint(state, tmp_path, 0.0, "")))
        assert fresh.digest() == state.digest()
        fresh.seed = state.seed
        for one in (state, fresh):
            train_one_step(one)
        assert fresh.digest() == state.digest()

    def test_optimiser_state_keeps_the_memory_layout_of_its_parameter(self, tmp_path):
        state = new_state(RECIPES["dcgan-small"]().shrunk())
        train_one_step(state)
        fresh = new_state(state.recipe)
        restore(fresh, read_checkpoint(save_checkpoint(state, tmp_path, 0.0, "")))
        compared = 0
        for optimizer in fresh.optimizers.values():
            for parameter, entries in optimizer.state.items():
                for value in entries.values():
                    if value.ndim == 4:
                        compared += 1
                        assert value.stride() == parameter.stride()
        assert compared
        assert any(not p.is_contiguous() for p in fresh.modules["discriminator"].parameters())

    def test_training_goes_on_from_a_checkpoint_bit_for_bit(self, tmp_path):
        recipe = RECIPES["dcgan-small"]().shrunk()
        straight = new_state(recipe)
        train_one_step(straight)
        resumed = new_state(recipe)
        restore(resumed, read_checkpoint(save_checkpoint(straight, tmp_path, 0.0, "")))
        for state in (straight, resumed):
            train_one_step(state)
        assert resumed.digest() == straight.digest()

    def test_untrained_state_comes_back(self, tmp_path):
        state, fresh = new_state(tiny_recipe()), new_state(tiny_recipe(), seed=4)
        restore(fresh, read_checkpoint(save_checkpoint(state, tmp_path, 0.0, "")))
        assert fresh.digest() == state.digest()


class TestKeeping:
    def test_last_two_are_kept(self, tmp_path):
        state = tiny_state()
        saved = []
        for images in (8, 16, 24, 32):
            state.counters["images"] = images
            saved.append(save_checkpoint(state, tmp_path, 0.0, ""))
        assert checkpoint_folders(tmp_path) == [saved[3], saved[2]]
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["000000000024", "000000000032"]

    def test_saving_at_the_same_images_replaces(self, tmp_path):
        state = tiny_state()
        save_checkpoint(state, tmp_path, 1.0, "")
        path = save_checkpoint(state, tmp_path, 2.0, "")
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
        assert read_checkpoint(path).state.seconds == 2.0

    def test_checkpoint_just_saved_stays_though_damaged_ones_of_more_images_lie_beside_it(self, tmp_path):
        for name in ("000000000016", "000000000024"):
            (tmp_path / name).mkdir()
        assert save_checkpoint(tiny_state(), tmp_path, 1.0, "").exists()

    def test_newest_is_read(self, tmp_path):
        _, newer, state = save_twice(tmp_path)
        checkpoint, reasons = read_newest(tmp_path)
        assert checkpoint.path == newer
        assert checkpoint.state.counters | {"retries": 0} == state.counters
        assert reasons == []

    @pytest.mark.parametrize("folder", ["", "missing"])
    def test_no_checkpoint_is_none_and_no_error(self, tmp_path, folder):
        assert read_newest(tmp_path / folder) == (None, [])


class TestDamage:
    @pytest.mark.faults
    @pytest.mark.parametrize("file", [*FILES, "about.json"])
    @pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
    def test_02_newest_with_a_truncated_file_is_passed_over_by_name(self, tmp_path, file, share):
        older, newer, _ = save_twice(tmp_path)
        content = (newer / file).read_bytes()
        (newer / file).write_bytes(content[: int(len(content) * share)])
        checkpoint, reasons = read_newest(tmp_path)
        assert checkpoint.path == older
        (reason,) = reasons
        assert newer.name in reason
        assert file in reason

    @pytest.mark.faults
    @pytest.mark.parametrize("file", FILES)
    @pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
    def test_02_newest_with_one_flipped_byte_is_passed_over_by_name(self, tmp_path, file, share):
        older, newer, _ = save_twice(tmp_path)
        content = bytearray((newer / file).read_bytes())
        content[int(len(content) * share)] ^= 1
        (newer / file).write_bytes(content)
        checkpoint, reasons = read_newest(tmp_path)
        assert checkpoint.path == older
        (reason,) = reasons
        assert str(newer / file) in reason
        assert "sha256" in reason

    @pytest.mark.faults
    @pytest.mark.parametrize(
        "text", ["format", "1,", "version", "images_seen", "data_fingerprint", "machine", "sha256"]
    )
    def test_02_newest_with_a_flipped_byte_in_about_json_is_passed_over(self, tmp_path, text):
        older, newer, _ = save_twice(tmp_path)
        content = bytearray((newer / "about.json").read_bytes())
        content[content.index(text.encode())] ^= 2
        (newer / "about.json").write_bytes(content)
        checkpoint, reasons = read_newest(tmp_path)
        assert checkpoint.path == older
        assert "about.json" in reasons[0]

    @pytest.mark.parametrize("content", [b"[]", b"5", b"null", b'{"format": 1}', b"\xff\xfe", b'{"format": "x"}'])
    def test_about_json_of_another_kind_is_refused(self, tmp_path, content):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")
        (path / "about.json").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"about\.json is missing or damaged"):
            read_checkpoint(path)

    @pytest.mark.parametrize("sums", [[], "x", 5, None])
    def test_checksums_of_another_kind_are_refused(self, tmp_path, sums):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")
        about = json.loads((path / "about.json").read_text())
        write_about(path, {**about, "sha256": sums})
        with pytest.raises(CheckpointError):
            read_checkpoint(path)

    @pytest.mark.faults
    @pytest.mark.parametrize("file", [*FILES, "about.json"])
    def test_02_missing_file_is_named(self, tmp_path, file):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")
        (path / file).unlink()
        with pytest.raises(CheckpointError, match=file):
            read_checkpoint(path)

    @pytest.mark.faults
    def test_03_all_bad_is_an_error_with_each_reason(self, tmp_path):
        older, newer, _ = save_twice(tmp_path)
        (older / "modules.safetensors").write_bytes(b"")
        (newer / "state.json").unlink()
        with pytest.raises(CheckpointError) as raised:
            read_newest(tmp_path)
        message = str(raised.value)
        assert "no usable checkpoint is left" in message
        assert str(older / "modules.safetensors") in message
        assert str(newer / "state.json") in message
        assert raised.value.exit_code == 4

    @pytest.mark.faults
    def test_07_newer_format_is_refused_by_its_version_and_not_passed_over(self, tmp_path):
        _, newer, _ = save_twice(tmp_path)
        about = json.loads((newer / "about.json").read_text())
        write_about(newer, {**about, "format": FORMAT + 1, "version": "9.8.7"})
        with pytest.raises(NewerFormatError, match=rf"gansmith 9\.8\.7 in format {FORMAT + 1}.*upgrade") as raised:
            read_newest(tmp_path)
        assert raised.value.exit_code == 4


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


class TestForeignContent:
    def test_bomb_of_these_tests_goes_off_when_unpickled(self, tmp_path):
        pickle.loads(pickle.dumps(Bomb(tmp_path / "marker")))
        assert (tmp_path / "marker").exists()

    @pytest.mark.faults
    def test_04_pickle_file_is_refused_unopened(self, tmp_path):
        path = tmp_path / "model.pt"
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "marker")))
        with pytest.raises(CheckpointError, match="never unpickles"):
            read_checkpoint(path)
        assert not (tmp_path / "marker").exists()

    @pytest.mark.faults
    @pytest.mark.parametrize("by_torch", [False, True])
    @pytest.mark.parametrize("file", FILES)
    def test_04_pickle_in_place_of_a_file_is_refused_unopened(self, tmp_path, file, by_torch):
        path = save_checkpoint(tiny_state(), tmp_path / "checkpoints", 1.0, "")
        if by_torch:
            torch.save({"x": Bomb(tmp_path / "marker")}, path / file)
        else:
            (path / file).write_bytes(pickle.dumps(Bomb(tmp_path / "marker")))
        with_right_sums(path)
        with pytest.raises(CheckpointError):
            read_checkpoint(path)
        assert not (tmp_path / "marker").exists()

    @pytest.mark.faults
    @pytest.mark.parametrize("length", [2**63, 2**40, 10**8 + 1])
    def test_04_safetensors_with_a_giant_header_is_refused(self, tmp_path, length):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")
        (path / "modules.safetensors").write_bytes(struct.pack("<Q", length) + b"{}" * 100)
        with_right_sums(path)
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_checkpoint(path)

    @pytest.mark.faults
    @pytest.mark.parametrize("file", ["modules.safetensors", "ema.safetensors"])
    def test_04_missing_unexpected_and_misshapen_tensors_are_named(self, tmp_path, file):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")

        def change(tensors: dict[str, torch.Tensor]) -> None:
            tensors["generator/strange"] = torch.zeros(1)
            tensors["generator/layers.0.bias"] = torch.zeros(3, 2)
            del tensors["generator/layers.0.weight"]

        change_tensors(path / file, change)
        state = new_state(tiny_recipe())
        before = state.digest()
        with pytest.raises(CheckpointError) as raised:
            restore(state, read_checkpoint(path))
        message = str(raised.value)
        assert str(path / file) in message
        assert "generator/layers.0.weight is missing" in message
        assert "generator/strange is not expected" in message
        assert "generator/layers.0.bias has shape (3, 2), expected (16,)" in message
        assert {k: v for k, v in state.digest().items() if k.startswith(file[:3])} == {
            k: v for k, v in before.items() if k.startswith(file[:3])
        }

    @pytest.mark.faults
    @pytest.mark.parametrize("key", ["generator/0/exp_avg", "generator/99/exp_avg"])
    def test_04_optimiser_state_of_another_shape_is_named(self, tmp_path, key):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")
        change_tensors(path / "optimizers.safetensors", lambda tensors: tensors.update({key: torch.zeros(3, 2)}))
        with pytest.raises(CheckpointError, match=rf"{key} (has shape \(3, 2\)|is not expected)"):
            restore(new_state(tiny_recipe()), read_checkpoint(path))

    @pytest.mark.parametrize("key", ["generator/x/exp_avg", "generator/0", "generator/-1/exp_avg", "strange/0/exp_avg"])
    def test_optimiser_key_of_another_form_is_named(self, tmp_path, key):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")
        change_tensors(path / "optimizers.safetensors", lambda tensors: tensors.update({key: torch.zeros(16)}))
        with pytest.raises(CheckpointError, match=key.split("/", 1)[1]):
            restore(new_state(tiny_recipe()), read_checkpoint(path))

    @pytest.mark.faults
    @pytest.mark.parametrize("prefix", ["generator/0/exp_avg_sq", "generator/0/", "generator/"])
    def test_04_missing_optimiser_state_is_named(self, tmp_path, prefix):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")

        def change(tensors: dict[str, torch.Tensor]) -> None:
            for key in [key for key in tensors if key.startswith(prefix)]:
                del tensors[key]

        change_tensors(path / "optimizers.safetensors", change)
        with pytest.raises(CheckpointError, match=r"optimizers\.safetensors"):
            restore(new_state(tiny_recipe()), read_checkpoint(path))

    @pytest.mark.parametrize("content", ["{}", "[]", '{"seed": 3, "counters": 5, "seconds": 1.0}'])
    def test_state_json_without_its_fields_is_refused(self, tmp_path, content):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")
        (path / "state.json").write_text(content)
        with_right_sums(path)
        with pytest.raises(CheckpointError, match=r"state\.json"):
            restore(new_state(tiny_recipe()), read_checkpoint(path))

    def test_recipe_that_does_not_validate_is_refused(self, tmp_path):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")
        (path / "recipe.json").write_text("{}")
        with_right_sums(path)
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_checkpoint(path)

    def test_path_with_nothing_there_says_so(self, tmp_path):
        with pytest.raises(CheckpointError, match="there is nothing there"):
            read_checkpoint(tmp_path / "missing")


class TestKilledSaves:
    def test_half_written_checkpoint_is_never_read_and_is_removed(self, tmp_path):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")
        left = tmp_path / ".writing-000000000099-4711"
        left.mkdir()
        (left / "modules.safetensors").write_bytes(b"half")
        assert read_newest(tmp_path)[0].path == path
        clean_up(tmp_path)
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

    def test_checkpoint_moved_aside_and_not_yet_replaced_is_put_back(self, tmp_path):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")
        path.rename(tmp_path / f".replaced-{path.name}-4711")
        clean_up(tmp_path)
        assert read_newest(tmp_path)[0].path == path

    def test_checkpoint_moved_aside_and_replaced_is_removed(self, tmp_path):
        path = save_checkpoint(tiny_state(), tmp_path, 1.0, "")
        (tmp_path / f".replaced-{path.name}-4711").mkdir()
        clean_up(tmp_path)
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
        assert read_checkpoint(path)

    def test_clean_up_of_a_run_without_checkpoints_does_nothing(self, tmp_path):
        clean_up(tmp_path / "missing")
        assert list(tmp_path.iterdir()) == []


class TestFullDisk:
    @pytest.mark.faults
    @pytest.mark.parametrize("failing_call", range(7))
    def test_05_failing_write_leaves_nothing_partial_and_keeps_the_previous(self, tmp_path, monkeypatch, failing_call):
        state = tiny_state()
        previous = save_checkpoint(state, tmp_path, 1.0, "")
        train_one_step(state)
        real_fsync, calls = os.fsync, []

        def fsync(descriptor: int) -> None:
            calls.append(descriptor)
            if len(calls) > failing_call:
                raise OSError(errno.ENOSPC, "No space left on device")
            real_fsync(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(ResourceError, match=r"could not save \(No space left on device\)") as raised:
            save_checkpoint(state, tmp_path, 2.0, "")
        assert raised.value.exit_code == 6
        monkeypatch.undo()
        assert [entry.name for entry in tmp_path.iterdir()] == [previous.name]
        assert read_newest(tmp_path)[0].path == previous

    def test_saving_works_again_when_there_is_space(self, tmp_path, monkeypatch):
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        state = tiny_state()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(ResourceError):
                save_checkpoint(state, tmp_path, 1.0, "")
        assert read_checkpoint(save_checkpoint(state, tmp_path, 1.0, ""))

    def test_file_in_place_of_the_checkpoints_folder_is_a_resource_error(self, tmp_path):
        (tmp_path / "checkpoints").write_text("")
        with pytest.raises(ResourceError, match="could not save"):
            save_checkpoint(tiny_state(), tmp_path / "checkpoints", 1.0, "")


class TestKeepingForGood:
    def kept(self, folder: Path, images: list[int], keep_every: int | None) -> list[int]:
        state = tiny_state()
        for seen in images:
            state.counters["images"] = seen
            save_checkpoint(state, folder, 1.0, "data", keep_every=keep_every)
        return [int(path.name) for path in reversed(checkpoint_folders(folder))]

    @pytest.mark.parametrize(
        ("keep_every", "expected"),
        [
            (None, [95, 121]),
            (30, [30, 61, 90, 95, 121]),
            (50, [61, 95, 121]),
            (100, [95, 121]),
            (1000, [95, 121]),
            (1, [10, 25, 30, 45, 61, 62, 90, 95, 121]),
        ],
    )
    def test_first_checkpoint_at_or_past_each_multiple_and_the_last_two_are_kept(self, keep_every, expected, tmp_path):
        assert self.kept(tmp_path, [10, 25, 30, 45, 61, 62, 90, 95, 121], keep_every) == expected

    def test_a_multiple_that_was_among_the_last_two_stays_when_it_is_older(self, tmp_path):
        assert self.kept(tmp_path, [90, 100, 110, 120, 130], 100) == [100, 120, 130]

    def test_kept_checkpoints_are_whole(self, tmp_path):
        self.kept(tmp_path, [10, 20, 30, 40, 50], 20)
        assert [read_checkpoint(path).state.counters["images"] for path in checkpoint_folders(tmp_path)] == [
            50, 40, 20,
        ]  # fmt: skip


class TestClasses:
    def test_classes_come_back_with_the_state(self, tmp_path):
        recipe = RECIPES["mlp"](size=(4, 4), num_classes=2).shrunk()
        state, fresh = new_state(recipe), new_state(recipe, seed=4)
        state.classes = Classes(("Katze 😀", "1"), (3, 0))
        checkpoint = read_checkpoint(save_checkpoint(state, tmp_path, 0.0, ""))
        assert checkpoint.state.classes == state.classes
        restore(fresh, checkpoint)
        assert fresh.classes == state.classes
        assert fresh.digest() == state.digest()

    def test_an_unconditional_state_has_none(self, tmp_path):
        checkpoint = read_checkpoint(save_checkpoint(tiny_state(), tmp_path, 0.0, ""))
        assert checkpoint.state.classes is None
