"""Seeded random weights of the right shapes for Inception: what tests have in place of the published 95 MB."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from gansmith.evaluation.extractors import inception


def write_random_weights(path: Path, seed: int = 0) -> Path:
    """Write a state dict whose activations neither vanish nor explode; return the path."""
    state = inception._network(inception._library()).state_dict()
    random = torch.Generator().manual_seed(seed)
    for tensor in state.values():
        if tensor.ndim >= 2:
            tensor.copy_(torch.randn(tensor.shape, generator=random) * math.sqrt(2 / tensor[0].numel()))
    torch.save(dict(state), path)
    return path
