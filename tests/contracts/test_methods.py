"""What can be combined does train: every family with every loss, penalty and regularisation, with classes and without,
in whole batches and in parts; schedules and batch sizes are those that were asked for.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from gansmith.checkpoint import read_checkpoint, save_checkpoint
from gansmith.data import Batch
from gansmith.losses import LOSSES
from gansmith.penalties import PENALTIES
from gansmith.recipe import (
    SGD,
    Augmentation,
    DCGANDiscriminator,
    DenseConvDiscriminator,
    LinearDecay,
    MLPDiscriminator,
    PenaltySettings,
    R3GANDiscriminator,
    Recipe,
    Regularisation,
    ResNetDiscriminator,
)
from gansmith.recipes import RECIPES
from gansmith.regularisation import clip_weights, weight_loss
from gansmith.restore import restore
from gansmith.training.adversarial import Adversarial
from gansmith.training.state import TrainState

CPU = torch.device("cpu")
NUM_CLASSES = 3
OBJECTIVE = Adversarial()
GANS = [name for name in RECIPES if RECIPES[name]().objective == "adversarial"]
FAMILIES = ["mlp", "dcgan-small", "dense-conv", "resnet", "r3gan-small"]
BASE = [*FAMILIES, "dcgan-28", "dcgan-32"]
"""The other recipes are these with other settings and sizes."""
PAIRS = list(
    dict.fromkeys([*((name, RECIPES[name]().loss) for name in GANS), *itertools.product(BASE, LOSSES)])
)  # fmt: skip
WITHOUT_NORM = {
    "mlp": MLPDiscriminator(hidden=(8, 8)),
    "dcgan": DCGANDiscriminator(width=4),
    "dense-conv": DenseConvDiscriminator(width=4),
    "resnet": ResNetDiscriminator(width=4, normalisation=None),
    "r3gan": R3GANDiscriminator(width=8, constant=1, blocks=1),
}


def small(name: str, num_classes: int = 0, **changes) -> Recipe:
    return RECIPES[name](size=(8, 8), channels=1, num_classes=num_classes).shrunk().replace(**changes)


def batches_of(recipe: Recipe, step: int) -> dict[str, Batch]:
    rng = torch.Generator().manual_seed(step)
    batches = {}
    for name, count in OBJECTIVE.batches(recipe).items():
        images = torch.rand(count, recipe.channels, *recipe.size, generator=rng) * 2 - 1
        labels = torch.randint(recipe.num_classes, (count,), generator=rng) if recipe.num_classes else None
        batches[name] = Batch(images, labels)
    return batches


def begin(recipe: Recipe, micro_batch: int | None = None, seed: int = 0) -> TrainState:
    state = OBJECTIVE.initialise(recipe, seed, CPU)
    state.micro_batch = micro_batch
    return state


def advance(state: TrainState, steps: int) -> list[dict[str, torch.Tensor]]:
    """Take steps whose batches depend on the steps before alone."""
    return [OBJECTIVE.step(state, batches_of(state.recipe, state.counters["steps"])) for _ in range(steps)]


def resumed_from(state: TrainState, folder: Path) -> TrainState:
    fresh = begin(state.recipe, state.micro_batch)
    restore(fresh, read_checkpoint(save_checkpoint(state, folder, 1.0, "data")))
    return fresh


@pytest.mark.parametrize("num_classes", [0, NUM_CLASSES], ids=["plain", "conditional"])
@pytest.mark.parametrize(("name", "loss"), PAIRS)
def test_every_recipe_trains_with_its_losses_and_resumes_bit_for_bit(name, loss, num_classes, tmp_path):
    state = begin(small(name, num_classes, loss=loss))
    (first,) = advance(state, 1)
    resumed = resumed_from(state, tmp_path)
    (second,) = advance(state, 1)
    for measured in (first, second):
        penalties = {f"penalty_{penalty}" for penalty in state.recipe.penalties}
        always = {"loss_d", "loss_g", "d_accuracy", "gradient_norm_d", "gradient_norm_g"} | penalties
        assert always <= measured.keys() <= always | SOMETIMES
        assert all(value.isfinite() for value in measured.values())
    assert state.is_finite()
    advance(resumed, 1)
    assert resumed.digest() == state.digest()
    assert resumed.counters == state.counters


SOMETIMES = {
    "margin", "relative_margin", "diversity", "energy_distance", "near_identical", "near_identical_reals", "saturation",
    "augmentation_probability",
}  # fmt: skip
"""What is measured on some steps, or of some recipes."""
TURNS = {"r1": 1, "r2": 2, "gradient_penalty": 3, "consistency": 1, "balanced_consistency": 2}
OF_GRADIENTS = ("r1", "r2", "gradient_penalty")
SUBSETS = [
    *(subset for size in range(1, 4) for subset in itertools.combinations(OF_GRADIENTS, size)),
    *((name,) for name in PENALTIES if name not in OF_GRADIENTS),
    ("r1", "gradient_penalty", "balanced_consistency"),
]


@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_trains_with_any_penalties_each_in_its_turn(name, subset):
    penalties = {penalty: PenaltySettings(weight=0.1, every=TURNS[penalty]) for penalty in subset}
    state = begin(small(name, NUM_CLASSES, penalties=penalties, discriminator_steps=1, penalties_share_pass=False))
    for step, measured in enumerate(advance(state, 4)):
        applied = {key.removeprefix("penalty_") for key in measured if key.startswith("penalty_")}
        assert applied == {penalty for penalty in subset if step % TURNS[penalty] == 0}
        assert all(value.isfinite() for value in measured.values())
        assert all(measured[f"penalty_{penalty}"] > 0 for penalty in applied)
    assert state.is_finite()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_every_penalty_goes_with_augmentation(penalty):
    penalties = {penalty: PenaltySettings(weight=0.1)}
    augmentation = Augmentation(policy="diffaugment")
    state = begin(small("dcgan-small", penalties=penalties, augmentation=augmentation, discriminator_steps=1))
    (measured,) = advance(state, 1)
    assert measured[f"penalty_{penalty}"].isfinite()
    assert state.is_finite()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_penalty_changes_the_step_of_the_discriminator(penalty):
    plain = begin(small("mlp"))
    penalised = begin(small("mlp", penalties={penalty: PenaltySettings(weight=1.0)}))
    advance(plain, 1)
    advance(penalised, 1)
    assert plain.digest() != penalised.digest()


def with_discriminator(family: str, num_classes: int = NUM_CLASSES, **changes) -> Recipe:
    return small("mlp", num_classes, discriminator=WITHOUT_NORM[family], **changes)


def largest(module: nn.Module) -> float:
    return max(float(parameter.detach().abs().max()) for parameter in module.parameters())


@pytest.mark.parametrize("family", WITHOUT_NORM)
def test_weight_clipping_bounds_every_parameter_after_each_step(family):
    recipe = with_discriminator(family, loss="wasserstein", regularisation=Regularisation(weight_clipping=0.01))
    state = begin(recipe)
    assert largest(state.modules["discriminator"]) > 0.01
    for _ in range(2):
        advance(state, 1)
        assert largest(state.modules["discriminator"]) == pytest.approx(0.01)
        assert largest(state.modules["generator"]) > 0.01


def test_clipping_that_is_off_leaves_weights_alone():
    layer = nn.Linear(3, 3)
    before = layer.weight.detach().clone()
    clip_weights(layer, Regularisation())
    assert torch.equal(layer.weight, before)


L1, L2 = 0.03, 0.2


def closed_form(name: str, parameter: torch.Tensor) -> torch.Tensor:
    """The gradient of l1 * sum |w| + l2 * sum w^2; biases and the tables of conditional batch norm have none."""
    if parameter.ndim < 2 or name.endswith(("norm.scale.weight", "norm.shift.weight")):
        return torch.zeros_like(parameter)
    return L1 * parameter.sign() + 2 * L2 * parameter


@pytest.mark.parametrize("role", ["generator", "discriminator"])
@pytest.mark.parametrize("name", GANS)
def test_gradient_of_l1_and_l2_is_the_closed_form(name, role):
    module = begin(small(name, NUM_CLASSES)).modules[role]
    loss = weight_loss(module, Regularisation(l1=L1, l2=L2))
    loss.backward()
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(found, closed_form(key, parameter), msg=lambda text, key=key: f"{key}: {text}")


def test_value_of_l1_and_l2_by_hand():
    layer = nn.Linear(2, 1)
    layer.weight.data = torch.tensor([[3.0, -4.0]])
    layer.bias.data = torch.tensor([7.0])
    for weights, expected in (({"l1": 1.0}, 7.0), ({"l2": 1.0}, 25.0), ({"l1": 0.5, "l2": 0.1}, 6.0)):
        assert weight_loss(layer, Regularisation(**weights)).item() == pytest.approx(expected)
    assert weight_loss(layer, Regularisation()) is None


@pytest.mark.parametrize("role", ["generator", "discriminator"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_with_l1_and_l2_differs_from_one_without_by_the_closed_form(name, role):
    still, moving = SGD(learning_rate=1e-30, momentum=0.0), SGD(learning_rate=0.1, momentum=0.0)
    rates = {f"{other}_optimizer": moving if other == role else still for other in ("generator", "discriminator")}
    recipe = small(name, NUM_CLASSES, discriminator_steps=1, learning_rate_schedule=None, **rates)
    start, plain = begin(recipe), begin(recipe)
    decayed = begin(recipe.replace(regularisation=Regularisation(l1=L1, l2=L2)))
    advance(plain, 1)
    advance(decayed, 1)
    before = dict(start.modules[role].named_parameters())
    found = dict(decayed.modules[role].named_parameters())
    for key, parameter in plain.modules[role].named_parameters():
        expected = parameter.detach() - 0.1 * closed_form(key, before[key].detach())
        torch.testing.assert_close(found[key].detach(), expected, atol=1e-6, rtol=1e-5)


def watch_rates(state: TrainState) -> dict[str, list[float]]:
    """Return name -> the learning rates of the optimiser's steps, filled as they are taken."""
    rates: dict[str, list[float]] = {name: [] for name in state.optimizers}
    for name, optimizer in state.optimizers.items():
        optimizer.register_step_pre_hook(lambda used, *_, name=name: rates[name].append(used.param_groups[0]["lr"]))
    return rates


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_linear_decay_is_the_rate_that_optimisers_use_also_after_resuming(optimizer, tmp_path):
    schedule = LinearDecay(length_images=40, final_factor=0.1)
    recipe = small(
        "mlp",
        learning_rate_schedule=schedule,
        generator_optimizer={"name": optimizer, "learning_rate": 0.01},
        discriminator_optimizer={"name": optimizer, "learning_rate": 0.02},
    )
    state = begin(recipe)
    rates = watch_rates(state)
    advance(state, 3)
    resumed = resumed_from(state, tmp_path)
    later = watch_rates(resumed)
    advance(state, 4)
    advance(resumed, 4)
    # Both players are updated before the step's 8 images are counted.
    for name, start in (("discriminator", 0.02), ("generator", 0.01)):
        expected = [start * schedule.factor(8 * step) for step in range(7)]
        assert rates[name] == pytest.approx(expected)
        assert later[name] == pytest.approx(expected[3:])
        assert expected[-1] == pytest.approx(0.1 * start)
    assert resumed.digest() == state.digest()


