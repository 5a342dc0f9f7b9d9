"""What a sweep tries: fields with several values each, and every combination of them. Texts and recipes, no torch.

`run.py` trains them; `cli/sweep.py` reads them from the command line.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from gansmith.overrides import apply_overrides
from gansmith.recipe import Recipe
from gansmith.recipes import RECIPES
from gansmith.request import Request

LAZY_EVERY = 16
"""Discriminator steps between two penalties where `gamma` adds one (Karras et al. 2020)."""
LAZY_FIELD = "penalties.r1.every"
LONGEST_NAME = 120
SAME_FOR_ALL = ("size", "channels", "num_classes")
"""Fields that cannot be swept: scores of images of another shape, or of other networks' classes, do not compare."""


@dataclass(frozen=True)
class Axis:
    """One field and the values to try.

    Attributes:
        field: a dotted field of the recipe, or a name of `SHORT`.
        values: as texts, each read as YAML.
    """

    field: str
    values: tuple[str, ...]


Setting = tuple[tuple[str, str], ...]
"""One combination: (field, value) for each axis, in their order."""


def parse_axis(text: str) -> Axis:
    """Return the axis in "loss=hinge,relativistic"; commas within brackets belong to a value.

    Raises:
        ValueError: it is no such text, a value is empty, or one comes twice.
    """
    field, equals, rest = text.partition("=")
    if not field or not equals:
        raise ValueError("write it as field=value,value, such as loss=hinge,relativistic")
    values = tuple(value.strip() for value in _split(rest))
    if "" in values:
        raise ValueError("a value is empty; write it as field=value,value")
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"the value {twice[0]} stands twice; every value must differ")
    return Axis(field, values)


def _split(text: str) -> list[str]:
    """Return the parts between commas that are outside every bracket."""
    depth, parts = 0, [""]
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def combinations(axes: Sequence[Axis]) -> tuple[Setting, ...]:
    """Return every combination of values, the last axis changing fastest."""
    pairs = [[(axis.field, value) for value in axis.values] for axis in axes]
    return tuple(itertools.product(*pairs))


def name_of(setting: Setting) -> str:
    """Return "loss=hinge gamma=0.05"."""
    return " ".join(f"{field}={value}" for field, value in setting)


def folder_name(setting: Setting, seed: int) -> str:
    """Return the name of a run's folder: "loss=hinge,gamma=0.05,seed=0"."""
    name = ",".join([*(f"{field}={value}" for field, value in setting), f"seed={seed}"])
    plain = re.sub(r"[^\w.=,+-]+", "_", name)
    if plain == name and len(name) <= LONGEST_NAME:
        return name
    return f"{plain[:LONGEST_NAME]}-{sha256(name.encode()).hexdigest()[:8]}"


def _gamma(value: str, recipe: Recipe) -> list[str]:
    """The weight of R1, and of R2 where the recipe has it; R1 is added where it has none; 0 takes them away."""
    names = ["r1", *(["r2"] if "r2" in recipe.penalties else [])]
    if _is_zero(value):
        return [f"penalties.{name}=null" for name in names]
    added = [] if "r1" in recipe.penalties else [f"{LAZY_FIELD}={LAZY_EVERY}"]
    return [*(f"penalties.{name}.weight={value}" for name in names), *added]


def _rate(value: str, recipe: Recipe) -> list[str]:
    """The generator's learning rate; the discriminator's stays in proportion."""
    overrides = [f"generator_optimizer.learning_rate={value}"]
    if recipe.discriminator is not None:
        try:
            rate = float(value) * recipe.discriminator_optimizer.learning_rate
            theirs = f"{rate / recipe.generator_optimizer.learning_rate:.6g}"
        except ValueError:  # said of the generator's
            return overrides
        overrides.append(f"discriminator_optimizer.learning_rate={theirs}")
    return overrides


SHORT: dict[str, Callable[[str, Recipe], list[str]]] = {"gamma": _gamma, "rate": _rate}
"""Names for what is more than one field: (value, recipe) -> overrides."""


