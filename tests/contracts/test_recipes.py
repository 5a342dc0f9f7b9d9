"""What every ready recipe must keep, and the published numbers of the base systems."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch import nn

from gansmith.build import build_discriminator, build_generator, build_networks, num_parameters
from gansmith.data.order import Batch
from gansmith.errors import UsageError
from gansmith.layers.dropout import Dropout
from gansmith.layers.labels import ConditionalBatchNorm2d
from gansmith.losses import LOSSES
from gansmith.networks.resnet import DownBlock
from gansmith.recipe import (
    SGD,
    Adam,
    DCGANDiscriminator,
    LinearDecay,
    MLPDiscriminator,
    MLPGenerator,
    PenaltySettings,
    Recipe,
    ResNetDiscriminator,
    RMSprop,
)
from gansmith.recipes import AUTO, DEFAULT_RECIPE, RECIPE_NAMES, RECIPES, recipe_function, summary
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.state import TrainState

CPU = torch.device("cpu")
IDS = {
    "mlp": "131983e3",
    "dcgan-28": "7207a942",
    "dcgan-32": "a048ac3d",
    "dense-conv": "b92b0c8e",
    "resnet": "768373ee",
    "wgan-gp": "656ec45b",
    "sngan": "768373ee",  # the method of resnet, that asks for the classes of the data
    "dcgan-small": "27819d4b",
    "vae": "a1b85f88",
    "r3gan-small": "35f02bda",
    "r3gan-cifar10": "b08a4196",
    "r3gan-stacked-mnist": "0b41045b",
    "r3gan-64": "e1840784",
    "r3gan-256": "c5f6d026",
}
GANS = [name for name in RECIPES if RECIPES[name]().objective == "adversarial"]
RESIDUAL = ("resnet", "wgan-gp", "sngan")
each_recipe = pytest.mark.parametrize("name", RECIPES)
each_gan = pytest.mark.parametrize("name", GANS)


@each_recipe
def test_id_is_pinned_so_that_a_changed_default_is_noticed(name):
    assert RECIPES[name]().id == IDS[name]


@each_recipe
def test_yaml_round_trip_gives_an_equal_recipe(name):
    recipe = RECIPES[name](channels=3)
    read = Recipe.model_validate(yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json"))))
    assert read == recipe and read.id == recipe.id


@each_recipe
def test_recipe_is_found_by_name_and_has_a_summary(name):
    assert recipe_function(name) is RECIPES[name]
    assert summary(name).endswith(".") and 20 < len(summary(name)) < 120


def test_the_default_recipe_is_chosen_and_has_a_summary_but_is_no_function_of_size_alone():
    assert DEFAULT_RECIPE == AUTO and AUTO not in RECIPES
    assert (AUTO, *RECIPES) == RECIPE_NAMES
    assert summary(AUTO).endswith(".") and 20 < len(summary(AUTO)) < 120
    with pytest.raises(UsageError, match="depends on data, machine and budget"):
        recipe_function(AUTO)


def test_an_unknown_recipe_is_refused_with_near_matches():
    with pytest.raises(UsageError, match=r"'resnett' is unknown \(did you mean 'resnet'.*there are auto, mlp"):
        recipe_function("resnett")


@each_recipe
@pytest.mark.parametrize("size", [(28, 28), (32, 32), (48, 40), (64, 64)])
def test_full_size_networks_build_on_the_meta_device(name, size):
    recipe = RECIPES[name](size=size, channels=3)
    networks = build_networks(recipe, device="meta")
    generator = networks["generator"]
    for network in networks.values():
        assert all(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))
    images = generator(torch.empty(recipe.batch_size, generator.latent_dim, device="meta"), None)
    assert images.shape == (recipe.batch_size, 3, *size)


@each_gan
def test_discriminators_give_a_logit_each_on_the_meta_device(name):
    recipe = RECIPES[name]()
    discriminator = build_discriminator(recipe, device="meta")
    assert discriminator(torch.empty(9, recipe.channels, *recipe.size, device="meta"), None).shape == (9,)


@each_recipe
def test_meta_and_real_networks_have_the_same_tensors(name):
    recipe = RECIPES[name]().shrunk()
    on_meta = build_networks(recipe, device="meta")
    for role, network in build_networks(recipe).items():
        real, meta = network.state_dict(), on_meta[role].state_dict()
        assert {key: tensor.shape for key, tensor in real.items()} == {key: t.shape for key, t in meta.items()}


MEASURED = {
    "adversarial": {"loss_d", "loss_g", "d_accuracy"},
    "autoencoder": {"loss", "reconstruction_error", "kl"},
}


def batches_of(recipe: Recipe, seed: int) -> dict[str, Batch]:
    random = torch.Generator().manual_seed(seed)
    return {
        name: Batch(torch.rand(count, recipe.channels, *recipe.size, generator=random) * 2 - 1)
        for name, count in OBJECTIVES[recipe.objective].batches(recipe).items()
    }


def unchanged_after_two_steps(recipe: Recipe) -> tuple[TrainState, set[str]]:
    objective = OBJECTIVES[recipe.objective]
    state = objective.initialise(recipe, 0, CPU)
    networks = {**state.modules, **{f"ema {name}": network for name, network in state.ema.items()}}
    parameters = {f"{n}/{key}": tensor for n, network in networks.items() for key, tensor in network.named_parameters()}
    before = {name: tensor.detach().clone() for name, tensor in parameters.items()}
    for step in range(2):
        losses = objective.step(state, batches_of(recipe, step))
        assert MEASURED[recipe.objective] <= losses.keys()
        for name, value in losses.items():
            assert value.shape == () and value.isfinite() and not value.requires_grad, name
        assert 0 <= losses.get("d_accuracy", 0) <= 1
    assert all(tensor.isfinite().all() for tensor in parameters.values())
    return state, {name for name, tensor in parameters.items() if torch.equal(tensor.detach(), before[name])}


def without_a_slope(recipe: Recipe) -> set[str]:
    """A bias of the last layer shifts real and fake logits alike: losses of differences, and hinge inside its margin,
    do not see it.
    """
    if recipe.generator.family == "r3gan":  # whose logit has no bias
        return set()
    return {"discriminator/logit.bias"} if recipe.loss in ("hinge", "wasserstein", "relativistic") else set()


@each_recipe
def test_two_steps_change_every_trainable_tensor_and_give_finite_losses(name):
    recipe = RECIPES[name]().shrunk()
    state, unchanged = unchanged_after_two_steps(recipe)
    assert unchanged <= without_a_slope(recipe)
    assert state.counters == {"images": 16 * recipe.discriminator_steps, "steps": 2, "retries": 0}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["mlp", "dcgan-28"])
def test_a_recipe_can_be_switched_to_every_loss(name, loss):
    recipe = RECIPES[name](size=(8, 8)).shrunk().replace(loss=loss)
    _, unchanged = unchanged_after_two_steps(recipe)
    assert unchanged <= without_a_slope(recipe)


@pytest.mark.parametrize("optimizer", [Adam(), RMSprop(), SGD(learning_rate=0.01)], ids=lambda o: o.name)
def test_a_recipe_can_be_switched_to_every_optimizer(optimizer):
    recipe = RECIPES["mlp"](size=(8, 8)).shrunk()
    recipe = recipe.replace(generator_optimizer=optimizer, discriminator_optimizer=optimizer)
    assert unchanged_after_two_steps(recipe)[1] == set()


def test_penalties_and_several_discriminator_steps_train_too():
    penalties = {"r1": {"weight": 1.0, "every": 3}, "gradient_penalty": {"weight": 10.0}}
    recipe = RECIPES["dcgan-small"](size=(8, 8)).shrunk().replace(penalties=penalties, discriminator_steps=2)
    state, unchanged = unchanged_after_two_steps(recipe)
    assert unchanged <= without_a_slope(recipe)
    assert state.counters == {"images": 32, "steps": 2, "retries": 0}


def test_a_lazy_penalty_weighs_every_times_more_and_takes_its_turn():
    def steps(penalties) -> tuple[list[bool], torch.Tensor]:
        """Return whether each of two steps was penalised, and D's first weights after one."""
        still = SGD(learning_rate=0.1, momentum=0.0)
        recipe = RECIPES["mlp"](size=(8, 8)).shrunk().replace(penalties=penalties, discriminator_optimizer=still)
        objective = OBJECTIVES[recipe.objective]
        state = objective.initialise(recipe, 0, CPU)
        first = objective.step(state, batches_of(recipe, 0))
        weight = next(state.modules["discriminator"].parameters()).detach().clone()
        second = objective.step(state, batches_of(recipe, 1))
        return ["penalty_r1" in losses for losses in (first, second)], weight

    none, plain = steps({})
    always, heavy = steps({"r1": {"weight": 10.0}})
    in_turn, lazy = steps({"r1": {"weight": 5.0, "every": 2}})
    assert (none, always, in_turn) == ([False, False], [True, True], [True, False])
    torch.testing.assert_close(lazy, heavy)
    assert not torch.allclose(plain, heavy)


