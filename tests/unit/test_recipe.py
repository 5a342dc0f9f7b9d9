from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
import yaml
from pydantic import ValidationError

from gansmith.recipe import (
    ADDED,
    SGD,
    UNUSED,
    Adam,
    DCGANDiscriminator,
    DCGANEncoder,
    DCGANGenerator,
    DenseConvDiscriminator,
    DenseConvGenerator,
    LinearDecay,
    MLPDiscriminator,
    MLPGenerator,
    PenaltySettings,
    Recipe,
    Regularisation,
    ResNetDiscriminator,
    ResNetGenerator,
    RMSprop,
    TopK,
)

MLP = {"size": (28, 28), "channels": 1, "generator": MLPGenerator(), "discriminator": MLPDiscriminator()}


def mlp(**changes) -> Recipe:
    return Recipe(**{**MLP, **changes})


def dcgan(**changes) -> Recipe:
    return mlp(**{"generator": DCGANGenerator(), "discriminator": DCGANDiscriminator(), **changes})


CHANGES = [
    {"size": (32, 32)},
    {"channels": 3},
    {"generator": MLPGenerator(latent_dim=99)},
    {"generator": MLPGenerator(hidden=(128,))},
    {"discriminator": DCGANDiscriminator()},
    {"discriminator": DCGANDiscriminator(normalisation="spectral")},
    {"loss": "hinge"},
    {"penalties": {"r1": PenaltySettings(weight=1)}},
    {"penalties": {"r1": PenaltySettings(weight=1, every=2)}},
    {"generator_optimizer": Adam(learning_rate=1e-4)},
    {"generator_optimizer": SGD()},
    {"discriminator_optimizer": RMSprop()},
    {"batch_size": 64},
    {"discriminator_steps": 5},
    {"ema_half_life_images": 0},
    {"precision": "bfloat16"},
    {"num_classes": 10},
    {"generator_batch_size": 64},
    {"regularisation": Regularisation(l1=0.1)},
    {"regularisation": Regularisation(l2=0.1)},
    {"regularisation": Regularisation(weight_clipping=0.1)},
    {"learning_rate_schedule": LinearDecay(length_images=1000)},
    {"learning_rate_schedule": LinearDecay(length_images=1000, final_factor=0.1)},
    {"generator": DenseConvGenerator()},
    {"generator": ResNetGenerator()},
    {"generator": ResNetGenerator(growth=2)},
    {"discriminator": DenseConvDiscriminator()},
    {"discriminator": ResNetDiscriminator()},
    {"discriminator": ResNetDiscriminator(normalisation=None)},
    {"discriminator": ResNetDiscriminator(pool="mean")},
    {"discriminator": ResNetDiscriminator(attention=14)},
    {"discriminator": ResNetDiscriminator(minibatch_std=True)},
    {"generator": ResNetGenerator(attention=14)},
    {"generator": DCGANGenerator(attention=7)},
    {"discriminator": DCGANDiscriminator(attention=7)},
    {"discriminator": DCGANDiscriminator(minibatch_std=True)},
    {"regularisation": Regularisation(lecam=0.1)},
    {"top_k": TopK()},
    {"top_k": TopK(floor=0.6)},
]
BATCH_NORM = [
    MLPDiscriminator(normalisation="batch"),
    DCGANDiscriminator(normalisation="batch"),
    DenseConvDiscriminator(normalisation="batch"),
]
SPECTRAL = [
    MLPDiscriminator(normalisation="spectral"),
    DCGANDiscriminator(normalisation="spectral"),
    DenseConvDiscriminator(normalisation="spectral"),
    ResNetDiscriminator(),
]


