"""What every loss and every penalty must keep: a new row of a table is tested by being there."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import nn

from gansmith.build import build_discriminator
from gansmith.losses import LOSSES
from gansmith.networks import DISCRIMINATORS, ENCODERS, GENERATORS
from gansmith.penalties import PENALTIES, moved
from gansmith.recipe import UNUSED
from gansmith.recipes import RECIPES
from gansmith.runtime import autocast
from gansmith.settings import (
    AdversarialLossName,
    DiscriminatorSettings,
    EncoderSettings,
    GeneratorSettings,
    LossName,
    ObjectiveName,
    PenaltyName,
)
from gansmith.training.objectives import OBJECTIVES

CPU = torch.device("cpu")
SHAPE = (5, 2, 4, 3)
LN2 = math.log(2)


def families_of(settings) -> set[str]:
    union = get_args(settings)[0]
    return {part.model_fields["family"].default for part in get_args(union)}


def logits(seed: int, count: int = 9) -> torch.Tensor:
    return 3 * torch.randn(count, generator=torch.Generator().manual_seed(seed))


def images(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class Linear(nn.Module):
    """D(x) = w . x + b."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(math.prod(SHAPE[1:]), 1)

    def forward(self, samples, labels=None):
        return self.layer(samples.flatten(1)).squeeze(1)


class Curved(nn.Module):
    """A smooth discriminator whose gradient depends on the sample."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(48, 1)

    def forward(self, samples, labels=None):
        return self.last(torch.tanh(self.first(samples)).flatten(1)).squeeze(1)


def test_adversarial_loss_names_of_recipes_are_the_table():
    assert set(get_args(AdversarialLossName)) == set(LOSSES) == set(get_args(LossName)) - {"elbo"}


def test_objective_names_of_recipes_are_the_table():
    assert set(get_args(ObjectiveName)) == set(OBJECTIVES) == set(UNUSED)


def test_encoder_families_of_recipes_are_the_table():
    assert {EncoderSettings.model_fields["family"].default} == set(ENCODERS)


def test_penalty_names_of_recipes_are_the_table():
    assert set(get_args(PenaltyName)) == set(PENALTIES)


def test_generator_families_of_recipes_are_the_table():
    assert families_of(GeneratorSettings) == set(GENERATORS)


def test_discriminator_families_of_recipes_are_the_table():
    assert families_of(DiscriminatorSettings) == set(DISCRIMINATORS)


PAIRS = [(name, player) for name in LOSSES for player in ("d", "g")]
each_function = pytest.mark.parametrize(("name", "player"), PAIRS)


@each_function
@pytest.mark.parametrize("count", [1, 9])
def test_loss_is_one_float32_value_per_sample(name, player, count):
    value = getattr(LOSSES[name], player)(logits(0, count), logits(1, count))
    assert (value.shape, value.dtype) == ((count,), torch.float32)


@each_function
def test_loss_and_its_gradient_are_finite_at_large_logits(name, player):
    real, fake = torch.cartesian_prod(*[torch.tensor([-50.0, -1.0, 0.0, 1.0, 50.0])] * 2).unbind(1)
    fake = fake.clone().requires_grad_(True)
    value = getattr(LOSSES[name], player)(real, fake)
    (gradient,) = torch.autograd.grad(value.sum(), fake)
    assert value.isfinite().all() and gradient.isfinite().all()


@each_function
def test_loss_of_a_permuted_batch_is_the_permuted_loss(name, player):
    function, order = getattr(LOSSES[name], player), torch.randperm(9, generator=rng())
    assert torch.equal(function(logits(0)[order], logits(1)[order]), function(logits(0), logits(1))[order])


def gradients(function) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    real, fake = logits(0, 200).requires_grad_(True), logits(1, 200).requires_grad_(True)
    return torch.autograd.grad(function(real, fake).sum(), (real, fake), allow_unused=True)


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"least_squares"}))
def test_discriminator_wants_real_logits_up_and_fake_logits_down(name):
    real, fake = gradients(LOSSES[name].d)
    assert (real <= 0).all() and (real < 0).any()
    assert (fake >= 0).all() and (fake > 0).any()


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"least_squares"}))
def test_generator_wants_fake_logits_up(name):
    _, fake = gradients(LOSSES[name].g)
    assert (fake <= 0).all() and (fake < 0).any()


def test_least_squares_pulls_logits_to_its_targets():
    real, fake = gradients(LOSSES["least_squares"].d)
    _, generated = gradients(LOSSES["least_squares"].g)
    torch.testing.assert_close(real, logits(0, 200) - 1)
    torch.testing.assert_close(fake, logits(1, 200))
    torch.testing.assert_close(generated, logits(1, 200) - 1)


# At D(x) = ln 3 and D(G(z)) = -ln 3, where sigmoid is 3/4 and 1/4, and exp of the difference is 9.
LN3 = math.log(3)
BY_HAND = {
    "minimax": (2 * math.log(4 / 3), math.log(3 / 4)),
    "non_saturating": (2 * math.log(4 / 3), math.log(4)),
    "least_squares": (((LN3 - 1) ** 2 + LN3**2) / 2, (LN3 + 1) ** 2 / 2),
    "wasserstein": (-2 * LN3, LN3),
    "hinge": (0.0, LN3),
    "relativistic": (math.log(10 / 9), math.log(10)),
}


def test_every_loss_has_a_value_by_hand():
    assert set(BY_HAND) == set(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_equals_the_value_by_hand(name):
    real, fake = torch.tensor([LN3]), torch.tensor([-LN3])
    discriminator, generator = BY_HAND[name]
    assert float(LOSSES[name].d(real, fake)) == pytest.approx(discriminator, abs=1e-6)
    assert float(LOSSES[name].g(real, fake)) == pytest.approx(generator, abs=1e-6)


def test_hinge_loss_inside_the_margin_equals_the_value_by_hand():
    assert float(LOSSES["hinge"].d(torch.tensor([0.25]), torch.tensor([0.5]))) == pytest.approx(0.75 + 1.5)


CLOSED_FORMS = {
    "r1": lambda norm: norm**2 / 2,
    "r2": lambda norm: norm**2 / 2,
    "gradient_penalty": lambda norm: (norm - 1) ** 2,
}


def of_change(images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(w . (x - T(x)))^2 for each image, the first that is moved by a generator of seed 0."""
    return ((images - moved(images, rng())).flatten(1) @ weight.flatten()).square()


