"""`gansmith sweep` from the command to its page: equal runs, ranking, going on, and runs that diverge."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest

import gansmith
from gansmith.cli import main, parse
from gansmith.errors import DivergedError, Interrupted, UsageError
from gansmith.overrides import apply_overrides
from gansmith.recipes import RECIPES
from gansmith.training import session

SMALL = ("--recipe", "mlp", "--set", "batch_size=32", "--samples", "64", "--images", "96", "--score", "kd")
OVER = {"loss": ["hinge", "minimax"], "gamma": [0.05, 0.5]}


def swept(over=None, data="digits", **changes) -> gansmith.Sweep:
    options = {"recipe": "mlp", "overrides": ["batch_size=32"], "images": 96, "num_samples": 64, "score": "kd",
               "quiet": True} | changes  # fmt: skip
    return gansmith.sweep(data, over or OVER, **options)


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """Names of the run folders that are trained in, in order."""
    names: list[str] = []
    real = session.Session.train

    def train(self):
        names.append(self.folder.name)
        return real(self)

    monkeypatch.setattr(session.Session, "train", train)
    return names


def test_sweep_ranks_two_by_two_settings_on_one_page(capsys, trained):
    main(["sweep", "digits", *SMALL, "--over", "loss=hinge,minimax", "--over", "gamma=0.05,0.5"])
    said = capsys.readouterr().out
    folder = Path("sweeps/digits-mlp-1")
    assert f"{folder}: 4 runs of 96 images (settings: 2 x 2; 1 seed each)" in said
    assert said.count("; about ") == 3  # time to go, after each run but the last
    assert "one seed each (--seeds 3 gives intervals over seeds)" in said
    values = json.loads((folder / "sweep.json").read_text())
    assert {tuple(row["setting"].values()) for row in values["ranking"]} == {
        (loss, gamma) for loss in ("hinge", "minimax") for gamma in ("0.05", "0.5")
    }
    scores = [row["cell"]["value"] for row in values["ranking"]]
    assert scores == sorted(scores)
    assert [row["place"] for row in values["ranking"]] == [1, 2, 3, 4]
    assert values["ranking"][0]["against_best"] == "the best"
    by_loss = [row["cell"]["value"] for row in values["ranking"] if row["setting"]["loss"] == "hinge"]
    assert values["values"][0]["mean"] == pytest.approx(sum(by_loss) / 2)
    best = " ".join(f"{field}={value}" for field, value in values["ranking"][0]["setting"].items())
    assert f"best: {best}; train it for longer:" in said
    page = (folder / "sweep.html").read_text()
    assert page.index("Ranking") < page.index("Each value") < page.index("What differs by more than chance")
    assert f"Best: {best}" in page
    assert page.count("<img ") == 4
    assert len(trained) == 4


def test_sweep_runs_differ_in_what_is_swept_alone():
    found = swept({"loss": ["hinge", "minimax"]}, recipe="auto", overrides=["generator.width=4", "batch_size=32"])
    recipes = [gansmith.load(outcome.trial.folder).recipe for outcome in found.outcomes]
    assert [recipe.loss for recipe in recipes] == ["hinge", "minimax"]
    assert recipes[0].replace(loss="minimax") == recipes[1]
    assert {outcome.report.subject.images_seen for outcome in found.outcomes} == {96}
    assert found.facts.train[0].startswith("gansmith train digits --recipe auto --set generator.width=4")


def test_sweep_train_command_makes_the_recipe_of_the_best():
    found = swept({"gamma": [0.05, 0.5], "rate": [1e-3, 1e-4]}, overrides=["batch_size=16"])
    command, unknown = parse(shlex.split(found.facts.train[0], comments=True)[1:])
    assert not unknown
    best = next(out.trial.recipe for out in found.outcomes if out.trial.setting == found.ranking[0].setting)
    asked = apply_overrides(RECIPES["mlp"](best.size, best.channels, best.precision), command.set)
    assert asked == best


def test_sweep_over_seeds_has_intervals_over_seeds_and_goes_on_with_more(trained):
    found = swept({"loss": ["hinge", "minimax"]}, seeds=2, out="here")
    assert [row.cell.of for row in found.ranking] == ["mean of 2 seeds, t over seeds"] * 2
    assert any("Intervals are of the mean over seeds (t)" in line for line in found.lines())
    assert len(trained) == 4
    more = swept({"loss": ["hinge", "minimax", "least_squares"]}, seeds=3, out="here")
    assert trained[4:] == [
        "loss=least_squares,seed=0", "loss=least_squares,seed=1", "loss=hinge,seed=2", "loss=minimax,seed=2",
        "loss=least_squares,seed=2",
    ]  # fmt: skip
    assert len(more.ranking) == 3
    with pytest.raises(UsageError, match="here holds another sweep"):
        swept({"loss": ["hinge"]}, seeds=3, out="here")
    with pytest.raises(UsageError, match="images: the sweep has 96, asked for 97"):
        swept({"loss": ["hinge", "minimax", "least_squares"]}, seeds=3, out="here", images=97)


def test_sweep_that_is_stopped_goes_on_where_it_was_and_ends_the_same(monkeypatch, trained):
    straight = swept(out="straight")
    real = session.Session._record

    def record(self, progress):
        real(self, progress)
        if self.folder.name == "loss=hinge,gamma=0.5,seed=0" and progress.record["images"] < 96:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "_record", record)
        with pytest.raises(Interrupted, match=r"run 2 of 4, loss=hinge gamma=0.5 seed=0: stopped and saved") as caught:
            swept()
    assert caught.value.exit_code == 130
    trained.clear()
    found = swept()
    assert found.folder == Path("sweeps/digits-mlp-1")
    assert trained == ["loss=hinge,gamma=0.5,seed=0", "loss=minimax,gamma=0.05,seed=0", "loss=minimax,gamma=0.5,seed=0"]
    assert [row.cell for row in found.ranking] == [row.cell for row in straight.ranking]
    trained.clear()
    swept()
    assert trained == []


def test_sweep_run_that_diverges_is_a_row_and_is_not_tried_again(capsys, trained):
    for _ in range(2):
        found = swept({"rate": ["1e-3", "1e30"]}, quiet=False)
    assert [row.setting for row in found.ranking] == [(("rate", "1e-3"),)]
    assert trained == ["rate=1e-3,seed=0", "rate=1e30,seed=0"]
    page = (found.folder / "sweep.html").read_text()
    assert "rate=1e30 seed=0: diverged: " in page
    assert "diverged" in json.loads((found.folder / "sweep.json").read_text())["without_score"]["rate=1e30 seed=0"]
    assert "rate=1e30 seed=0: diverged: " in capsys.readouterr().out


def test_sweep_of_which_every_run_diverges_says_so_and_fails():
    with pytest.raises(DivergedError, match="not one of 1 run has a score"):
        swept({"rate": ["1e30"]}, out="none")
    assert "No setting has a score" in Path("none/sweep.html").read_text()


def test_sweep_setting_that_loses_a_seed_says_of_how_many_its_score_is(monkeypatch):
    real = session.Session.train

    def train(self):
        if self.folder.name == "loss=hinge,seed=1":
            raise DivergedError("on purpose")
        return real(self)

    monkeypatch.setattr(session.Session, "train", train)
    found = swept({"loss": ["hinge", "minimax"]}, seeds=2)
    lacking = {dict(row.setting)["loss"]: row.lacking for row in found.ranking}
    assert lacking == {"hinge": "1 of 2 seeds", "minimax": ""}
    assert sum("loss=hinge " in line and "; 1 of 2 seeds alone" in line for line in found.lines()) == 1
    assert "loss=hinge seed=1: diverged: on purpose" in found.lines()
    assert (found.folder / "sweep.html").read_text().count("<small>1 of 2 seeds alone</small>") == 1
    is_best = found.ranking[0].lacking != ""
    assert is_best is any(line.startswith("best: loss=hinge (of 1 of 2 seeds") for line in found.lines())


def test_sweep_of_python_objects_prints_no_command_that_cannot_be_typed():
    recipe = RECIPES["mlp"]().replace(batch_size=32)
    found = swept({"loss": ["hinge"]}, recipe=recipe, overrides=[])
    assert [command.split()[:3] for command in found.facts.train] == [["gansmith", "train", "--config"]]
    assert not found.facts.rerun
    assert "Sweep again" not in (found.folder / "sweep.html").read_text()
    images = np.random.default_rng(0).integers(0, 256, (64, 1, 28, 28), dtype=np.uint8)
    found = swept({"loss": ["hinge"]}, data=images, out="objects")
    assert not found.facts.train and not found.facts.rerun
    assert found.lines()[-2] == "best: loss=hinge"


@pytest.mark.parametrize(
    ("score", "num_samples", "said"),
    [
        ("fd", 100, "100 samples and 128 features: a covariance needs more than 128"),
        ("modes", 200, "digits is not stacked; give stacked:DATA"),
        ("intra-fd", 300, "of a class there are .* a covariance needs more than 128"),
        ("recall", 5, "5 samples: too few for 5 nearest neighbours"),
    ],
)
def test_sweep_whose_score_cannot_exist_is_refused_before_it_trains(score, num_samples, said, trained):
    with pytest.raises(UsageError, match=f"no run can have the score {score}: {said}"):
        swept(score=score, num_samples=num_samples)
    assert trained == []


def test_sweep_refuses_what_it_cannot_score_before_it_trains(trained):
    with pytest.raises(gansmith.GansmithError, match="points of the plane"):
        gansmith.sweep("ring", {"loss": ["hinge"]}, quiet=True)
    with pytest.raises(UsageError, match="nothing to sweep"):
        gansmith.sweep("digits", {}, quiet=True)
    with pytest.raises(UsageError, match="cannot be ranked by"):
        swept(score="memorisation")
    assert trained == []
    assert not Path("sweeps").exists()
