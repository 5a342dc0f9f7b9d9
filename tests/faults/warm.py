"""What the server process of `command.py` has done once for all: torch is imported, and what it imports late too."""

from __future__ import annotations

import torch

import gansmith.training.run  # noqa: F401
from gansmith.recipes import RECIPES
from gansmith.training.objectives import OBJECTIVES

torch.set_num_threads(1)
OBJECTIVES["adversarial"].initialise(RECIPES["mlp"]().shrunk(), 0, torch.device("cpu"))
