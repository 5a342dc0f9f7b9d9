from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gansmith.errors import UsageError
from gansmith.overrides import apply_overrides, parse_count
from gansmith.recipe import (
    SGD,
    Adam,
    Augmentation,
    DCGANDiscriminator,
    DCGANEncoder,
    LinearDecay,
    MLPGenerator,
    PenaltySettings,
    Regularisation,
    ResNetGenerator,
    RMSprop,
)
from gansmith.recipes import RECIPES

MLP = RECIPES["mlp"]()
DCGAN = RECIPES["dcgan-28"]()
VAE = RECIPES["vae"]()
WITH_R1 = DCGAN.replace(penalties={"r1": {"weight": 0.5, "every": 4}})


def problems(*overrides: str, recipe=DCGAN) -> list[str]:
    with pytest.raises(UsageError) as error:
        apply_overrides(recipe, overrides)
    assert str(error.value) == "\n".join(error.value.problems)
    return error.value.problems


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1),
        ("500", 500),
        ("5e3", 5_000),
        ("500.0", 500),
        ("200k", 200_000),
        ("200K", 200_000),
        (" 200k ", 200_000),
        ("1.5m", 1_500_000),
        ("1.5M", 1_500_000),
        ("0.5k", 500),
        ("0.001k", 1),
    ],
)
def test_counts_are_whole_numbers_with_k_or_m(text, count):
    parsed = parse_count(text)
    assert parsed == count
    assert type(parsed) is int


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "k",
        "m",
        "0",
        "0k",
        "-1",
        "-5k",
        "1.5",
        "0.0001k",
        "nan",
        "nank",
        "inf",
        "infk",
        "1e400",
        "1e15",
        "12g",
        "2kk",
        "ten",
        "1,000",
    ],
)
def test_what_is_no_count_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="is not a count; write a whole number above 0 such as") as error:
        parse_count(text)
    assert repr(text) in str(error.value)


@given(st.integers(1, 10**14))
def test_every_whole_number_is_the_count_it_says(count):
    assert parse_count(str(count)) == count


def test_no_overrides_give_an_equal_recipe():
    assert apply_overrides(DCGAN, []) == DCGAN


def test_an_override_changes_its_field_and_leaves_the_given_recipe_alone():
    assert apply_overrides(DCGAN, ["loss=hinge"]) == DCGAN.replace(loss="hinge")
    assert DCGAN.loss == "non_saturating"


def test_a_nested_override_changes_one_field_of_the_group():
    changed = apply_overrides(DCGAN, ["generator.width=32", "discriminator.dropout=0"])
    assert changed.generator == DCGAN.generator.model_copy(update={"width": 32})
    assert changed.discriminator == DCGAN.discriminator.model_copy(update={"dropout": 0.0})


def test_the_last_of_two_overrides_of_a_field_holds():
    assert apply_overrides(DCGAN, ["batch_size=3", "batch_size=4"]).batch_size == 4


def test_values_are_yaml():
    changed = apply_overrides(MLP, ["size=[32, 48]", "generator.hidden=[64, 32, 16]", "batch_size= 9"])
    assert (changed.size, changed.generator.hidden, changed.batch_size) == ((32, 48), (64, 32, 16), 9)
    spectral = apply_overrides(DCGAN, ["discriminator.normalisation=spectral"])
    assert apply_overrides(spectral, ["discriminator.normalisation=null"]).discriminator == DCGAN.discriminator


def test_a_number_with_an_exponent_that_yaml_reads_as_text_is_a_number():
    changed = apply_overrides(DCGAN, ["generator_optimizer.learning_rate=1e-3"])
    assert changed.generator_optimizer == Adam(learning_rate=0.001)


def test_a_value_may_hold_an_equals_sign():
    assert "'a=b'" in problems("loss=a=b")[0]


def test_another_optimizer_keeps_the_learning_rate_and_takes_its_own_defaults():
    start = DCGAN.replace(generator_optimizer=Adam(learning_rate=7e-4, beta1=0.1, epsilon=1e-5))
    assert apply_overrides(start, ["generator_optimizer.name=sgd"]).generator_optimizer == SGD(learning_rate=7e-4)
    rmsprop = apply_overrides(start, ["generator_optimizer.name=rmsprop"]).generator_optimizer
    assert rmsprop == RMSprop(learning_rate=7e-4, epsilon=1e-5)


def test_fields_of_the_new_optimizer_can_be_set_after_its_name():
    changed = apply_overrides(DCGAN, ["discriminator_optimizer.name=sgd", "discriminator_optimizer.momentum=0.5"])
    assert changed.discriminator_optimizer == SGD(momentum=0.5)
    assert changed.generator_optimizer == Adam()


def test_fields_of_the_old_optimizer_are_gone_after_its_name():
    (problem,) = problems("discriminator_optimizer.name=sgd", "discriminator_optimizer.beta1=0.5")
    assert "no field 'beta1' in discriminator_optimizer" in problem