def test_id_is_the_start_of_the_sha256_of_sorted_json_with_defaults():
    recipe = mlp()
    text = json.dumps(recipe.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    assert recipe.id == hashlib.sha256(text.encode()).hexdigest()[:8]
    assert '"beta1":0.5' in text and '"ema_half_life_images":20000' in text


def test_id_is_the_same_for_equal_recipes():
    assert mlp().id == mlp().id == Recipe.model_validate(mlp().model_dump()).id


def test_id_does_not_depend_on_whether_a_default_is_written():
    assert mlp(loss="non_saturating", generator=MLPGenerator(latent_dim=100)).id == mlp().id


def test_id_does_not_depend_on_the_order_of_keys():
    recipe = mlp(penalties={"r1": PenaltySettings(weight=1), "gradient_penalty": PenaltySettings(weight=10)})
    tree = recipe.model_dump(mode="json")

    def backwards(node):
        return {key: backwards(node[key]) for key in reversed(node)} if isinstance(node, dict) else node

    assert Recipe.model_validate(backwards(tree)).id == recipe.id


def test_id_does_not_tell_whole_floats_from_integers():
    assert mlp(penalties={"r1": {"weight": 10}}).id == mlp(penalties={"r1": {"weight": 10.0}}).id


def test_every_change_of_a_field_changes_the_id():
    ids = [mlp().id, *(mlp(**change).id for change in CHANGES)]
    assert len(set(ids)) == len(ids)


def test_id_is_the_same_in_another_process():
    code = "from gansmith.recipes import mlp; print(mlp().id)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert seen == mlp().id


def test_a_recipe_and_its_parts_are_frozen():
    recipe = mlp()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.loss = "hinge"
    with pytest.raises(ValidationError, match="frozen"):
        recipe.generator.latent_dim = 3
    with pytest.raises(ValidationError, match="frozen"):
        recipe.generator_optimizer.learning_rate = 1.0


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"lss": "hinge"}, "lss"),
        ({"generator": {"family": "mlp", "width": 64}}, "generator.mlp.width"),
        ({"generator_optimizer": {"name": "sgd", "beta1": 0.5}}, "generator_optimizer.sgd.beta1"),
        ({"penalties": {"r1": {"weight": 1, "often": 2}}}, "penalties.r1.often"),
    ],
)
def test_unknown_keys_are_refused_at_every_depth(changes, place):
    with pytest.raises(ValidationError) as error:
        mlp(**changes)
    (problem,) = error.value.errors()
    assert problem["type"] == "extra_forbidden"
    assert ".".join(map(str, problem["loc"])) == place


@pytest.mark.parametrize(
    "changes",
    [
        {"size": (0, 28)},
        {"size": (28,)},
        {"channels": 0},
        {"loss": "hinged"},
        {"objective": "translation"},
        {"generator": {"family": "unet"}},
        {"generator": MLPGenerator().model_dump() | {"hidden": ()}},
        {"generator": MLPGenerator().model_dump() | {"latent_dim": 0}},
        {"discriminator": DCGANDiscriminator().model_dump() | {"dropout": 1.0}},
        {"discriminator": DCGANDiscriminator().model_dump() | {"kernel": 3}},
        {"penalties": {"r3": {"weight": 1}}},
        {"penalties": {"r1": {"weight": 0}}},
        {"penalties": {"r1": {"weight": float("inf")}}},
        {"penalties": {"r1": {"weight": 1, "every": 0}}},
        {"generator_optimizer": {"name": "adam", "learning_rate": 0}},
        {"generator_optimizer": {"name": "adam", "learning_rate": float("nan")}},
        {"generator_optimizer": {"name": "adam", "beta1": 1.0}},
        {"batch_size": 0},
        {"discriminator_steps": 0},
        {"ema_half_life_images": -1},
        {"precision": "float16"},
        {"num_classes": -1},
        {"num_classes": 1},
        {"generator_batch_size": 0},
        {"regularisation": {"l1": -0.1}},
        {"regularisation": {"l2": float("inf")}},
        {"regularisation": {"weight_clipping": 0}},
        {"learning_rate_schedule": {"length_images": 0}},
        {"learning_rate_schedule": {"length_images": 10, "final_factor": 1.0}},
        {"generator": {"family": "resnet", "growth": 3}},
        {"discriminator": {"family": "resnet", "normalisation": "batch"}},
    ],
)
def test_values_out_of_range_are_refused(changes):
    with pytest.raises(ValidationError):
        mlp(**changes)


@pytest.mark.parametrize("discriminator", BATCH_NORM, ids=lambda settings: settings.family)
@pytest.mark.parametrize("penalty", ["r1", "r2", "gradient_penalty"])
def test_a_penalty_with_batch_norm_in_the_discriminator_is_refused_with_the_reason(discriminator, penalty):
    with pytest.raises(ValidationError, match="mixes the images of a batch") as error:
        mlp(discriminator=discriminator, penalties={penalty: {"weight": 1}})
    assert penalty in str(error.value) and "discriminator.normalisation=spectral" in str(error.value)


@pytest.mark.parametrize("normalisation", ["spectral", None])
def test_a_penalty_without_batch_norm_is_allowed(normalisation):
    recipe = dcgan(discriminator=DCGANDiscriminator(normalisation=normalisation), penalties={"r1": {"weight": 1}})
    assert recipe.penalties["r1"] == PenaltySettings(weight=1.0, every=1)