def test_without_a_schedule_rates_stay():
    state = begin(small("mlp"))
    rates = watch_rates(state)
    advance(state, 3)
    assert rates == {"generator": [2e-4] * 3, "discriminator": [2e-4] * 3}


def test_a_rate_that_has_fallen_to_0_changes_nothing():
    state = begin(small("mlp", learning_rate_schedule=LinearDecay(length_images=8)))
    advance(state, 1)
    before = state.digest()
    advance(state, 1)
    after = state.digest()
    weights = [key for key in before if key.startswith("modules/")]
    assert weights and all(before[key] == after[key] for key in weights)


def watch_generator(state: TrainState) -> list[tuple[int, torch.Tensor | None]]:
    """Return (number of latents, labels) of each call of G, filled as they come."""
    calls: list[tuple[int, torch.Tensor | None]] = []
    state.modules["generator"].register_forward_pre_hook(lambda _, given: calls.append((len(given[0]), given[1])))
    return calls


@pytest.mark.parametrize(
    ("loss", "num_classes", "count", "discriminator_steps", "expected"),
    [
        ("hinge", 0, 20, 1, {"real_d": 8}),
        ("hinge", 0, None, 2, {"real_d": 16}),
        ("hinge", NUM_CLASSES, 20, 1, {"real_d": 8, "real_g": 20}),
        ("hinge", NUM_CLASSES, 16, 2, {"real_d": 16}),
        ("hinge", NUM_CLASSES, 3, 1, {"real_d": 8, "real_g": 3}),
        ("relativistic", 0, 20, 1, {"real_d": 8, "real_g": 20}),
        ("relativistic", NUM_CLASSES, 5, 3, {"real_d": 24, "real_g": 5}),
    ],
)
def test_the_generators_batch_is_respected_and_has_labels(loss, num_classes, count, discriminator_steps, expected):
    recipe = small("mlp", num_classes, loss=loss, generator_batch_size=count, discriminator_steps=discriminator_steps)
    assert OBJECTIVE.batches(recipe) == expected
    state = begin(recipe)
    calls = watch_generator(state)
    batches = batches_of(recipe, 0)
    OBJECTIVE.step(state, batches)
    own = count or 8
    shares = own == 8 and "real_g" not in expected  # then the last D step's fakes serve G
    assert [size for size, _ in calls] == [8] * discriminator_steps + ([] if shares else [own])
    assert state.counters["images"] == 8 * discriminator_steps
    if not num_classes:
        assert all(labels is None for _, labels in calls)
        return
    shown = torch.cat([labels for _, labels in calls[:discriminator_steps]])
    assert torch.equal(shown, batches["real_d"].labels)
    source = batches.get("real_g", batches["real_d"]).labels
    assert torch.equal(calls[-1][1], source[-own:])