@each_recipe
def test_two_steps_are_a_function_of_the_seed(name):
    recipe = RECIPES[name]().shrunk()
    objective = OBJECTIVES[recipe.objective]
    digests = []
    for seed in (0, 0, 1):
        state = objective.initialise(recipe, seed, CPU)
        for step in range(2):
            objective.step(state, batches_of(recipe, step))
        digests.append(state.digest())
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


# The published numbers.

Layer = tuple[str, int, int, int, int, tuple[int, int]]


def convolutions(network: nn.Module, inputs: torch.Tensor) -> list[Layer]:
    """Return (kind, channels in, channels out, kernel, stride, output size) of each convolution, in order."""
    seen: list[Layer] = []

    def note(layer, _, output):
        kind = "up" if isinstance(layer, nn.ConvTranspose2d) else "conv"
        (kernel,), (stride,) = set(layer.kernel_size), set(layer.stride)
        seen.append((kind, layer.in_channels, layer.out_channels, kernel, stride, tuple(output.shape[2:])))

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    with torch.no_grad():
        network(inputs, None)
    for hook in hooks:
        hook.remove()
    return seen


def kinds(network: nn.Module, *classes: type) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, classes)]


def networks_of(name: str) -> tuple[Recipe, nn.Module, nn.Module]:
    recipe = RECIPES[name]()
    return recipe, build_generator(recipe).eval(), build_discriminator(recipe).eval()