CONSISTENCIES = ("consistency", "balanced_consistency")


def test_every_penalty_has_a_closed_form():
    assert {*CLOSED_FORMS, *CONSISTENCIES} == set(PENALTIES)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_consistency_of_a_linear_discriminator_is_the_square_of_the_weight_times_the_change(scale):
    torch.manual_seed(0)
    discriminator = Linear()
    discriminator.layer.weight.data *= scale
    weight = discriminator.layer.weight.detach()
    value = PENALTIES["consistency"](discriminator, images(0), images(1), None, rng())
    torch.testing.assert_close(value, of_change(images(0), weight), atol=1e-5, rtol=1e-4)
    assert value.max() > 0  # an image may happen to stay as it is
    both = PENALTIES["balanced_consistency"](discriminator, images(0), images(1), None, rng())
    draws = rng()
    changes = [(images(seed) - moved(images(seed), draws)).flatten(1) @ weight.flatten() for seed in (0, 1)]
    torch.testing.assert_close(both, changes[0].square() + changes[1].square(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_penalty_of_a_linear_discriminator_is_its_closed_form_in_the_weight_norm(name, scale):
    torch.manual_seed(0)
    discriminator = Linear()
    discriminator.layer.weight.data *= scale
    value = PENALTIES[name](discriminator, images(0), images(1), None, rng())
    expected = CLOSED_FORMS[name](float(discriminator.layer.weight.detach().norm()))
    torch.testing.assert_close(value, torch.full((5,), expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_penalty_is_one_float32_value_per_sample(name, precision):
    with autocast(CPU, precision):
        value = PENALTIES[name](Curved(), images(0), images(1), None, rng())
    assert (value.shape, value.dtype) == ((5,), torch.float32)
    assert value.isfinite().all()


@pytest.mark.parametrize("name", PENALTIES)
def test_penalty_under_bfloat16_is_computed_in_float32(name):
    torch.manual_seed(0)
    discriminator = Curved()
    expected = PENALTIES[name](discriminator, images(0), images(1), None, rng())
    with autocast(CPU, "bfloat16"):
        value = PENALTIES[name](discriminator, images(0), images(1), None, rng())
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalty_takes_bfloat16_fakes(name):
    value = PENALTIES[name](Curved(), images(0), images(1).bfloat16(), None, rng())
    assert value.dtype == torch.float32 and value.isfinite().all()


@pytest.mark.parametrize("name", PENALTIES)
def test_penalty_of_a_sample_does_not_depend_on_the_others(name):
    torch.manual_seed(0)
    discriminator, real, others = Curved(), images(0), images(1)
    value = PENALTIES[name](discriminator, real, real.clone(), None, rng())
    for index, one in enumerate(real):
        among_others = others.clone()
        among_others[index] = one
        found = PENALTIES[name](discriminator, among_others, among_others.clone(), None, rng())
        torch.testing.assert_close(found[index], value[index])
        assert not torch.allclose(found, value)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalty_gradient_of_the_weights_agrees_with_finite_differences(name):
    torch.manual_seed(0)
    discriminator = Curved()

    def value() -> torch.Tensor:
        return PENALTIES[name](discriminator, images(0), images(1), None, rng()).mean()

    direction = torch.randn_like(discriminator.first.weight)
    (gradient,) = torch.autograd.grad(value(), discriminator.first.weight)
    values = []
    for step in (1e-2, -2e-2):
        discriminator.first.weight.data += step * direction
        values.append(value().item())
    assert (gradient * direction).sum().item() == pytest.approx((values[0] - values[1]) / 2e-2, rel=0.02)


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("recipe_name", ["mlp", "dcgan-28", "dcgan-small"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_penalty_trains_every_weight_of_our_discriminators(name, recipe_name, precision):
    discriminator = build_discriminator(RECIPES[recipe_name](size=(8, 8)).shrunk())
    real, fake = torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)
    with autocast(CPU, precision):
        penalty = PENALTIES[name](discriminator, real, fake, None, rng()).mean()
    penalty.backward()
    for parameter_name, parameter in discriminator.named_parameters():
        if not parameter_name.endswith("bias"):  # LeakyReLU is linear between its kinks: no bias in the gradient
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name
            assert parameter.grad.isfinite().all()
