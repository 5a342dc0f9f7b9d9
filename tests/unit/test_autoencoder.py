"""The terms of the elbo against torch.distributions, and what a step and a preview of an autoencoder make of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

import gansmith
from gansmith import runtime
from gansmith.build import build_discriminator, build_encoder
from gansmith.data import Batch, open_data
from gansmith.errors import ResourceError
from gansmith.facts import Classes
from gansmith.losses import SMALLEST_VARIANCE, kl_divergence, reconstruction_loss
from gansmith.recipe import MLPGenerator, Recipe
from gansmith.recipes import dcgan_small, vae
from gansmith.runtime import autocast
from gansmith.sampling import generate, sample
from gansmith.training.loop import Batches
from gansmith.training.memory import USABLE_SHARE, choose_micro_batch, step_bytes
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.state import TrainState

CPU = torch.device("cpu")
OBJECTIVE = OBJECTIVES["autoencoder"]
SHAPE = (6, 2, 3, 5)


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_kl_divergence_of_normals_is_the_references():
    mean, log_variance = 2 * noise(0, 7, 4), noise(1, 7, 4)
    expected = reference_kl(Normal(mean, torch.exp(0.5 * log_variance)), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)


def test_kl_divergence_by_hand():
    zeros = torch.zeros(1, 3)
    assert float(kl_divergence(zeros, zeros)) == 0.0
    assert float(kl_divergence(zeros + 2, zeros)) == pytest.approx(3 * 2.0)
    assert float(kl_divergence(zeros, zeros + math.log(4))) == pytest.approx(3 * (1.5 - math.log(2)))


def likelihood(images: torch.Tensor, reconstructions: torch.Tensor, variance: float) -> torch.Tensor:
    return Normal(reconstructions, math.sqrt(variance)).log_prob(images).flatten(1).sum(1)


def test_reconstruction_loss_is_the_likelihood_of_the_most_likely_variance():
    images, reconstructions = noise(0, *SHAPE), noise(1, *SHAPE)
    error = float((images - reconstructions).square().mean())
    loss = reconstruction_loss(images, reconstructions)
    torch.testing.assert_close(loss, -likelihood(images, reconstructions, error))
    for other in (0.5 * error, 0.9 * error, 1.1 * error, 2 * error):
        assert likelihood(images, reconstructions, other).sum() < -loss.sum()
    assert float(loss.mean()) == pytest.approx(15 * (math.log(2 * math.pi * error) + 1))


def test_gradient_of_the_reconstruction_loss_is_that_of_the_log_of_the_error():
    images, reconstructions = noise(0, *SHAPE), noise(1, *SHAPE).requires_grad_()
    (found,) = torch.autograd.grad(reconstruction_loss(images, reconstructions).mean(), reconstructions)
    (expected,) = torch.autograd.grad(15 * (images - reconstructions).square().mean().log(), reconstructions)
    torch.testing.assert_close(found, expected)


def test_an_exact_reconstruction_has_the_variance_of_rounding():
    images = noise(0, *SHAPE)
    loss = reconstruction_loss(images, images.clone())
    torch.testing.assert_close(loss, torch.full((6,), 15 * math.log(2 * math.pi * SMALLEST_VARIANCE)))


def small(num_classes: int = 0, **changes) -> Recipe:
    return vae(size=(8, 8), num_classes=num_classes).shrunk().replace(**changes)


def begin(recipe: Recipe) -> TrainState:
    state = OBJECTIVE.initialise(recipe, 0, CPU)
    if recipe.num_classes:
        state.classes = Classes(tuple(map(str, range(recipe.num_classes))), (5,) * recipe.num_classes)
    return state


def digits(recipe: Recipe, state: TrainState) -> Batches:
    return Batches(OBJECTIVE, state, open_data("digits", recipe.size, recipe.channels))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_loss_of_a_step_is_the_sum_of_its_terms(precision):
    recipe = small(precision=precision)
    state = begin(recipe)
    measured = OBJECTIVE.step(state, digits(recipe, state).next())
    likely = 32 * (math.log(2 * math.pi * float(measured["reconstruction_error"])) + 1)
    assert float(measured["loss"]) == pytest.approx(likely + float(measured["kl"]), rel=1e-5)
    assert all(value.dtype == torch.float32 for value in measured.values())


def test_training_improves_loss_and_reconstructions():
    recipe = small()
    state = begin(recipe)
    batches = digits(recipe, state)
    measured = [OBJECTIVE.step(state, batches.next()) for _ in range(120)]
    for name in ("loss", "reconstruction_error"):
        first, last = (sum(float(values[name]) for values in part) / 20 for part in (measured[:20], measured[-20:]))
        assert last < 0.75 * first
    assert float(measured[-1]["kl"]) > 1.0


def preview_of(state: TrainState, reals: Batch) -> torch.Tensor:
    OBJECTIVE.settle(state)
    return OBJECTIVE.preview(state, 3, reals)


@pytest.mark.parametrize("count", [8, 16, 64])
def test_preview_is_rows_of_reals_above_their_reconstructions_then_samples(count):
    state = begin(small())
    reals = noise(5, count, 1, 8, 8).clamp(-1, 1)
    grid = preview_of(state, Batch(reals)).view(8, 8, 1, 8, 8)
    shown = reals[[index * count // 16 for index in range(16)]]
    assert torch.equal(grid[[0, 2]].flatten(0, 1), shown)
    means, _ = state.ema["encoder"](shown)
    torch.testing.assert_close(grid[[1, 3]].flatten(0, 1), generate(state.ema["generator"], means, precision="float32"))
    torch.testing.assert_close(grid[4:].flatten(0, 1), sample(state.ema["generator"], 32, 3, precision="float32"))


def test_preview_of_a_conditional_autoencoder_decodes_with_the_classes():
    state = begin(small(num_classes=4))
    state.ema["generator"].join.embedding.weight.data *= 100.0
    labels = torch.arange(32) // 8
    reals = noise(5, 32, 1, 8, 8).clamp(-1, 1)
    grid = preview_of(state, Batch(reals, labels)).view(8, 8, 1, 8, 8)
    means, _ = state.ema["encoder"](reals[::2])
    torch.testing.assert_close(
        grid[[1, 3]].flatten(0, 1), generate(state.ema["generator"], means, labels[::2], precision="float32")
    )
    torch.testing.assert_close(
        grid[4:].flatten(0, 1), sample(state.ema["generator"], 32, 3, torch.arange(32) % 4, precision="float32")
    )


def test_it_sees_the_images_of_a_gan_in_the_same_order():
    gan = dcgan_small(size=(8, 8)).shrunk()
    states = {name: OBJECTIVES[name].initialise(recipe, 0, CPU) for name, recipe in
              (("adversarial", gan), ("autoencoder", small()))}  # fmt: skip
    data = open_data("digits", (8, 8), 1)
    seen = {name: Batches(OBJECTIVES[name], state, data).indices()["real_d"] for name, state in states.items()}
    assert seen["adversarial"].tolist() == seen["autoencoder"].tolist()


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (48, 40)])
def test_encoder_gives_float32_means_and_log_variances_of_the_generators_latents(size):
    recipe = vae(size=size, channels=3).shrunk()
    with torch.no_grad(), autocast(CPU, "bfloat16"):
        outputs = build_encoder(recipe)(noise(0, 2, 3, *size))
    assert [output.shape for output in outputs] == [(2, recipe.generator.latent_dim)] * 2
    assert {output.dtype for output in outputs} == {torch.float32}


def test_a_network_that_a_recipe_has_not_is_not_built():
    with pytest.raises(ValueError, match="a recipe of objective autoencoder has no discriminator"):
        build_discriminator(small())
    with pytest.raises(ValueError, match="a recipe of objective adversarial has no encoder"):
        build_encoder(dcgan_small())


def tiles(path: Path) -> np.ndarray:
    """The tiles of a grid of 8 x 8 images, without the lines between them: (8, 8, pixels, pixels)."""
    pixels = np.asarray(Image.open(path))
    side = len(pixels) // 8
    inner = [slice(place * side + 4, place * side + side - 2) for place in range(8)]
    return np.stack([[pixels[rows, columns] for columns in inner] for rows in inner])


def test_a_run_shows_its_reals_also_after_resuming(tmp_path):
    recipe = vae(size=(16, 16)).shrunk()
    for images in (16, 32):
        gansmith.train("digits", recipe, images=images, out=tmp_path, quiet=True)
    reals = tiles(tmp_path / "reals.png").reshape(64, -1)
    for images in (0, 16, 32):
        grid = tiles(tmp_path / "samples" / f"{images:09d}.png").reshape(8, 8, -1)
        assert np.array_equal(grid[[0, 2]].reshape(16, -1), reals[::4])
    model = gansmith.load(tmp_path)
    assert torch.equal(gansmith.sample(model, 4), gansmith.sample(tmp_path, 4))


def test_diverging_names_the_rates_that_there_are(tmp_path):
    recipe = small(generator_optimizer={"name": "sgd", "learning_rate": 1e12})
    with pytest.raises(gansmith.GansmithError, match="no finite number") as caught:
        gansmith.train("digits", recipe, images=400, out=tmp_path, quiet=True)
    assert caught.value.exit_code == 5
    assert "--set generator_optimizer.learning_rate=" in str(caught.value)
    assert "discriminator" not in str(caught.value)


def test_what_does_not_fit_and_cannot_be_computed_in_parts_is_refused_with_the_reason(monkeypatch):
    recipe = small(generator=MLPGenerator(hidden=(8,)), batch_size=100)
    step = step_bytes(recipe, OBJECTIVE)
    free = (step.fixed + 70 * (step.held + step.kept)) / USABLE_SHARE
    monkeypatch.setattr(runtime, "available_memory", lambda device: int(free))
    with pytest.raises(ResourceError, match="the variance of the elbo needs the batch whole: --set batch_size=64 fits"):
        choose_micro_batch(recipe, OBJECTIVE, CPU)
