"""Our side of `keras_dcgan.py`: the recipe's objective on batches of data, as `gansmith train` steps.

python benchmarks/gansmith_side.py RECIPE.json DATA WARM_UP_SECONDS
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import torch
from stretches import serve

import gansmith
from gansmith import runtime
from gansmith.build import num_parameters
from gansmith.data import open_data
from gansmith.recipe import Recipe
from gansmith.training.loop import Batches
from gansmith.training.objectives import OBJECTIVES


def main() -> None:
    """Set up from the arguments and serve."""
    recipe_file, source, warm_up = sys.argv[1:]
    recipe = Recipe.model_validate_json(Path(recipe_file).read_text())
    device = torch.device("cpu")
    data = open_data(source, recipe.size, recipe.channels)
    runtime.keep_large_allocations()
    objective = OBJECTIVES[recipe.objective]
    state = objective.initialise(recipe, 0, device)
    batches = Batches(objective, state, data)

    def step() -> int:
        before = state.counters["images"]
        objective.step(state, batches.next())
        return state.counters["images"] - before

    facts = {
        "gansmith": gansmith.__version__,
        "python": platform.python_version(),
        "precision": recipe.precision,
        "num_parameters": sum(num_parameters(module) for module in state.modules.values()),
        **runtime.machine_facts(device),
    }
    serve(step, facts, float(warm_up))


if __name__ == "__main__":
    main()
