"""Every method that is an option of a recipe, over the families that have it: it trains, changes the step, and resumes.

What each computes is tested by closed forms: here top-k and LeCam, elsewhere layers and penalties.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gansmith.losses import LOSSES, of_top
from gansmith.overrides import apply_overrides
from gansmith.penalties import PENALTIES, moved
from gansmith.recipe import PenaltySettings, Recipe, Regularisation
from gansmith.settings import TopK
from gansmith.training.draws import Draws
from gansmith.training.estimate import estimate
from gansmith.training.graph import why_not_recorded
from gansmith.training.lecam import DECAY, Anchors, move_anchors
from gansmith.training.memory import choose_micro_batch
from gansmith.training.scoring import logits_of_pair
from gansmith.training.step import discriminator_step, generator_step
from tests.contracts.test_methods import CPU, OBJECTIVE, advance, batches_of, begin, resumed_from, small

OPTIONS = {
    "attention": ("generator.attention=4", "discriminator.attention=4"),
    "attention with penalties": (
        "generator.attention=4", "discriminator.attention=4", "penalties.r1.weight=0.1",
        "penalties.gradient_penalty.weight=1",
    ),
    "minibatch_std": ("discriminator.minibatch_std=true",),
    "minibatch_std with r1": ("discriminator.minibatch_std=true", "penalties.r1.weight=0.1"),
    "top_k": ("top_k={interval_images: 8, gamma: 0.8}",),
    "lecam": ("regularisation.lecam=0.3",),
    "consistency": ("penalties.consistency.weight=10",),
    "all": (
        "generator.attention=4", "discriminator.attention=4", "discriminator.minibatch_std=true", "top_k={}",
        "regularisation.lecam=0.3", "penalties.balanced_consistency.weight=10",
    ),
}  # fmt: skip
FAMILIES = ("dcgan-small", "resnet")
each_option = pytest.mark.parametrize("option", OPTIONS)
each_family = pytest.mark.parametrize("family", FAMILIES)


def with_option(family: str, option: str, *changes: str) -> Recipe:
    return apply_overrides(small(family, discriminator_steps=1), (*OPTIONS[option], *changes))


@each_option
@each_family
@pytest.mark.parametrize("changes", [(), ("update=simultaneous", "generator_batch_size=null")], ids=["", "at once"])
def test_it_trains_changes_the_networks_and_resumes_bit_for_bit(family, option, changes, tmp_path):
    state = begin(with_option(family, option, *changes))
    advance(state, 2)
    resumed = resumed_from(state, tmp_path)
    measured = advance(state, 2)
    advance(resumed, 2)
    assert all(value.isfinite() for values in measured for value in values.values())
    assert resumed.digest() == state.digest()
    plain = begin(apply_overrides(small(family, discriminator_steps=1), changes))
    advance(plain, 4)
    weights = {name: value for name, value in plain.digest().items() if name.startswith("modules/")}
    found = state.digest()
    assert any(found.get(name) != value for name, value in weights.items())


@each_option
def test_in_bfloat16_it_trains_too(option):
    state = begin(with_option("dcgan-small", option, "precision=bfloat16"))
    assert all(value.isfinite() for values in advance(state, 2) for value in values.values())
    assert state.is_finite()


@each_option
def test_with_classes_it_trains_too(option):
    state = begin(apply_overrides(small("dcgan-small", 3), OPTIONS[option]))
    assert all(value.isfinite() for values in advance(state, 2) for value in values.values())


# Attention


def test_both_attentions_learn_to_attend():
    state = begin(with_option("dcgan-small", "attention"))
    advance(state, 3)
    gammas = {name: value for name, value in state.module_tensors().items() if name.endswith(".gamma")}
    assert len(gammas) == 2 and all(value.item() != 0 for value in gammas.values())


# Minibatch standard deviation


def test_reals_and_fakes_are_scored_as_in_batches_of_their_own():
    state = begin(with_option("dcgan-small", "minibatch_std"))
    discriminator = state.modules["discriminator"].eval()
    real, fake = torch.rand(2, 8, 1, 8, 8)
    with torch.no_grad():
        together = logits_of_pair(state, real, fake, None)
        assert torch.equal(together[0], discriminator(real, None))
        assert torch.equal(together[1], discriminator(fake, None))
        one_pass = discriminator(torch.cat([real, fake]), None).chunk(2)
    assert not torch.allclose(one_pass[0], together[0])


def test_in_a_simultaneous_step_g_gets_the_gradient_of_its_own_loss():
    recipe = with_option("dcgan-small", "minibatch_std", "update=simultaneous", "discriminator.normalisation=null")
    found, expected = begin(recipe), begin(recipe)
    batches, draws = batches_of(recipe, 0), OBJECTIVE.draws(found)
    generator = expected.modules["generator"]
    fake = generator(draws[0].latents, None)
    loss = LOSSES[recipe.loss].g(fake.new_zeros(8), expected.modules["discriminator"](fake, None)).mean()
    gradients: list[torch.Tensor] = []
    found.optimizers["generator"].register_step_pre_hook(
        lambda *_: gradients.extend(parameter.grad.clone() for parameter in found.modules["generator"].parameters())
    )
    OBJECTIVE.update(found, batches, draws)
    for mine, other in zip(gradients, torch.autograd.grad(loss, list(generator.parameters())), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 5, 7])
def test_batches_that_four_do_not_divide_are_trained_on(batch):
    state = begin(with_option("dcgan-small", "minibatch_std", f"batch_size={batch}", "generator_batch_size=null"))
    advance(state, 2)
    assert state.is_finite()


@pytest.mark.parametrize(
    ("option", "words"),
    [("minibatch_std", "the standard deviation of minibatches"), ("top_k", "the choice of the top k fakes")],
)
def test_what_looks_at_a_whole_batch_is_not_computed_in_parts(option, words):
    recipe = apply_overrides(small("mlp"), ["generator.family=mlp", "discriminator.family=dcgan"])
    assert recipe.needs_whole_batch is None
    assert apply_overrides(recipe, OPTIONS[option]).needs_whole_batch == words
    assert choose_micro_batch(apply_overrides(recipe, OPTIONS[option]), OBJECTIVE, CPU) is None


def test_minibatch_deviation_mixes_images_and_is_no_batch_norm():
    recipe = apply_overrides(small("mlp"), ["discriminator.family=dcgan", "discriminator.minibatch_std=true"])
    assert recipe.discriminator_mixes_images and not recipe.has_batch_norm


# Top-k


def test_share_of_top_k_falls_from_one_by_gamma_to_the_floor():
    settings = TopK(gamma=0.5, interval_images=1000, floor=0.3)
    assert [settings.count(images, 100) for images in (0, 1000, 1500, 2000, 10**9)] == [100, 50, 35, 30, 30]
    assert TopK(floor=0.01).count(10**9, 8) == 1
    published = TopK()
    assert (published.gamma, published.floor) == (0.99, 0.5)
    assert published.count(50_000 * 68, 1000) == round(1000 * 0.99**68)
    assert published.count(50_000 * 69, 1000) == 500


def test_of_top_keeps_the_losses_of_the_highest_logits_and_their_mean():
    losses, logits = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.0, 9.0, -1.0, 3.0])
    kept = of_top(losses, logits, 2)
    assert kept.tolist() == [0.0, 4.0, 0.0, 8.0]
    assert kept.mean() == (2.0 + 4.0) / 2
    assert torch.equal(of_top(losses, logits, 4), losses)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_of_g_is_that_of_the_fakes_which_d_scores_highest(loss):
    recipe = small("mlp", loss=loss, top_k=TopK(gamma=0.5, interval_images=1, floor=0.25))
    latents, real = torch.randn(8, recipe.generator.latent_dim), batches_of(recipe, 0)["real_d"]
    found, expected = begin(recipe), begin(recipe.replace(top_k=None))
    found.counters["images"] = 10  # k is 2 of 8
    with torch.no_grad():
        logits = found.modules["discriminator"](found.modules["generator"](latents, None), None)
    best = logits.topk(2).indices
    generator_step(found, real, None, Draws(latents, torch.Generator()))
    generator_step(
        expected,
        real.part(0, 2) if loss != "relativistic" else _of(real, best),
        None,
        Draws(latents[best], torch.Generator()),
    )
    for mine, other in zip(
        found.modules["generator"].parameters(), expected.modules["generator"].parameters(), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-4)


def _of(batch: Any, indices: torch.Tensor) -> Any:
    return type(batch)(batch.images[indices], None)


def test_a_step_with_top_k_is_not_recorded_and_the_reason_is_said():
    reason = why_not_recorded(with_option("dcgan-small", "top_k"))
    assert reason == "how many fakes count in the generator's loss (top_k) changes as training goes on"


# LeCam


def test_value_of_lecam_by_hand():
    anchors = Anchors()
    anchors.real.fill_(2.0)
    anchors.fake.fill_(-1.0)
    value = anchors(torch.tensor([3.0, -1.0]), torch.tensor([0.0, 2.0]))
    assert value.tolist() == [16.0 + 4.0, 0.0 + 0.0]


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_anchors_are_moving_averages_of_the_mean_logits(micro_batch):
    state = begin(small("mlp", regularisation=Regularisation(lecam=0.3)), micro_batch)
    seen = []
    forward = state.modules["discriminator"].register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    expected = {"real": 0.0, "fake": 0.0}
    for step in range(3):
        real = batches_of(state.recipe, step)["real_d"]
        discriminator_step(state, real, torch.rand(8, 1, 8, 8), torch.Generator(), step)
        halves = [logits.chunk(2) for logits in seen]
        for index, name in enumerate(("real", "fake")):
            mean = torch.cat([pair[index] for pair in halves]).mean().item()
            expected[name] = DECAY * expected[name] + (1 - DECAY) * mean
            assert getattr(state.modules["lecam"], name).item() == pytest.approx(expected[name], rel=1e-5)
        seen.clear()
    forward.remove()
    assert not math.isclose(expected["real"], expected["fake"])


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_lecam_adds_its_weight_times_its_mean_to_ds_loss(update):
    """With a loss of D that is flat, as hinge beyond its margins, nothing but LeCam would move its weights."""
    recipe = small("mlp", loss="wasserstein", update=update, regularisation=Regularisation(lecam=0.5))
    state = begin(recipe)
    state.modules["lecam"].real.fill_(3.0)
    state.modules["lecam"].fake.fill_(-2.0)
    discriminator = state.modules["discriminator"]
    start = [parameter.detach().clone() for parameter in discriminator.parameters()]
    gradients: list[torch.Tensor] = []
    state.optimizers["discriminator"].register_step_pre_hook(
        lambda *_: gradients.extend(parameter.grad.clone() for parameter in discriminator.parameters())
    )
    batch = batches_of(recipe, 0)
    draws = OBJECTIVE.draws(state)
    with torch.no_grad():
        fake = state.modules["generator"](draws[0].latents, None)
    measured = OBJECTIVE.update(state, batch, draws)
    with torch.no_grad():
        for parameter, before in zip(discriminator.parameters(), start, strict=True):
            parameter.copy_(before)
    real_logits, fake_logits = discriminator(batch["real_d"].images, None), discriminator(fake, None)
    values = (real_logits + 2.0).square() + (fake_logits - 3.0).square()
    expected = torch.autograd.grad((fake_logits - real_logits + 0.5 * values).mean(), list(discriminator.parameters()))
    for mine, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)
    assert measured["penalty_lecam"].item() == pytest.approx(values.mean().item(), rel=1e-4)


def test_logits_that_are_no_numbers_do_not_move_the_anchors():
    state = begin(small("mlp", regularisation=Regularisation(lecam=0.3)))
    move_anchors(state, [(torch.ones(4), torch.full((4,), torch.nan))])
    assert state.modules["lecam"].real.item() == pytest.approx(1 - DECAY)
    assert state.modules["lecam"].fake.item() == 0


def test_an_estimate_lists_what_learns_alone():
    recipe = small("mlp", regularisation=Regularisation(lecam=0.3))
    found = estimate(recipe, OBJECTIVE, CPU)
    assert found.parameters.keys() == {"generator", "discriminator"}
    assert {layer.network for layer in found.layers} == {"generator", "discriminator"}


def test_anchors_are_state_without_parameters_or_optimiser():
    state = begin(small("mlp", regularisation=Regularisation(lecam=0.3)))
    assert {"lecam/real", "lecam/fake"} <= state.module_tensors().keys()
    assert list(state.modules["lecam"].parameters()) == [] and "lecam" not in state.optimizers
    assert "lecam" not in begin(small("mlp")).modules


# Consistency


@pytest.mark.parametrize("penalty", ["consistency", "balanced_consistency"])
def test_consistency_of_a_discriminator_that_does_not_see_shifts_and_flips_is_0(penalty):
    images = torch.zeros(5, 2, 12, 12)
    images[:, :, 4:8, 4:8] = torch.rand(5, 2, 4, 4)  # stays inside, whatever the shift of one pixel

    def sums(samples, labels):
        return samples.square().sum((1, 2, 3))

    def sees_places(samples, labels):
        return samples[:, :, 4:6].sum((1, 2, 3))

    value, other = (PENALTIES[penalty](d, images, images, None, torch.Generator()) for d in (sums, sees_places))
    torch.testing.assert_close(value, torch.zeros(5), atol=1e-10, rtol=0)
    assert other.max() > 0.01


def test_moved_images_are_made_of_their_own_pixels_shifted_by_an_eighth_at_most():
    size = 16
    ramp = torch.arange(float(size)).expand(200, 2, size, size)
    rows, columns = (
        moved(ramp.transpose(2, 3), torch.Generator().manual_seed(0)),
        moved(ramp, torch.Generator().manual_seed(0)),
    )
    down = rows[:, 0, 8, 0] - 8
    assert sorted(set(down.tolist())) == [-2, -1, 0, 1, 2]
    is_mirrored = columns[:, 0, 0, 8] < columns[:, 0, 0, 7]
    assert 60 < int(is_mirrored.sum()) < 140
    upright = torch.where(is_mirrored[:, None], columns[:, 0, 0].flip(1), columns[:, 0, 0])
    right = upright[:, 8] - 8
    assert sorted(set(right.tolist())) == [-2, -1, 0, 1, 2]
    for shift, row in zip(right.tolist(), upright, strict=True):
        places = (torch.arange(size) + int(shift)).abs()
        assert torch.equal(row, (size - 1 - (size - 1 - places).abs()).float())


def test_shifts_are_4_pixels_at_most():
    ramp = torch.arange(64.0)[:, None].expand(300, 1, 64, 64)
    shifts = moved(ramp, torch.Generator().manual_seed(0))[:, 0, 30, 0] - 30
    assert sorted(set(shifts.tolist())) == list(range(-4, 5))


def test_consistency_is_weighed_like_any_penalty():
    recipe = small("mlp", penalties={"consistency": PenaltySettings(weight=10.0)})
    (measured,) = advance(begin(recipe), 1)
    assert measured["penalty_consistency"] > 0
