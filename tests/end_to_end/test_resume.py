"""N steps straight and k + (N - k) steps with a stop between are the same run, bit for bit, through the public call."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import gansmith
from gansmith.checkpoint import read_newest, save_checkpoint
from gansmith.data import open_data
from gansmith.recipe import AdversarialLossName, LossName, PenaltySettings, Recipe
from gansmith.recipes import RECIPES
from gansmith.restore import restore
from gansmith.runtime import best_precision
from gansmith.training.loop import Batches
from gansmith.training.objectives import OBJECTIVES

STEPS = 8
# r3gan-256 is r3gan-64 at a larger size.
GANS = [name for name in RECIPES if RECIPES[name]().objective == "adversarial" and name != "r3gan-256"]
WITH_EVERY_LOSS = ["mlp", "dcgan-28", "dcgan-32", "dense-conv", "resnet", "dcgan-small", "r3gan-small"]
"""The others are these with other settings and sizes."""


def recipe_for(name: str, loss: LossName) -> Recipe:
    """A shrunk recipe; where D has no batch norm, with a lazy penalty whose turn comes at steps 0, 3 and 6."""
    recipe = RECIPES[name]().shrunk().replace(loss=loss)
    if name in ("dcgan-32", "vae"):
        return recipe
    penalty = "gradient_penalty" if loss == "wasserstein" else "r1"
    shares = recipe.penalties_share_pass and penalty == "r1"
    return recipe.replace(penalties={penalty: PenaltySettings(weight=0.5, every=3)}, penalties_share_pass=shares)


@dataclass(frozen=True)
class End:
    """Where a run stands: every tensor's hash, the counters, and what the next step would be shown."""

    digest: dict[str, str]
    counters: dict[str, int]
    next_indices: dict[str, list[int]]


def end_of(folder: Path, recipe: Recipe) -> End:
    checkpoint, _ = read_newest(folder / "checkpoints")
    assert checkpoint is not None
    objective = OBJECTIVES[recipe.objective]
    state = objective.initialise(recipe, 0, torch.device("cpu"))
    restore(state, checkpoint)
    data = open_data("digits", recipe.size, recipe.channels)
    indices = {name: places.tolist() for name, places in Batches(objective, state, data).indices().items()}
    return End(state.digest(), state.counters, indices)


def train(recipe: Recipe, steps: int, folder: Path, save_every_steps: int) -> None:
    size = recipe.batch_size * recipe.discriminator_steps
    settings: dict[str, Any] = {"images": steps * size, "save_every": save_every_steps * size, "quiet": True}
    gansmith.train("digits", recipe, out=folder, **settings)


def cases() -> list[Any]:
    """Recipes with a loss; in the default tests each recipe with its own, and each loss with the cheapest recipe."""
    own = [(name, RECIPES[name]().loss) for name in (*GANS, "vae")]
    others = [pair for pair in itertools.product(WITH_EVERY_LOSS, get_args(AdversarialLossName)) if pair not in own]
    slow = [pair for pair in others if pair[0] != "mlp"]
    return [
        pytest.param(*pair, marks=[pytest.mark.slow] if pair in slow else [], id="-".join(pair))
        for pair in (*own, *others)
    ]


