"""Augmentation as a recipe's setting and in the steps of training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gansmith.augment import Augmenter, Transformation
from gansmith.checkpoint import read_checkpoint, save_checkpoint
from gansmith.data import Batch
from gansmith.errors import UsageError
from gansmith.losses import LOSSES
from gansmith.overrides import apply_overrides
from gansmith.penalties import r1
from gansmith.recipe import SGD, AdaptiveProbability, Augmentation, MLPDiscriminator, PenaltySettings, Recipe
from gansmith.recipes import RECIPES
from gansmith.restore import restore
from gansmith.rules import UNANCHORED, usual_target
from gansmith.training.adversarial import Adversarial
from gansmith.training.augmentation import seen_through
from gansmith.training.estimate import estimate
from gansmith.training.memory import step_bytes
from gansmith.training.state import TrainState

CPU = torch.device("cpu")
OBJECTIVE = Adversarial()
FIXED = Augmentation(probability=0.6)
BATCH_NORM = MLPDiscriminator(normalisation="batch")
ADAPTIVE = Augmentation(adaptive=AdaptiveProbability(images_to_certainty=200), probability=0.3)


def small(name: str = "mlp", **changes) -> Recipe:
    return RECIPES[name](size=(8, 8), channels=3).shrunk().replace(**changes)


def batches_of(recipe: Recipe, step: int) -> dict[str, Batch]:
    rng = torch.Generator().manual_seed(step)
    shape = recipe.channels, *recipe.size
    return {name: Batch(torch.rand(n, *shape, generator=rng) * 2 - 1) for name, n in OBJECTIVE.batches(recipe).items()}


def advance(state: TrainState, steps: int) -> list[dict[str, Tensor]]:
    return [OBJECTIVE.step(state, batches_of(state.recipe, state.counters["steps"])) for _ in range(steps)]


def begin(recipe: Recipe, micro_batch: int | None = None) -> TrainState:
    state = OBJECTIVE.initialise(recipe, 0, CPU)
    state.micro_batch = micro_batch
    return state


def module_of(state: TrainState) -> Augmenter:
    module = state.modules["augmentation"]
    assert isinstance(module, Augmenter)
    return module


def problem(*overrides: str, recipe: Recipe | None = None) -> str:
    with pytest.raises(UsageError) as error:
        apply_overrides(recipe or RECIPES["mlp"](), overrides)
    return str(error.value)


# The setting.


def test_augmentation_is_switched_on_from_the_command_line():
    recipe = RECIPES["dcgan-small"]()
    assert apply_overrides(recipe, ["augmentation.policy=diffaugment"]).augmentation == Augmentation(
        policy="diffaugment"
    )
    assert apply_overrides(recipe, ["augmentation.probability=0.2"]).augmentation == Augmentation(probability=0.2)
    chosen = apply_overrides(recipe, ["augmentation.operations=[flip, cutout]"]).augmentation
    assert chosen == Augmentation(operations=("flip", "cutout"))
    adaptive = apply_overrides(recipe, ["augmentation.adaptive.images_to_certainty=1000"]).augmentation
    assert adaptive == Augmentation(adaptive=AdaptiveProbability(images_to_certainty=1000, target=0.6))


@pytest.mark.parametrize(("settings", "probability"), [
    ({}, 0.3), ({"policy": "diffaugment"}, 1.0), ({"adaptive": {}}, 0.0), ({"adaptive": {}, "probability": 0.2}, 0.2),
])  # fmt: skip
def test_augmentation_has_a_usual_probability(settings, probability):
    assert Augmentation(**settings).probability == probability


@pytest.mark.parametrize(("override", "message"), [
    ("augmentation.policy=diffaug", "augmentation.policy: 'diffaug' is not one of pipe, diffaugment (did you mean"),
    ("augmentation.probability=1.5", "augmentation.probability: 1.5 does not fit: input should be less than or equal"),
    ("augmentation.operations=[translation]", "operations translation are none of policy pipe, which has flip, "),
    ("augmentation.operations=[]", "none would change nothing"),
    ("augmentation.operations=[hue]", "of red, green and blue, and channels is 1"),
    ("augmentation.strength=2", "there is no field 'strength' in augmentation"),
    ("augmentation.adaptive.target=2", "augmentation.adaptive.target: 2 does not fit"),
])  # fmt: skip
def test_a_mistake_in_augmentation_is_named(override, message):
    assert message in problem(override)


def test_augmentation_of_points_and_of_an_autoencoder_is_refused():
    points, vae = RECIPES["mlp"](size=(1, 1), channels=2), RECIPES["vae"]()
    assert "at least 4 pixels a side, and size is 1x1" in problem("augmentation.policy=pipe", recipe=points)
    refused = "there is no field 'augmentation' in a recipe of objective autoencoder"
    assert refused in problem("augmentation.policy=pipe", recipe=vae)


def test_a_recipe_without_augmentation_says_nothing_of_it_and_one_with_it_survives_its_json():
    assert "augmentation" not in RECIPES["mlp"]().canonical_json()
    recipe = small(augmentation=ADAPTIVE)
    assert Recipe.model_validate_json(recipe.canonical_json()) == recipe
    assert recipe.id != small(augmentation=FIXED).id != small().id


def test_target_of_adaptive_augmentation_is_by_what_the_loss_anchors():
    assert {name for name, loss in LOSSES.items() if loss.anchor is None} == UNANCHORED
    for loss in LOSSES:
        settings = small(loss=loss, augmentation={"adaptive": {}}).augmentation
        assert settings and settings.adaptive and settings.adaptive.target == usual_target(loss)


def test_target_of_pairs_augmentation_is_that_of_reals_for_normal_logits():
    normal = torch.distributions.Normal(0.0, 1.0)
    margin = normal.icdf(torch.tensor((0.6 + 1) / 2))
    assert float(2 * normal.cdf(2**0.5 * margin) - 1) == pytest.approx(usual_target("relativistic"), abs=5e-3)


@pytest.mark.parametrize(("size", "batch_size", "gamma"), [((28, 28), 32, 0.0049), ((256, 256), 64, 0.2048)])
@pytest.mark.parametrize("penalty", ["r1", "r2"])
def test_gamma_is_by_karras_rule_where_a_recipe_has_none(penalty, size, batch_size, gamma):
    recipe = RECIPES["dcgan-small"](size=size).replace(batch_size=batch_size)
    for override in ("={}", ".every=16", ".weight=null"):
        chosen = apply_overrides(recipe, [f"penalties.{penalty}{override}"]).penalties[penalty]
        assert chosen.weight == gamma
    assert recipe.replace(penalties={penalty: PenaltySettings(weight=2)}).penalties[penalty].weight == 2


def test_gamma_once_found_stays_with_the_recipe():
    recipe = RECIPES["dcgan-small"]().replace(penalties={"r1": PenaltySettings()})
    assert recipe.replace(batch_size=4).penalties == recipe.penalties
    assert '"r1":{"every":1,"weight":0.0049}' in recipe.canonical_json()


def test_lambda_of_the_gradient_penalty_is_its_papers():
    assert small(penalties={"gradient_penalty": {}}).penalties["gradient_penalty"].weight == 10


# The step.


def test_augmentation_of_probability_0_is_no_augmentation():
    plain, never = begin(small("dcgan-28")), begin(small("dcgan-28", augmentation=Augmentation(probability=0)))
    advance(plain, 2)
    advance(never, 2)
    assert plain.digest() == never.digest()


def test_an_augmented_step_reports_its_probability():
    (measured,) = advance(begin(small(augmentation=FIXED)), 1)
    assert float(measured["augmentation_probability"]) == pytest.approx(0.6)


class Watched(nn.Module):
    """A discriminator that keeps what it is shown."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.shown = inner, []

    def forward(self, samples: Tensor, labels: Tensor | None) -> Tensor:
        self.shown.append(samples.detach().clone())
        return self.inner(samples, labels)