def test_a_penalty_is_added_by_its_weight():
    assert apply_overrides(DCGAN, ["penalties.r1.weight=0.1"]).penalties == {"r1": PenaltySettings(weight=0.1)}
    both = apply_overrides(DCGAN, ["penalties.r1.every=16", "penalties.r1.weight=0.1"])
    assert both.penalties == {"r1": PenaltySettings(weight=0.1, every=16)}


def test_a_penalty_that_is_there_keeps_its_other_field():
    assert apply_overrides(WITH_R1, ["penalties.r1.weight=2"]).penalties == {"r1": PenaltySettings(weight=2, every=4)}


def test_a_penalty_set_to_null_is_removed():
    assert apply_overrides(WITH_R1, ["penalties.r1=null"]) == DCGAN
    assert apply_overrides(DCGAN, ["penalties.r1=null"]) == DCGAN


def test_a_penalty_without_a_weight_has_that_of_its_rule():
    assert apply_overrides(DCGAN, ["penalties.r1.every=2"]).penalties["r1"].weight == 0.001225  # 0.0002 * 28^2 / 128


def test_a_penalty_of_weight_0_is_refused():
    assert problems("penalties.r1.weight=0") == ["penalties.r1.weight: 0 does not fit: input should be greater than 0"]


def test_all_mistakes_are_told_at_once():
    found = problems(
        "los=hinge", "generator.widht=3", "no_equals_sign", "batch_size=many", "discriminator_optimizer.learning_rate=0"
    )
    assert len(found) == 5
    for start in ("--set los=hinge", "--set generator.widht=3", "--set no_equals_sign", "batch_size: 'many'"):
        assert any(problem.startswith(start) for problem in found), start


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("los=hinge", ("no field 'los' in a recipe", "did you mean 'loss'", "batch_size")),
        ("generator.widht=3", ("no field 'widht' in generator", "did you mean 'width'", "latent_dim")),
        ("generatr.width=3", ("no field 'generatr' in a recipe", "did you mean 'generator'")),
        ("penalties.gradient_penality=null", ("in penalties", "did you mean 'gradient_penalty'", "r1")),
        ("loss=hing", ("loss: 'hing' is not one of minimax", "did you mean 'hinge'")),
        ("precision=bf16", ("precision: 'bf16' is not one of float32, bfloat16",)),
        ("generator_optimizer.name=adm", ("generator_optimizer", "'adm' is not one of adam", "did you mean 'adam'")),
        ("loss.x=1", ("loss has no fields of its own",)),
        ("loss", ("write it as field=value",)),
        ("=3", ("write it as field=value",)),
        ("batch_size=[", ("not readable as YAML",)),
        ("generator.width=0", ("generator.width: 0 does not fit", "greater than 0")),
        ("generator.kernel=3", ("generator.kernel: 3 is not one of 4, 5",)),
        ("discriminator_optimizer.learning_rate=0", ("discriminator_optimizer.learning_rate: 0", "train nothing")),
        ("discriminator.dropout=1", ("discriminator.dropout: 1", "less than 1")),
        ("penalties.r1.weight=-1", ("penalties.r1.weight: -1", "greater than 0")),
        ("size=[30, 30]", ("size 30x30 does not fit the dcgan generator", "the nearest that fits is")),
        ("batch_size=", ("batch_size: None does not fit",)),
    ],
)
def test_one_mistake_is_one_line_with_place_value_and_advice(override, parts):
    (problem,) = problems(override)
    assert "\n" not in problem
    for part in parts:
        assert part in problem


def test_a_combination_that_cannot_be_is_refused_with_the_reason():
    (problem,) = problems("penalties.r1.weight=1", recipe=RECIPES["dcgan-32"]())
    assert problem.startswith("penalties r1 need each image judged alone")


def test_a_whole_group_can_be_given():
    changed = apply_overrides(DCGAN, ["generator={family: mlp, hidden: [8]}"])
    assert changed.generator == MLPGenerator(hidden=(8,))


def test_an_optimizer_name_that_is_a_list_is_a_usage_error():
    problems("generator_optimizer.name=[1]")


def test_a_penalty_after_null_penalties_is_the_only_one():
    changed = apply_overrides(WITH_R1, ["penalties=null", "penalties.r2.weight=1"])
    assert changed.penalties == {"r2": PenaltySettings(weight=1)}
    problems("penalties=null")


def test_a_date_that_does_not_exist_is_a_usage_error():
    problems("loss=2020-13-01")


def test_an_unknown_penalty_with_a_field_names_the_penalties_there_are():
    (problem,) = problems("penalties.r3.weight=1")
    assert all(name in problem for name in ("r1", "r2", "gradient_penalty"))


