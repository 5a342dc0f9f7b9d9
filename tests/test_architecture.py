"""The house rules, enforced: who imports whom, how long files and functions are, what public things say."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "gansmith"
LAYERS: list[set[str]] = [
    {"errors", "version"},
    {"settings", "rules", "recipe", "schedule", "sizes", "recipes", "overrides", "request", "facts", "budget"}
    | {"report", "sweeps.grid"},
    {"augment", "runtime", "ranks", "images", "layers", "losses", "penalties", "regularisation", "ema", "data"}
    | {"optimizers"}
    | {f"evaluation.{name}" for name in ("extractor", "intervals", "moments", "frechet", "kernel", "neighbours")}
    | {"evaluation.memorisation", "evaluation.classes"},
    {"networks"},
    {"build"},
    {"training.state", "training.log", "training.stop", "training.folder", "training.classify", "training.track"}
    | {"training.snapshot", "training.saver", "training.totals", "training.health", "training.advice"}
    | {"training.evaluations", "checkpoint", "restore", "models", "classifiers", "sampling"}
    | {f"evaluation.{name}" for name in ("extractors", "features", "reference", "subject", "quick")},
    {
        "training.step",
        "training.augmentation",
        "training.descent",
        "training.gradients",
        "training.shared_pass",
        "training.scoring",
        "training.measures",
        "training.objective",
        "training.adversarial",
        "training.autoencoder",
        "training.objectives",
    }
    | {"training.pictures", "training.draws", "training.graph", "training.cuda_graph", "training.lecam"},
    {"training.divergence", "training.loop", "training.opening", "training.session", "training.preparation"}
    | {"training.run", "training.checkup"}
    | {"training.estimate", "training.memory", "training.watch", "bench"}
    | {"training.description"}
    | {f"sweeps.{name}" for name in ("ranking", "checks", "page", "folder", "conclusion", "runner", "run")}
    | {f"evaluation.{name}" for name in ("exhibit", "wording", "markup", "charts", "page")}
    | {f"evaluation.{name}" for name in ("significance", "entries", "comparison", "comparison_page")}
    | {f"evaluation.{name}" for name in ("trials", "detection", "worth", "modes", "memories", "requested")}
    | {f"evaluation.{name}" for name in ("context", "results", "scores", "pictures", "opening", "evaluator")},
    {"cli", "launch", "__init__", "__main__"},
]
TORCH_FREE = 2  # layers below this never import torch
LONGEST_FILE, LONGEST_FUNCTION = 300, 60

FILES = sorted(ROOT.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def layer_of(module: str) -> int:
    for number, members in enumerate(LAYERS):
        if any(module == member or module.startswith(f"{member}.") for member in members):
            return number
    raise AssertionError(f"{module} is in no layer; add it to LAYERS and to docs/architecture.md")


def imports_of(tree: ast.Module) -> list[str]:
    """Every imported module, also inside functions; those under TYPE_CHECKING too, since they show who knows whom."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "gansmith":  # submodules
                found += [f"gansmith.{alias.name}" for alias in node.names]
            else:
                found.append(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_go_down_the_layers(path: Path) -> None:
    module = module_of(path)
    if module in ("training", "evaluation", "sweeps"):
        return  # a docstring
    own = layer_of(module)
    for name in imports_of(ast.parse(path.read_text())):
        if name.startswith("gansmith."):
            other = name.removeprefix("gansmith.")
            assert layer_of(other) <= own, f"{module} (layer {own}) imports {other} (layer {layer_of(other)})"
        elif own < TORCH_FREE:
            assert name.split(".")[0] not in ("torch", "numpy"), f"{module} must not import {name}"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


def public_definitions(tree: ast.Module) -> list[ast.ClassDef | ast.FunctionDef]:
    found: list[ast.ClassDef | ast.FunctionDef] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            found.append(node)
            if isinstance(node, ast.ClassDef):
                found += [n for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    return found


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_public_things_have_docstrings_and_hints(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module says not what lives here"
    for node in public_definitions(tree):
        assert ast.get_docstring(node), f"{node.name} has no docstring"
        if isinstance(node, ast.FunctionDef):
            assert node.returns is not None, f"{node.name} has no return hint"
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            unhinted = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
            assert not unhinted, f"{node.name}: no hint for {unhinted}"


def test_every_layer_member_exists() -> None:
    modules = {module_of(path) for path in FILES}
    for member in set().union(*LAYERS):
        assert any(module == member or module.startswith(f"{member}.") for module in modules), member


def test_public_api_is_what_all_says() -> None:
    import gansmith

    for name in gansmith.__all__:
        assert getattr(gansmith, name) is not None
    assert set(gansmith._HOMES) | {"recipes", "__version__"} == set(gansmith.__all__)
