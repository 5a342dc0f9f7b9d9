"""What health costs: the share of steps that its measures take, for `health.py`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch

from gansmith.bench.interleaving import Contender, Ratio, interleave
from gansmith.data import Batch
from gansmith.recipes import recipe_function
from gansmith.training import descent, step
from gansmith.training.objectives import OBJECTIVES

COST_RECIPES, COST_SECONDS, COST_PAIRS, MOST_COST = ("mlp", "dcgan-small"), 2.0, 12, 0.01


def steps_of(name: str) -> Contender:
    """Return steps of a recipe on images at random."""
    recipe = recipe_function(name)()
    objective = OBJECTIVES[recipe.objective]
    state = objective.initialise(recipe, 0, torch.device("cpu"))
    images = torch.rand(recipe.batch_size, recipe.channels, *recipe.size) * 2 - 1
    return Contender(lambda: objective.step(state, {"real_d": Batch(images)}), recipe.batch_size)


def share_of(name: str, seconds: float = COST_SECONDS) -> tuple[float, float]:
    """Return the share of the time of steps that measures take, and that gradient norms do: on a CPU, calls wait."""
    spent = {"measures": 0.0, "norms": 0.0}

    def timed(function: Callable[..., Any], what: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            begun = time.perf_counter()
            result = function(*arguments)
            spent[what] += time.perf_counter() - begun
            return result

        return call

    with patch.object(step, "measured_of_samples", timed(step.measured_of_samples, "measures")), \
         patch.object(step, "measured_of_logits", timed(step.measured_of_logits, "measures")), \
         patch.object(step, "is_measured", timed(step.is_measured, "measures")), \
         patch.object(descent, "gradient_norm", timed(descent.gradient_norm, "norms")):  # fmt: skip
        steps = steps_of(name)
        steps.step()
        spent.update(measures=0.0, norms=0.0)
        begun = time.perf_counter()
        steps.rate(seconds)
        whole = time.perf_counter() - begun
    return spent["measures"] / whole, spent["norms"] / whole


def ratio_of(name: str, seconds: float = COST_SECONDS, pairs: int = COST_PAIRS) -> Ratio:
    """Return how many times as fast steps are that are never measured."""
    whole, is_measured = steps_of(name), step.is_measured
    without = replace(whole, prepare=lambda: setattr(step, "is_measured", lambda state: False))
    with_all = replace(whole, prepare=lambda: setattr(step, "is_measured", is_measured))
    with patch.object(step, "is_measured", is_measured):
        return interleave(without, with_all, seconds, pairs)


def print_costs() -> str | None:
    """Print both of each recipe; return what is above the bar."""
    torch.set_num_threads(1)
    dear = []
    for name in COST_RECIPES:
        measures, norms = share_of(name)
        print(f"{name}: measures take {measures:.2%} of a step, gradient norms {norms:.2%}", flush=True)
        ratio = ratio_of(name)
        saved, low, high = (1 - 1 / value for value in (ratio.ratio, ratio.low, ratio.high))
        print(f"{name}: steps without measures, in turn, take {saved:.2%} less ({low:.2%} to {high:.2%})", flush=True)
        dear += [name] if measures + norms > MOST_COST else []
    return f"above the bar of {MOST_COST:.0%}: {', '.join(dear)}" if dear else None
