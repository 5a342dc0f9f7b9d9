"""The command line up to where work begins: all mistakes at once, near matches, and no torch until it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gansmith.cli import COMMANDS, main, parse
from gansmith.errors import UsageError


def problems_of(*arguments: str) -> list[str]:
    """What a command that must not start says."""
    command, unknown = parse(arguments)
    with pytest.raises(UsageError) as raised:
        command.run(unknown)
    return raised.value.problems


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A command that starts by mistake leaves nothing in the repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestCommands:
    @pytest.mark.parametrize(
        ("word", "meant"),
        [("trian", "train"), ("samples", "sample"), ("recipe", "recipes"), ("interpolat", "interpolate")],
    )
    def test_unknown_command_names_the_near_match_and_all_commands(self, word, meant):
        with pytest.raises(UsageError) as raised:
            parse([word])
        message = str(raised.value)
        assert f"{word}: there is no such command" in message
        assert repr(meant) in message
        assert all(name in message for name in COMMANDS)

    def test_command_like_no_other_has_no_near_match(self):
        with pytest.raises(UsageError, match="no such command; there are"):
            parse(["qqqqqq"])

    @pytest.mark.parametrize("arguments", [["--help"], ["-h"], [], *([name, "--help"] for name in COMMANDS)])
    def test_help_exits_with_0_and_prints_usage(self, arguments, capsys):
        with pytest.raises(SystemExit) as raised:
            parse(arguments)
        assert raised.value.code in (0, None)
        assert "usage: gansmith" in capsys.readouterr().out

    def test_version_is_printed(self, capsys):
        from gansmith import __version__

        with pytest.raises(SystemExit) as raised:
            parse(["--version"])
        assert raised.value.code == 0
        assert capsys.readouterr().out == f"gansmith {__version__}\n"

    @pytest.mark.parametrize(
        "arguments", [["sample"], ["interpolate"], ["show"], ["sample", "x", "--num", "abc"], ["sample", "x", "--num"]]
    )
    def test_missing_or_unreadable_argument_exits_with_2(self, arguments, capsys):
        with pytest.raises(SystemExit) as raised:
            parse(arguments)
        assert raised.value.code == 2

    def test_nothing_given_is_told_from_a_given_default(self):
        command, unknown = parse(["train"])
        assert (command.data, command.recipe, command.seed, command.debug) == (None, None, None, False)
        assert unknown == []

    def test_arguments_are_taken_in_any_order(self):
        command, unknown = parse(["train", "--images", "5k", "pets", "--set", "loss=hinge", "--set", "batch_size=4"])
        assert (command.data, command.images, command.set) == ("pets", "5k", ("loss=hinge", "batch_size=4"))
        assert unknown == []


class TestMistakes:
    def test_all_mistakes_are_told_at_once(self):
        problems = problems_of(
            "train", "digits", "--images", "-1", "--minutes", "0", "--seed", "x", "--size", "64y", "--channels", "2",
            "--save-every", "0", "--set", "lss=hinge", "--set", "loss=hnge", "--imagse", "5",
        )  # fmt: skip
        text = "\n".join(problems)
        assert len(problems) == 9
        for part in (
            "--images -1: ",
            "--minutes 0: ",
            "--seed x: ",
            "--size 64y: ",
            "--channels 2: ",
            "--save-every 0: ",
            "there is no field 'lss' in a recipe of objective adversarial (did you mean 'loss'",
            "loss: 'hnge' is not one of",
            "--imagse: there is no such option (did you mean '--images'",
        ):
            assert part in text

    def test_unknown_recipe_names_near_matches_beside_the_other_mistakes(self):
        problems = problems_of("train", "--recipe", "dcgan-smal", "--images", "abc")
        assert len(problems) == 2
        assert "--recipe dcgan-smal: there is no such recipe (did you mean 'dcgan-small'" in problems[1]

    @pytest.mark.parametrize("count", ["-1", "0", "1.5", "abc", "", "1e99", "nan", "inf", "5kk", "0.0001k", "-5k"])
    @pytest.mark.parametrize("option", ["--images", "--save-every"])
    def test_count_that_is_none_is_shown_with_what_is_allowed(self, option, count):
        (problem,) = problems_of("train", option, count)
        assert problem.startswith(f"{option} {count}: {count!r} is not a count; write a whole number above 0")

    @pytest.mark.parametrize("minutes", ["0", "-1", "abc", "nan", "inf", "1e12", ""])
    def test_minutes_that_are_none_are_shown(self, minutes):
        assert problems_of("train", "--minutes", minutes) == [
            f"--minutes {minutes}: {minutes!r} is not a number above 0"
        ]

    @pytest.mark.parametrize("seed", ["-1", "1.5", "abc", "", str(2**63), "1" * 5000, "٣"])
    def test_seed_that_is_none_is_shown(self, seed):
        (problem,) = problems_of("train", "--seed", seed)
        assert problem.startswith(f"--seed {seed}: ")

    @pytest.mark.parametrize("size", ["0", "-8", "abc", "8x", "x8", "8x8x8", "8.5", "8 x 8", "", "²"])
    def test_size_that_is_none_is_shown(self, size):
        (problem,) = problems_of("train", "--size", size)
        assert problem.startswith(f"--size {size}: ")

    @pytest.mark.parametrize(("size", "nearest"), [("30", "28x28"), ("28x30", "28x28"), ("100", "96x96")])
    def test_size_that_the_recipe_cannot_make_is_told_with_the_nearest_that_fits(self, size, nearest):
        (problem,) = problems_of("train", "--size", size)
        assert "does not fit the dcgan generator" in problem
        assert f"the nearest that fits is {nearest}" in problem

    @pytest.mark.parametrize("channels", ["0", "2", "5", "-1", "rgb"])
    def test_channels_that_are_none_are_shown(self, channels):
        assert problems_of("train", "--channels", channels) == [
            f"--channels {channels}: {channels!r} is not 1 (grey), 3 (RGB) or 4 (RGBA)"
        ]

    @pytest.mark.parametrize(
        ("option", "near"), [("--recipies", "--recipe"), ("--save_evry", "--save-every"), ("--sead", "--seed")]
    )
    def test_unknown_option_names_the_near_match(self, option, near):
        (problem,) = problems_of("train", "digits", option, "5")
        assert f"{option}: there is no such option" in problem
        assert repr(near) in problem

    @pytest.mark.parametrize("arguments", [["recipes"], ["show", "mlp"], ["sample", "run"], ["interpolate", "run"]])
    def test_every_command_refuses_an_unknown_option(self, arguments):
        (problem,) = problems_of(*arguments, "--debgu")
        assert "--debgu: there is no such option (did you mean '--debug'" in problem

    def test_argument_too_many_is_named(self):
        assert problems_of("train", "digits", "pets") == ["pets: one argument too many"]

    @pytest.mark.parametrize(
        ("arguments", "part"),
        [
            (["sample", "run", "--num", "0"], "--num 0: must be at least 1"),
            (["sample", "run", "-n", "-3"], "--num -3: must be at least 1"),
            (["sample", "run", "--seed", "-1"], "--seed -1: must be from 0 to 2^63 - 1"),
            (["interpolate", "run", "--stops", "1"], "--stops 1 --frames 96: at least 2 stops"),
            (["interpolate", "run", "--stops", "9", "--frames", "8"], "a frame for each"),
        ],
    )
    def test_number_out_of_range_is_shown(self, arguments, part):
        (problem,) = problems_of(*arguments)
        assert part in problem

    def test_neither_a_path_nor_a_recipe_names_near_matches(self):
        (problem,) = problems_of("show", "dcgan-smal")
        assert problem.startswith("dcgan-smal: neither a path nor a recipe (did you mean 'dcgan-small'")

    @pytest.mark.parametrize(
        "arguments", [["--set", "loss=hinge"], ["--size", "28"], ["--channels", "1"], ["--recipe", "mlp"]]
    )
    def test_config_goes_with_no_other_recipe(self, arguments):
        (problem,) = problems_of("train", "--config", "config.yaml", *arguments)
        assert problem.startswith("--config: the file says this already")

    @pytest.mark.parametrize("arguments", [["pets"], ["--seed", "5"], ["--save-every", "100"]])
    def test_config_refuses_what_it_would_ignore(self, arguments):
        (problem,) = problems_of("train", "--config", "config.yaml", *arguments)
        assert problem.startswith("--config")

    def test_main_prints_one_mistake_in_one_line_and_exits_with_2(self, capsys):
        with pytest.raises(SystemExit) as raised:
            main(["train", "--images", "0"])
        assert raised.value.code == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("gansmith: --images 0: ")
        assert captured.err.count("\n") == 1

    def test_main_prints_several_mistakes_one_a_line(self, capsys):
        with pytest.raises(SystemExit) as raised:
            main(["train", "--images", "0", "--seed", "x"])
        assert raised.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "gansmith: 2 mistakes"
        assert [line[:5] for line in lines[1:]] == ["  --i", "  --s"]

    def test_debug_shows_the_traceback(self):
        with pytest.raises(UsageError):
            main(["train", "--images", "0", "--debug"])

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [(["train", "no-such-folder"], 3), (["sample", "no-such-run"], 4), (["train", "--config", "missing.yaml"], 2)],
    )
    def test_each_family_of_errors_has_its_exit_code(self, arguments, code, capsys):
        with pytest.raises(SystemExit) as raised:
            main(arguments)
        assert raised.value.code == code
        assert capsys.readouterr().err.startswith("gansmith: ")


LIGHT = """
import sys

