"""What every objective promises, over all recipes and a dummy that is nothing like the adversarial one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gansmith.budget import Budget
from gansmith.checkpoint import read_newest, save_checkpoint
from gansmith.data import Batch, TrainingData, open_data
from gansmith.facts import Classes
from gansmith.images import to_float
from gansmith.recipe import AdaptiveProbability, Augmentation, PenaltySettings, Recipe
from gansmith.recipes import RECIPES
from gansmith.restore import restore
from gansmith.sampling import generate, latents_of
from gansmith.training import loop
from gansmith.training.loop import Batches, Loop
from gansmith.training.objective import Objective
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.state import TrainState
from gansmith.training.stop import StopSignal
from gansmith.training.totals import Totals
from tests.contracts.dummy_objective import PairedWaves, Translation

CPU = torch.device("cpu")
Case = tuple[Objective, Recipe]


def _cases() -> dict[str, Case]:
    adversarial = OBJECTIVES["adversarial"]
    others = ("sngan", "r3gan-64", "r3gan-256")  # the method of resnet, and r3gan-cifar10 at larger sizes
    recipes = {name: function().shrunk() for name, function in RECIPES.items() if name not in others}
    cases: dict[str, Case] = {name: (OBJECTIVES[recipe.objective], recipe) for name, recipe in recipes.items()}
    paired = RECIPES["dcgan-small"]().shrunk().replace(loss="relativistic", discriminator_steps=2)
    cases["dcgan-small paired n_dis 2"] = (adversarial, paired)
    penalised = paired.replace(penalties={"gradient_penalty": PenaltySettings(weight=10, every=2)}, loss="wasserstein")
    cases["dcgan-small wasserstein penalised"] = (adversarial, penalised)
    for name in ("mlp", "dcgan-small", "resnet", "vae"):
        cases[f"{name} conditional"] = (OBJECTIVES[recipes[name].objective], RECIPES[name](num_classes=10).shrunk())
    adaptive = Augmentation(adaptive=AdaptiveProbability(images_to_certainty=100), probability=0.5)
    cases["dcgan-small augmented"] = (
        adversarial,
        recipes["dcgan-small"].replace(augmentation=adaptive, penalties={"r1": {}}),
    )
    cases["dcgan-28 augmented"] = (adversarial, recipes["dcgan-28"].replace(augmentation={"policy": "diffaugment"}))
    cases["dummy"] = (Translation(), RECIPES["mlp"]().shrunk())
    return cases


CASES = _cases()


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def data_for(case: Case) -> TrainingData:
    objective, recipe = case
    return PairedWaves() if isinstance(objective, Translation) else open_data("digits", recipe.size, recipe.channels)


def reals_for(case: Case) -> Batch:
    batch = data_for(case).batch(np.arange(16))
    return Batch(to_float(batch.images), batch.labels, batch.condition)


def start(case: Case, seed: int) -> TrainState:
    objective, recipe = case
    state = objective.initialise(recipe, seed, CPU)
    if recipe.num_classes:
        state.classes = Classes(tuple("0123456789"), (100, *[20] * 9))
    return state


def advance(case: Case, state: TrainState, steps: int) -> list[dict[str, torch.Tensor]]:
    batches = Batches(case[0], state, data_for(case))
    return [case[0].step(state, batches.next()) for _ in range(steps)]


def test_initial_state_is_a_function_of_recipe_and_seed(case: Case) -> None:
    first, torch_state = start(case, 3).digest(), torch.get_rng_state()
    assert start(case, 3).digest() == first
    assert start(case, 4).digest() != first
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_step_changes_every_weight_and_returns_tensors_on_the_device(case: Case) -> None:
    state = start(case, 0)
    before = {name: copy.deepcopy(list(module.parameters())) for name, module in state.modules.items()}
    measured = advance(case, state, 2)
    for values in measured:
        assert values
        assert all(isinstance(value, torch.Tensor) and value.ndim == 0 for value in values.values())
        assert all(not value.requires_grad and value.isfinite() for value in values.values())
    for name, module in state.modules.items():
        for (key, parameter), old in zip(module.named_parameters(), before[name], strict=True):
            if key != "logit.bias":  # shifts real and fake logits alike: no gradient from pairs or an unsaturated hinge
                assert not torch.equal(parameter, old), f"{name}/{key}"


class Synchronisations(TorchDispatchMode):
    """Counts what would make the host wait for a device: reading a number or a data-dependent size out of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.name() in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero"):
            self.found.append(func.name())
        return func(*args, **(kwargs or {}))


def test_step_waits_for_no_device(case: Case) -> None:
    objective = case[0]
    state = start(case, 0)
    # torch's Adam reads its step counters, which lie on the CPU even when the weights do not; SGD has none.
    for name in state.optimizers:
        state.optimizers[name] = torch.optim.SGD(state.modules[name].parameters(), 1e-3)
    batch = Batches(objective, state, data_for(case)).next()
    with Synchronisations() as synchronisations:
        objective.step(state, batch)
    assert not synchronisations.found


