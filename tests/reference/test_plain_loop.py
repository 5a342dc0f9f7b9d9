"""The plain loop trains the same thing: networks equal to ours as functions, the same losses, the same step."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gansmith.build import build_networks, num_parameters
from gansmith.losses import LOSSES, kl_divergence, reconstruction_loss
from gansmith.recipe import R3GANGenerator, Recipe
from gansmith.recipes import RECIPES
from gansmith.recipes.base import dcgan_28, mlp
from tests.test_architecture import imports_of

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import plain

DONE = [name for name in RECIPES if not plain.reasons_to_refuse(RECIPES[name]().model_dump(mode="json"))]
each_recipe = pytest.mark.parametrize("name", DONE)
each_loss = pytest.mark.parametrize("loss", LOSSES)


def without_dropout(recipe: Recipe) -> Recipe:
    if recipe.discriminator is None or not getattr(recipe.discriminator, "dropout", 0.0):
        return recipe
    return recipe.replace(discriminator=recipe.discriminator.model_copy(update={"dropout": 0.0}))


def both(recipe: Recipe):
    """(ours, plain) by role, of the same weights, moved away from the initial ones, which have no biases."""
    torch.manual_seed(0)
    ours = build_networks(recipe)
    theirs = dict(zip(ours, plain.plain_networks(recipe.model_dump(mode="json")), strict=True))
    for role, network in ours.items():
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        plain.load_into_plain(theirs[role], network.state_dict())
    return {role: (ours[role], theirs[role]) for role in ours}


def inputs_of(role: str, recipe: Recipe) -> torch.Tensor:
    shape = (recipe.generator.latent_dim,) if role == "generator" else (recipe.channels, *recipe.size)
    return torch.randn(6, *shape, generator=torch.Generator().manual_seed(1))


@each_recipe
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_networks_of_translated_weights_agree_to_rounding(name, training):
    recipe = without_dropout(RECIPES[name]().shrunk())
    is_spectral = recipe.discriminator is not None and recipe.discriminator.normalisation == "spectral"
    for role, (ours, theirs) in both(recipe).items():
        ours.train(training), theirs.train(training)
        if is_spectral and role == "discriminator":  # torch's own turns u first, ours v: they meet where both converge
            with torch.no_grad():
                for _ in range(60 if training else 0):
                    ours(inputs_of(role, recipe)), theirs(inputs_of(role, recipe))
        for mine, other in zip(*(_tuple(network(inputs_of(role, recipe))) for network in (ours, theirs)), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=2e-5)
            assert mine.std() > 1e-3


def _tuple(output):
    return output if isinstance(output, tuple) else (output,)


@each_recipe
def test_it_has_as_many_parameters_and_the_same_initial_distribution(name):
    recipe = RECIPES[name]()
    ours = build_networks(recipe)
    torch.manual_seed(0)
    theirs = plain.plain_networks(recipe.model_dump(mode="json"))
    for (role, mine), other in zip(ours.items(), theirs, strict=True):
        assert num_parameters(mine) == num_parameters(other), role
        translated = plain.state_dict_from_plain(other)
        for key, weight in mine.named_parameters():
            if weight.numel() > 2_000:
                assert translated[key].std() == pytest.approx(weight.std().item(), rel=0.1), key
            elif key.endswith("bias"):
                assert torch.equal(weight, translated[key]), key


@each_recipe
def test_translation_there_and_back_changes_nothing(name):
    recipe = RECIPES[name]().shrunk()
    for mine, other in both(recipe).values():
        back = plain.state_dict_from_plain(other)
        assert list(back) == list(mine.state_dict())
        for key, value in mine.state_dict().items():
            assert torch.equal(back[key], value), key
        mine.load_state_dict(back)


@each_loss
def test_losses_are_ours(loss):
    real, fake = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    for mine, other in zip((LOSSES[loss].d, LOSSES[loss].g), plain.LOSSES[loss], strict=True):
        torch.testing.assert_close(mine(real, fake), other(real, fake))


def test_the_elbo_is_ours():
    images, reconstructions = torch.rand(2, 5, 1, 8, 8) * 2 - 1
    mean, log_variance = torch.randn(2, 5, 3)
    ours = reconstruction_loss(images, reconstructions) + kl_divergence(mean, log_variance)
    torch.testing.assert_close(plain.negative_elbo(images, mean, log_variance, reconstructions), ours)


@each_recipe
def test_a_step_moves_both_networks_and_counts_the_images(name):
    recipe = RECIPES[name]().shrunk()
    images = np.random.default_rng(0).integers(0, 256, (20, recipe.channels, *recipe.size), dtype=np.uint8)
    loop = plain.PlainLoop(recipe.model_dump(mode="json"), images, workers=0, seed=0)
    networks = (loop.generator, loop.discriminator)
    before = [[parameter.clone() for parameter in network.parameters()] for network in networks]
    loop.step()
    assert loop.images_seen == recipe.batch_size * recipe.discriminator_steps
    for network, old in zip(networks, before, strict=True):
        assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
        assert any(not torch.equal(parameter, was) for parameter, was in zip(network.parameters(), old, strict=True))
    samples = plain.plain_sample(loop.generator, 10, recipe.generator.latent_dim, batch_size=4)
    assert samples.shape == (10, recipe.channels, *recipe.size) and samples.isfinite().all()


@pytest.mark.parametrize("loss", ["relativistic", "wasserstein"])
def test_d_descends_its_loss_and_g_its_own(loss):
    """One step by hand, with the noise that the loop draws."""
    recipe = mlp(size=(4, 4)).shrunk().replace(loss=loss)
    images = np.random.default_rng(0).integers(0, 256, (8, 1, 4, 4), dtype=np.uint8)  # one batch, whatever its order
    loop = plain.PlainLoop(recipe.model_dump(mode="json"), images, workers=0, seed=3)
    torch.manual_seed(3)
    generator, discriminator = plain.plain_networks(recipe.model_dump(mode="json"))
    steps = [torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (generator, discriminator)]
    order = next(plain.endless_batches(images, 8, 0, 3))
    torch.testing.assert_close(order.sum(), (torch.from_numpy(images) / 127.5 - 1).sum(), rtol=1e-4, atol=1e-4)
    noise = [torch.randn(8, recipe.generator.latent_dim) for _ in range(2)]
    LOSSES[loss].d(discriminator(order), discriminator(generator(noise[0]))).mean().backward()
    steps[1].step()
    generator.zero_grad()
    LOSSES[loss].g(discriminator(order), discriminator(generator(noise[1]))).mean().backward()
    steps[0].step()
    torch.manual_seed(3)
    plain.plain_networks(recipe.model_dump(mode="json"))  # draws what the loop's constructor drew
    loop.step()
    for mine, other in ((generator, loop.generator), (discriminator, loop.discriminator)):
        for expected, parameter in zip(mine.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(parameter, expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_classes": 10}, "no classes"),
        ({"penalties": {"r1": {"weight": 1.0, "every": 2}}}, "no penalties but R1 and R2 at every step"),
        ({"burn_in": {"length_images": 1_000}}, "no burn-in"),
        ({"generator": R3GANGenerator(width=8)}, "no mixed families"),
        ({"regularisation": {"l2": 1e-4}}, "no regularisation"),
        ({"generator_optimizer": {"name": "sgd"}}, "no optimisers but Adam"),
        (
            {"loss": "relativistic", "generator_batch_size": 64, "update": "alternating"},
            "relativistic loss with another batch",
        ),
    ],
)
def test_what_it_does_not_do_is_refused(changes, words):
    recipe = dcgan_28().replace(**changes).model_dump(mode="json")
    with pytest.raises(ValueError, match=words):
        plain.plain_networks(recipe)


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(ValueError, match="7 images are fewer than a batch of 8"):
        plain.PlainLoop(mlp().shrunk().model_dump(mode="json"), np.zeros((7, 1, 28, 28), np.uint8), 0, 0)


def test_it_imports_nothing_of_ours():
    for name in ("plain.py", "plain_models.py", "plain_r3gan.py"):
        tree = ast.parse((Path(plain.__file__).parent / name).read_text())
        assert not [module for module in imports_of(tree) if module.startswith("gansmith")]
