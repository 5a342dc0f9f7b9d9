"""Whether a batch fits into memory: what is counted, and what is decided from it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from gansmith import runtime
from gansmith.errors import ResourceError
from gansmith.recipe import DCGANDiscriminator, PenaltySettings, Recipe
from gansmith.recipes import RECIPES
from gansmith.training.estimate import with_batch
from gansmith.training.memory import USABLE_SHARE, SavedTensors, choose_micro_batch, step_bytes
from gansmith.training.objectives import OBJECTIVES

CPU = torch.device("cpu")
OBJECTIVE = OBJECTIVES["adversarial"]
IN_PARTS = RECIPES["mlp"](size=(8, 8)).shrunk().replace(batch_size=100)
WHOLE = RECIPES["dense-conv"](size=(8, 8)).shrunk().replace(batch_size=100)


def test_saved_tensors_are_counted_once_and_forgotten_with_their_graph():
    inputs = torch.zeros(1_000, requires_grad=True)
    with SavedTensors() as saved:
        result = inputs.exp()  # keeps its result
        assert saved.peak == 4_000
        product = result * result  # keeps the same one
        assert saved.peak == 4_000
        again = product.exp()
        assert saved.peak == 8_000
        del result, product, again
        inputs.exp()
    assert saved.peak == 8_000


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("num_classes", [0, 3])
def test_bytes_of_an_image_do_not_depend_on_the_batch(name, num_classes):
    recipe = RECIPES[name](size=(8, 8), num_classes=num_classes).shrunk()
    objective = OBJECTIVES[recipe.objective]
    step = step_bytes(recipe, objective)
    assert step.fixed > 0 and step.kept > 4 * 64 and step.held > 4 * 64
    assert step_bytes(with_batch(recipe, 1_000), objective) == step


def test_a_lazy_penalty_counts_as_in_the_step_of_its_turn():
    def per_image(every: int) -> float:
        penalties = {"r1": PenaltySettings(weight=1.0, every=every)}
        return step_bytes(recipe.replace(penalties=penalties), OBJECTIVE).kept

    recipe = IN_PARTS.replace(discriminator=DCGANDiscriminator(width=16))
    assert per_image(16) == per_image(1) > step_bytes(recipe, OBJECTIVE).kept


def give(monkeypatch: pytest.MonkeyPatch, recipe: Recipe, held: float, at_once: float) -> None:
    """Let just enough memory be free to hold so many images and compute so many at once."""
    step = step_bytes(recipe, OBJECTIVE)
    free = (step.fixed + step.held * held + step.kept * at_once) / USABLE_SHARE + 16
    monkeypatch.setattr(runtime, "available_memory", lambda device: int(free))


@pytest.mark.parametrize(
    ("images", "expected"), [(1e6, None), (100, None), (99, 64), (64, 64), (63.5, 32), (3, 2), (1, 1)]
)
def test_a_batch_that_does_not_fit_is_computed_in_parts_of_a_power_of_two(monkeypatch, images, expected):
    give(monkeypatch, IN_PARTS, 100, images)
    assert choose_micro_batch(IN_PARTS, OBJECTIVE, CPU) == expected


def test_batch_norm_needs_the_batch_whole_and_the_largest_that_fits_is_named(monkeypatch):
    give(monkeypatch, WHOLE, 100, 100)
    assert choose_micro_batch(WHOLE, OBJECTIVE, CPU) is None
    give(monkeypatch, WHOLE, 70, 70)
    with pytest.raises(ResourceError, match=r"a batch of 100 needs .* GB, .* are free; batch norm.*batch_size=64"):
        choose_micro_batch(WHOLE, OBJECTIVE, CPU)


@pytest.mark.parametrize("recipe", [IN_PARTS, WHOLE], ids=["mlp", "dense-conv"])
@pytest.mark.parametrize("images", [0.5, -10])
def test_where_not_one_image_fits_that_is_said(monkeypatch, recipe, images):
    give(monkeypatch, recipe, images, images)
    with pytest.raises(ResourceError, match="too little for one image; take a smaller --size or a narrower network"):
        choose_micro_batch(recipe, OBJECTIVE, CPU)


MEASURE = """
import sys, torch
torch.set_num_threads(1)
from gansmith.recipes import RECIPES
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.estimate import random_batches
from gansmith.training.memory import step_bytes
objective, cpu = OBJECTIVES["adversarial"], torch.device("cpu")
recipe = RECIPES[sys.argv[1]]().replace(batch_size=int(sys.argv[2]))
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
warm = RECIPES["mlp"]().shrunk()
objective.step(objective.initialise(warm, 0, cpu), random_batches(objective, warm, cpu))
before = peak()
state = objective.initialise(recipe, 0, cpu)
for _ in range(2):
    objective.step(state, random_batches(objective, recipe, cpu))
taken = peak() - before
step = step_bytes(recipe, objective)
print(taken, step.fixed + (step.held + step.kept) * recipe.batch_size)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "batch_size"), [("mlp", 16_384), ("dcgan-small", 512)])
def test_estimate_is_near_and_not_much_below_what_a_process_takes(name, batch_size):
    arguments = [sys.executable, "-c", MEASURE, name, str(batch_size)]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()
    taken, estimated = map(float, printed)
    assert taken > 50e6
    assert 0.8 < estimated / taken < 4