def test_loop_waits_for_no_device_between_its_records(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches, steps with the recipe's own optimisers, averages and sums of what was measured."""
    objective, recipe = case
    state, synchronisations, found = start(case, 0), Synchronisations(), []
    budget = Budget.of(5 * objective.batches(recipe)["real_d"], None)
    reading = Totals.means

    def read(totals: Totals) -> dict[str, float]:
        found.append(list(synchronisations.found))
        means = reading(totals)
        synchronisations.found.clear()
        return means

    monkeypatch.setattr(Totals, "means", read)
    monkeypatch.setattr(loop, "LOG_INTERVAL_SECONDS", 1e9)
    # The dummy's own Adam counts its steps in Python's way, on the CPU.
    if isinstance(objective, Translation):
        for name, module in state.modules.items():
            state.optimizers[name] = torch.optim.SGD(module.parameters(), 1e-3)
    with synchronisations:
        Loop(objective, state, data_for(case), budget, lambda progress: None, lambda seconds: None, StopSignal()).run()
    assert state.counters["steps"] == 5
    assert found == [[], []]  # after the first step, and at the end


def test_synchronisations_are_noticed() -> None:
    with Synchronisations() as synchronisations:
        float(torch.ones(1))
    assert synchronisations.found == ["aten::_local_scalar_dense"]


def test_step_counts_the_real_images_it_showed(case: Case) -> None:
    objective, recipe = case
    state = start(case, 0)
    advance(case, state, 2)
    assert state.counters == {"images": 2 * objective.batches(recipe)["real_d"], "steps": 2, "retries": 0}


def test_settling_repeats_itself_and_leaves_the_trained_modules_alone(case: Case) -> None:
    objective = case[0]
    state = start(case, 0)
    advance(case, state, 2)
    modules = {key: value.clone() for key, value in state.module_tensors().items()}
    objective.settle(state)
    settled = {key: value.clone() for key, value in state.ema_tensors().items()}
    objective.settle(state)
    assert all(torch.equal(value, settled[key]) for key, value in state.ema_tensors().items())
    assert all(torch.equal(value, modules[key]) for key, value in state.module_tensors().items())


def test_preview_is_fixed_by_its_seed_and_in_range(case: Case) -> None:
    objective = case[0]
    state = start(case, 0)
    reals = reals_for(case)
    samples = objective.preview(state, 7, reals)
    assert samples.ndim >= 3
    assert samples.dtype == torch.float32
    assert samples.abs().max() <= 1
    assert torch.equal(objective.preview(state, 7, reals), samples)
    assert not torch.equal(objective.preview(state, 8, reals), samples)
    assert not any(module.training for module in state.ema.values())


@pytest.mark.faults
def test_08_resuming_is_bit_exact(case: Case, tmp_path: Path) -> None:
    straight = start(case, 0)
    advance(case, straight, 4)
    first = start(case, 0)
    advance(case, first, 2)
    save_checkpoint(first, tmp_path, 1.0, "f")
    resumed = start(case, 0)
    checkpoint, _ = read_newest(tmp_path)
    assert checkpoint is not None
    restore(resumed, checkpoint)
    advance(case, resumed, 2)
    assert resumed.digest() == straight.digest()
    assert resumed.counters == straight.counters


def test_loop_trains_until_the_budget_and_takes_snapshots(case: Case, tmp_path: Path) -> None:
    objective, recipe = case
    state = start(case, 0)
    size = objective.batches(recipe)["real_d"]
    records, snapshots = [], []
    loop = Loop(
        objective, state, data_for(case), Budget(images=5 * size), records.append,
        lambda seconds: snapshots.append(state.counters["images"]), StopSignal(), save_every=2 * size,
    )  # fmt: skip
    loop.run()
    assert snapshots == [2 * size, 4 * size, 5 * size]
    assert records[0].record["images"] == size
    assert records[-1].record["images"] == 5 * size
    assert records[-1].share == 1.0


def test_loop_takes_a_snapshot_at_each_multiple_to_be_kept(case: Case) -> None:
    objective, recipe = case
    state = start(case, 0)
    size = objective.batches(recipe)["real_d"]
    snapshots: list[int] = []
    loop = Loop(
        objective, state, data_for(case), Budget(images=7 * size), lambda _: None,
        lambda seconds: snapshots.append(state.counters["images"]), StopSignal(), keep_every=5 * size // 2,
    )  # fmt: skip
    loop.run()
    assert snapshots == [3 * size, 5 * size, 7 * size]


@pytest.mark.parametrize("num_classes", [2, 10, 40])
def test_preview_of_a_conditional_generator_has_a_row_of_eight_for_each_class_up_to_32(num_classes: int) -> None:
    objective = OBJECTIVES["adversarial"]
    recipe = RECIPES["mlp"](size=(4, 4), num_classes=num_classes).shrunk()
    state = objective.initialise(recipe, 0, CPU)
    state.classes = Classes(tuple(map(str, range(num_classes))), (5,) * num_classes)
    shown = min(num_classes, 32)
    samples = objective.preview(state, 3, Batch(torch.zeros(1, 1, 4, 4)))
    assert samples.shape == (8 * shown, 1, 4, 4)
    generator = objective.generator(state)
    latents = latents_of(3, 8 * shown, recipe.generator.latent_dim)
    for label in range(shown):
        row = slice(8 * label, 8 * label + 8)
        expected = generate(generator, latents[row], torch.full((8,), label), precision="float32")
        torch.testing.assert_close(samples[row], expected)


@pytest.mark.parametrize(("size", "channels", "count"), [((8, 8), 1, 64), ((1, 1), 2, 1_000), ((1, 1), 3, 64)])
def test_preview_shows_64_pictures_or_1000_points(size: tuple[int, int], channels: int, count: int) -> None:
    recipe = RECIPES["mlp"](size=size, channels=channels).shrunk()
    objective = OBJECTIVES["adversarial"]
    reals = Batch(torch.zeros(1, channels, *size))
    assert objective.preview(objective.initialise(recipe, 0, CPU), 0, reals).shape == (count, channels, *size)