@pytest.mark.parametrize("discriminator", SPECTRAL, ids=lambda settings: settings.family)
def test_weight_clipping_with_spectral_norm_is_refused_with_the_reason(discriminator):
    with pytest.raises(ValidationError, match="before spectral norm divides them") as error:
        mlp(discriminator=discriminator, regularisation={"weight_clipping": 0.01})
    assert "discriminator.normalisation=null" in str(error.value)
    without = discriminator.model_copy(update={"normalisation": None})
    clipped = mlp(discriminator=without, regularisation={"weight_clipping": 0.01})
    assert clipped.regularisation.weight_clipping == 0.01


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"generator": MLPGenerator(normalisation="batch")}, True),
        ({"discriminator": MLPDiscriminator(normalisation="batch")}, True),
        ({"discriminator": MLPDiscriminator(normalisation="spectral")}, False),
        ({"generator": DCGANGenerator()}, True),
        ({"generator": DenseConvGenerator()}, True),
        ({"generator": ResNetGenerator()}, True),
        ({"discriminator": ResNetDiscriminator(normalisation=None)}, False),
    ],
)
def test_a_recipe_knows_whether_it_has_batch_norm(changes, expected):
    assert mlp(**changes).has_batch_norm is expected


def autoencoder(**changes) -> Recipe:
    parts = {"objective": "autoencoder", "generator": DCGANGenerator(), "encoder": DCGANEncoder(), "loss": "elbo"}
    return Recipe(**{"size": (28, 28), "channels": 1, **parts, **changes})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"encoder": None}, "objective autoencoder needs encoder"),
        ({"discriminator": MLPDiscriminator()}, "makes no use of discriminator; leave it out"),
        ({"discriminator_optimizer": SGD()}, "makes no use of discriminator_optimizer"),
        ({"discriminator_steps": 2}, "makes no use of discriminator_steps"),
        ({"generator_batch_size": 64}, "makes no use of generator_batch_size"),
        ({"penalties": {"r1": {"weight": 1}}}, "makes no use of penalties"),
        ({"loss": "hinge"}, "loss hinge is none of objective autoencoder, which takes elbo"),
        ({"regularisation": {"weight_clipping": 0.1}}, "weight_clipping acts on a discriminator, and .* has none"),
        ({"regularisation": {"lecam": 0.1}}, "lecam acts on a discriminator, and objective autoencoder has none"),
        ({"top_k": {}}, "makes no use of top_k"),
        ({"size": (31, 31), "generator": MLPGenerator()}, "31x31 does not fit the dcgan encoder.*that fits is 32x32"),
    ],
)
def test_what_an_autoencoder_cannot_be_combined_with_is_refused_with_the_reason(changes, problem):
    with pytest.raises(ValidationError, match=problem):
        autoencoder(**changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"discriminator": None}, "objective adversarial needs discriminator"),
        ({"encoder": DCGANEncoder()}, "objective adversarial makes no use of encoder; leave it out"),
        ({"loss": "elbo"}, "loss elbo is none of objective adversarial, which takes minimax, non_saturating"),
        ({"objective": "autoencoder"}, "objective autoencoder needs encoder"),
    ],
)
def test_what_an_adversarial_recipe_cannot_be_combined_with_is_refused_with_the_reason(changes, problem):
    with pytest.raises(ValidationError, match=problem):
        mlp(**changes)


@pytest.mark.parametrize(("recipe", "unused"), [(mlp(), UNUSED["adversarial"]), (autoencoder(), UNUSED["autoencoder"])])
def test_json_leaves_out_what_the_objective_makes_no_use_of(recipe, unused):
    written = json.loads(recipe.canonical_json())
    assert written.keys() == Recipe.model_fields.keys() - unused - ADDED.keys() == recipe.model_dump().keys()
    assert Recipe.model_validate(written) == recipe


def test_json_names_a_field_of_later_where_it_is_not_what_was_done_before():
    recipe = mlp(update="simultaneous")
    assert json.loads(recipe.canonical_json())["update"] == "simultaneous"
    assert Recipe.model_validate_json(recipe.canonical_json()) == recipe
    assert recipe.id != mlp().id


def test_every_change_of_an_autoencoder_changes_the_id():
    changes = [{}, {"encoder": DCGANEncoder(width=32)}, {"encoder": DCGANEncoder(kernel=5)}, {"batch_size": 32},
               {"generator": DCGANGenerator(latent_dim=32)}, {"num_classes": 3}]  # fmt: skip
    assert len({autoencoder(**change).id for change in changes}) == len(changes)


def test_a_shrunk_autoencoder_is_narrow():
    small = autoencoder().shrunk()
    assert (small.encoder, small.generator) == (DCGANEncoder(width=8), DCGANGenerator(width=8, latent_dim=12))


def test_networks_and_their_optimisers_by_name():
    adam, sgd = Adam(), SGD()
    gan = mlp(generator_optimizer=adam, discriminator_optimizer=sgd)
    assert {name: gan.optimizer_of(name) for name in gan.networks} == {"generator": adam, "discriminator": sgd}
    both = autoencoder(generator_optimizer=sgd)
    assert {name: both.optimizer_of(name) for name in both.networks} == {"generator": sgd, "encoder": sgd}


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (mlp(), None),
        (mlp(generator=DCGANGenerator()), "batch norm"),
        (autoencoder(), "batch norm"),
        (autoencoder(generator=MLPGenerator()), "the variance of the elbo"),
    ],
)
def test_a_recipe_knows_why_its_batch_cannot_be_computed_in_parts(recipe, expected):
    assert recipe.needs_whole_batch == expected


