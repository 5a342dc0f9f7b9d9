"""Text into recipes: `a.b=c` overrides, counts such as 200k, and validation errors in words. No torch here.

Every function reports all the mistakes it can find at once, each with its place, the value seen and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from gansmith.errors import UsageError, near_matches
from gansmith.recipe import SGD, Adam, PenaltyName, Recipe, RMSprop, Settings

SUFFIXES = {"k": 1_000, "m": 1_000_000}
_UNION_TAGS = frozenset({"mlp", "dcgan", "adam", "rmsprop", "sgd"})
_OPTIMIZERS: dict[str, type[Settings]] = {"adam": Adam, "rmsprop": RMSprop, "sgd": SGD}


def parse_count(text: str) -> int:
    """Return the number of images in "500", "200k" or "1.5m".

    Raises:
        ValueError: the text is not a whole number above 0.
    """
    lowered = text.strip().lower()
    scale = SUFFIXES.get(lowered[-1:], 1)
    try:
        count = float(lowered[:-1] if scale > 1 else lowered) * scale
    except ValueError:
        count = -1.0
    if not (0 < count < 1e15 and count == int(count)):
        raise ValueError(f"{text!r} is not a count; write a whole number above 0 such as 5000, 200k or 1.5m")
    return int(count)


def apply_overrides(recipe: Recipe, overrides: Iterable[str]) -> Recipe:
    """Return the recipe with `path=value` overrides applied, each value read as YAML.

    Choosing another optimiser by name keeps the fields both have (the learning rate) and takes the new one's defaults
    for the rest. `penalties.NAME=null` removes a penalty.

    Args:
        recipe: what the overrides start from.
        overrides: such as `generator.width=32` or `penalties.r1.weight=0.1`.

    Raises:
        UsageError: with every override that is malformed, names no field, or has a value that does not fit.
    """
    tree = recipe.model_dump(mode="json")
    problems = [problem for text in overrides if (problem := _apply_one(tree, text))]
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
    except yaml.YAMLError:
        return f"--set {text}: the value {value_text!r} is not readable as YAML"
    node: Any = tree
    *parents, last = path.split(".")
    walked = ""
    for key in parents:
        if walked == "penalties" and key in get_args(PenaltyName):
            node.setdefault(key, {})
        if not isinstance(node, dict) or key not in node:
            return _unknown_key(text, key, walked, node)
        node, walked = node[key], f"{walked}.{key}".lstrip(".")
    known = get_args(PenaltyName) if walked == "penalties" else ("weight", "every") if "penalties." in walked else node
    if not isinstance(node, dict) or last not in known:
        return _unknown_key(text, last, walked, known)
    if walked == "penalties" and value is None:
        node.pop(last, None)
        return None
    if last == "name" and value in _OPTIMIZERS:
        _keep_shared_fields(node, _OPTIMIZERS[value].model_fields)
    node[last] = value
    return None


def _keep_shared_fields(node: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for key in [key for key in node if key not in fields]:
        del node[key]


def _unknown_key(text: str, key: str, walked: str, node: Iterable[str] | Any) -> str:
    if not isinstance(node, dict | tuple):
        return f"--set {text}: {walked or 'the recipe'} has no fields of its own"
    place = f"in {walked}" if walked else "in a recipe"
    return f"--set {text}: there is no field {key!r} {place}{near_matches(key, node)}; there are {', '.join(node)}"


def describe_validation(error: ValidationError) -> list[str]:
    """Return one line per mistake in a failed validation: field path, value seen, what is allowed."""
    return [_describe_one(dict(item)) for item in error.errors()]


def _describe_one(item: dict[str, Any]) -> str:
    location = [str(part) for part in item["loc"]]
    if len(location) > 1 and location[1] in _UNION_TAGS:
        del location[1]
    path = ".".join(part for part in location if part != "[key]")
    if item["type"] == "value_error":
        return f"{path}: {item['ctx']['error']}".removeprefix(": ")
    seen = item["input"]
    if item["type"] in ("literal_error", "union_tag_invalid"):
        expected = item["ctx"].get("expected") or item["ctx"]["expected_tags"]
        choices = [word.strip(" '\"") for word in str(expected).replace(" or ", ", ").split(",")]
        seen = item["ctx"].get("tag", seen)
        return f"{path}: {seen!r} is not one of {', '.join(choices)}{near_matches(str(seen), choices)}"
    if item["type"] == "missing":
        return f"{path}: this field is required"
    if item["type"] == "extra_forbidden":
        return f"{path}: there is no such field"
    advice = "; a rate of 0 would train nothing" if location[-1] == "learning_rate" else ""
    return f"{path}: {seen!r} does not fit: {item['msg'][0].lower()}{item['msg'][1:]}{advice}"