def generator_layers(name: str) -> tuple[Recipe, nn.Module, list[Layer]]:
    recipe, generator, _ = networks_of(name)
    return recipe, generator, convolutions(generator, torch.zeros(2, 100))


def discriminator_layers(name: str) -> tuple[Recipe, nn.Module, list[Layer]]:
    recipe, _, discriminator = networks_of(name)
    return recipe, discriminator, convolutions(discriminator, torch.zeros(2, recipe.channels, *recipe.size))


@pytest.mark.parametrize("name", ["mlp", "dcgan-28", "dcgan-32", "dense-conv"])
def test_published_optimizer_and_loss(name):
    recipe = RECIPES[name]()
    adam = Adam(learning_rate=2e-4, beta1=0.5, beta2=0.999)
    assert recipe.generator_optimizer == recipe.discriminator_optimizer == adam
    assert recipe.loss == "non_saturating"
    assert recipe.discriminator_steps == 1
    assert recipe.penalties == {}
    assert recipe.ema_half_life_images == 20_000


@pytest.mark.parametrize(
    ("name", "batch_size", "size", "channels"),
    [
        ("mlp", 128, (28, 28), 1),
        ("dcgan-28", 128, (28, 28), 1),
        ("dcgan-32", 64, (32, 32), 3),
        ("dense-conv", 128, (28, 28), 1),
    ],
)
def test_published_batch_and_data(name, batch_size, size, channels):
    recipe = RECIPES[name]()
    assert (recipe.batch_size, recipe.size, recipe.channels) == (batch_size, size, channels)
    assert recipe.generator.latent_dim == 100


@pytest.mark.parametrize("name", [name for name in RECIPES if not name.startswith("r3gan")])
def test_generators_end_in_tanh(name):
    generator = build_generator(RECIPES[name]().shrunk())
    outputs = []
    for layer in generator.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _, __, output: outputs.append(output))
    images = generator(torch.randn(2, generator.latent_dim), None)
    assert torch.equal(images, outputs[-1].view_as(images).tanh())


