"""The burn-in of R3GAN: half a cosine from the values at the start to the recipe's own, which then stay."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from gansmith.checkpoint import read_checkpoint, save_checkpoint
from gansmith.data import Batch
from gansmith.recipe import SGD, BurnIn, Recipe
from gansmith.recipes import RECIPES
from gansmith.restore import restore
from gansmith.schedule import augmentation_probability, beta2, ema_half_life, learning_rate_factor, penalty_factor
from gansmith.training.adversarial import Adversarial
from gansmith.training.graph import why_not_recorded
from gansmith.training.state import TrainState

BURN_IN = BurnIn(
    length_images=80,
    learning_rate_factor=4.0,
    penalty_factor=10.0,
    beta2=0.9,
    ema_half_life_images=0,
    augmentation_probability=0.0,
)
OBJECTIVE = Adversarial()


def recipe_of(burn_in: BurnIn | None = BURN_IN, **changes) -> Recipe:
    recipe = RECIPES["r3gan-small"](size=(8, 8)).shrunk()
    adam = recipe.generator_optimizer.model_copy(update={"learning_rate": 1e-3, "beta2": 0.99})
    values = {
        "generator_optimizer": adam, "discriminator_optimizer": adam, "ema_half_life_images": 400,
        "learning_rate_schedule": None,
    }  # fmt: skip
    return recipe.replace(**{**values, "burn_in": burn_in, **changes})


def advance(state: TrainState, steps: int) -> list[dict[str, torch.Tensor]]:
    found = []
    for _ in range(steps):
        rng = torch.Generator().manual_seed(state.counters["steps"])
        sizes = OBJECTIVE.batches(state.recipe)
        batches = {name: Batch(torch.rand(count, 1, 8, 8, generator=rng) * 2 - 1) for name, count in sizes.items()}
        found.append(OBJECTIVE.step(state, batches))
    return found


@pytest.mark.parametrize(
    ("images", "share"), [(0, 0.0), (20, (1 - math.sqrt(0.5)) / 2), (40, 0.5), (80, 1.0), (81, 1.0), (10**9, 1.0)]
)
def test_values_are_the_closed_forms(images, share):
    recipe = recipe_of()
    assert BURN_IN.share(images) == pytest.approx(share, abs=1e-15)
    assert learning_rate_factor(recipe, images) == pytest.approx(4 - 3 * share)
    assert penalty_factor(recipe, images) == pytest.approx(10 - 9 * share)
    assert beta2(recipe, recipe.generator_optimizer, images) == pytest.approx(0.9 + 0.09 * share)
    assert ema_half_life(recipe, images) == pytest.approx(400 * share)
    assert augmentation_probability(recipe, 0.5, images) == pytest.approx(0.5 * share)


def test_start_and_end_are_exact():
    recipe = recipe_of()
    assert (learning_rate_factor(recipe, 0), learning_rate_factor(recipe, 80)) == (4.0, 1.0)
    assert beta2(recipe, recipe.generator_optimizer, 80) == 0.99


@pytest.mark.parametrize("burn_in", [None, BurnIn(length_images=80)], ids=["none", "nothing in it"])
def test_what_has_no_burn_in_stays(burn_in):
    recipe = recipe_of(burn_in)
    for images in (0, 40, 80):
        assert learning_rate_factor(recipe, images) == penalty_factor(recipe, images) == 1.0
        assert beta2(recipe, recipe.generator_optimizer, images) == 0.99
        assert ema_half_life(recipe, images) == 400
        assert augmentation_probability(recipe, 0.5, images) == 0.5


def test_it_multiplies_the_linear_decay():
    recipe = recipe_of(learning_rate_schedule={"length_images": 160})
    assert learning_rate_factor(recipe, 40) == pytest.approx(2.5 * 0.75)


def test_optimisers_use_the_scheduled_rate_and_beta2():
    state = OBJECTIVE.initialise(recipe_of(), 0, torch.device("cpu"))
    used = []
    for optimizer in state.optimizers.values():
        optimizer.register_step_pre_hook(lambda each, *_: used.append(dict(each.param_groups[0])))
    advance(state, 6)
    for index, group in enumerate(used):
        images = 8 * (index // 2)
        assert group["lr"] == pytest.approx(1e-3 * learning_rate_factor(state.recipe, images))
        assert group["betas"] == (0.0, beta2(state.recipe, state.recipe.generator_optimizer, images))


def test_penalties_weigh_as_scheduled():
    """At the start, ten times the weight is the same step."""
    factor_alone = BurnIn(length_images=80, penalty_factor=10.0)
    heavy = {name: {"weight": 10 * each.weight} for name, each in recipe_of().penalties.items()}
    one = OBJECTIVE.initialise(recipe_of(factor_alone), 0, torch.device("cpu"))
    other = OBJECTIVE.initialise(recipe_of(None, penalties=heavy), 0, torch.device("cpu"))
    plain = OBJECTIVE.initialise(recipe_of(None), 0, torch.device("cpu"))
    for state in (one, other, plain):
        advance(state, 1)
    assert one.digest() == other.digest() != plain.digest()


def test_at_a_half_life_of_0_the_average_is_a_copy_and_later_it_is_not():
    state = OBJECTIVE.initialise(recipe_of(BurnIn(length_images=10**9, ema_half_life_images=0)), 0, torch.device("cpu"))
    advance(state, 2)
    pairs = list(zip(state.ema["generator"].parameters(), state.modules["generator"].parameters(), strict=True))
    assert all(torch.allclose(averaged, own, atol=1e-7) for averaged, own in pairs)
    state = OBJECTIVE.initialise(recipe_of(), 0, torch.device("cpu"))
    advance(state, 4)
    pairs = list(zip(state.ema["generator"].parameters(), state.modules["generator"].parameters(), strict=True))
    assert not all(torch.allclose(averaged, own, atol=1e-7) for averaged, own in pairs)


def test_resuming_within_it_is_bit_exact(tmp_path):
    state = OBJECTIVE.initialise(recipe_of(), 0, torch.device("cpu"))
    advance(state, 3)
    resumed = OBJECTIVE.initialise(recipe_of(), 0, torch.device("cpu"))
    restore(resumed, read_checkpoint(save_checkpoint(state, tmp_path, 1.0, "data")))
    advance(state, 4)
    advance(resumed, 4)
    assert resumed.digest() == state.digest()


def test_recipes_without_it_keep_their_ids_and_those_with_it_differ():
    plain = RECIPES["mlp"]()
    assert "burn_in" not in plain.canonical_json() and "penalties_share_pass" not in plain.canonical_json()
    assert plain.replace(burn_in=BURN_IN).id != plain.id


def test_beta2_of_other_optimisers_than_adam_is_refused():
    with pytest.raises(ValidationError, match=r"burn_in\.beta2 is of Adam, but the optimisers are adam, sgd"):
        recipe_of(generator_optimizer=SGD())


def test_steps_whose_beta2_or_penalty_weights_change_are_not_recorded():
    for changes in ({"beta2": 0.9}, {"penalty_factor": 10.0}):
        reason = why_not_recorded(recipe_of(BurnIn(length_images=80, **changes)))
        assert reason is not None and "burn_in" in reason
    assert why_not_recorded(recipe_of(BurnIn(length_images=80, learning_rate_factor=4.0))) is None