@pytest.mark.faults
@pytest.mark.parametrize(("name", "loss"), cases())
def test_08_resume_equals_straight(name: str, loss: LossName, tmp_path: Path) -> None:
    recipe = recipe_for(name, loss)
    train(recipe, STEPS, tmp_path / "straight", save_every_steps=5)
    train(recipe, STEPS // 2, tmp_path / "resumed", save_every_steps=2)
    assert end_of(tmp_path / "resumed", recipe) != end_of(tmp_path / "straight", recipe)
    train(recipe, STEPS, tmp_path / "resumed", save_every_steps=2)
    assert end_of(tmp_path / "resumed", recipe) == end_of(tmp_path / "straight", recipe)


@pytest.mark.faults
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_08_resume_equals_straight_with_each_optimizer_and_two_discriminator_steps(
    optimizer: str, tmp_path: Path
) -> None:
    settings = {"name": optimizer, "learning_rate": 1e-3}
    recipe = recipe_for("dcgan-small", "relativistic").replace(
        generator_optimizer=settings, discriminator_optimizer=settings, discriminator_steps=2, precision="bfloat16"
    )
    train(recipe, STEPS, tmp_path / "straight", save_every_steps=5)
    train(recipe, 3, tmp_path / "resumed", save_every_steps=2)
    train(recipe, STEPS, tmp_path / "resumed", save_every_steps=2)
    assert end_of(tmp_path / "resumed", recipe) == end_of(tmp_path / "straight", recipe)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_resume_equals_straight_at_full_size(tmp_path: Path) -> None:
    recipe = RECIPES["dcgan-28"](precision=best_precision(torch.device("cpu")))
    train(recipe, 100, tmp_path / "straight", save_every_steps=35)
    train(recipe, 50, tmp_path / "resumed", save_every_steps=50)
    train(recipe, 100, tmp_path / "resumed", save_every_steps=50)
    assert end_of(tmp_path / "resumed", recipe) == end_of(tmp_path / "straight", recipe)


def test_resumed_run_keeps_one_history_of_metrics(tmp_path: Path) -> None:
    recipe = RECIPES["mlp"]().shrunk()
    train(recipe, 4, tmp_path, save_every_steps=2)
    train(recipe, 8, tmp_path, save_every_steps=2)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    images = [int(line.split('"images": ')[1].split(",")[0]) for line in lines]
    assert images == sorted(set(images))
    assert images[-1] == 8 * recipe.batch_size


@pytest.mark.faults
def test_07_finished_run_says_so_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = RECIPES["mlp"]().shrunk()
    train(recipe, 4, tmp_path, save_every_steps=2)
    before = end_of(tmp_path, recipe)
    gansmith.train("digits", recipe, images=4 * recipe.batch_size, save_every=2 * recipe.batch_size, out=tmp_path)
    assert "finished already" in capsys.readouterr().out
    assert end_of(tmp_path, recipe) == before


def test_stop_of_a_slow_network_saves_at_once_and_loading_settles_it(tmp_path: Path) -> None:
    """A checkpoint that was not settled gives the same samples as one that was, and training goes on bit for bit."""
    recipe, objective, cpu = RECIPES["dcgan-small"]().shrunk(), OBJECTIVES["adversarial"], torch.device("cpu")
    state = objective.initialise(recipe, 0, cpu)
    batches = Batches(objective, state, open_data("digits", recipe.size, recipe.channels))
    for _ in range(3):
        objective.step(state, batches.next())
    unsettled = save_checkpoint(state, tmp_path / "unsettled", 1.0, "f", is_settled=False)
    objective.settle(state)
    settled = save_checkpoint(state, tmp_path / "settled", 1.0, "f")
    assert torch.equal(gansmith.sample(unsettled, 4), gansmith.sample(settled, 4))
    stale = gansmith.load(unsettled, raw=True).generator.state_dict()["layers.0.running_mean"]
    assert not torch.equal(gansmith.load(unsettled).generator.state_dict()["layers.0.running_mean"], stale)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"images": 0}, "images=0: must be a whole number above 0"),
        ({"images": "1k"}, "images='1k'"),
        ({"minutes": -1}, "minutes=-1"),
        ({"seed": -1}, "seed=-1: must be a whole number from 0"),
        ({"size": 32}, r"size=32: give \(height, width\)"),
        ({"overrides": "loss=hinge"}, "give a list"),
        ({"save_every": 0}, "save_every=0"),
    ],
)  # fmt: skip
def test_wrong_argument_from_python_is_a_usage_error(settings: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(gansmith.GansmithError, match=problem) as caught:
        gansmith.train("digits", out=tmp_path / "run", quiet=True, **{"images": 128, **settings})
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.faults
def test_07_other_recipe_or_seed_in_the_same_folder_is_refused_with_the_difference(tmp_path: Path) -> None:
    gansmith.train("digits", "mlp", images=128, out=tmp_path, quiet=True)
    with pytest.raises(gansmith.GansmithError, match="'mlp', asked for 'dcgan-28'") as caught:
        gansmith.train("digits", "dcgan-28", images=128, out=tmp_path, quiet=True)
    assert caught.value.exit_code == 2
    with pytest.raises(gansmith.GansmithError, match="seed: the run has 0, asked for 1"):
        gansmith.train("digits", "mlp", images=128, seed=1, out=tmp_path, quiet=True)