@each_recipe
def test_every_leaky_relu_has_slope_02_and_every_batch_norm_eps_1e_5_and_momentum_01(name):
    networks = build_networks(RECIPES[name]()).values()
    activations = [layer for network in networks for layer in kinds(network, nn.LeakyReLU)]
    has_layers = name not in RESIDUAL and not name.startswith("r3gan")  # whose activations are functions
    assert {layer.negative_slope for layer in activations} == ({0.2} if has_layers else set())
    norms = [layer for network in networks for layer in kinds(network, nn.BatchNorm1d, nn.BatchNorm2d)]
    assert {(layer.eps, layer.momentum) for layer in norms} <= {(1e-5, 0.1)}
    assert bool(norms) is (name != "mlp" and not name.startswith("r3gan"))


def test_mlp_is_two_hidden_layers_of_128_in_both():
    recipe, generator, discriminator = networks_of("mlp")
    assert (recipe.generator, recipe.discriminator) == (MLPGenerator(), MLPDiscriminator())

    def widths(network):
        return [(layer.in_features, layer.out_features) for layer in kinds(network, nn.Linear)]

    assert widths(generator) == [(100, 128), (128, 128), (128, 784)]
    assert widths(discriminator) == [(784, 128), (128, 128), (128, 1)]
    assert num_parameters(generator) == 100 * 128 + 128 + 128 * 128 + 128 + 128 * 784 + 784
    assert len(kinds(generator, nn.LeakyReLU)) == len(kinds(discriminator, nn.LeakyReLU)) == 2


def test_dcgan_28_generator_layer_by_layer():
    _, generator, layers = generator_layers("dcgan-28")
    assert layers == [
        ("up", 256, 128, 5, 1, (7, 7)),
        ("up", 128, 64, 5, 2, (14, 14)),
        ("up", 64, 1, 5, 2, (28, 28)),
    ]
    (dense,) = kinds(generator, nn.Linear)
    assert (dense.in_features, dense.out_features) == (100, 7 * 7 * 256)
    assert [norm.num_features for norm in kinds(generator, nn.BatchNorm2d)] == [256, 128, 64]
    assert len(kinds(generator, nn.LeakyReLU)) == 3
    ups = kinds(generator, nn.ConvTranspose2d)
    assert all(layer.bias is None for layer in ups)
    assert {(layer.padding, layer.output_padding) for layer in ups[1:]} == {((2, 2), (1, 1))}


def test_dcgan_28_discriminator_layer_by_layer():
    recipe, discriminator, layers = discriminator_layers("dcgan-28")
    assert recipe.discriminator == DCGANDiscriminator(width=64, kernel=5, normalisation=None, dropout=0.3)
    assert layers == [("conv", 1, 64, 5, 2, (14, 14)), ("conv", 64, 128, 5, 2, (7, 7))]
    assert [layer.share for layer in kinds(discriminator, Dropout)] == [0.3, 0.3]
    (dense,) = kinds(discriminator, nn.Linear)
    assert (dense.in_features, dense.out_features) == (7 * 7 * 128, 1)
    assert kinds(discriminator, nn.BatchNorm2d) == []


def test_dcgan_32_generator_layer_by_layer():
    _, generator, layers = generator_layers("dcgan-32")
    assert layers == [
        ("up", 512, 256, 4, 2, (8, 8)),
        ("up", 256, 128, 4, 2, (16, 16)),
        ("up", 128, 64, 4, 2, (32, 32)),
        ("conv", 64, 3, 3, 1, (32, 32)),
    ]
    (dense,) = kinds(generator, nn.Linear)
    assert (dense.in_features, dense.out_features) == (100, 4 * 4 * 512)
    assert [norm.num_features for norm in kinds(generator, nn.BatchNorm2d)] == [512, 256, 128, 64]
    assert len(kinds(generator, nn.LeakyReLU)) == 4


