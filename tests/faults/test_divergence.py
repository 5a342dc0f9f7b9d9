"""Row 12: losses and gradients that are no finite numbers, once and for long; weights that are none."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gansmith
from gansmith.checkpoint import checkpoint_folders, read_newest
from gansmith.data import Batch
from gansmith.recipe import Recipe
from gansmith.recipes import RECIPES
from gansmith.training import step
from gansmith.training.adversarial import Adversarial
from gansmith.training.descent import RATE_OF_RETRY
from gansmith.training.draws import Draws
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.state import TrainState
from tests.end_to_end.ranks import TINY, TWO, Group
from tests.end_to_end.test_resume import end_of
from tests.faults import command

pytestmark = pytest.mark.faults
STEPS, EVERY = 40, 5
NAN = float("nan")
Update = Callable[[Adversarial, TrainState, dict[str, Batch], list[Draws]], dict[str, Tensor]]


def recipe_with(optimizer: str = "adam", **changes: Any) -> Recipe:
    settings = {"name": optimizer, "learning_rate": 1e-3}
    return RECIPES["mlp"]().shrunk().replace(generator_optimizer=settings, discriminator_optimizer=settings, **changes)


def train(recipe: Recipe, folder: Path, steps: int = STEPS, quiet: bool = True) -> Path:
    size = recipe.batch_size * recipe.discriminator_steps
    gansmith.train("digits", recipe, images=steps * size, save_every=EVERY * size, out=folder, quiet=quiet)
    return folder


def poison(monkeypatch: pytest.MonkeyPatch, is_bad: Callable[[TrainState], bool], value: float = NAN) -> None:
    """Give D reals that are no numbers in some steps."""
    update: Update = Adversarial.update

    def poisoned(self: Adversarial, state: TrainState, batches: dict[str, Batch], draws: list[Draws]) -> Any:
        if is_bad(state):
            real = batches["real_d"]
            batches = {**batches, "real_d": Batch(torch.full_like(real.images, value), real.labels)}
        return update(self, state, batches, draws)

    monkeypatch.setattr(Adversarial, "update", poisoned)


def records(folder: Path) -> list[dict[str, Any]]:
    """The metrics, which hold no NaN or infinity: that would not be JSON."""

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refused) for line in lines]


def counters(folder: Path) -> dict[str, int]:
    checkpoint, _ = read_newest(folder / "checkpoints")
    assert checkpoint is not None
    return {str(name): count for name, count in checkpoint.state.counters.items()}


def is_finite(folder: Path) -> bool:
    checkpoint, _ = read_newest(folder / "checkpoints")
    assert checkpoint is not None
    return all(tensor.isfinite().all() for group in checkpoint.tensors.values() for tensor in group.values())


@pytest.mark.parametrize("value", [NAN, float("inf")], ids=["nan", "inf"])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_12_health_of_one_bad_batch_is_a_descent_less(
    optimizer: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that comes after it, D's next step too, is as if D had not descended then; G has, on its own gradient."""
    recipe = recipe_with(optimizer)
    with monkeypatch.context() as patch:
        poison(patch, lambda state: state.counters["steps"] == 12, value)
        train(recipe, tmp_path / "bad", quiet=False)
    assert "1 of the last steps skipped, because a loss or gradient was no finite number" in capsys.readouterr().out
    descend = step.descend

    def without(state: TrainState, *names: str) -> dict[str, Tensor]:
        if state.counters["steps"] == 12 and names == ("discriminator",):
            state.optimizers["discriminator"].zero_grad()
            return {}
        return descend(state, *names)

    monkeypatch.setattr(step, "descend", without)
    train(recipe, tmp_path / "without")
    assert differing(tmp_path / "bad", tmp_path / "without", recipe) <= {"step"}
    assert sum(record["num_skipped"] for record in records(tmp_path / "bad")) == 1
    assert all("loss_d" in record and record["gradient_norm_d"] > 0 for record in records(tmp_path / "bad"))
    assert counters(tmp_path / "bad") == {"images": STEPS * recipe.batch_size, "steps": STEPS}


