"""Text into recipes: `a.b=c` overrides, counts such as 200k, and validation errors in words. No torch here.

Every function reports all the mistakes it can find at once, each with its place, the value seen and what is allowed.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from gansmith.errors import UsageError, near_matches
from gansmith.recipe import UNUSED, Recipe
from gansmith.settings import (
    AdaptiveProbability,
    Augmentation,
    BurnIn,
    DiscriminatorSettings,
    EncoderSettings,
    GeneratorSettings,
    LinearDecay,
    OptimizerSettings,
    PenaltyName,
    PenaltySettings,
    Regularisation,
    Settings,
    TopK,
)

MOST_IMAGES = 10**15
SUFFIXES = {"k": 1_000, "m": 1_000_000}


def _by_tag(union: Any, tag: str) -> dict[str, type[Settings]]:
    """Return what an annotated union chooses from, by the value of its tag field."""
    return {kind.model_fields[tag].default: kind for kind in get_args(get_args(union)[0])}


_GENERATORS, _DISCRIMINATORS = _by_tag(GeneratorSettings, "family"), _by_tag(DiscriminatorSettings, "family")
_OPTIMIZERS = _by_tag(OptimizerSettings, "name")
_GROUPS: dict[str, type[Settings]] = {
    "learning_rate_schedule": LinearDecay,
    "burn_in": BurnIn,
    "top_k": TopK,
    "augmentation": Augmentation,
    "augmentation.adaptive": AdaptiveProbability,
}
"""Groups of settings that a recipe may lack."""
CHOICES_OF_AUGMENTATION = ("augmentation.policy=", "augmentation.adaptive")
_OF_ANOTHER = {"policy": ("operations", "probability"), "adaptive": ("probability",)}
"""What goes where this of an augmentation changes: it was chosen for what was before."""
_UNION_TAGS = frozenset({*_GENERATORS, *_DISCRIMINATORS, *_OPTIMIZERS})


def parse_count(text: str) -> int:
    """Return the number of images in "500", "200k" or "1.5m".

    Raises:
        ValueError: the text is not a whole number above 0.
    """
    lowered = text.strip().lower()
    scale = SUFFIXES.get(lowered[-1:], 1)
    try:
        count = Decimal(lowered[:-1] if scale > 1 else lowered) * scale
    except InvalidOperation:
        count = Decimal(-1)
    if not (count.is_finite() and 0 < count < MOST_IMAGES and count == int(count)):
        raise ValueError(f"{text!r} is not a count; write a whole number above 0 such as 5000, 200k or 1.5m")
    return int(count)


def apply_overrides(recipe: Recipe, overrides: Iterable[str]) -> Recipe:
    """Return the recipe with `path=value` overrides applied, each value read as YAML.

    Choosing another optimiser by name, another family or another objective keeps the fields both have (the learning
    rate, say) and takes the new one's defaults for the rest. `penalties.NAME=null` removes a penalty.

    Args:
        recipe: what the overrides start from.
        overrides: such as `generator.width=32` or `penalties.r1.weight=0.1`.

    Raises:
        UsageError: with every override that is malformed, names no field, or has a value that does not fit.
    """
    tree = recipe.model_dump(mode="json")
    # What a choice takes away must not be what another override gives.
    ordered = sorted(overrides, key=lambda text: not text.startswith(CHOICES_OF_AUGMENTATION))
    problems = [problem for text in ordered if (problem := _apply_one(tree, text))]
    try:
        changed = Recipe.model_validate(tree)
    except ValidationError as error:
        problems += describe_validation(error)
    if problems:
        raise UsageError(problems)
    return changed


def _apply_one(tree: dict[str, Any], text: str) -> str | None:
    path, equals, value_text = text.partition("=")
    if not equals or not path:
        return f"--set {text}: write it as field=value, such as loss=hinge"
    try:
        value = yaml.safe_load(value_text)
    except (yaml.YAMLError, ValueError):  # ValueError: a date that does not exist
        return f"--set {text}: the value {value_text!r} is not readable as YAML"
    *parents, last = path.split(".")
    if path == "objective":  # what it makes no use of goes, as with another family
        for key in _unused_by(value):
            tree.pop(key, None)
    looked_at: Any = tree
    for depth, key in enumerate(path.split(".")):
        fields = _fields(parents[:depth], looked_at)
        if key not in fields:
            place = ".".join(parents[:depth])
            return _unknown_key(text, key, place or f"a recipe of objective {tree['objective']}", fields)
        looked_at = {} if looked_at.get(key) is None else looked_at[key]
    node = tree
    for key in parents:
        node[key] = {} if node.get(key) is None else node[key]
        node = node[key]
    if parents == ["penalties"] and value is None:
        node.pop(last, None)
        return None
    if parents == ["augmentation"] and node.get(last) != value:
        for key in _OF_ANOTHER.get(last, ()):
            node.pop(key, None)
    kinds = _kinds(parents, last)
    if isinstance(value, str) and value in kinds:
        for key in [key for key in node if key not in kinds[value].model_fields]:
            del node[key]
    node[last] = value
    return None


def _unused_by(objective: Any) -> Iterable[str]:
    """Return the fields that an objective makes no use of; none for what is no objective, which is found later."""
    return next((names for name, names in UNUSED.items() if name == objective), ())


def _kinds(parents: list[str], last: str) -> dict[str, type[Settings]]:
    """Return what may be chosen by name at this path, if it is such a choice."""
    if last == "name":
        return _OPTIMIZERS
    if last == "family":
        return {"generator": _GENERATORS, "discriminator": _DISCRIMINATORS}.get(".".join(parents), {})
    return {}


def _fields(parents: list[str], node: Any) -> Iterable[str]:
    """Return the fields that the node at this path has or may be given."""
    if not isinstance(node, dict):
        return ()
    if not parents:
        unused = _unused_by(node["objective"])
        return [name for name in Recipe.model_fields if name not in unused]
    if parents == ["encoder"]:
        return EncoderSettings.model_fields
    if parents in (["generator"], ["discriminator"]) and (
        kind := _kinds(parents, "family").get(str(node.get("family")))
    ):
        return kind.model_fields
    if parents == ["regularisation"]:
        return Regularisation.model_fields
    if parents == ["penalties"]:
        return get_args(PenaltyName)
    if parents[:1] == ["penalties"] and len(parents) == 2:
        return PenaltySettings.model_fields
    if parents and (group := _GROUPS.get(".".join(parents))) is not None:
        return group.model_fields
    if str(node.get("name")) in _OPTIMIZERS:
        return _OPTIMIZERS[node["name"]].model_fields
    return node


def _unknown_key(text: str, key: str, walked: str, fields: Iterable[str]) -> str:
    if not fields:
        return f"--set {text}: {walked} has no fields of its own"
    return (
        f"--set {text}: there is no field {key!r} in {walked}{near_matches(key, fields)}; there are {', '.join(fields)}"
    )


def describe_validation(error: ValidationError) -> list[str]:
    """Return one line per mistake in a failed validation: field path, value seen, what is allowed."""
    return [_describe_one(dict(item)) for item in error.errors()]


class _Seen:
    """A user's value whose text is cut: it may be huge, or refer to itself."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        short = reprlib.Repr()
        short.maxlevel = 2
        return short.repr(self._value)

    def __str__(self) -> str:
        return self._value if isinstance(self._value, str) else repr(self)


def _describe_one(item: dict[str, Any]) -> str:
    location = [str(part) for part in item["loc"]]
    if len(location) > 1 and location[1] in _UNION_TAGS:
        del location[1]
    path = ".".join(part for part in location if part != "[key]") or "the whole"
    if item["type"] == "value_error":
        return f"{path}: {item['ctx']['error']}".removeprefix("the whole: ")
    seen = _Seen(item["input"])
    if item["type"] in ("literal_error", "union_tag_invalid"):
        expected = item["ctx"].get("expected") or item["ctx"]["expected_tags"]
        choices = [word.strip(" '\"") for word in str(expected).replace(" or ", ", ").split(",")]
        seen = _Seen(item["ctx"].get("tag", item["input"]))
        return f"{path}: {seen!r} is not one of {', '.join(choices)}{near_matches(str(seen), choices)}"
    if item["type"] == "missing":
        return f"{path}: this field is required"
    if item["type"] == "extra_forbidden":
        return f"{path}: there is no such field"
    is_rate = item["type"] == "greater_than" and location[-1] == "learning_rate"
    advice = "; a rate of 0 would train nothing" if is_rate else ""
    return f"{path}: {seen!r} does not fit: {item['msg'][0].lower()}{item['msg'][1:]}{advice}"