def test_dcgan_32_discriminator_layer_by_layer():
    _, discriminator, layers = discriminator_layers("dcgan-32")
    assert layers == [
        ("conv", 3, 64, 4, 2, (16, 16)),
        ("conv", 64, 128, 4, 2, (8, 8)),
        ("conv", 128, 256, 4, 2, (4, 4)),
    ]
    (dense,) = kinds(discriminator, nn.Linear)
    assert (dense.in_features, dense.out_features) == (4 * 4 * 256, 1)
    assert [norm.num_features for norm in kinds(discriminator, nn.BatchNorm2d)] == [128, 256]
    assert kinds(discriminator, nn.Dropout) == []


def test_dcgan_32_at_other_powers_of_two_adds_or_drops_stages():
    def widths(side):
        network = build_generator(RECIPES["dcgan-32"](size=(side, side)), device="meta")
        return [layer.in_channels for layer in kinds(network, nn.ConvTranspose2d)]

    assert widths(16) == [256, 128]
    assert widths(64) == [1024, 512, 256, 128]


def test_dcgan_small_is_narrow_with_spectral_norm_and_two_rates():
    recipe, _, layers = generator_layers("dcgan-small")
    assert layers == [
        ("up", 128, 64, 5, 1, (7, 7)),
        ("up", 64, 32, 5, 2, (14, 14)),
        ("up", 32, 1, 5, 2, (28, 28)),
    ]
    assert recipe.discriminator == DCGANDiscriminator(width=32, kernel=5, normalisation="spectral", hidden=(128,))
    assert (recipe.generator_optimizer, recipe.discriminator_optimizer) == (
        Adam(learning_rate=1e-3, beta1=0.0),
        Adam(learning_rate=2e-3, beta1=0.0),
    )
    assert (recipe.loss, recipe.batch_size) == ("hinge", 32)


def test_wgan_gp_has_the_networks_of_resnet_without_normalisation_in_d_and_the_published_numbers():
    recipe, resnet = RECIPES["wgan-gp"](), RECIPES["resnet"]()
    assert recipe.generator == resnet.generator
    assert recipe.discriminator == ResNetDiscriminator(width=128, normalisation=None, pool="mean")
    assert (recipe.loss, recipe.discriminator_steps, recipe.batch_size) == ("wasserstein", 5, 64)
    assert recipe.penalties == {"gradient_penalty": PenaltySettings(weight=10)}
    adam = Adam(learning_rate=2e-4, beta1=0.0, beta2=0.9)
    assert recipe.generator_optimizer == recipe.discriminator_optimizer == adam
    # 100,000 steps of G, each after five of D
    assert recipe.learning_rate_schedule == LinearDecay(length_images=100_000 * 5 * 64)


def test_a_mean_pool_divides_the_sum_by_the_places_of_the_map():
    settings = ResNetDiscriminator(width=4, normalisation=None)
    summed, averaged = (
        build_discriminator(RECIPES["resnet"]().replace(discriminator=settings.model_copy(update={"pool": pool})))
        for pool in ("sum", "mean")
    )
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(summed(images, None), 8 * 8 * averaged(images, None))


def test_sngan_with_classes_has_conditional_batch_norm_in_g_and_projection_in_d():
    recipe = RECIPES["sngan"](num_classes=10)
    generator, discriminator = build_generator(recipe, device="meta"), build_discriminator(recipe, device="meta")
    conditional = [norm for norm in kinds(generator, ConditionalBatchNorm2d) if norm.scale is not None]
    assert len(conditional) == 6 and all(norm.scale.num_embeddings == 10 for norm in conditional)
    assert discriminator.logit.embedding.weight.shape == (10, 128)
    assert (recipe.loss, recipe.discriminator_steps) == ("hinge", 5)
    assert recipe.learning_rate_schedule == LinearDecay(length_images=50_000 * 5 * 64)


def test_sngan_at_48_has_the_published_widths():
    recipe = RECIPES["sngan"](size=(48, 48), num_classes=10)
    generator, discriminator = build_generator(recipe, device="meta"), build_discriminator(recipe, device="meta")
    assert generator.base_shape == (512, 6, 6)
    assert [block.first.out_channels for block in generator.blocks] == [256, 128, 64]
    assert [block.first.out_channels for block in kinds(discriminator, DownBlock)] == [64, 128, 256, 512, 1024]
