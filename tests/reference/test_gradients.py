"""Savings of the training step that must change nothing: gradients of real recipe networks in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gansmith.data import Batch
from gansmith.losses import LOSSES
from gansmith.recipe import Recipe
from gansmith.recipes import RECIPES
from gansmith.training.adversarial import Adversarial
from gansmith.training.draws import draw, seed_dropout
from gansmith.training.gradients import one_backward, two_backwards
from gansmith.training.scoring import logits_of_pair
from gansmith.training.state import TrainState
from gansmith.training.step import generate

BATCH = 4
OBJECTIVE = Adversarial()
CPU = torch.device("cpu")
EXACT = {"rtol": 1e-10, "atol": 1e-13}


def recipe_of(name: str, loss: str = "non_saturating", **changes: object) -> Recipe:
    """The recipe with its real layers, the widest of them narrower, and a small batch."""
    recipe = RECIPES[name]()
    widths = {role: settings.model_copy(update={"width": 16}) for role, settings in recipe.networks.items()
              if "width" in type(settings).model_fields}  # fmt: skip
    fixed = {"batch_size": BATCH, "generator_batch_size": None, "discriminator_steps": 1}
    return recipe.replace(**{**widths, **fixed, "loss": loss, **changes})


def begin(recipe: Recipe) -> tuple[TrainState, dict[str, Batch]]:
    """A state in float64, and batches for a step."""
    state = OBJECTIVE.initialise(recipe, 3, CPU)
    for module in (*state.modules.values(), *state.ema.values()):
        module.double()
    rng = torch.Generator().manual_seed(5)
    shape = (recipe.channels, *recipe.size)
    return state, {
        name: Batch(torch.rand(size, *shape, generator=rng, dtype=torch.float64) * 2 - 1)
        for name, size in OBJECTIVE.batches(recipe).items()
    }


def scored(state: TrainState, real: Batch, moved: float) -> tuple[Tensor, ...]:
    """Fakes, as a leaf too, and the logits of one pass, those of fakes moved so that losses see both their sides."""
    seed_dropout(state)
    fakes = generate(state, draw(state, "discriminator", BATCH).latents.double(), real.labels)
    leaf = fakes.detach().requires_grad_(True)
    real_logits, fake_logits = logits_of_pair(state, real.images, leaf, real.labels)
    return fakes, leaf, real_logits, fake_logits + moved * torch.linspace(-3, 3, BATCH, dtype=torch.float64)


def gradients_by(method, recipe: Recipe, moved: float) -> dict[str, Tensor]:
    """Gradients of both players' parameters by one of the two ways of taking them."""
    state, batches = begin(recipe)
    discriminator = list(state.modules["discriminator"].parameters())
    fakes, leaf, real_logits, fake_logits = scored(state, batches["real_d"], moved)
    loss = LOSSES[recipe.loss]
    loss_d = loss.d(real_logits, fake_logits).mean()
    loss_g = loss.g(real_logits.detach(), fake_logits).mean()
    fakes.backward(method(loss_d, loss_g, real_logits, fake_logits, leaf, discriminator))
    return {
        f"{role}/{name}": parameter.grad
        for role, module in state.modules.items()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def are_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    """Whether every gradient is right to 1e-10 of the largest of its network: some are 0 but for rounding."""
    largest = {key.split("/")[0]: 0.0 for key in expected}
    for key, value in expected.items():
        largest[key.split("/")[0]] = max(largest[key.split("/")[0]], float(value.abs().max()))
    return all(
        torch.allclose(found[key], value, rtol=0, atol=1e-10 * largest[key.split("/")[0]])
        for key, value in expected.items()
    )


def perturbed(*arguments):
    return one_backward(*arguments) * (1 + 1e-6)


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("name", ["mlp", "dcgan-28", "dense-conv", "dcgan-small", "resnet"])
def test_one_backward_gives_the_gradients_of_two(name, loss):
    recipe = recipe_of(name, loss)
    for moved in (0.0, 1.0):
        expected = gradients_by(two_backwards, recipe, moved)
        found = gradients_by(one_backward, recipe, moved)
        assert found.keys() == expected.keys()
        assert any(name.startswith("generator") for name in found)
        assert are_equal(found, expected)
        assert not are_equal(gradients_by(perturbed, recipe, moved), expected)


def test_one_backward_gives_the_generator_its_gradient_where_the_discriminator_has_none():
    recipe = recipe_of("mlp", "hinge")
    state, batches = begin(recipe)
    _, leaf, real_logits, fake_logits = scored(state, batches["real_d"], 0.0)
    beyond = fake_logits - 50  # D's loss is flat there, G's is not
    loss = LOSSES["hinge"]
    arguments = (loss.d(real_logits, beyond).mean(), loss.g(real_logits, beyond).mean(), real_logits, beyond, leaf)
    parameters = list(state.modules["discriminator"].parameters())
    (expected,) = torch.autograd.grad(arguments[1], leaf, retain_graph=True)
    found = one_backward(*arguments, parameters)
    assert float(expected.abs().min()) > 0
    torch.testing.assert_close(found, expected, **EXACT)


def gradients_of_step(recipe: Recipe, micro_batch: int | None, latents_moved: float = 0.0) -> dict[str, Tensor]:
    """The gradients that both optimisers see in one step."""
    state, batches = begin(recipe)
    state.micro_batch = micro_batch
    found: dict[str, Tensor] = {}

    def note(role: str) -> None:
        for name, parameter in state.modules[role].named_parameters():
            found[f"{role}/{name}"] = parameter.grad.clone()

    for role, optimizer in state.optimizers.items():
        optimizer.register_step_pre_hook(lambda *_, role=role: note(role))
    draws = OBJECTIVE.draws(state)
    doubled = [type(each)(each.latents.double() + latents_moved * each.latents.flip(0), each.rng) for each in draws]
    seed_dropout(state)
    OBJECTIVE.update(state, batches, [*doubled[:-1], doubled[-2]])
    return found


@pytest.mark.parametrize("name", ["mlp", "dcgan-28", "dcgan-32", "dense-conv", "dcgan-small", "resnet"])
def test_reuse_of_the_discriminators_fakes_is_making_them_again(name):
    recipe = recipe_of(name, update="alternating")
    assert recipe.shares_fakes
    found, expected = gradients_of_step(recipe, None), gradients_of_step(recipe, BATCH)
    assert found.keys() == expected.keys()
    assert are_equal(found, expected)
    assert not are_equal(gradients_of_step(recipe, None, latents_moved=1e-6), expected)
