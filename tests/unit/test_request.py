from __future__ import annotations

import json

import pytest
import yaml

from gansmith.budget import Budget
from gansmith.errors import DataError, UsageError
from gansmith.facts import DataFacts, MachineFacts
from gansmith.recipe import Recipe
from gansmith.recipes import AUTO, DEFAULT_RECIPE, FOR_CLASSES, RECIPE_NAMES, RECIPES
from gansmith.recipes.auto import auto
from gansmith.request import Request

BUDGET = Budget.of(minutes=10)
CUSTOM = RECIPES["mlp"](size=(20, 31), channels=2).replace(loss="hinge")


def data(size, channels=1, one_size=True, num_classes=10) -> DataFacts:
    return DataFacts(10_000, num_classes, size, one_size, channels)


def machine(precision="float32") -> MachineFacts:
    return MachineFacts("a machine", precision, 100.0, 2**33)


def resolved_recipe(request: Request, size, channels, precision, num_classes=10) -> Recipe:
    return request.resolve(data(size, channels, num_classes=num_classes), machine(precision), BUDGET).recipe


def test_the_default_is_the_recipe_chosen_for_the_data():
    assert Request().name == DEFAULT_RECIPE == AUTO
    choice = Request().resolve(data((32, 32), 3), machine(), BUDGET)
    assert choice == auto(data((32, 32), 3), machine(), BUDGET, (32, 32), 3)
    assert choice.reasons


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_gives_no_reasons(name):
    assert Request(name).resolve(data((16, 24)), machine(), BUDGET).reasons == ()


@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_a_conditional_request_takes_the_number_of_classes_of_the_data(name):
    resolved = resolved_recipe(Request(name, conditional=True), (16, 24), 2, "float32", num_classes=7)
    assert resolved.num_classes == 7
    unasked = resolved_recipe(Request(name), (16, 24), 2, "float32", num_classes=7).num_classes
    assert unasked == (7 if name in FOR_CLASSES else 0)


@pytest.mark.parametrize(("num_classes", "there_is"), [(0, "has no classes"), (1, "has one class")])
@pytest.mark.parametrize("name", sorted(FOR_CLASSES))
def test_a_recipe_made_for_classes_refuses_data_without_and_says_what_to_take(name, num_classes, there_is):
    message = rf"recipe {name} needs two classes or more \(sub-folders, labels\); this data {there_is}; take .*resnet"
    with pytest.raises(DataError, match=message):
        resolved_recipe(Request(name), (16, 16), 1, "float32", num_classes)
    assert Request(name).problems() == []


@pytest.mark.parametrize("name", RECIPE_NAMES)
@pytest.mark.parametrize(("num_classes", "there_is"), [(0, "has no classes"), (1, "has one class")])
def test_a_conditional_request_without_classes_in_the_data_is_a_data_error(name, num_classes, there_is):
    with pytest.raises(DataError, match=f"--conditional needs two classes or more.*this data {there_is}"):
        resolved_recipe(Request(name, conditional=True), (16, 16), 1, "float32", num_classes)


@pytest.mark.parametrize("conditional", [False, True])
def test_another_number_of_classes_than_the_data_has_is_a_usage_error(conditional):
    request = Request("mlp", ("num_classes=3",), conditional=conditional)
    with pytest.raises(UsageError, match="--set num_classes=3: the number of classes is that of the data"):
        resolved_recipe(request, (8, 8), 1, "float32")
    assert len(request.problems()) == 1


def test_a_conditional_whole_recipe_needs_data_of_as_many_classes():
    conditional = CUSTOM.replace(num_classes=4)
    assert resolved_recipe(Request(conditional), (8, 8), 1, "float32", num_classes=4) == conditional
    with pytest.raises(DataError, match="the recipe is for num_classes 4; this data has 5"):
        resolved_recipe(Request(conditional), (8, 8), 1, "float32", num_classes=5)
    with pytest.raises(DataError, match="this data has no classes"):
        resolved_recipe(Request(conditional), (8, 8), 1, "float32", num_classes=0)


def test_a_conditional_request_makes_a_whole_recipe_conditional():
    resolved = resolved_recipe(Request(CUSTOM, conditional=True), (8, 8), 1, "float32", num_classes=4)
    assert resolved == CUSTOM.replace(num_classes=4)


@pytest.mark.parametrize("name", RECIPES)
def test_a_named_recipe_takes_size_channels_and_precision_of_data_and_machine(name):
    resolved = resolved_recipe(Request(name), (16, 24), 2, "bfloat16")
    num_classes = 10 if name in FOR_CLASSES else 0
    assert resolved == RECIPES[name](size=(16, 24), channels=2, precision="bfloat16", num_classes=num_classes)


def test_the_size_and_channels_asked_for_go_before_the_data():
    resolved = resolved_recipe(Request("mlp", size=(8, 9), channels=1), (32, 32), 3, "float32")
    assert (resolved.size, resolved.channels) == ((8, 9), 1)


def test_overrides_go_last():
    resolved = resolved_recipe(
        Request("mlp", ("loss=hinge", "precision=float32", "size=[10, 11]")), (8, 8), 1, "bfloat16"
    )
    assert (resolved.loss, resolved.precision, resolved.size) == ("hinge", "float32", (10, 11))


def test_a_whole_recipe_is_taken_as_it_is():
    assert resolved_recipe(Request(CUSTOM), (32, 32), 3, "bfloat16") == CUSTOM
    assert Request(CUSTOM).name == "custom"


def test_a_whole_recipe_with_size_channels_and_overrides_is_changed_in_these():
    resolved = resolved_recipe(Request(CUSTOM, ("batch_size=4",), size=(9, 10), channels=3), (32, 32), 1, "bfloat16")
    assert resolved == CUSTOM.replace(batch_size=4, size=(9, 10), channels=3)


