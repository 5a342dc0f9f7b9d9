"""The same code on a GPU: trains, resumes there, goes on from a GPU's checkpoint on the CPU, and waits for nothing.

Everything that only a GPU can show is here; its logic is tested without one (test_graph, test_feed, test_saver).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import gansmith
from gansmith import runtime
from gansmith.checkpoint import read_newest, save_checkpoint
from gansmith.data import open_data
from gansmith.data.feed import BATCHES_BEFORE, Feed
from gansmith.recipe import SGD, Adam, Augmentation, LinearDecay, PenaltySettings, Recipe, RMSprop
from gansmith.recipes import RECIPES
from gansmith.training.cuda_graph import CudaGraphs
from gansmith.training.graph import WARM_UP_STEPS, RecordedSteps, for_device
from gansmith.training.loop import Batches
from gansmith.training.objective import Objective
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.saver import Saver
from gansmith.training.state import TrainState
from gansmith.training.totals import Totals

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda")
SETTLED_STEPS = 4 * (WARM_UP_STEPS + 1)
"""After so many, every pattern of a penalty that is due each 4 steps has been recorded."""


@pytest.mark.faults
@pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name]().burn_in is None])  # others are for days
def test_09_recipe_trains_on_the_gpu_and_goes_on_on_the_cpu(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name](precision="bfloat16")
    size = recipe.batch_size * recipe.discriminator_steps
    for steps, device in ((4, "cuda"), (8, "cuda"), (10, "cpu")):
        run = gansmith.train("digits", recipe, images=steps * size, out=tmp_path, device=device, quiet=True)
        assert run.images_seen == steps * size
    samples = gansmith.sample(gansmith.load(tmp_path, device="cuda"), 8)
    assert samples.device.type == "cpu"
    assert samples.isfinite().all()


def cases() -> dict[str, Recipe]:
    lazy = {"r1": PenaltySettings(weight=1, every=4)}
    mixing = {"gradient_penalty": PenaltySettings(weight=10, every=2)}
    small, mlp = RECIPES["dcgan-small"](), RECIPES["mlp"]()
    schedule = LinearDecay(length_images=100_000)
    return {
        "dcgan-small": small,
        "dcgan-small simultaneous": small.replace(update="simultaneous"),
        "dcgan-small bfloat16": small.replace(precision="bfloat16"),
        "dcgan-small conditional": RECIPES["dcgan-small"](num_classes=10),
        "dcgan-small adaptively augmented": small.replace(augmentation=Augmentation(adaptive={}), penalties=lazy),
        "mlp dropout": mlp.replace(discriminator=mlp.discriminator.model_copy(update={"dropout": 0.3})),
        "mlp lazy r1 n_dis 2": mlp.replace(penalties=lazy, discriminator_steps=2),
        "mlp relativistic penalised": mlp.replace(penalties=mixing, loss="relativistic"),
        "mlp schedule": mlp.replace(generator_optimizer=Adam(), learning_rate_schedule=schedule),
        "mlp rmsprop": mlp.replace(generator_optimizer=RMSprop(), discriminator_optimizer=RMSprop()),
        "mlp sgd": mlp.replace(generator_optimizer=SGD(learning_rate=0.01)),
        "resnet spectral norm": RECIPES["resnet"]().shrunk(),
        "vae": RECIPES["vae"](),
        "r3gan-small": RECIPES["r3gan-small"](),
        "r3gan-small alternating": RECIPES["r3gan-small"]().replace(update="alternating"),
    }


CASES = cases()


@pytest.fixture(autouse=True)
def ieee_float32() -> None:
    runtime.choose_device("cuda")


def unsaid(reason: str) -> None:
    raise AssertionError(f"not recorded: {reason}")


def replayed(recipe: Recipe) -> RecordedSteps:
    objective = for_device(OBJECTIVES[recipe.objective], recipe, GPU, unsaid)
    assert isinstance(objective, RecordedSteps)
    return objective


def take(recipe: Recipe, objective: Objective, steps: int) -> tuple[TrainState, Tensor]:
    state = objective.initialise(recipe, 3, GPU)
    batches = Batches(objective, state, open_data("digits", recipe.size, recipe.channels))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        measured = [objective.step(state, batches.next()) for _ in range(steps)]
    return state, torch.stack([value for values in measured for _, value in sorted(values.items())])


@pytest.mark.parametrize("name", CASES)
def test_replayed_steps_are_plain_steps(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """To rounding: kernels that add in any order make two plain runs differ too. Draws are the same ones."""
    recipe, objective = CASES[name], replayed(CASES[name])
    state, measured = take(recipe, objective, SETTLED_STEPS + 2)
    plain_state, plain = take(recipe, OBJECTIVES[recipe.objective], SETTLED_STEPS + 2)
    assert not caplog.messages
    assert objective._recordings
    assert state.counters == plain_state.counters
    coarse = recipe.precision == "bfloat16"
    torch.testing.assert_close(measured, plain, rtol=0.1 if coarse else 2e-3, atol=0.1 if coarse else 2e-3)


def test_replayed_draws_are_the_plain_ones() -> None:
    """Penalties that are the draws themselves, and dropout: equal to the last bit."""
    recipe = CASES["mlp dropout"].replace(penalties={"gradient_penalty": PenaltySettings(weight=1e-9, every=1)})
    (_, measured), (_, plain) = (
        take(recipe, objective, WARM_UP_STEPS + 1) for objective in (replayed(recipe), OBJECTIVES["adversarial"])
    )
    torch.testing.assert_close(measured, plain, rtol=1e-5, atol=1e-5)


def test_scheduled_rates_reach_the_recording() -> None:
    """At a rate of 0 nothing moves."""
    recipe = RECIPES["mlp"]().replace(learning_rate_schedule=LinearDecay(length_images=8 * 128), batch_size=128)
    objective = replayed(recipe)
    state, _ = take(recipe, objective, 8)
    before = {name: value.clone() for name, value in state.module_tensors().items() if "running" not in name}
    batches = Batches(objective, state, open_data("digits", recipe.size, recipe.channels))
    objective.step(state, batches.next())
    after = state.module_tensors()
    assert all(torch.equal(after[name], value) for name, value in before.items() if "num_batches" not in name)


@pytest.mark.parametrize("name", CASES)
def test_steps_never_wait_for_the_gpu(name: str) -> None:
    """Nor do batches, held by the GPU or not, and sums of what is measured. Plain steps, warm-up and replay."""
    recipe, objective = CASES[name], replayed(CASES[name])
    state = objective.initialise(recipe, 3, GPU)
    batches, totals = Batches(objective, state, open_data("digits", recipe.size, recipe.channels)), Totals()

    def steps(count: int) -> None:
        for _ in range(count):
            totals.add(objective.step(state, batches.next()))

    steps(max(SETTLED_STEPS, BATCHES_BEFORE) + 1)
    totals.means()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            steps(8)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    names = [event.name for event in profiled.events() or []]
    assert "cudaGraphLaunch" in names
    waits = [event for event in names if "DtoH" in event or event in SYNCHRONISATIONS]
    assert waits.count("cudaDeviceSynchronize") <= 1  # the profiler's own, at its end
    assert [event for event in waits if event != "cudaDeviceSynchronize"] == []


SYNCHRONISATIONS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def test_a_wait_would_be_noticed() -> None:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        float(torch.ones(1, device=GPU))
    names = [event.name for event in profiled.events() or []]
    assert any("DtoH" in name for name in names)
    assert "cudaStreamSynchronize" in names


def test_recording_that_fails_is_said_and_steps_go_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with dropout, whose generator a failed recording leaves in the midst of one."""
    recipe = CASES["mlp dropout"]
    plain, update = OBJECTIVES["adversarial"], OBJECTIVES["adversarial"].update

    def waiting(state: TrainState, batches: object, draws: object) -> dict[str, Tensor]:
        measured = update(state, batches, draws)  # type: ignore[arg-type]
        if torch.cuda.is_current_stream_capturing():
            float(measured["loss_g"])
        return measured

    monkeypatch.setattr(plain, "update", waiting)
    state, measured = take(recipe, RecordedSteps(plain, CudaGraphs(GPU)), 8)
    monkeypatch.undo()
    _, expected = take(recipe, plain, 8)
    assert sum("could not be recorded as a CUDA graph" in text for text in caplog.messages) == 1
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.testing.assert_close(measured, expected, rtol=2e-3, atol=2e-3)
    assert state.is_finite()