def test_a_schedule_is_set_changed_and_removed():
    decaying = apply_overrides(DCGAN, ["learning_rate_schedule.length_images=5000"])
    assert decaying.learning_rate_schedule == LinearDecay(length_images=5000)
    changed = apply_overrides(decaying, ["learning_rate_schedule.final_factor=0.5"])
    assert changed.learning_rate_schedule == LinearDecay(length_images=5000, final_factor=0.5)
    assert apply_overrides(changed, ["learning_rate_schedule=null"]) == DCGAN
    assert "did you mean 'length_images'" in problems("learning_rate_schedule.length_image=5000")[0]
    assert problems("learning_rate_schedule.final_factor=0.5") == [
        "learning_rate_schedule.length_images: this field is required"
    ]


def test_regularisation_is_set_by_field():
    changed = apply_overrides(DCGAN, ["regularisation.l1=1e-4", "regularisation.weight_clipping=0.01"])
    assert changed.regularisation == Regularisation(l1=1e-4, weight_clipping=0.01)
    assert apply_overrides(changed, ["regularisation.l1=0", "regularisation.weight_clipping=null"]) == DCGAN
    assert "regularisation.l2: -1" in problems("regularisation.l2=-1")[0]


def test_another_family_keeps_the_fields_both_have():
    changed = apply_overrides(DCGAN, ["generator.width=7", "generator.latent_dim=9", "generator.family=resnet"])
    assert changed.generator == ResNetGenerator(latent_dim=9, width=7)


def test_a_misspelt_penalty_field_is_one_mistake():
    (problem,) = problems("penalties.r1.weigth=1")
    assert "did you mean 'weight'" in problem


@pytest.mark.parametrize(("text", "count"), [("1.001k", 1_001), ("1.009m", 1_009_000), ("1.005k", 1_005)])
def test_decimal_counts_are_exact(text, count):
    assert parse_count(text) == count


def test_an_autoencoder_takes_overrides_of_its_own_fields_and_names_no_others():
    changed = apply_overrides(
        VAE, ["generator.width=8", "encoder.width=16", "encoder.kernel=4", "generator.latent_dim=9"]
    )
    assert (changed.generator.width, changed.generator.latent_dim) == (8, 9)
    assert changed.encoder == DCGANEncoder(width=16, kernel=4)
    (problem,) = problems("discriminator.width=8", recipe=VAE)
    assert "there is no field 'discriminator' in a recipe of objective autoencoder" in problem
    (problem,) = problems("encoder.width=8")
    assert "there is no field 'encoder' in a recipe of objective adversarial" in problem
    (problem,) = problems("encoder.family=mlp", recipe=VAE)
    assert "encoder.family: 'mlp' is not one of dcgan" in problem
    (problem,) = problems("encoder.widht=8", recipe=VAE)
    assert "did you mean 'width'" in problem


def test_another_objective_keeps_what_both_have():
    there = ["objective=autoencoder", "loss=elbo", "encoder.width=32", "encoder.kernel=5", "batch_size=64",
             "generator.latent_dim=16", "generator_optimizer.beta1=0.9"]  # fmt: skip
    small = RECIPES["dcgan-small"]()
    assert apply_overrides(small, there) == VAE
    back = ["objective=adversarial", "loss=hinge", "discriminator={family: dcgan, width: 32, kernel: 5}"]
    assert apply_overrides(VAE, back).discriminator == DCGANDiscriminator(width=32, kernel=5)
    assert problems("objective=autoencoder", recipe=small) == [
        "objective autoencoder needs encoder=..., such as {family: dcgan}"
    ]
    assert "'gan' is not one of adversarial, autoencoder" in problems("objective=gan", recipe=small)[0]
    found = problems("objective=[1]", "batch_size=0", recipe=small)
    assert [problem.split(":")[0] for problem in found] == ["objective", "batch_size"]


FEW = RECIPES["dcgan-small"]().replace(augmentation=Augmentation(policy="diffaugment"))


@pytest.mark.parametrize(
    ("overrides", "policy", "probability"),
    [
        (["augmentation.policy=pipe"], "pipe", 0.3),
        (["augmentation.policy=pipe", "augmentation.probability=0.5"], "pipe", 0.5),
        (["augmentation.probability=0.5", "augmentation.policy=pipe"], "pipe", 0.5),
        (["augmentation.policy=diffaugment"], "diffaugment", 1.0),
        (["augmentation.adaptive={}"], "diffaugment", 0.0),
        (["augmentation.operations=[flip]", "augmentation.policy=pipe"], "pipe", 0.3),
    ],
)
def test_another_policy_of_augmentation_has_its_own_probability(overrides, policy, probability):
    found = apply_overrides(FEW, overrides).augmentation
    assert (found.policy, found.probability) == (policy, probability)


@pytest.mark.parametrize("field", ["burn_in.length_images=500", "top_k.floor=0.25"])
def test_a_group_that_a_recipe_lacks_is_made_by_one_of_its_fields(field):
    assert apply_overrides(RECIPES["mlp"](), [field]) != RECIPES["mlp"]()