def exit_code(arguments):
    from gansmith.cli import main
    try:
        main(arguments)
    except SystemExit as end:
        return end.code
    return None

import gansmith
assert "torch" not in sys.modules, "import gansmith"
import gansmith.recipes
gansmith.recipes.RECIPES["mlp"]()
assert "torch" not in sys.modules, "import gansmith.recipes"
gansmith.Recipe
assert "torch" not in sys.modules, "gansmith.Recipe"
for arguments, code in (
    (["--help"], 0), (["train", "--help"], 0), (["--version"], 0), (["trian"], 2), (["sample"], 2),
    (["train", "--images", "0", "--set", "lss=1", "--recipe", "x"], 2), (["train", "--size", "30"], 2),
    (["sample", "x", "--num", "0"], 2), (["show", "nothing"], 2), (["evaluate", "--help"], 0),
    (["evaluate", "nothing", "--scores", "x"], 2), (["compare", "nothing"], 2), (["compare", "--help"], 0),
    (["classify", "train", "digits", "--size", "3"], 2), (["classify", "tset"], 2), (["classify", "test", "-h"], 0),
):
    assert (exit_code(arguments) or 0) == code, arguments
    assert "torch" not in sys.modules, arguments
print("light")
"""


def test_help_mistakes_and_recipes_are_answered_without_torch():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("light\n"), done.stderr