def test_resolving_an_impossible_request_raises():
    with pytest.raises(UsageError, match=r"did you mean .*'dcgan-28'"):
        resolved_recipe(Request("dcgan-29"), (28, 28), 1, "float32")
    with pytest.raises(UsageError, match="30x31 does not fit"):
        resolved_recipe(Request("dcgan-28", size=(30, 31)), (28, 28), 1, "float32")


@pytest.mark.parametrize("request_", [Request(), Request("mlp", ("loss=hinge",), (5, 5), 4), Request(CUSTOM)])
def test_a_good_request_has_no_problems(request_):
    assert request_.problems() == []


def test_an_unknown_recipe_is_a_problem_that_names_the_near_and_all():
    (problem,) = Request("dcgan_28").problems()
    assert "--recipe dcgan_28" in problem and "did you mean 'dcgan-28'" in problem
    assert all(name in problem for name in RECIPE_NAMES)


def test_all_problems_of_the_overrides_are_told():
    found = Request("dcgan-28", ("los=hinge", "batch_size=0")).problems()
    assert len(found) == 2
    assert found[0].startswith("--set los=hinge") and found[1].startswith("batch_size: 0")


def test_a_size_that_the_family_cannot_make_is_a_problem():
    (problem,) = Request("dcgan-28", size=(30, 31)).problems()
    assert "size 30x31 does not fit the dcgan generator" in problem


def test_problems_of_a_whole_recipe_are_told_too():
    assert len(Request(CUSTOM, ("generator.width=3",)).problems()) == 1


@pytest.mark.parametrize(
    ("recipe", "data_size", "one_size", "expected"),
    [
        ("dcgan-28", (28, 28), True, (28, 28)),
        ("dcgan-28", (32, 48), True, (32, 48)),
        ("dcgan-28", (40, 48), True, (40, 48)),
        ("dcgan-28", (128, 128), True, (64, 64)),
        ("dcgan-28", (500, 400), True, (56, 48)),
        ("dcgan-28", (500, 400), False, (64, 64)),
        ("dcgan-28", (33, 47), False, (32, 32)),
        ("dcgan-28", (5, 5), True, (8, 8)),
        ("mlp", (31, 17), True, (31, 17)),
        ("mlp", (31, 17), False, (17, 17)),
        ("mlp", (640, 320), True, (64, 32)),
        ("dense-conv", (500, 400), True, (56, 48)),
        ("resnet", (33, 47), False, (32, 32)),
        ("r3gan-256", (1024, 1024), True, (256, 256)),
        ("r3gan-256", (256, 256), True, (256, 256)),
        ("r3gan-256", (28, 28), True, (28, 28)),
        (AUTO, (33, 47), False, (32, 32)),
        (AUTO, (28, 28), True, (28, 28)),
        (AUTO, (1, 1), True, (1, 1)),
        (AUTO, (7, 3), True, (7, 3)),
        (AUTO, (7, 3), False, (8, 8)),
        (CUSTOM, (31, 17), True, (20, 31)),
    ],
)
def test_default_size_is_that_of_the_data_if_it_can_be_made_and_is_not_large(recipe, data_size, one_size, expected):
    size = Request(recipe).default_size(data(data_size, one_size=one_size))
    assert size == expected


@pytest.mark.parametrize("name", RECIPE_NAMES)
@pytest.mark.parametrize("data_size", [(1, 1), (13, 90), (64, 65), (3000, 2000)])
@pytest.mark.parametrize("one_size", [True, False])
def test_the_default_size_can_always_be_made(name, data_size, one_size):
    request = Request(name)
    facts = data(data_size, 3, one_size)
    size = request.default_size(facts)
    assert request.resolve(facts, machine(), BUDGET).recipe.size == size
    assert max(size) <= (256 if name == "r3gan-256" else 64)


@pytest.mark.parametrize(
    "request_",
    [
        Request(),
        Request("mlp", ("loss=hinge", "batch_size=3"), (48, 64), 3),
        Request(CUSTOM, ("penalties.r1.weight=1",), (7, 7), 4),
        Request("resnet", conditional=True, fit="pad"),
    ],
)
def test_a_request_survives_json_and_yaml(request_):
    values = request_.as_dict()
    assert Request.from_dict(json.loads(json.dumps(values))) == request_
    assert Request.from_dict(yaml.safe_load(yaml.safe_dump(values))) == request_


def test_different_requests_have_different_values():
    requests = [
        Request("mlp"),
        Request("dcgan-28"),
        Request("mlp", ("loss=hinge",)),
        Request("mlp", size=(28, 28)),
        Request("mlp", channels=1),
        Request("mlp", conditional=True),
        Request("mlp", fit="stretch"),
        Request(RECIPES["mlp"]()),
    ]
    texts = {json.dumps(request.as_dict()) for request in requests}
    assert len(texts) == len(requests)


def test_where_attention_can_sit_is_judged_once_the_size_is_known():
    request = Request("dcgan-small", ("discriminator.attention=8", "loss=hing"))
    (problem,) = request.problems()
    assert "'hing' is not one of" in problem
    request = Request("dcgan-small", ("discriminator.attention=8",))
    assert request.problems() == []
    assert resolved_recipe(request, (16, 16), 1, "float32").discriminator.attention == 8
    with pytest.raises(UsageError, match=r"attention 8: the dcgan discriminator of 28x28 images .* are 14, 7$"):
        resolved_recipe(request, (28, 28), 1, "float32")
    (problem,) = Request("dcgan-small", ("discriminator.attention=8",), size=(28, 28)).problems()
    assert "attention 8" in problem
