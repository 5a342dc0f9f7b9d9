"""What a sweep tries: how `--over` is read, what short names stand for, and that every mistake is told at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gansmith.cli import main
from gansmith.recipe import PenaltySettings
from gansmith.recipes import RECIPES
from gansmith.request import Request
from gansmith.sweeps.grid import (
    LAZY_EVERY,
    Axis,
    combinations,
    folder_name,
    name_of,
    overrides_of,
    parse_axis,
    problems_of,
    recipes_of,
)

SMALL = RECIPES["dcgan-small"]()


@pytest.mark.parametrize(("text", "values"), [
    ("loss=hinge", ("hinge",)), ("loss=hinge,relativistic", ("hinge", "relativistic")),
    ("generator.hidden=[64, 64],[128]", ("[64, 64]", "[128]")), ("x={a: [1, 2]},null", ("{a: [1, 2]}", "null")),
])  # fmt: skip
def test_sweep_axis_is_split_at_commas_outside_brackets(text, values):
    assert parse_axis(text) == Axis(text.partition("=")[0], values)


@pytest.mark.parametrize("text", ["loss", "=hinge", "loss=", "loss=hinge,", "loss=hinge,hinge"])
def test_sweep_axis_that_is_none_is_refused(text):
    with pytest.raises(ValueError):
        parse_axis(text)


def test_sweep_tries_every_combination_and_names_each():
    settings = combinations([Axis("loss", ("hinge", "minimax")), Axis("gamma", ("0.05", "0.5"))])
    assert [name_of(setting) for setting in settings] == [
        "loss=hinge gamma=0.05", "loss=hinge gamma=0.5", "loss=minimax gamma=0.05", "loss=minimax gamma=0.5",
    ]  # fmt: skip
    assert folder_name(settings[0], 2) == "loss=hinge,gamma=0.05,seed=2"


def test_sweep_folder_names_are_portable_and_differ():
    odd = [folder_name((("generator.hidden", value),), 0) for value in ("[64, 64]", "[64; 64]", "9" * 300, "9" * 301)]
    assert len(set(odd)) == 4
    assert all(len(name) < 150 and not set(name) & set("[]; /") for name in odd)


def test_sweep_gamma_adds_a_lazy_r1_and_changes_the_penalties_that_there_are():
    setting = (("gamma", "0.5"),)
    (added,) = recipes_of(SMALL, (), [setting])
    assert added.penalties == {"r1": PenaltySettings(weight=0.5, every=LAZY_EVERY)}
    both = SMALL.replace(penalties={"r1": PenaltySettings(weight=1, every=4), "r2": PenaltySettings(weight=1, every=2)})
    (changed,) = recipes_of(both, (), [setting])
    assert {name: (part.weight, part.every) for name, part in changed.penalties.items()} == {
        "r1": (0.5, 4), "r2": (0.5, 2),
    }  # fmt: skip
    assert recipes_of(both, (), [(("gamma", "0"),)])[0].penalties == {}


def test_sweep_gamma_is_applied_as_often_as_all_runs_are_told():
    (recipe,) = recipes_of(SMALL, ["penalties.r1.every=2"], [(("gamma", "0.5"),)])
    assert recipe.penalties["r1"] == PenaltySettings(weight=0.5, every=2)


def test_sweep_rate_keeps_the_proportion_of_both_rates():
    start = RECIPES["dcgan-small"]()
    ratio = start.discriminator_optimizer.learning_rate / start.generator_optimizer.learning_rate
    (recipe,) = recipes_of(start, (), [(("rate", "0.004"),)])
    assert recipe.generator_optimizer.learning_rate == 0.004
    assert recipe.discriminator_optimizer.learning_rate == pytest.approx(0.004 * ratio)
    assert overrides_of((("rate", "0.1"),), RECIPES["vae"]()) == ("generator_optimizer.learning_rate=0.1",)


def problems(*axes: str, recipe: str = "auto", common: tuple[str, ...] = ()) -> list[str]:
    return problems_of(Request(recipe, common), [parse_axis(text) for text in axes])


def test_sweep_without_mistakes_has_no_problems():
    assert problems("loss=hinge,relativistic", "gamma=0.05,0.5", "rate=1e-3,1e-4") == []
    assert problems("generator.hidden=[64],[128]") == []  # of points, for which auto takes perceptrons


def test_sweep_tells_all_mistakes_at_once_each_once_and_by_its_value():
    found = problems("loss=hinge,hing", "gamma=-1,0.5", "los=3,4", common=("batch_size=x",))
    assert len(found) == 4
    assert sum(text.startswith("--over loss=hing: ") and "did you mean 'hinge'" in text for text in found) == 1
    assert sum(text.startswith("--over gamma=-1: ") for text in found) == 1
    assert sum(text.startswith("--over los: there is no field") for text in found) == 1
    assert sum(text.startswith("batch_size: 'x' does not fit") for text in found) == 1


def test_sweep_combination_that_cannot_be_is_told_by_the_values_that_make_it():
    (found,) = problems("discriminator.normalisation=batch,spectral", "gamma=0,0.5", recipe="dcgan-28")
    assert found.startswith("--over discriminator.normalisation=batch gamma=0.5: penalties r1 need")


@pytest.mark.parametrize(("axes", "recipe", "common", "said"), [
    (("loss=hinge,minimax",), "dcgan-28", ("loss=hinge",), "--set and --over loss both say what loss is"),
    (("loss=hinge", "loss=minimax"), "auto", (), "--over loss stands twice"),
    (("gamma=1,2", "penalties.r1.weight=1,2"), "auto", (), "both say what penalties.r1.weight is"),
    (("size=16,32",), "auto", (), "would not compare"),
    (("gamma=1,2",), "vae", (), "penalises a discriminator, and vae has none"),
    (("loss=hinge",), "dcgan-29", (), "there is no such recipe"),
])  # fmt: skip
def test_sweep_that_makes_no_sense_is_refused(axes, recipe, common, said):
    (found,) = problems(*axes, recipe=recipe, common=common)
    assert said in found


def test_sweep_command_tells_mistakes_of_options_and_values_together(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["sweep", "digits", "--over", "loss=hing", "--images", "2x", "--seeds", "0", "--score", "worth"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "4 mistakes" in said
    for text in ("--images 2x", "--seeds 0", "--score worth", "--over loss=hing: loss: 'hing' is not one of"):
        assert text in said


def test_sweep_mistakes_are_told_without_torch():
    code = (
        "import sys\nfrom gansmith.cli import main\n"
        "try: main(['sweep', 'digits', '--over', 'loss=hing'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