def _is_zero(value: str) -> bool:
    try:
        return float(value) == 0
    except ValueError:
        return False


def overrides_of(setting: Setting, recipe: Recipe, common: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the `field=value` overrides of a combination.

    Args:
        setting: the combination.
        recipe: what they change.
        common: overrides of all; what these say (how often R1 is applied, say) a short name does not.
    """
    found: list[str] = []
    for field, value in setting:
        found += SHORT[field](value, recipe) if field in SHORT else [f"{field}={value}"]
    taken = {_field(text) for text in common}
    return tuple(text for text in found if _field(text) not in taken)


def _field(override: str) -> str:
    return override.partition("=")[0]


def problems_of(request: Request, axes: Sequence[Axis]) -> list[str]:
    """Return every mistake in a sweep that shows without looking at the data.

    Args:
        request: what all runs share.
        axes: what is swept.
    """
    found = [f"--over {axis.field}: the scores of such runs would not compare; leave it to --set or an option"
             for axis in axes if axis.field in SAME_FOR_ALL]  # fmt: skip
    if isinstance(request.recipe, str) and request.recipe not in RECIPES:
        if others := dataclasses.replace(request, overrides=()).problems():
            return [*found, *others]
        recipe = RECIPES["dcgan-small"]()
    else:
        recipe = request.recipe if isinstance(request.recipe, Recipe) else RECIPES[request.recipe]()
    if recipe.discriminator is None and any(axis.field == "gamma" for axis in axes):
        found.append(f"--over gamma: penalises a discriminator, and {request.name} has none; leave it out")
    found += _set_twice(request, axes, recipe)
    if found:
        return found
    alone, settings = request.problems(), combinations(axes)
    where: dict[str, list[Setting]] = {}
    for setting in settings:
        swept = overrides_of(setting, recipe, request.overrides)
        for problem in dataclasses.replace(request, overrides=(*request.overrides, *swept)).problems():
            where.setdefault(_as_over(problem, swept), []).append(setting)
    return [
        problem if problem in alone or problem.startswith("--over ") else _culprits(having) + problem
        for problem, having in where.items()
    ]


def _as_over(problem: str, swept: Iterable[str]) -> str:
    """Return a problem of one `--set FIELD=VALUE` as one of the swept field."""
    for text in swept:
        if problem.startswith(f"--set {text}: "):
            return f"--over {_field(text)}: {problem.removeprefix(f'--set {text}: ')}"
    return problem


def _culprits(settings: Sequence[Setting]) -> str:
    """Return "--over gamma=-1: ", the values that all settings with a problem share; "" where there are none."""
    shared = [pair for pair in settings[0] if all(pair in setting for setting in settings)]
    return f"--over {name_of(tuple(shared))}: " if shared else ""


def _set_twice(request: Request, axes: Sequence[Axis], recipe: Recipe) -> list[str]:
    """Return a message for each field that two axes, or `--set` and an axis, would change."""
    givers: dict[str, list[str]] = {}
    for text in request.overrides:
        givers.setdefault(_field(text), []).append("--set")
    for axis in axes:
        for field in {_field(text) for text in overrides_of(((axis.field, axis.values[0]),), recipe)} - {LAZY_FIELD}:
            givers.setdefault(field, []).append(f"--over {axis.field}")
    return [
        f"{' and '.join(dict.fromkeys(by))} both say what {field} is; leave one out"
        if len(set(by)) > 1
        else f"{by[0]} stands twice; give all its values at once, field=value,value"
        for field, by in givers.items()
        if len(by) > 1 and any(giver != "--set" for giver in by)
    ]


def recipes_of(base: Recipe, common: Sequence[str], settings: Sequence[Setting]) -> list[Recipe]:
    """Return the recipe of each combination.

    Args:
        base: what `common` and the combination change.
        common: overrides of all.
        settings: the combinations.

    Raises:
        UsageError: an override does not fit this recipe.
    """
    return [apply_overrides(base, [*common, *overrides_of(setting, base, common)]) for setting in settings]