def differing(one: Path, other: Path, recipe: Recipe) -> set[str]:
    """Names of the tensors that are not the same; RMSprop's `step` counts skipped ones, and nothing depends on it."""
    first, second = end_of(one, recipe).digest, end_of(other, recipe).digest
    assert first.keys() == second.keys()
    return {name.rpartition("/")[2] for name in first if first[name] != second[name]}


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
@pytest.mark.parametrize("name", ["dcgan-28", "dcgan-small", "dense-conv", "vae"])
def test_12_health_of_averages_and_batch_norm_after_a_bad_batch(
    name: str, update: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES[name]().shrunk()
    if recipe.objective == "adversarial":
        recipe = recipe.replace(update=update)
    objective: Any = type(OBJECTIVES[recipe.objective])
    inner = objective.update

    def poisoned(self: Any, state: TrainState, batches: dict[str, Batch], draws: list[Draws]) -> Any:
        if state.counters["steps"] == 2:
            batches = {name: Batch(batch.images * NAN, batch.labels) for name, batch in batches.items()}
        return inner(self, state, batches, draws)

    monkeypatch.setattr(objective, "update", poisoned)
    train(recipe, tmp_path / "run", steps=4)
    assert sum(record["num_skipped"] for record in records(tmp_path / "run")) == 1
    assert is_finite(tmp_path / "run")


def fails_above(share: float, since: int = 12) -> Callable[[TrainState], bool]:
    """Bad from a step on, while the rate is above a share of the recipe's."""

    def is_bad(state: TrainState) -> bool:
        rate = state.optimizers["discriminator"].param_groups[0]["lr"]
        return (
            state.counters["steps"] >= since and rate > share * state.recipe.optimizer_of("discriminator").learning_rate
        )

    return is_bad


@pytest.mark.parametrize("retries", [1, 3])
def test_12_health_comes_back_with_lower_rates_and_resumes_exactly(
    retries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_with()
    poison(monkeypatch, fails_above(1.01 * RATE_OF_RETRY**retries))
    straight = train(recipe, tmp_path / "straight", quiet=False)
    said = capsys.readouterr().out
    assert said.count("nothing of that is saved: back to the last checkpoint") == retries
    assert f"learning rates x {RATE_OF_RETRY**retries:g} and other draws ({retries} of at most 3 times)" in said
    assert said.count(f"going on from {10 * recipe.batch_size} images") == retries
    assert counters(straight) == {"images": STEPS * recipe.batch_size, "steps": STEPS, "retries": retries}
    seen = [record["images"] for record in records(straight)]
    assert seen == sorted(set(seen))
    assert sum(record["num_skipped"] for record in records(straight)) == 0
    for stop in (10, 27):  # before the first roll-back and after the last
        resumed = train(recipe, tmp_path / f"stopped {stop}", stop)
        assert end_of(resumed, recipe) != end_of(straight, recipe)
        assert end_of(train(recipe, resumed), recipe) == end_of(straight, recipe)
    for at in ((0, 14), (1, 12)):  # in the midst of what leads to a roll-back, and on the way from there
        killed = tmp_path / f"killed {at}"
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
            kill(patch, *at)
            train(recipe, killed)
        assert end_of(train(recipe, killed), recipe) == end_of(straight, recipe)


def kill(monkeypatch: pytest.MonkeyPatch, retries: int, steps: int) -> None:
    """End training without a last checkpoint."""
    step_of = Adversarial.step

    def ending(self: Adversarial, state: TrainState, batches: dict[str, Batch]) -> Any:
        if (state.counters["retries"], state.counters["steps"]) == (retries, steps):
            raise RuntimeError("killed")
        return step_of(self, state, batches)

    monkeypatch.setattr(Adversarial, "step", ending)


def test_12_health_of_a_run_that_has_no_checkpoint_yet_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same weights, half the rate and other draws."""
    recipe = recipe_with()
    poison(monkeypatch, fails_above(0.6, since=1))
    train(recipe, tmp_path / "run", quiet=False)
    said = capsys.readouterr().out
    assert said.count("(without one, to the start)") == 1 and "going on from" not in said
    assert counters(tmp_path / "run")["retries"] == 1
    settings = {"name": "adam", "learning_rate": 5e-4}
    halved = recipe.replace(generator_optimizer=settings, discriminator_optimizer=settings)
    train(halved, tmp_path / "halved")
    assert end_of(tmp_path / "run", recipe).digest != end_of(tmp_path / "halved", halved).digest


@pytest.mark.parametrize("every_other", [False, True])
def test_12_health_that_does_not_come_back_is_an_error_with_advice(
    every_other: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not only where each step fails: two of three are enough."""
    poison(monkeypatch, lambda state: (steps := state.counters["steps"]) >= 12 and not (every_other and steps % 3 == 0))
    with pytest.raises(gansmith.GansmithError, match="diverged") as caught:
        train(recipe_with(), tmp_path / "run", 80, quiet=False)
    assert caught.value.exit_code == 5
    assert "after going back 3 times with rates down to x 0.125" in str(caught.value)
    assert "--set generator_optimizer.learning_rate=1e-05 --set discriminator_optimizer" in str(caught.value)
    said = capsys.readouterr().out
    assert [said.count(f"({number} of at most 3 times)") for number in (1, 2, 3, 4)] == [1, 1, 1, 0]
    assert is_finite(tmp_path / "run")
    newest = int(checkpoint_folders(tmp_path / "run" / "checkpoints")[0].name)
    assert newest >= 10 * 8
    assert every_other or newest == 10 * 8


def test_12_weights_that_are_no_numbers_are_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even at the end, where no step has failed yet."""
    recipe, update = recipe_with(), Adversarial.update

    def spoiling(self: Adversarial, state: TrainState, batches: dict[str, Batch], draws: list[Draws]) -> Any:
        measured = update(self, state, batches, draws)
        if state.counters["steps"] == STEPS - 1 and not state.counters["retries"]:
            with torch.no_grad():
                next(state.modules["generator"].parameters()).fill_(NAN)
        return measured

    monkeypatch.setattr(Adversarial, "update", spoiling)
    train(recipe, tmp_path / "run", quiet=False)
    assert f"at {STEPS * 8} images, weights are no longer finite numbers" in capsys.readouterr().out
    assert is_finite(tmp_path / "run") and counters(tmp_path / "run")["retries"] == 1


def test_12_health_of_an_absurd_rate(tmp_path: Path) -> None:
    """Through the command, and nothing staged."""
    rates = " ".join(f"--set {name}_optimizer.learning_rate=1e35" for name in ("generator", "discriminator"))
    tiny = "train digits --recipe mlp --size 8 --set generator.hidden=[16] --set discriminator.hidden=[16]"
    result = command.gansmith(f"{tiny} --set batch_size=16 {rates} --images 1600 --out run", tmp_path)
    assert result.code == 5, (result.output, result.errors)
    assert "gansmith: diverged: at " in result.errors and "Traceback" not in result.errors
    assert result.output.count("of at most 3 times)") == 3


SPOILED = """
import os
from pathlib import Path
if "RANK" in os.environ:
    import torch
    from gansmith import ranks
    from gansmith.data import Batch
    from gansmith.training.adversarial import Adversarial
    step = Adversarial.step
    def spoiled(self, state, batches):
        steps = state.counters["steps"]
        if ranks.current().rank == 1 and (steps == 3 or steps >= 12 and not state.counters["retries"]):
            real = batches["real_d"]
            batches = {**batches, "real_d": Batch(real.images * float("nan"), real.labels)}
        measured = step(self, state, batches)
        path = Path(f"weights-{ranks.current().rank}")
        if ranks.current().size > 1:  # not those that rank 0 estimates the memory from
            path.write_text((path.read_text() if path.exists() else "") + f"{steps} {sorted(state.digest().items())}")
        return measured
    Adversarial.step = spoiled
"""


@pytest.mark.skipif(sys.platform != "linux", reason="as other tests of several ranks")
def test_12_health_of_all_ranks_is_one(tmp_path: Path) -> None:
    """What is wrong with one's share is skipped by all of them, and all go back."""
    (tmp_path / "spoiled").mkdir()
    (tmp_path / "spoiled" / "sitecustomize.py").write_text(SPOILED)
    path = os.pathsep.join([str(tmp_path / "spoiled"), *sys.path])
    with Group(*TINY, *TWO, "--images", "1920", "--save-every", "512", cwd=tmp_path, PYTHONPATH=path) as group:
        code, output, errors = group.end()
    assert code == 0, (output, errors)
    assert output.count("(1 of at most 3 times)") == 1
    assert "(2 of" not in output
    first, second = ((tmp_path / f"weights-{rank}").read_text() for rank in (0, 1))
    assert first == second
    assert sum(record["num_skipped"] for record in records(tmp_path / "run")) == 1
    assert counters(tmp_path / "run") == {"images": 1920, "steps": 30, "retries": 1}
    assert is_finite(tmp_path / "run")