@pytest.mark.parametrize("is_held", [True, False])
def test_batches_are_those_of_the_host(is_held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_data("digits", (8, 8), 1)
    monkeypatch.setattr("gansmith.data.feed.LARGEST_SHARE", 0.25 if is_held else 0.0)
    feed = Feed(data, GPU)
    for number in range(BATCHES_BEFORE + 4):
        places = np.arange(number, number + 64)
        batch, expected = feed.batch(places), data.batch(places)
        assert batch.images.is_cuda
        assert torch.equal(batch.images.cpu(), expected.images)
        assert batch.labels is not None and expected.labels is not None
        assert torch.equal(batch.labels.cpu(), expected.labels)
    assert (feed._resident is not None) == is_held


def test_background_checkpoint_is_the_one_written_at_once(tmp_path: Path) -> None:
    """While replays go on, and while a recording is made."""
    recipe = CASES["mlp lazy r1 n_dis 2"]
    objective = replayed(recipe)
    state = objective.initialise(recipe, 3, GPU)
    batches = Batches(objective, state, open_data("digits", recipe.size, recipe.channels))
    saver = Saver(tmp_path / "later", "data", None, in_background=True)
    for number in range(SETTLED_STEPS + 2):
        objective.step(state, batches.next())
        saver.save(state, 1.0, True)
        at_once = save_checkpoint(state, tmp_path / "at once", 1.0, "data")
        if number % 3 == 0:
            saver.wait()
            later = tmp_path / "later" / at_once.name
            assert {path.name: path.read_bytes() for path in later.iterdir()} == {
                path.name: path.read_bytes() for path in at_once.iterdir()
            }
    saver.wait()
    assert saver.failure is None


def test_run_says_and_keeps_what_float32_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gansmith.train("digits", RECIPES["mlp"]().shrunk(), images=64, out=tmp_path, device="cuda")
    assert "float32 on cuda, float32 without TF32" in capsys.readouterr().out
    checkpoint, _ = read_newest(tmp_path / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.about["machine"]["float32"] == "ieee, ieee"


def test_float32_convolutions_and_products_are_exact() -> None:
    """TF32 rounds factors to 10 bits: 1 + 2^-12 would become 1."""
    factor = torch.full((64, 64), 1 + 2.0**-12, device=GPU)
    one = torch.eye(64, device=GPU)
    assert torch.equal(factor @ one, factor)
    maps = torch.nn.functional.conv2d(factor.view(1, 64, 8, 8), one.view(64, 64, 1, 1))
    assert torch.equal(maps.view(64, 64), factor)


def test_replay_is_faster(capsys: pytest.CaptureFixture[str]) -> None:
    """A small network's step is launches for the most part."""
    recipe = CASES["mlp lazy r1 n_dis 2"]
    times = {name: seconds_a_step(recipe, objective) for name, objective in (
        ("plain", OBJECTIVES["adversarial"]), ("replayed", replayed(recipe)),
    )}  # fmt: skip
    with capsys.disabled():
        print("".join(f"\n  {name}: {seconds * 1e3:.2f} ms a step" for name, seconds in times.items()), end="")
    assert times["replayed"] < times["plain"]


def seconds_a_step(recipe: Recipe, objective: Objective) -> float:
    state = objective.initialise(recipe, 3, GPU)
    batches = Batches(objective, state, open_data("digits", recipe.size, recipe.channels))
    for _ in range(SETTLED_STEPS + 1):
        objective.step(state, batches.next())
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    for _ in range(40):
        objective.step(state, batches.next())
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 40 / 1e3
