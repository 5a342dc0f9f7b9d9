"""gansmith: train, measure and use generative adversarial networks.

    import gansmith

    run = gansmith.train("digits", minutes=2)
    model = gansmith.load(run.folder)
    gansmith.save_images(gansmith.sample(model, 64, seed=0), "digits.png")

Names are loaded when they are first used: `import gansmith` and `gansmith.recipes` do not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gansmith.version import __version__

if TYPE_CHECKING:
    from gansmith import recipes
    from gansmith.classifiers import Classifier, load_classifier, save_classifier
    from gansmith.data import Survey, open_data, survey
    from gansmith.errors import GansmithError
    from gansmith.evaluation.comparison import compare
    from gansmith.evaluation.evaluator import Evaluation, evaluate
    from gansmith.images import save_animation, save_images
    from gansmith.models import Model, interpolate, load, sample, save_pretrained
    from gansmith.recipe import Recipe
    from gansmith.sweeps.conclusion import Sweep
    from gansmith.sweeps.run import sweep
    from gansmith.training.classify import train_classifier
    from gansmith.training.run import train
    from gansmith.training.session import Run

_HOMES = {
    "Classifier": "gansmith.classifiers",
    "Evaluation": "gansmith.evaluation.evaluator",
    "GansmithError": "gansmith.errors",
    "Model": "gansmith.models",
    "Recipe": "gansmith.recipe",
    "Run": "gansmith.training.session",
    "Survey": "gansmith.data",
    "Sweep": "gansmith.sweeps.conclusion",
    "compare": "gansmith.evaluation.comparison",
    "evaluate": "gansmith.evaluation.evaluator",
    "interpolate": "gansmith.models",
    "load": "gansmith.models",
    "load_classifier": "gansmith.classifiers",
    "open_data": "gansmith.data",
    "sample": "gansmith.models",
    "save_animation": "gansmith.images",
    "save_classifier": "gansmith.classifiers",
    "save_images": "gansmith.images",
    "save_pretrained": "gansmith.models",
    "survey": "gansmith.data",
    "sweep": "gansmith.sweeps.run",
    "train": "gansmith.training.run",
    "train_classifier": "gansmith.training.classify",
}

__all__ = [
    "Classifier", "Evaluation", "GansmithError", "Model", "Recipe", "Run", "Survey", "Sweep", "__version__", "compare",
    "evaluate", "interpolate", "load", "load_classifier", "open_data", "recipes", "sample", "save_animation",
    "save_classifier", "save_images", "save_pretrained", "survey", "sweep", "train", "train_classifier",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "recipes":
        return importlib.import_module("gansmith.recipes")
    if name not in _HOMES:
        raise AttributeError(f"module 'gansmith' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
