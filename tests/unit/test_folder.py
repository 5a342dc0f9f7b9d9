"""A run's folder: its config, whether it belongs to a request, and its lock."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gansmith.budget import Budget
from gansmith.errors import ResourceError, UsageError
from gansmith.facts import DataFacts, MachineFacts
from gansmith.recipe import Recipe
from gansmith.recipes import RECIPES
from gansmith.request import Request
from gansmith.training.folder import CONFIG, RunConfig, differences, find_run, lock


def config_of(**changes) -> RunConfig:
    request = changes.pop("request", Request("mlp", ("batch_size=16",), (8, 8), 1))
    data = DataFacts(1000, 10, (28, 28), True, 1)
    recipe = request.resolve(data, MachineFacts("a machine", "float32", 100.0, 2**30), Budget.of()).recipe
    values = {
        "data": "digits", "fingerprint": "00ff", "seed": 0, "images": 1000, "minutes": None, "save_every": None,
        "micro_batch": None,
    }  # fmt: skip
    return RunConfig(request=request, recipe=recipe, **{**values, **changes})


def saved(config: RunConfig, folder: Path) -> Path:
    folder.mkdir(parents=True)
    config.save(folder / CONFIG)
    return folder


class TestConfig:
    @pytest.mark.parametrize(
        "config",
        [
            config_of(),
            config_of(images=None, minutes=2.5, save_every=100, seed=2**62),
            config_of(data="/data/mein hund/😀: #1.zip", fingerprint="0123456789012345"),
            config_of(data="no", fingerprint="1e10"),
            config_of(request=Request("mlp", conditional=True, fit="pad"), micro_batch=16),
            config_of(request=Request()),
            config_of(request=Request(RECIPES["dcgan-32"]().shrunk(), ("loss=hinge",))),
        ],
        ids=["plain", "minutes", "unicode", "yaml words", "conditional", "default request", "whole recipe"],
    )
    def test_config_comes_back_as_it_was_saved(self, config, tmp_path):
        config.save(tmp_path / CONFIG)
        assert RunConfig.load(tmp_path / CONFIG) == config
        assert [entry.name for entry in tmp_path.iterdir()] == [CONFIG]

    def test_file_holds_version_recipe_id_and_how_to_use_it(self, tmp_path):
        config_of().save(tmp_path / CONFIG)
        text = (tmp_path / CONFIG).read_text()
        assert text.startswith("# This file reruns the run: gansmith train --config")
        values = yaml.safe_load(text)
        assert values["recipe_id"] == config_of().recipe.id
        assert values["gansmith"]

    def test_missing_file_is_named(self, tmp_path):
        with pytest.raises(UsageError, match=r"config\.yaml: cannot be read \(No such file"):
            RunConfig.load(tmp_path / CONFIG)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "# only a comment\n",
            "5",
            "[1, 2]",
            "hello",
            "{}",
            "a: b",
            "data: [",
            "data:\n\t- x",
            "a: b: c",
            "&a [*a]",
        ],
    )
    def test_text_that_describes_no_run_is_a_usage_error_that_names_the_file(self, tmp_path, text):
        (tmp_path / CONFIG).write_text(text)
        with pytest.raises(UsageError, match=r"config\.yaml: does not describe a run") as raised:
            RunConfig.load(tmp_path / CONFIG)
        assert raised.value.exit_code == 2

    def test_bytes_that_are_no_text_are_a_usage_error(self, tmp_path):
        (tmp_path / CONFIG).write_bytes(b"\xff\xfe\x00\x80" * 10)
        with pytest.raises(UsageError, match="does not describe a run"):
            RunConfig.load(tmp_path / CONFIG)

    def test_file_over_a_megabyte_is_refused(self, tmp_path):
        (tmp_path / CONFIG).write_text("a: " + "x" * 2**20)
        with pytest.raises(UsageError, match="larger than 1 MB"):
            RunConfig.load(tmp_path / CONFIG)

    @pytest.mark.parametrize(
        "bomb",
        [
            "!!python/object/apply:os.mkdir ['{marker}']",
            "!!python/object/new:os.mkdir ['{marker}']",
            "data: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{marker}']]",
            "!!python/name:os.mkdir ''",
        ],
    )
    def test_python_objects_are_refused_and_never_made(self, tmp_path, bomb):
        marker = tmp_path / "marker"
        (tmp_path / CONFIG).write_text(bomb.format(marker=marker))
        with pytest.raises(UsageError, match="does not describe a run"):
            RunConfig.load(tmp_path / CONFIG)
        assert not marker.exists()

    @pytest.mark.parametrize(
        "key",
        ["data", "request", "recipe", "data_fingerprint", "seed", "budget", "save_every", "micro_batch"],
        ids="no {}".format,
    )
    def test_missing_key_is_named(self, tmp_path, key):
        change_config(tmp_path, lambda values: values.pop(key))
        with pytest.raises(UsageError, match=key):
            RunConfig.load(tmp_path / CONFIG)

    def test_mistakes_in_the_recipe_are_all_named(self, tmp_path):
        change_config(tmp_path, lambda values: values["recipe"].update(loss="hnge", batch_size=-1, strange=1))
        with pytest.raises(UsageError) as raised:
            RunConfig.load(tmp_path / CONFIG)
        assert len(raised.value.problems) == 3
        assert "'hnge' is not one of" in str(raised.value)
        assert "batch_size: -1" in str(raised.value)
        assert "strange: there is no such field" in str(raised.value)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("seed", "zero"),
            ("seed", -1),
            ("seed", None),
            ("data", 5),
            ("data_fingerprint", 12),
            ("save_every", "x"),
            ("micro_batch", 0),
        ],
    )
    def test_value_of_the_wrong_kind_is_a_usage_error(self, tmp_path, key, value):
        change_config(tmp_path, lambda values: values.update({key: value}))
        with pytest.raises(UsageError, match=key):
            RunConfig.load(tmp_path / CONFIG)

    # BUG as above.
    @pytest.mark.parametrize("budget", [{"images": "many", "minutes": None}, {"images": -5, "minutes": None}])
    def test_budget_of_the_wrong_kind_is_a_usage_error(self, tmp_path, budget):
        change_config(tmp_path, lambda values: values.update(budget=budget))
        with pytest.raises(UsageError, match="images"):
            RunConfig.load(tmp_path / CONFIG)

    @pytest.mark.parametrize("size", [[28], [], 28, "ab", [1, 2, 3]])
    def test_request_with_another_size_is_a_usage_error(self, tmp_path, size):
        change_config(tmp_path, lambda values: values["request"].update(size=size))
        with pytest.raises(UsageError):
            RunConfig.load(tmp_path / CONFIG)

    def test_deeply_nested_file_is_a_usage_error(self, tmp_path):
        (tmp_path / CONFIG).write_text("[" * 2_000)
        with pytest.raises(UsageError, match="does not describe a run"):
            RunConfig.load(tmp_path / CONFIG)

    def test_duplicate_key_is_a_usage_error(self, tmp_path):
        config_of().save(tmp_path / CONFIG)
        (tmp_path / CONFIG).write_text((tmp_path / CONFIG).read_text() + "seed: 7\n")
        with pytest.raises(UsageError, match="seed"):
            RunConfig.load(tmp_path / CONFIG)

    def test_alias_bomb_gives_a_short_message(self, tmp_path):
        levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 5)]
        config_of().save(tmp_path / CONFIG)
        text = (tmp_path / CONFIG).read_text()
        assert "loss: non_saturating" in text
        (tmp_path / CONFIG).write_text("\n".join(levels) + "\n" + text.replace("loss: non_saturating", "loss: *a4"))
        with pytest.raises(UsageError) as raised:
            RunConfig.load(tmp_path / CONFIG)
        assert len(str(raised.value)) < 5_000


def change_config(folder: Path, change) -> None:
    config_of().save(folder / CONFIG)
    values = yaml.safe_load((folder / CONFIG).read_text())
    change(values)
    (folder / CONFIG).write_text(yaml.safe_dump(values))


def test_config_of_before_there_were_evaluations_is_read(tmp_path):
    change_config(tmp_path, lambda values: (values.pop("evaluate_every"), values.pop("patience")))
    assert RunConfig.load(tmp_path / CONFIG) == config_of()


class TestFindRun:
    def test_first_run_of_a_request_is_number_1(self, tmp_path):
        assert find_run(config_of(), None, tmp_path / "runs") == (tmp_path / "runs" / "digits-mlp-1", None)

    def test_same_request_goes_on(self, tmp_path):
        folder = saved(config_of(), tmp_path / "digits-mlp-1")
        assert find_run(config_of(), None, tmp_path) == (folder, config_of())

    def test_another_budget_is_still_the_same_run(self, tmp_path):
        folder = saved(config_of(), tmp_path / "digits-mlp-1")
        assert find_run(config_of(images=None, minutes=9.0, save_every=5), None, tmp_path)[0] == folder

    @pytest.mark.parametrize(
        "changes",
        [
            {"seed": 1},
            {"fingerprint": "other"},
            {"request": Request("mlp")},
            {"request": Request("mlp", ("batch_size=16",), (8, 8), 1, conditional=True)},
            {"request": Request("mlp", ("batch_size=16",), (8, 8), 1, fit="pad")},
        ],
    )
    def test_another_request_is_a_new_run(self, tmp_path, changes):
        saved(config_of(), tmp_path / "digits-mlp-1")
        assert find_run(config_of(**changes), None, tmp_path) == (tmp_path / "digits-mlp-2", None)

    def test_newest_of_several_equal_runs_goes_on_and_numbers_count_as_numbers(self, tmp_path):
        for number in (2, 9, 10):
            saved(config_of(), tmp_path / f"digits-mlp-{number}")
        saved(config_of(seed=1), tmp_path / "digits-mlp-11")
        assert find_run(config_of(), None, tmp_path)[0].name == "digits-mlp-10"
        assert find_run(config_of(seed=2), None, tmp_path)[0].name == "digits-mlp-12"

    def test_number_of_a_folder_without_a_config_is_not_taken_again(self, tmp_path):
        (tmp_path / "digits-mlp-3").mkdir()
        assert find_run(config_of(), None, tmp_path) == (tmp_path / "digits-mlp-4", None)

    def test_run_is_named_after_the_data_without_its_folder_and_odd_signs(self, tmp_path):
        (tmp_path / "my [odd] *pets*").mkdir()
        asked = config_of(data=str(tmp_path / "my [odd] *pets*"))
        assert find_run(asked, None, tmp_path)[0].name == "my_odd_pets_-mlp-1"

    def test_out_with_the_same_run_goes_on(self, tmp_path):
        folder = saved(config_of(), tmp_path / "out")
        assert find_run(config_of(), folder) == (folder, config_of())

    @pytest.mark.parametrize("make", [False, True])
    def test_out_that_is_missing_or_empty_is_a_new_run(self, tmp_path, make):
        if make:
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / ".lock").touch()
        assert find_run(config_of(), tmp_path / "out") == (tmp_path / "out", None)

    def test_out_with_another_run_is_a_usage_error_with_each_difference(self, tmp_path):
        folder = saved(config_of(), tmp_path / "out")
        asked = config_of(seed=1, fingerprint="beef", request=Request("dcgan-small", ("loss=hinge",), (8, 8), 3))
        with pytest.raises(UsageError) as raised:
            find_run(asked, folder)
        message = str(raised.value)
        assert f"{folder} holds another run" in message
        for line in (
            "recipe: the run has 'mlp', asked for 'dcgan-small'",
            'set: the run has ["batch_size=16"], asked for ["loss=hinge"]',
            "channels: the run has 1, asked for 3",
            "data fingerprint: the run has '00ff', asked for 'beef'",
            "seed: the run has 0, asked for 1",
        ):
            assert line in message
        assert "size" not in message.replace("batch_size", "")
        assert "choose another --out" in message

    def test_difference_of_whole_recipes_is_cut_short(self):
        recipe: Recipe = RECIPES["mlp"]()
        (line,) = differences(
            config_of(request=Request(recipe)), config_of(request=Request(recipe.replace(batch_size=7)))
        )
        assert line.startswith("recipe: the run has {")
        assert len(line) < 200

    def test_equal_configs_have_no_differences(self):
        assert differences(config_of(), config_of(images=5, data="elsewhere")) == []

    def test_out_that_is_a_file_is_a_usage_error(self, tmp_path):
        (tmp_path / "out").write_text("hello")
        with pytest.raises(UsageError, match="exists and is not a run folder"):
            find_run(config_of(), tmp_path / "out")

    def test_out_with_other_things_in_it_is_a_usage_error(self, tmp_path):
        (tmp_path / "holiday.png").write_text("hello")
        with pytest.raises(UsageError, match="exists and is not a run folder"):
            find_run(config_of(), tmp_path)

    def test_out_with_a_damaged_config_is_a_usage_error(self, tmp_path):
        (tmp_path / CONFIG).write_text("")
        with pytest.raises(UsageError, match=r"config\.yaml: does not describe a run"):
            find_run(config_of(), tmp_path)


HOLD = """
import sys, time
from pathlib import Path
from filelock import FileLock
held = FileLock(Path(sys.argv[1]) / ".lock")
held.acquire(timeout=0)
print("held", flush=True)
time.sleep(60)
"""


class TestLock:
    def test_lock_makes_the_folder_and_is_freed_on_release(self, tmp_path):
        for _ in range(2):
            with lock(tmp_path / "deep" / "run"):
                assert (tmp_path / "deep" / "run").is_dir()

    def test_second_lock_in_the_same_process_is_refused(self, tmp_path):
        with lock(tmp_path), pytest.raises(ResourceError, match="another process is training"):
            lock(tmp_path)

    def test_lock_of_a_live_process_is_respected_and_that_of_a_killed_one_is_free(self, tmp_path):
        with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
            try:
                assert other.stdout.readline() == "held\n"
                with pytest.raises(ResourceError, match="another process is training in this run") as raised:
                    lock(tmp_path)
                assert raised.value.exit_code == 6
            finally:
                other.send_signal(signal.SIGKILL)
                other.wait(10)
        lock(tmp_path).release()

    def test_left_over_lock_file_is_no_lock(self, tmp_path):
        (tmp_path / ".lock").write_text(json.dumps({"pid": 1}))
        lock(tmp_path).release()

    def test_file_in_place_of_the_folder_is_a_resource_error(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ResourceError, match="cannot be written to"):
            lock(tmp_path / "file" / "run")


def test_config_of_these_tests_has_every_field():
    assert {field.name for field in dataclasses.fields(RunConfig)} == set(vars(config_of()))