def watch_gradients(state: TrainState) -> dict[str, torch.Tensor]:
    """Return "network/parameter" -> its gradient in the optimiser's last step, filled as steps are taken."""
    gradients: dict[str, torch.Tensor] = {}

    def note(role: str) -> None:
        for key, parameter in state.modules[role].named_parameters():
            gradients[f"{role}/{key}"] = parameter.grad.clone()

    for role, optimizer in state.optimizers.items():
        optimizer.register_step_pre_hook(lambda *_, role=role: note(role))
    return gradients


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("family", WITHOUT_NORM)
def test_gradients_of_parts_are_those_of_the_whole_batch(family, loss):
    penalties = {"r1": PenaltySettings(weight=0.1), "r2": PenaltySettings(weight=0.1)}
    regularisation = Regularisation(l1=1e-3, l2=1e-3)
    recipe = with_discriminator(
        family, loss=loss, penalties=penalties, regularisation=regularisation, generator_batch_size=11,
        discriminator_optimizer=SGD(learning_rate=1e-30),  # or rounding in D's step would show in G's gradient
    )  # fmt: skip
    whole, parts = begin(recipe), begin(recipe, micro_batch=3)
    calls, expected, found = watch_generator(parts), watch_gradients(whole), watch_gradients(parts)
    advance(whole, 1)
    advance(parts, 1)
    assert [size for size, _ in calls] == [8, 3, 3, 3, 2]
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        atol = 1e-5 * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[key], gradient, atol=atol, rtol=0, msg=lambda t, key=key: f"{key}: {t}")


@pytest.mark.parametrize("micro_batch", [4, 3])
def test_measurements_of_parts_are_those_of_the_whole_batch(micro_batch):
    recipe = with_discriminator("dcgan", penalties={"r1": PenaltySettings(weight=0.1)})
    (whole,), (parts,) = advance(begin(recipe), 1), advance(begin(recipe, micro_batch=micro_batch), 1)
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("loss", ["hinge", "relativistic"])
def test_resuming_in_parts_is_bit_exact(loss, tmp_path):
    penalties = {"r1": PenaltySettings(weight=0.1), "gradient_penalty": PenaltySettings(weight=1.0, every=2)}
    discriminator = MLPDiscriminator(hidden=(8,), normalisation="spectral", dropout=0.2)
    state = begin(small("mlp", NUM_CLASSES, loss=loss, penalties=penalties, discriminator=discriminator), micro_batch=3)
    advance(state, 2)
    resumed = resumed_from(state, tmp_path)
    advance(state, 2)
    advance(resumed, 2)
    assert resumed.digest() == state.digest()
