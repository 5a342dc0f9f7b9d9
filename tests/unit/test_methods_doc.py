"""docs/methods.md has a line for all that a recipe can be made of; `benchmarks/methods.py` fills its last column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from gansmith.losses import LOSSES
from gansmith.overrides import apply_overrides
from gansmith.penalties import PENALTIES
from gansmith.recipe import Recipe
from gansmith.recipes import RECIPES
from gansmith.settings import DiscriminatorSettings, Normalisation, OptimizerSettings, Regularisation
from tests import benchmark_modules

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "methods.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| `")]
NAMES = [row[0].strip("`") for row in ROWS]
WHAT_IT_IS_OF = {
    "objective", "size", "channels", "num_classes", "generator", "discriminator", "encoder", "loss", "penalties",
    "regularisation", "generator_optimizer", "discriminator_optimizer", "batch_size", "precision",
}  # fmt: skip
"""Fields of a recipe that are no method of their own."""
SIZES = {"family", "width", "hidden", "kernel", "growth", "normalisation", "constant", "blocks"}


def kinds(union) -> list[type[BaseModel]]:
    return list(get_args(get_args(union)[0]))


METHODS = [
    *LOSSES,
    *PENALTIES,
    *Regularisation.model_fields,
    *get_args(Normalisation),
    *(kind.model_fields["name"].default for kind in kinds(OptimizerSettings)),
    *dict.fromkeys(field for kind in kinds(DiscriminatorSettings) for field in kind.model_fields if field not in SIZES),
    *(field for field in Recipe.model_fields if field not in WHAT_IT_IS_OF),
]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_one_line(name: str) -> None:
    assert NAMES.count(name) == 1


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_line_says_what_it_is_for_where_from_how_and_what_was_measured(row: list[str]) -> None:
    assert len(row) == 5
    assert all(row[index] for index in (0, 1, 3, 4))


@pytest.fixture(scope="module")
def benchmark():
    with benchmark_modules.benchmark("methods") as program:
        yield program


def test_every_row_of_the_benchmark_is_a_recipe_of_its_own_with_a_line_in_the_page(benchmark) -> None:
    base = RECIPES[benchmark.BASE]()
    ids = [apply_overrides(base, changes).id for changes in benchmark.METHODS.values()]
    assert len(set(ids)) == len(ids)
    assert benchmark.METHODS.keys() <= set(NAMES)


def test_nearly_every_line_has_a_row_of_the_benchmark(benchmark) -> None:
    of_the_base_or_slow = {"hinge", "spectral", "adam", "sgd", "pool", "wgan-gp", "sngan"}
    assert set(NAMES) - benchmark.METHODS.keys() == of_the_base_or_slow


def result(benchmark, method: str, seed: int, value: float | None, cost: float = 1.0):
    return benchmark.Result(
        method=method, seed=seed, images=40_000, recipe_id=method, base_id="base", data="d", num_samples=10_000,
        fd_classifier=value, cost=cost, training_seconds=20.0, extractor="e", precision="float32", gansmith="0",
        machine={}, others_share=0.0,
    )  # fmt: skip


def test_a_cell_is_the_geometric_mean_of_ratios_with_its_interval_and_the_mean_cost(benchmark) -> None:
    base = [result(benchmark, benchmark.BASE, seed, value) for seed, value in enumerate((10.0, 20.0, 40.0))]
    mine = [result(benchmark, "r1", seed, value, cost) for seed, (value, cost) in
            enumerate(((5.0, 1.0), (20.0, 1.1), (80.0, 1.2)))]  # fmt: skip
    cells = benchmark.cells_of([*base, *mine])
    # t(2) = 4.303, and logarithms one log 2 apart
    assert cells == {benchmark.BASE: "23.3", "r1": "distance x 1.00 (0.18 to 5.59), time x 1.10"}
    assert benchmark.cells_of([base[0], mine[0]])["r1"] == "distance x 0.50, time x 1.00"
    none = benchmark.cells_of([base[0], replace(mine[0], fd_classifier=None)])
    assert none["r1"] == "no distance: samples without spread"


def test_filling_changes_the_last_cells_of_what_was_measured_alone(benchmark) -> None:
    filled = benchmark.filled(TEXT, {"r1": "measured", "equal rates": "too"})
    changed = [(old, new) for old, new in zip(TEXT.splitlines(), filled.splitlines(), strict=True) if old != new]
    assert [new.split(" | ")[-1] for _, new in changed] == ["measured |", "too |"]
    assert all(old.split(" | ")[:-1] == new.split(" | ")[:-1] for old, new in changed)
    assert filled.endswith("\n") and benchmark.filled(TEXT, {}) == TEXT


def test_a_second_run_trains_nothing_and_a_changed_recipe_is_trained(benchmark, tmp_path, monkeypatch) -> None:
    plan = benchmark.Plan(64, (0, 1), 10, 0.01, 1)
    trained: list[tuple[str, int]] = []

    def record(self, name: str, seed: int):
        trained.append((name, seed))
        made = result(self_module, name, seed, 1.0)
        keys = ("method", "seed", "images", "recipe_id", "base_id", "data", "num_samples")
        return replace(made, **dict(zip(keys, self._key(name, seed), strict=True)))

    self_module = benchmark
    monkeypatch.setattr(benchmark.Benchmark, "_trained", record)
    runs = benchmark.Benchmark("digits", tmp_path / "new" / "results.jsonl", tmp_path, plan)
    runs.results([benchmark.BASE, "r1"])
    assert trained == [(name, seed) for seed in (0, 1) for name in (benchmark.BASE, "r1")]
    trained.clear()
    runs.results([benchmark.BASE, "r1"])
    assert trained == []
    monkeypatch.setitem(benchmark.METHODS, "r1", ("penalties.r1.weight=1",))
    runs.results([benchmark.BASE, "r1"])
    assert trained == [("r1", 0), ("r1", 1)]
