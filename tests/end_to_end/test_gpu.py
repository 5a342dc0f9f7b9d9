"""The same code on a GPU: trains, resumes there, and goes on from a GPU's checkpoint on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

import gansmith
from gansmith.recipes import RECIPES

pytestmark = pytest.mark.gpu


@pytest.mark.faults
@pytest.mark.parametrize("name", RECIPES)
def test_09_recipe_trains_on_the_gpu_and_goes_on_on_the_cpu(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name](precision="bfloat16")
    size = recipe.batch_size * recipe.discriminator_steps
    for steps, device in ((4, "cuda"), (8, "cuda"), (10, "cpu")):
        run = gansmith.train("digits", recipe, images=steps * size, out=tmp_path, device=device, quiet=True)
        assert run.images_seen == steps * size
    samples = gansmith.sample(gansmith.load(tmp_path, device="cuda"), 8)
    assert samples.device.type == "cpu"
    assert samples.isfinite().all()
