"""R1 and R2 of R3GAN from the pass that gives the logits, against the passes of their own: the same to rounding."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from pydantic import ValidationError

from gansmith.data import Batch
from gansmith.losses import LOSSES
from gansmith.recipe import SGD, MLPDiscriminator, MLPGenerator, R3GANDiscriminator, R3GANGenerator, Recipe
from gansmith.training.adversarial import Adversarial
from gansmith.training.estimate import step_flops

OBJECTIVE, CPU = Adversarial(), torch.device("cpu")
R3GAN = (R3GANGenerator(width=16, constant=1, blocks=1), R3GANDiscriminator(width=16, constant=1, blocks=2))
MLP = (MLPGenerator(hidden=(8,)), MLPDiscriminator(hidden=(16, 16)))
BOTH = {"r1": {"weight": 5.0}, "r2": {"weight": 3.0}}
STILL = SGD(learning_rate=1e-30)  # or rounding in D's step would show in G's gradient


def recipe_of(networks=R3GAN, **changes) -> Recipe:
    values = {
        "size": (16, 16), "channels": 2, "generator": networks[0], "discriminator": networks[1], "batch_size": 6,
        "loss": "relativistic", "penalties": BOTH, "discriminator_optimizer": STILL, "generator_optimizer": STILL,
    }  # fmt: skip
    return Recipe(**{**values, **changes})


def gradients_of(recipe: Recipe, dtype=torch.float64, micro_batch=None, steps=0) -> tuple[dict, dict]:
    """Return all gradients of one step from weights away from the initial ones, and what it measured."""
    state = OBJECTIVE.initialise(recipe, 0, CPU)
    state.micro_batch, state.counters["steps"] = micro_batch, steps
    torch.manual_seed(1)
    gradients: dict[str, torch.Tensor] = {}
    for role, module in state.modules.items():
        module.to(dtype)
        if role not in state.optimizers:  # what augments
            continue
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, dtype=torch.float64).to(dtype)

        def note(*_, role=role, module=module):
            gradients.update({f"{role}/{name}": p.grad.clone() for name, p in module.named_parameters()})

        state.optimizers[role].register_step_pre_hook(note)
    rng = torch.Generator().manual_seed(0)
    batches = {
        name: Batch(
            (torch.rand(count, recipe.channels, *recipe.size, generator=rng, dtype=torch.float64) * 2 - 1).to(dtype),
            torch.arange(count) % recipe.num_classes if recipe.num_classes else None,
        )
        for name, count in OBJECTIVE.batches(recipe).items()
    }
    draws = [dataclasses.replace(each, latents=each.latents.to(dtype)) for each in OBJECTIVE.draws(state)]
    draws = [draws[0]] * len(draws) if recipe.shares_fakes else draws
    return gradients, OBJECTIVE.update(state, batches, draws)


def assert_same(found, expected, rtol):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            difference = (ours[name].double() - value.double()).abs().max()
            assert difference <= rtol * value.double().abs().max() + 1e-30, name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
@pytest.mark.parametrize("num_classes", [0, 3], ids=["plain", "conditional"])
@pytest.mark.parametrize("networks", [R3GAN, MLP], ids=["r3gan", "mlp"])
def test_it_gives_the_gradients_of_separate_passes(networks, num_classes, update, dtype):
    recipe = recipe_of(networks, num_classes=num_classes, update=update)
    expected = gradients_of(recipe, dtype)
    found = gradients_of(recipe.replace(penalties_share_pass=True), dtype)
    assert_same(found, expected, 1e-12 if dtype == torch.float64 else 3e-5)
    unpenalised, _ = gradients_of(recipe.replace(penalties={}), dtype)
    name = "discriminator/image.weight" if networks is R3GAN else "discriminator/features.1.weight"
    assert (expected[0][name] - unpenalised[name]).abs().max() > 0.01 * unpenalised[name].abs().max()


@pytest.mark.parametrize("loss", LOSSES)
def test_it_does_so_for_every_loss_also_where_the_loss_is_indifferent(loss):
    recipe = recipe_of(loss=loss)
    assert_same(gradients_of(recipe.replace(penalties_share_pass=True)), gradients_of(recipe), 1e-9)


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_it_takes_one_penalty_alone_and_lazy_ones_in_their_turn(name):
    recipe = recipe_of(penalties={name: {"weight": 2.0, "every": 2}})
    for steps in (0, 1):
        found = gradients_of(recipe.replace(penalties_share_pass=True), steps=steps)
        assert (f"penalty_{name}" in found[1]) is (steps == 0)
        assert_same(found, gradients_of(recipe, steps=steps), 1e-12)


def test_parts_of_a_batch_give_the_gradients_of_the_whole():
    recipe = recipe_of(penalties_share_pass=True)
    (whole, _), (parts, _) = gradients_of(recipe), gradients_of(recipe, micro_batch=4)
    assert_same((parts,), (whole,), 1e-12)


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
@pytest.mark.parametrize("augmentation", [{"policy": "pipe", "probability": 0.8}, {"policy": "diffaugment"}])
def test_it_gives_the_gradients_of_separate_passes_through_augmentation(augmentation, update):
    recipe = recipe_of(channels=3, update=update, augmentation=augmentation)
    expected = gradients_of(recipe, torch.float32)
    found = gradients_of(recipe.replace(penalties_share_pass=True), torch.float32)
    assert_same(found, expected, 1e-4)
    bare, _ = gradients_of(recipe.replace(augmentation=None), torch.float32)
    name = "discriminator/image.weight"
    assert (expected[0][name] - bare[name]).abs().max() > 0.01 * bare[name].abs().max()


def test_in_bfloat16_it_is_near_the_exact_gradient():
    recipe = recipe_of(penalties_share_pass=True)
    exact, _ = gradients_of(recipe, torch.float32)
    rough, _ = gradients_of(recipe.replace(precision="bfloat16"), torch.float32)
    assert all(gradient.dtype == torch.float32 for gradient in rough.values())
    one, other = (torch.cat([gradients[name].flatten() for name in exact]) for gradients in (exact, rough))
    assert (other - one).norm() < 0.05 * one.norm()


def test_its_operations_can_be_counted_and_are_fewer_than_of_separate_passes():
    def flops(**changes) -> float:
        return step_flops(recipe_of(**changes), OBJECTIVE, CPU)

    bare, shared, separate = flops(penalties={}), flops(penalties_share_pass=True), flops()
    assert bare < shared < 0.8 * separate


def test_penalties_between_images_cannot_share_it():
    with pytest.raises(
        ValidationError, match="penalties_share_pass true takes gradients at the images that are scored"
    ):
        recipe_of(penalties={"gradient_penalty": {"weight": 10.0}}, penalties_share_pass=True)
