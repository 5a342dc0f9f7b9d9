"""Recorded steps do what steps do, bit for bit; a stand-in records where there is no GPU.

It does the work again with every Python value as it was when it was recorded, as a CUDA graph would: what differs from
step to step must come through tensors and generators, or these tests fail. That they do is tested too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from gansmith import ranks
from gansmith.data import open_data
from gansmith.recipe import (
    SGD,
    Adam,
    AdaptiveProbability,
    Augmentation,
    LinearDecay,
    PenaltySettings,
    Recipe,
    Regularisation,
    RMSprop,
)
from gansmith.recipes import RECIPES
from gansmith.training import graph, measures
from gansmith.training.graph import RecordedSteps, Work, for_device, why_not_recorded
from gansmith.training.loop import Batches
from gansmith.training.objective import Objective
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.state import TrainState

CPU = torch.device("cpu")
STEPS = 14
RATES = Adam(learning_rate=2.0**-9)
"""With the schedule below, every rate is the same number in float32 and in Python's floats."""
SCHEDULE = LinearDecay(length_images=1024)


class StandIn:
    """Records by keeping the work and the Python values around it."""

    def __init__(self) -> None:
        self.num_warmed = self.num_recorded = self.num_replayed = 0

    def warm_up(self, work: Work) -> dict[str, Tensor]:
        self.num_warmed += 1
        return work()

    def record(self, state: TrainState, work: Work, generators: Sequence[torch.Generator]) -> Work:
        self.num_recorded += 1
        counters, groups = dict(state.counters), frozen_groups(state)

        def replay() -> dict[str, Tensor]:
            self.num_replayed += 1
            counters_now, groups_now = state.counters, frozen_groups(state)
            state.counters = dict(counters)
            put(groups)
            try:
                return work()
            finally:
                assert state.counters == counters, "recorded work counts"
                state.counters = counters_now
                put(groups_now)

        return replay


Groups = list[tuple[dict[str, object], dict[str, object]]]


def frozen_groups(state: TrainState) -> Groups:
    """Each group of the optimisers' settings, with what a recording would keep of it: no tensor's value."""
    groups = [group for optimizer in state.optimizers.values() for group in optimizer.param_groups]
    return [(group, {name: value for name, value in group.items() if name != "params"}) for group in groups]


def put(groups: Groups) -> None:
    for group, values in groups:
        group.update(values)


def shrunk(name: str, **changes: object) -> Recipe:
    recipe = RECIPES[name]().shrunk()
    trained = {f"{role}_optimizer": RATES for role in recipe.networks if role != "encoder"}
    return recipe.replace(**trained, learning_rate_schedule=SCHEDULE, **changes)


R1 = {"r1": PenaltySettings(weight=1, every=4)}
MIXING = {"gradient_penalty": PenaltySettings(weight=10, every=3)}
ADAPTIVE = Augmentation(probability=0.5, adaptive=AdaptiveProbability(images_to_certainty=1000))
CASES = {
    "dcgan-small": shrunk("dcgan-small"),
    "dcgan-small conditional": shrunk("dcgan-small").replace(num_classes=10),
    "mlp lazy r1": shrunk("mlp", penalties=R1),
    "mlp lazy r1, n_dis 2": shrunk("mlp", penalties=R1, discriminator_steps=2),
    "mlp simultaneous lazy r1, n_dis 2": shrunk("mlp", penalties=R1, discriminator_steps=2, update="simultaneous"),
    "mlp relativistic penalised": shrunk("mlp", penalties=MIXING, loss="relativistic"),
    "mlp relativistic penalised simultaneous": shrunk(
        "mlp", penalties=MIXING, loss="relativistic", update="simultaneous"
    ),
    "mlp adaptively augmented": shrunk("mlp", augmentation=ADAPTIVE, penalties=R1),
    "mlp lecam, consistency": shrunk(
        "mlp",
        regularisation=Regularisation(lecam=0.3),
        penalties={"consistency": PenaltySettings(weight=10, every=2)},
    ),
    "vae": shrunk("vae"),
}


def take(recipe: Recipe, wrap: Callable[[Objective], Objective], steps: int = STEPS) -> tuple[TrainState, list[float]]:
    """Train on the digits; return the state, and all that was measured, read after all steps."""
    plain = OBJECTIVES[recipe.objective]
    state, objective = plain.initialise(recipe, 3, CPU), wrap(plain)
    batches = Batches(objective, state, open_data("digits", recipe.size, recipe.channels))
    with torch.random.fork_rng(devices=[]):
        measured = [objective.step(state, batches.next()) for _ in range(steps)]
    return state, [float(value) for values in measured for _, value in sorted(values.items())]


def same(one: tuple[TrainState, list[float]], other: tuple[TrainState, list[float]]) -> bool:
    return one[0].digest() == other[0].digest() and one[1] == other[1] and one[0].counters == other[0].counters


@pytest.mark.parametrize("name", CASES)
def test_replayed_steps_equal_plain_steps_bit_for_bit(name: str) -> None:
    recorder = StandIn()
    assert same(take(CASES[name], lambda plain: RecordedSteps(plain, recorder)), take(CASES[name], lambda plain: plain))
    assert recorder.num_replayed == STEPS - recorder.num_warmed > 0
    assert recorder.num_warmed <= 3 * graph.WARM_UP_STEPS


def test_steps_that_are_measured_have_recordings_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "EVERY_STEPS", 2)
    recorder, recipe = StandIn(), CASES["dcgan-small conditional"]
    assert same(take(recipe, lambda plain: RecordedSteps(plain, recorder)), take(recipe, lambda plain: plain))
    assert recorder.num_recorded == 2


