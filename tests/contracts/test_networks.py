"""What every network family must keep, over sizes, channels and all its options."""

from __future__ import annotations

import itertools

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from gansmith.build import build_discriminator, build_generator, num_parameters
from gansmith.layers.attention import SelfAttention
from gansmith.networks import DISCRIMINATORS, GENERATORS
from gansmith.recipe import (
    DCGANDiscriminator,
    DCGANGenerator,
    DenseConvDiscriminator,
    DenseConvGenerator,
    MLPDiscriminator,
    MLPGenerator,
    R3GANDiscriminator,
    R3GANGenerator,
    Recipe,
    ResNetDiscriminator,
    ResNetGenerator,
)
from gansmith.runtime import autocast
from gansmith.sizes import attention_heights, can_make

CPU = torch.device("cpu")
NUM_CLASSES = 3
SIZES = [(8, 8), (16, 16), (28, 28), (32, 32), (20, 24), (24, 16), (48, 40), (48, 56)]
HALF, QUARTER = 2, 4
"""Where attention sits here: at the height of the images divided by this (`recipe_of`)."""
SETTINGS = {
    "mlp": [
        (
            MLPGenerator(latent_dim=5, hidden=(6, 7), normalisation=of_generator),
            MLPDiscriminator(hidden=(6, 7), normalisation=of_discriminator, dropout=dropout),
        )
        for of_generator, of_discriminator, dropout in (
            *itertools.product((None, "batch"), (None, "batch", "spectral"), (0.0,)),
            (None, None, 0.3),
        )
    ],
    "dcgan": [
        *(
            (DCGANGenerator(latent_dim=5, width=2, kernel=kernel, stem=stem, head=head), DCGANDiscriminator(width=2))
            for kernel, stem, head in itertools.product((4, 5), (False, True), ("transposed", "convolution"))
        ),
        *(
            (
                DCGANGenerator(latent_dim=5, width=2),
                DCGANDiscriminator(width=2, kernel=kernel, normalisation=normalisation, dropout=dropout),
            )
            for kernel, normalisation, dropout in itertools.product((4, 5), ("batch", "spectral", None), (0.0, 0.3))
        ),
        *(
            (
                DCGANGenerator(latent_dim=5, width=2, attention=attended, stem=stem, head=head),
                DCGANDiscriminator(width=2, attention=attended, minibatch_std=True, normalisation="spectral"),
            )
            for attended, stem, head in ((HALF, False, "convolution"), (QUARTER, True, "transposed"))
        ),
        *(
            (
                DCGANGenerator(latent_dim=5, width=2),
                DCGANDiscriminator(width=2, hidden=hidden, normalisation=normalisation, dropout=dropout),
            )
            for hidden, normalisation, dropout in (((3,), "spectral", 0.0), ((4, 3), "batch", 0.3))
        ),
    ],
    "dense-conv": [
        (
            DenseConvGenerator(latent_dim=5, width=2),
            DenseConvDiscriminator(width=4, normalisation=normalisation, dropout=dropout),
        )
        for normalisation, dropout in itertools.product((None, "batch", "spectral"), (0.0, 0.3))
    ],
    "resnet": [
        (
            ResNetGenerator(latent_dim=5, width=4, growth=of_generator),
            ResNetDiscriminator(width=4, growth=of_discriminator, normalisation=normalisation),
        )
        for of_generator, of_discriminator, normalisation in itertools.product((1, 2), (1, 2), ("spectral", None))
    ]
    + [
        (
            ResNetGenerator(latent_dim=5, width=8, attention=attended, growth=growth),
            ResNetDiscriminator(width=8, attention=attended, minibatch_std=True, pool=pool, growth=growth),
        )
        for attended, growth, pool in ((HALF, 1, "sum"), (QUARTER, 2, "mean"))
    ],
}
SETTINGS["r3gan"] = [
    (
        R3GANGenerator(latent_dim=5, width=16, constant=constant, blocks=blocks),
        R3GANDiscriminator(width=16, constant=constant, blocks=blocks),
    )
    for constant, blocks in ((1, 1), (2, 2))
]
BOUNDED = {"mlp", "dcgan", "dense-conv", "resnet"}  # generators that end in tanh
PLAIN = [(family, settings[0]) for family, settings in SETTINGS.items()]
ALL = [pair for settings in SETTINGS.values() for pair in settings]