def test_the_generators_batch_is_that_of_d_unless_given():
    assert mlp(batch_size=7).size_of_generator_batch == 7
    assert mlp(batch_size=7, generator_batch_size=9).size_of_generator_batch == 9


@pytest.mark.parametrize(
    ("images", "factor"), [(0, 1.0), (250, 0.775), (500, 0.55), (1000, 0.1), (1001, 0.1), (10**9, 0.1)]
)
def test_linear_decay_falls_to_its_final_factor_and_stays(images, factor):
    assert LinearDecay(length_images=1000, final_factor=0.1).factor(images) == pytest.approx(factor)


def test_linear_decay_ends_at_0_by_default():
    decay = LinearDecay(length_images=1000)
    assert (decay.factor(0), decay.factor(500), decay.factor(1000), decay.factor(2000)) == (1.0, 0.5, 0.0, 0.0)


def test_a_size_that_a_family_cannot_make_is_refused_and_the_nearest_is_named():
    with pytest.raises(ValidationError, match=r"size 31x31 does not fit the dcgan generator.* fits is 32x32"):
        dcgan(size=(31, 31))
    with pytest.raises(ValidationError, match="does not fit the dcgan discriminator"):
        mlp(size=(31, 31), discriminator=DCGANDiscriminator())
    assert mlp(size=(31, 31)).size == (31, 31)


@pytest.mark.parametrize("changes", [{}, *CHANGES])
def test_yaml_round_trip_gives_an_equal_recipe_of_the_same_id(changes):
    recipe = mlp(**changes)
    read = Recipe.model_validate(yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json"))))
    assert read == recipe
    assert read.id == recipe.id


def test_replace_changes_a_copy_and_validates_it():
    recipe = mlp()
    assert recipe.replace(batch_size=7).batch_size == 7
    assert recipe.batch_size == 128
    with pytest.raises(ValidationError):
        recipe.replace(batch_size=0)
    with pytest.raises(ValidationError):
        recipe.replace(batchsize=1)


def test_shrunk_divides_widths_by_8_and_keeps_the_method():
    recipe = dcgan(
        generator=DCGANGenerator(width=64, kernel=5, stem=True, head="transposed"),
        discriminator=DCGANDiscriminator(width=128, normalisation="spectral", dropout=0.3),
        loss="hinge",
        penalties={"r1": {"weight": 1, "every": 4}},
        discriminator_steps=3,
    )
    small = recipe.shrunk()
    assert small.generator == DCGANGenerator(latent_dim=12, width=8, kernel=5, stem=True, head="transposed")
    assert small.discriminator == DCGANDiscriminator(width=16, normalisation="spectral", dropout=0.3)
    assert (small.batch_size, small.ema_half_life_images) == (8, 64)
    kept = {"size", "channels", "loss", "penalties", "generator_optimizer", "discriminator_optimizer", "precision"}
    assert all(getattr(small, field) == getattr(recipe, field) for field in kept | {"discriminator_steps"})


def test_shrunk_dense_networks_are_narrow_but_never_empty():
    recipe = mlp(generator=MLPGenerator(latent_dim=8, hidden=(8, 256)), discriminator=MLPDiscriminator(hidden=(1,)))
    small = recipe.shrunk()
    assert small.generator == MLPGenerator(latent_dim=4, hidden=(4, 32))
    assert small.discriminator.hidden == (4,)


def test_shrunk_keeps_the_share_of_the_generators_batch_and_shortens_the_schedule():
    decay = LinearDecay(length_images=10**6, final_factor=0.5)
    small = mlp(batch_size=64, generator_batch_size=128, learning_rate_schedule=decay, num_classes=5).shrunk()
    assert (small.batch_size, small.generator_batch_size, small.num_classes) == (8, 16, 5)
    assert small.learning_rate_schedule.length_images == 1_000
    assert mlp(batch_size=128, generator_batch_size=4).shrunk().generator_batch_size == 1
    assert mlp().shrunk().generator_batch_size is None
    assert mlp().shrunk().learning_rate_schedule is None


def test_shrunk_keeps_an_ema_that_is_a_copy():
    assert mlp(ema_half_life_images=0).shrunk().ema_half_life_images == 0


def test_recipes_load_no_torch():
    names = ("recipe", "recipes", "recipes.auto", "overrides", "request", "settings", "facts", "budget", "sizes")
    modules = ", ".join(f"gansmith.{name}" for name in names)
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert seen == "False"