@pytest.mark.parametrize("changes", [
    {}, {"loss": "relativistic"}, {"update": "simultaneous"}, {"discriminator": BATCH_NORM},
], ids=str)  # fmt: skip
def test_d_sees_augmented_images_only(changes, monkeypatch):
    """With an augmentation that makes every image black, nothing else may reach D."""
    recipe = small(augmentation=FIXED, **changes)
    if recipe.discriminator.normalisation is None:
        recipe = recipe.replace(penalties={"r1": {}, "r2": {}})
    monkeypatch.setattr(Transformation, "__call__", lambda self, images: images.float() * 0 - 1)
    state = begin(recipe)
    watched = state.modules["discriminator"] = Watched(state.modules["discriminator"])
    advance(state, 2)
    assert len(watched.shown) >= 2
    assert all(bool((samples == -1).all()) for samples in watched.shown)


def test_reals_fakes_and_the_generators_fakes_are_augmented_by_draws_of_their_own(monkeypatch):
    used: list[Transformation] = []
    original = Transformation.__call__
    monkeypatch.setattr(Transformation, "__call__", lambda self, images: used.append(self) or original(self, images))
    advance(begin(small(augmentation=FIXED)), 1)
    of_reals, of_fakes, of_generator = (each.hole for each in used)
    assert not torch.equal(of_reals, of_fakes)
    assert not torch.equal(of_fakes, of_generator)