def recipe_of(pair, size=(16, 16), channels=1, num_classes=0) -> Recipe:
    generator, discriminator = (
        settings.model_copy(update={"attention": size[0] // settings.attention})
        if getattr(settings, "attention", None)
        else settings
        for settings in pair
    )
    return Recipe(
        size=size, channels=channels, generator=generator, discriminator=discriminator, num_classes=num_classes
    )


def name_of(pair) -> str:
    shown = (part.model_dump(exclude_defaults=True, exclude={"latent_dim", "width", "hidden"}) for part in pair)
    return "-".join([pair[0].family, *(f"{key}={value}" for group in shown for key, value in group.items())])


def labels_for(num_classes: int, count: int) -> torch.Tensor | None:
    return torch.arange(count) % num_classes if num_classes else None


def networks_of(recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    return build_generator(recipe), build_discriminator(recipe)


@torch.no_grad()
def shaken(network: nn.Module, seed: int = 0) -> nn.Module:
    """Move every weight a little, as training does: conditional batch norm begins the same for all classes."""
    rng = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return network


each_pair = pytest.mark.parametrize("pair", ALL, ids=name_of)
conditional_or_not = pytest.mark.parametrize("num_classes", [0, NUM_CLASSES], ids=["plain", "conditional"])


def test_every_family_is_tried_here():
    assert set(SETTINGS) == set(GENERATORS) == set(DISCRIMINATORS)


@each_pair
@conditional_or_not
@pytest.mark.parametrize(("size", "channels"), [((28, 28), 1), ((16, 16), 2), ((32, 32), 3), ((20, 24), 4)])
def test_networks_give_images_of_the_size_and_one_logit_each(pair, size, channels, num_classes):
    generator, discriminator = networks_of(recipe_of(pair, size, channels, num_classes))
    labels = labels_for(num_classes, 3)
    with torch.no_grad():
        images = generator(torch.randn(3, generator.latent_dim), labels)
        logits = discriminator(images, labels)
    assert (images.shape, images.dtype) == ((3, channels, *size), torch.float32)
    assert images.abs().max() <= 1 or pair[0].family not in BOUNDED
    assert (logits.shape, logits.dtype) == ((3,), torch.float32)


@pytest.mark.parametrize(("family", "pair"), PLAIN)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_each_family_makes_every_size_and_channel_count(family, pair, size, channels):
    assert can_make(family, size)
    recipe = recipe_of(pair, size, channels)
    generator, discriminator = build_generator(recipe), build_discriminator(recipe)
    images = generator(torch.randn(2, 5), None)
    assert images.shape == (2, channels, *size)
    assert discriminator(images, None).shape == (2,)


@pytest.mark.parametrize(("family", "pair"), PLAIN)
def test_what_the_size_arithmetic_accepts_is_what_is_built(family, pair):
    for side in range(8, 65):
        if not can_make(family, (side, side)):
            with pytest.raises(ValidationError, match="does not fit"):
                recipe_of(pair, (side, side))
            continue
        recipe = recipe_of(pair, (side, side))
        generator, discriminator = build_generator(recipe), build_discriminator(recipe)
        images = generator(torch.randn(2, 5), None)
        assert images.shape == (2, 1, side, side)
        assert discriminator(images, None).shape == (2,)


@each_pair
def test_images_of_a_generator_with_large_weights_fill_the_range_and_stay_in_it(pair):
    generator = build_generator(recipe_of(pair))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter *= 100
        images = generator(torch.randn(4, 5), None)
    assert images.abs().max() > 0.99
    assert bool(images.abs().max() <= 1) is (pair[0].family in BOUNDED)


def has_a_slope(recipe: Recipe, name: str) -> bool:
    """Whether a weight changes anything: the biases in a residual block of G are taken out by the batch norms above;
    the last layer of r3gan's begins at zero.
    """
    if recipe.generator.family == "r3gan":
        return not (".first." in name or ".second." in name)
    return not (recipe.generator.family == "resnet" and name.startswith("blocks.") and name.endswith(".bias"))


@each_pair
@conditional_or_not
def test_gradients_reach_every_parameter(pair, num_classes):
    recipe = recipe_of(pair, (16, 16), 3, num_classes)
    generator, discriminator = networks_of(recipe)
    torch.manual_seed(0)
    for layer in (*generator.modules(), *discriminator.modules()):
        if isinstance(layer, SelfAttention):
            assert layer.gamma.item() == 0  # and so nothing else of the layer has a slope yet
            layer.gamma.data.fill_(0.5)
    labels = labels_for(num_classes, 9)
    discriminator(generator(torch.randn(9, 5), labels), labels).square().sum().backward()
    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0 or not has_a_slope(recipe, name), name


@each_pair
@conditional_or_not
def test_logits_are_float32_and_near_under_bfloat16(pair, num_classes):
    generator, discriminator = (network.eval() for network in networks_of(recipe_of(pair, num_classes=num_classes)))
    torch.manual_seed(0)
    latents, labels = torch.randn(8, 5), labels_for(num_classes, 8)
    with torch.no_grad():
        images = generator(latents, labels)
        exact = discriminator(images, labels)
        with autocast(CPU, "bfloat16"):
            logits = discriminator(images, labels)
            rough = generator(latents, labels)
    assert logits.dtype == torch.float32
    assert rough.abs().max() <= 1 or pair[0].family not in BOUNDED
    # bfloat16 has 8 bits
    torch.testing.assert_close(rough.float(), images, atol=float(0.05 * images.abs().max()), rtol=0)
    torch.testing.assert_close(logits, exact, atol=float(0.05 * exact.abs().max()), rtol=0)


@each_pair
@conditional_or_not
def test_weights_are_a_function_of_the_seed(pair, num_classes):
    recipe = recipe_of(pair, num_classes=num_classes)
    for build in (build_generator, build_discriminator):
        one, again, other = (build(recipe, seed).state_dict() for seed in (1, 1, 2))
        assert all(torch.equal(one[name], again[name]) for name in one)
        assert not all(torch.equal(one[name], other[name]) for name in one)


def test_building_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    build_generator(recipe_of(ALL[0]), 3)
    build_discriminator(recipe_of(ALL[-1]), 3)
    assert torch.equal(torch.get_rng_state(), before)


@each_pair
@conditional_or_not
def test_state_loads_into_a_fresh_network_and_gives_the_same_output(pair, num_classes):
    recipe, labels = recipe_of(pair, num_classes=num_classes), labels_for(num_classes, 4)
    for build, inputs in ((build_generator, torch.randn(4, 5)), (build_discriminator, torch.rand(4, 1, 16, 16))):
        trained, fresh = build(recipe, 1), build(recipe, 2)
        trained(inputs, labels)  # moves statistics and spectral vectors
        fresh.load_state_dict(trained.state_dict())
        assert torch.equal(fresh.eval()(inputs, labels), trained.eval()(inputs, labels))


@each_pair
@conditional_or_not
def test_in_eval_mode_a_sample_does_not_depend_on_its_batch(pair, num_classes):
    recipe = recipe_of(pair, num_classes=num_classes)
    labels = labels_for(num_classes, 6)
    for build, inputs in ((build_generator, torch.randn(6, 5)), (build_discriminator, torch.rand(6, 1, 16, 16))):
        if build is build_discriminator and getattr(recipe.discriminator, "minibatch_std", False):
            continue  # what it is for
        network = shaken(build(recipe)).eval()
        with torch.no_grad():
            together = network(inputs, labels)
            parts = [network(inputs[i : i + 1], None if labels is None else labels[i : i + 1]) for i in range(6)]
        scale = max(1.0, float(together.abs().max()))  # shaken logits may be large
        torch.testing.assert_close(together, torch.cat(parts), atol=1e-5 * scale, rtol=1e-5)


@each_pair
def test_a_conditional_network_goes_by_the_label_of_each_sample_alone(pair):
    recipe = recipe_of(pair, num_classes=NUM_CLASSES)
    labels = labels_for(NUM_CLASSES, 6)
    others = labels.clone()
    others[2] = 0
    for build, inputs in ((build_generator, torch.randn(6, 5)), (build_discriminator, torch.rand(6, 1, 16, 16))):
        network = shaken(build(recipe)).eval()
        with torch.no_grad():
            change = (network(inputs, others) - network(inputs, labels)).abs()
        per_sample = change.view(6, -1).amax(1)
        assert per_sample[2] > 1e-5
        assert (per_sample[[0, 1, 3, 4, 5]] == 0).all()


@each_pair
def test_a_conditional_network_refuses_to_go_without_labels(pair):
    generator, discriminator = networks_of(recipe_of(pair, num_classes=NUM_CLASSES))
    with pytest.raises(ValueError, match=r"this network is conditional: it needs labels \(N,\) int64"):
        generator(torch.randn(4, 5), None)
    with pytest.raises(ValueError, match="this network is conditional"):
        discriminator(torch.rand(4, 1, 16, 16), None)


@each_pair
@pytest.mark.parametrize("label", [-1, NUM_CLASSES])
def test_a_label_out_of_range_is_an_error(pair, label):
    generator, discriminator = networks_of(recipe_of(pair, num_classes=NUM_CLASSES))
    labels = torch.tensor([0, label])
    with pytest.raises(IndexError, match="out of range"):
        generator(torch.randn(2, 5), labels)
    with pytest.raises(IndexError, match="out of range"):
        discriminator(torch.rand(2, 1, 16, 16), labels)


@each_pair
def test_an_unconditional_network_does_not_look_at_labels(pair):
    generator, discriminator = (network.eval() for network in networks_of(recipe_of(pair)))
    with torch.no_grad():
        for network, inputs in ((generator, torch.randn(2, 5)), (discriminator, torch.rand(2, 1, 16, 16))):
            assert torch.equal(network(inputs, torch.tensor([7, 8])), network(inputs, None))


@each_pair
@conditional_or_not
def test_a_batch_of_one_can_be_trained_on(pair, num_classes):
    generator, discriminator = networks_of(recipe_of(pair, num_classes=num_classes))
    labels = labels_for(num_classes, 1)
    logits = discriminator(generator(torch.randn(1, 5), labels), labels)
    logits.sum().backward()
    for network in (generator, discriminator):
        assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
        assert any(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


@pytest.mark.parametrize("family", SETTINGS)
def test_classes_add_the_parameters_of_their_tables_alone(family):
    pair = SETTINGS[family][0]
    plain, conditional = networks_of(recipe_of(pair)), networks_of(recipe_of(pair, num_classes=NUM_CLASSES))
    added = [
        {name for name, _ in with_classes.named_parameters()} - {name for name, _ in without.named_parameters()}
        for without, with_classes in zip(plain, conditional, strict=True)
    ]
    assert added[1] <= {"logit.embedding.weight", "logit.embedding.parametrizations.weight.original"}
    if family == "resnet":
        assert {name.rsplit(".", 2)[1] for name in added[0]} == {"scale", "shift"}
    else:
        assert added[0] == {"embedding.weight" if family == "r3gan" else "join.embedding.weight"}


@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize("role", ["generator", "discriminator"])
def test_kernel_is_that_of_every_strided_convolution(role, kernel):
    pair = (DCGANGenerator(kernel=kernel, width=2), DCGANDiscriminator(kernel=kernel, width=2))
    network = (build_generator if role == "generator" else build_discriminator)(recipe_of(pair, (32, 32)))
    strided = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d) and m.stride == (2, 2)]
    assert len(strided) == 3
    assert {layer.kernel_size for layer in strided} == {(kernel, kernel)}


@pytest.mark.parametrize(("head", "last"), [("transposed", nn.ConvTranspose2d), ("convolution", nn.Conv2d)])
@pytest.mark.parametrize("stem", [False, True])
def test_head_and_stem_choose_the_first_and_last_convolution(head, last, stem):
    generator = build_generator(recipe_of((DCGANGenerator(width=2, head=head, stem=stem), DCGANDiscriminator())))
    layers = [module for module in generator.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    assert isinstance(layers[-1], last)
    assert layers[-1].out_channels == 1
    assert (layers[0].stride == (1, 1)) is stem
    assert sum(layer.stride == (2, 2) for layer in layers) == 2


@pytest.mark.parametrize(("normalisation", "count"), [("batch", 2), ("spectral", 0), (None, 0)])
def test_batch_norm_in_the_discriminator_is_not_on_its_first_layer(normalisation, count):
    settings = DCGANDiscriminator(width=2, normalisation=normalisation)
    discriminator = build_discriminator(recipe_of((DCGANGenerator(), settings), (32, 32)))
    norms = [module for module in discriminator.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [4, 8][:count]


def test_spectral_norm_bounds_every_weight_of_the_discriminator():
    settings = DCGANDiscriminator(width=2, normalisation="spectral")
    discriminator = build_discriminator(recipe_of((DCGANGenerator(), settings), (32, 32)))
    layers = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 4
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
        assert float(norm) == pytest.approx(1.0, abs=0.02)  # 15 power iterations


def test_dropout_acts_in_training_alone():
    settings = DCGANDiscriminator(width=2, dropout=0.5)
    discriminator = build_discriminator(recipe_of((DCGANGenerator(), settings)))
    images = torch.rand(4, 1, 16, 16)
    assert not torch.equal(discriminator(images, None), discriminator(images, None))
    discriminator.eval()
    assert torch.equal(discriminator(images, None), discriminator(images, None))


def test_widths_double_up_to_16_times():
    pair = (DCGANGenerator(width=2), DCGANDiscriminator(width=2))
    recipe = recipe_of(pair, (1024, 1024))
    widths = [
        layer.out_channels
        for layer in build_discriminator(recipe, device="meta").modules()
        if isinstance(layer, nn.Conv2d)
    ]
    assert widths == [2, 4, 8, 16, 32, 32, 32, 32]


def test_number_of_parameters_of_a_dense_network_by_hand():
    pair = SETTINGS["mlp"][0]
    recipe = recipe_of(pair, (4, 3), 2)
    assert num_parameters(build_generator(recipe)) == (5 * 6 + 6) + (6 * 7 + 7) + (7 * 24 + 24)
    assert num_parameters(build_discriminator(recipe)) == (24 * 6 + 6) + (6 * 7 + 7) + (7 + 1)


WITH_MAPS = {
    "dcgan": (DCGANGenerator(latent_dim=5, width=2), DCGANDiscriminator(width=2)),
    "resnet": (ResNetGenerator(latent_dim=5, width=4), ResNetDiscriminator(width=4)),
    "resnet, doubling": (ResNetGenerator(latent_dim=5, width=4, growth=2), ResNetDiscriminator(width=4, growth=2)),
}


def heights_attended(network: nn.Module, *inputs) -> list[int]:
    found = []
    for layer in network.modules():
        if isinstance(layer, SelfAttention):
            layer.register_forward_hook(lambda _, given, __: found.append(given[0].shape[2]))
    with torch.no_grad():
        network(*inputs, None)
    return found


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (28, 28), (32, 32), (64, 80)])
@pytest.mark.parametrize("family", WITH_MAPS)
def test_attention_sits_at_every_height_that_the_arithmetic_allows_and_at_no_other(family, size):
    for role, settings in zip(("generator", "discriminator"), WITH_MAPS[family], strict=True):
        growth = settings.growth if isinstance(settings, ResNetDiscriminator) else None
        allowed = attention_heights(settings.family, size, growth)
        assert allowed[0] == size[0] // 2
        for height in range(1, size[0] + 1):
            parts = dict(zip(("generator", "discriminator"), WITH_MAPS[family], strict=True))
            parts[role] = settings.model_copy(update={"attention": height})
            if height not in allowed:
                with pytest.raises(ValidationError, match=rf"{role}.attention {height}: .*heights of its maps are"):
                    recipe_of_parts(parts, size)
                continue
            recipe = recipe_of_parts(parts, size)
            network = (build_generator if role == "generator" else build_discriminator)(recipe, device="meta")
            inputs = (2, 5) if role == "generator" else (2, 1, *size)
            assert heights_attended(network, torch.empty(inputs, device="meta")) == [height]


def recipe_of_parts(parts, size) -> Recipe:
    return Recipe(size=size, channels=1, **parts)


def test_spectral_norm_is_on_the_convolutions_of_attention_in_the_discriminator_alone():
    pair = (ResNetGenerator(width=4, attention=HALF), ResNetDiscriminator(width=4, attention=HALF))
    generator, discriminator = networks_of(recipe_of(pair))
    convolutions = [
        [layer for module in network.modules() if isinstance(module, SelfAttention) for layer in module.children()]
        for network in (generator, discriminator)
    ]
    assert [len(layers) for layers in convolutions] == [4, 4]
    assert [sum(is_parametrized(layer) for layer in layers) for layers in convolutions] == [0, 4]
