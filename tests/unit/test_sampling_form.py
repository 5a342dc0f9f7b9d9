"""What samples are computed by: networks with batch norm folded and convolutions rearranged, in the run's precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import gansmith
from gansmith import runtime, sampling
from gansmith.build import build_generator
from gansmith.facts import Classes
from gansmith.layers.attention import SelfAttention
from gansmith.layers.fold import fold_batch_norm
from gansmith.layers.fourier import FourierConvTranspose2d
from gansmith.networks import GENERATORS
from gansmith.recipe import Recipe
from gansmith.recipes import RECIPES
from gansmith.settings import Precision
from tests.contracts.test_networks import SETTINGS

NUM_CLASSES = 3
CPU = torch.device("cpu")
GENERATOR_SETTINGS = {
    f"{family}-{index}": (family, settings)
    for family, pairs in SETTINGS.items()
    if hasattr(GENERATORS[family], "for_sampling")
    for index, settings in enumerate(dict.fromkeys(pair[0] for pair in pairs))
}
BATCH_NORMS = nn.modules.batchnorm._BatchNorm


def with_statistics(network: nn.Module) -> nn.Module:
    """Give every batch norm scales, shifts and statistics of its own, as after training."""
    torch.manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, BATCH_NORMS):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.2, 3.0)
            if layer.affine:
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias)
        elif isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, layer.weight[0].numel() ** -0.5)
    return network.eval().requires_grad_(False)


def build(family: str, settings: object, size: tuple[int, int], channels: int, num_classes: int) -> nn.Module:
    return with_statistics(GENERATORS[family](settings, size, channels, num_classes)).double()


def inputs(network: nn.Module, num_classes: int) -> tuple[Tensor, Tensor | None]:
    torch.manual_seed(2)
    latents = torch.randn(4, network.latent_dim, dtype=torch.float64)
    return latents, torch.arange(4) % num_classes if num_classes else None


@pytest.mark.parametrize("num_classes", [0, NUM_CLASSES], ids=["plain", "conditional"])
@pytest.mark.parametrize("size", [(28, 28), (20, 24)], ids=str)
@pytest.mark.parametrize("name", GENERATOR_SETTINGS)
def test_fold_and_all_else_of_a_sampling_form_is_exact(name: str, size: tuple[int, int], num_classes: int) -> None:
    network = build(*GENERATOR_SETTINGS[name], size, 3 if size[0] == 20 else 1, num_classes)
    form, arguments = network.for_sampling(), inputs(network, num_classes)
    expected = network(*arguments)
    assert expected.std() > 0.02
    assert float((form(*arguments) - expected).abs().max()) < 1e-10


@pytest.mark.parametrize("name", GENERATOR_SETTINGS)
def test_fold_of_other_statistics_is_another_function(name: str) -> None:
    network = build(*GENERATOR_SETTINGS[name], (28, 28), 1, 0)
    arguments = inputs(network, 0)
    for layer in (layer for layer in network.modules() if isinstance(layer, BATCH_NORMS)):
        for statistic in (layer.running_mean, layer.running_var):
            form = network.for_sampling()
            statistic += 1e-3
            assert float((form(*arguments) - network(*arguments)).abs().max()) > 1e-7
            torch.testing.assert_close(network.for_sampling()(*arguments), network(*arguments), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("family", "left"), [("mlp", 0), ("dcgan", 0), ("dense-conv", 0), ("resnet", 3)])
def test_fold_leaves_no_batch_norm_that_a_linear_layer_alone_feeds(family: str, left: int) -> None:
    # What is left in a residual network of two blocks: the norms of the two sums, and of the first map.
    network = build(family, next(s for f, s in GENERATOR_SETTINGS.values() if f == family), (28, 28), 1, 0)
    assert sum(isinstance(layer, BATCH_NORMS) for layer in network.for_sampling().modules()) == left


@pytest.mark.parametrize(
    "layer", [nn.Linear(3, 5), nn.Conv2d(3, 5, 3), nn.ConvTranspose2d(3, 5, 3)], ids=lambda layer: type(layer).__name__
)
@pytest.mark.parametrize("affine", [True, False])
def test_fold_of_a_layer_with_a_bias(layer: nn.Module, affine: bool) -> None:
    dense = isinstance(layer, nn.Linear)
    norm = nn.BatchNorm1d(5, affine=affine) if dense else nn.BatchNorm2d(5, affine=affine)
    layer, norm = copy.deepcopy(layer).double(), with_statistics(norm).double()
    values = torch.randn(2, 3, dtype=torch.float64) if dense else torch.randn(2, 3, 6, 6, dtype=torch.float64)
    expected = norm(layer(values))
    fold_batch_norm(layer, norm)
    torch.testing.assert_close(layer(values), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (7, 7), (5, 8)], ids=str)
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (4, 2), (5, 2)])
def test_fixed_kernels_do_not_follow_the_weights(size: tuple[int, int], kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = FourierConvTranspose2d(3, 2, kernel, size, stride).double()
    maps = torch.randn(4, 3, *size, dtype=torch.float64)
    layer.fix()
    expected = layer(maps)
    nn.init.zeros_(layer.weight)
    torch.testing.assert_close(layer(maps), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["dcgan-28", "dcgan-32", "resnet"])
def test_a_generator_with_attention_is_folded_to_the_same_function(name: str) -> None:
    recipe = RECIPES[name]().shrunk()
    settings = recipe.generator.model_copy(update={"attention": recipe.size[0] // 2})
    generator = with_statistics(build_generator(recipe.replace(generator=settings))).double().eval()
    (attention,) = (layer for layer in generator.modules() if isinstance(layer, SelfAttention))
    attention.gamma.data.fill_(0.5)
    latents = torch.randn(3, generator.latent_dim, dtype=torch.float64)
    torch.testing.assert_close(generator.for_sampling()(latents, None), generator(latents, None))


@pytest.fixture(scope="module", params=["dcgan-28", "resnet"])
def generator(request: pytest.FixtureRequest) -> nn.Module:
    recipe = RECIPES[request.param]()
    return with_statistics(build_generator(recipe.shrunk()))


def test_bfloat16_samples_are_float32_and_close_to_those_of_float32(generator: nn.Module) -> None:
    images = {name: sampling.sample(generator, 64, precision=name) for name in ("float32", "bfloat16")}
    assert images["bfloat16"].dtype == torch.float32
    assert images["bfloat16"].device == CPU
    assert images["bfloat16"].abs().max() <= 1
    assert images["float32"].std() > 0.2  # neither grey nor all black and white
    difference = (images["bfloat16"] - images["float32"]).abs()
    assert 0 < difference.mean() < 1 / 127.5  # on average less than one of the 256 values that are saved
    assert difference.max() < 0.1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("training", [True, False])
def test_sampling_changes_nothing_of_the_generator(generator: nn.Module, precision: Precision, training: bool) -> None:
    generator = copy.deepcopy(generator).requires_grad_(True).train(training)
    before = {name: (id(tensor), tensor.clone()) for name, tensor in generator.state_dict(keep_vars=True).items()}
    layers = [*map(type, generator.modules())]
    sampling.sample(generator, 5, precision=precision)
    after = generator.state_dict(keep_vars=True)
    assert after.keys() == before.keys()
    assert all(id(after[name]) == place and torch.equal(after[name], old) for name, (place, old) in before.items())
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in after.values())
    assert all(parameter.requires_grad for parameter in generator.parameters())
    assert [*map(type, generator.modules())] == layers
    assert {layer.training for layer in generator.modules()} == {training}


def test_sampling_follows_the_weights_of_the_moment(generator: nn.Module) -> None:
    generator = copy.deepcopy(generator)
    first = sampling.sample(generator, 3, precision="float32")
    for parameter in generator.parameters():
        parameter *= 0.9
    second = sampling.sample(generator, 3, precision="float32")
    assert not torch.allclose(first, second, atol=1e-3)
    torch.testing.assert_close(second, generator(sampling.latents_of(0, 3, generator.latent_dim)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-5), ("bfloat16", 0.05)])
def test_samples_do_not_depend_on_the_batch_size(
    generator: nn.Module, batch_size: int, precision: Precision, most: float
) -> None:
    # bfloat16 has 8 bits: another order of a sum now and then rounds a value inside to its neighbour.
    latents = sampling.latents_of(0, 20, generator.latent_dim)
    parts = sampling.generate(generator, latents, precision=precision, batch_size=batch_size)
    torch.testing.assert_close(parts, sampling.generate(generator, latents, precision=precision), atol=most, rtol=0)


def test_batches_are_the_samples_in_order(generator: nn.Module) -> None:
    latents = sampling.latents_of(0, 9, generator.latent_dim)
    parts = list(sampling.batches(generator, latents, precision="float32", batch_size=4))
    assert list(map(len, parts)) == [4, 4, 1]
    whole = sampling.generate(generator, latents, precision="float32", batch_size=4)
    assert torch.equal(torch.cat(parts), whole)


def test_generator_that_fails_keeps_its_mode() -> None:
    network = nn.Linear(2, 2).train()  # takes no labels, so it raises
    with pytest.raises(TypeError):
        sampling.generate(network, torch.zeros(1, 2), precision="float32")
    assert network.training


def test_module_of_the_user_is_sampled_as_it_is() -> None:
    class Own(nn.Module):
        latent_dim = 4

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 12)

        def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
            self.dtype = self.layer(latents).dtype
            return self.layer(latents).tanh().view(-1, 3, 2, 2)

    own = Own()
    exact, rounded = (sampling.sample(own, 6, precision=name) for name in ("float32", "bfloat16"))
    assert own.dtype == torch.bfloat16
    assert exact.dtype == rounded.dtype == own.layer.weight.dtype == torch.float32
    torch.testing.assert_close(exact, rounded, atol=0.03, rtol=0)


@pytest.mark.parametrize(("has", "asked", "computed"), [
    ("bfloat16", "bfloat16", "bfloat16"), ("bfloat16", "float32", "float32"),
    ("float32", "bfloat16", "float32"), ("float32", "float32", "float32"),
])  # fmt: skip
def test_precision_is_the_recipes_where_the_machine_has_it(
    has: Precision, asked: Precision, computed: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "best_precision", lambda device: has)
    recipe: Recipe = RECIPES["dcgan-28"](precision=asked).shrunk()
    generator = with_statistics(build_generator(recipe))
    model = gansmith.Model(generator, recipe, 0)
    assert model.precision == computed
    expected = sampling.sample(generator, 6, 1, precision=computed)
    other = sampling.sample(generator, 6, 1, precision="float32" if computed == "bfloat16" else "bfloat16")
    assert torch.equal(gansmith.sample(model, 6, 1), expected)
    assert not torch.equal(expected, other)
    walk = sampling.interpolate(generator, 2, 6, 2, precision=computed)
    assert torch.equal(torch.stack(gansmith.interpolate(model, 2, 6, 2)), torch.stack(walk))


def test_classes_reach_the_sampling_form() -> None:
    recipe: Recipe = RECIPES["resnet"](num_classes=NUM_CLASSES).shrunk()
    network = with_statistics(build_generator(recipe))
    classes = Classes(("a", "b", "c"), (1, 1, 1))
    labels = torch.tensor([0, 2, 1, 1])
    model = gansmith.Model(network, recipe, 0, classes)
    found = gansmith.sample(model, 4, classes=["a", "c", "b", "b"])
    expected = network(sampling.latents_of(0, 4, network.latent_dim), labels)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