def test_r1_through_an_augmentation_of_a_linear_discriminator_is_the_square_of_the_mapped_weight():
    shape = (3, 6, 5)
    weight = torch.randn(90, generator=torch.Generator().manual_seed(0))

    def discriminator(samples, labels):
        return samples.flatten(1) @ weight.to(samples.dtype)

    augmenter = Augmenter(Augmentation(probability=0.7), shape[1:], shape[0])
    transformation = augmenter.draw(4, torch.Generator().manual_seed(1))
    real = torch.randn(4, *shape)
    found = r1(seen_through(transformation, discriminator), real, real, None, torch.Generator())
    for index in range(4):
        one = augmenter.draw(4, torch.Generator().manual_seed(1)).part(index, index + 1)
        (origin,) = one(torch.zeros(1, *shape)).flatten(1)
        matrix = torch.stack([one(each[None]).flatten() - origin for each in torch.eye(90).view(90, *shape)])
        torch.testing.assert_close(found[index], 0.5 * (matrix @ weight).square().sum(), rtol=1e-4, atol=1e-4)


def watch_gradients(state: TrainState) -> dict[str, Tensor]:
    gradients: dict[str, Tensor] = {}
    for role, optimizer in state.optimizers.items():
        names = [f"{role}/{name}" for name, _ in state.modules[role].named_parameters()]
        optimizer.register_step_pre_hook(
            lambda used, *_, names=names: gradients.update(
                {n: p.grad.clone() for n, p in zip(names, used.param_groups[0]["params"], strict=True)}
            )
        )
    return gradients


@pytest.mark.parametrize("loss", ["non_saturating", "relativistic"])
@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_augmented_gradients_of_parts_are_those_of_the_whole_batch(loss, update):
    recipe = small(
        loss=loss, update=update, augmentation=FIXED, penalties={"r1": {"weight": 0.1}, "r2": {"weight": 0.1}},
        discriminator_optimizer=SGD(learning_rate=1e-30),
    )  # fmt: skip
    whole, parts = begin(recipe), begin(recipe, micro_batch=3)
    expected, found = watch_gradients(whole), watch_gradients(parts)
    advance(whole, 1)
    advance(parts, 1)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, atol=1e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_adaptively_augmented_training_resumes_bit_for_bit(loss, update, tmp_path):
    recipe = small("dcgan-small", loss=loss, update=update, augmentation=ADAPTIVE, penalties={"r1": {"every": 2}})
    state = begin(recipe)
    advance(state, 3)
    resumed = begin(recipe)
    restore(resumed, read_checkpoint(save_checkpoint(state, tmp_path, 1.0, "data")))
    assert float(module_of(resumed).probability) == float(module_of(state).probability) != ADAPTIVE.probability
    advance(state, 3)
    advance(resumed, 3)
    assert resumed.digest() == state.digest()
    assert state.is_finite()


@pytest.mark.parametrize(("target", "moves"), [(-0.99, 1), (0.99, -1)])
@pytest.mark.parametrize("micro_batch", [None, 3])
def test_adaptive_augmentation_follows_d_in_training(target, moves, micro_batch):
    augmentation = Augmentation(probability=0.5, adaptive=AdaptiveProbability(target=target, images_to_certainty=800))
    state = begin(small(augmentation=augmentation), micro_batch)
    last = advance(state, 5)[-1]
    assert float(last["augmentation_probability"]) == pytest.approx(0.5 + moves * 5 * 8 / 800, abs=1e-5)
    assert float(module_of(state).signs) == 0


def test_an_estimate_of_an_augmented_run_lists_networks_alone():
    assert estimate(small(augmentation=FIXED), OBJECTIVE, CPU).parameters.keys() == {"generator", "discriminator"}


def test_memory_of_an_augmented_step_counts_what_augmentation_keeps():
    assert step_bytes(small(augmentation=FIXED), OBJECTIVE).kept > step_bytes(small(), OBJECTIVE).kept