BAKED_IN = {
    "which penalties are due": ("mlp lazy r1", "pattern_of", lambda state: ()),
    "learning rates": ("mlp lazy r1", "put_rates_on_device", lambda state: None),
    "images": ("mlp lazy r1", "Inputs.fill_batches", lambda inputs, batches: None),
    "labels": ("dcgan-small conditional", "Inputs.fill_batches", None),
    "latents": ("mlp lazy r1", "Inputs.fill_latents", lambda inputs, draws: None),
    "draws of augmentation": ("mlp adaptively augmented", "Inputs.seed", lambda inputs, draws: None),
    "draws of penalties": ("mlp relativistic penalised", "Inputs.seed", lambda inputs, draws: None),
}


@pytest.mark.parametrize("what", BAKED_IN)
def test_what_is_baked_in_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, place, instead = BAKED_IN[what]
    if instead is None:
        instead = only_images
    monkeypatch.setattr(f"gansmith.training.graph.{place}", instead)
    recipe = CASES[name]
    assert not same(take(recipe, lambda plain: RecordedSteps(plain, StandIn())), take(recipe, lambda plain: plain))


def only_images(inputs: graph.Inputs, batches: dict[str, object]) -> None:
    for name, batch in batches.items():
        inputs.batches[name].images.copy_(batch.images)


def test_another_pattern_of_penalties_is_another_recording() -> None:
    recorder = StandIn()
    take(CASES["mlp lazy r1, n_dis 2"], lambda plain: RecordedSteps(plain, recorder))
    assert recorder.num_recorded == 2  # due in the first of two discriminator steps of every second step, or in none


def test_batches_of_another_size_are_taken_without() -> None:
    recipe = CASES["mlp lazy r1"]

    def steps(wrap: Callable[[Objective], Objective]) -> TrainState:
        plain = OBJECTIVES["adversarial"]
        state, objective = plain.initialise(recipe, 3, CPU), wrap(plain)
        batches = Batches(objective, state, open_data("digits", recipe.size, recipe.channels))
        with torch.random.fork_rng(devices=[]):
            for step in range(STEPS):
                batch = batches.next()
                if step == STEPS - 2:
                    twice = {name: type(b)(torch.cat([b.images, b.images])) for name, b in batch.items()}
                    batch = twice
                objective.step(state, batch)
        return state

    assert steps(lambda plain: RecordedSteps(plain, StandIn())).digest() == steps(lambda plain: plain).digest()


def test_state_that_was_loaded_is_recorded_anew() -> None:
    """Loading exchanges the optimisers' tensors, and a recording would go on with the old ones."""
    recipe, recorder = CASES["mlp lazy r1"], StandIn()

    def steps(wrap: Callable[[Objective], Objective]) -> TrainState:
        plain = OBJECTIVES["adversarial"]
        state, objective = plain.initialise(recipe, 3, CPU), wrap(plain)
        batches = Batches(objective, state, open_data("digits", recipe.size, recipe.channels))
        with torch.random.fork_rng(devices=[]):
            for step in range(2 * STEPS):
                if step == STEPS:
                    for optimizer in state.optimizers.values():
                        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
                objective.step(state, batches.next())
        return state

    assert steps(lambda plain: RecordedSteps(plain, recorder)).digest() == steps(lambda plain: plain).digest()
    assert recorder.num_recorded == 2  # not due, before and after; due has come too rarely, once to a measured step


class Failing(StandIn):
    """Breaks off in the midst of the work, as a recording does that meets what cannot be recorded."""

    def record(self, state: TrainState, work: Work, generators: Sequence[torch.Generator]) -> Work:
        self.num_recorded += 1
        for parameter in state.modules["generator"].parameters():
            parameter.grad = torch.full_like(parameter, float("nan"))
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nCompile with ...")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


def test_recording_that_fails_is_said_once_and_steps_go_on(caplog: pytest.LogCaptureFixture) -> None:
    recorder, recipe = Failing(), CASES["dcgan-small"]
    assert same(take(recipe, lambda plain: RecordedSteps(plain, recorder)), take(recipe, lambda plain: plain))
    assert recorder.num_recorded == 1
    (message,) = caplog.messages
    assert message == (
        "a training step could not be recorded as a CUDA graph (operation not permitted when stream is capturing); it "
        "is launched kernel by kernel, slower on small networks; please report it"
    )


def test_errors_of_the_work_itself_are_not_taken_for_failed_recordings() -> None:
    class Broken(StandIn):
        def record(self, state: TrainState, work: Work, generators: Sequence[torch.Generator]) -> Work:
            raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        take(CASES["dcgan-small"], lambda plain: RecordedSteps(plain, Broken()))


def test_steps_are_recorded_only_on_a_gpu() -> None:
    plain = OBJECTIVES["adversarial"]
    assert for_device(plain, CASES["dcgan-small"], CPU, pytest.fail) is plain


def test_sgd_with_a_schedule_is_not_recorded_and_that_is_said() -> None:
    recipe = CASES["dcgan-small"].replace(discriminator_optimizer=SGD(learning_rate=0.01))
    said: list[str] = []
    plain = OBJECTIVES["adversarial"]
    assert for_device(plain, recipe, torch.device("cuda"), said.append) is plain
    assert said == [
        "steps are launched kernel by kernel, not as a CUDA graph: torch's SGD reads a scheduled learning rate on the "
        "host (discriminator)"
    ]
    assert why_not_recorded(recipe.replace(learning_rate_schedule=None)) is None
    assert why_not_recorded(recipe.replace(discriminator_optimizer=RMSprop())) is None


def test_several_ranks_are_not_recorded_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "current", lambda: ranks.Ranks(0, 2, 0))
    reason = why_not_recorded(CASES["dcgan-small"])
    assert reason == "2 ranks sum their gradients in the midst of a step"
