"""The scores by torchmetrics and scikit-learn (the extra `dev`): what `metrics.py` compares ours with."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn


def their_neighbourhoods(real: Tensor, fake: Tensor) -> Tensor:
    """Return precision, recall, density and coverage by scikit-learn's distances."""
    from sklearn.metrics import pairwise_distances

    between = pairwise_distances(real.double(), fake.double())
    sides = [np.sort(pairwise_distances(side.double()), axis=1) for side in (real, fake)]
    near, far = between <= sides[0][:, 3:4], between <= sides[0][:, 5:6]
    back = between <= sides[1][:, 3]
    return torch.tensor([near.any(0).mean(), back.any(1).mean(), far.sum(0).mean() / 5, far.any(1).mean()])


def their_nearest(queries: Tensor, references: Tensor, k: int) -> Tensor:
    """Return the distances by scikit-learn."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(references.double()).kneighbors(queries.double())
    return torch.from_numpy(found[0])


class PassThrough(nn.Module):
    """What torchmetrics takes for a feature extractor: features into the same features."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.num_features = dim

    def forward(self, rows: Tensor) -> Tensor:
        """Return the rows."""
        return rows


def their_frechet(real: Tensor, fake: Tensor) -> Tensor:
    """Return the distance by torchmetrics."""
    return their_score(torchmetrics_image().fid.FrechetInceptionDistance(PassThrough(real.shape[1])), real, fake)


def their_kernel(real: Tensor, fake: Tensor, subsets: int = 1, subset_size: int | None = None) -> Tensor:
    """Return the distance by torchmetrics; one subset of everything unless said."""
    metric = torchmetrics_image().kid.KernelInceptionDistance(
        PassThrough(real.shape[1]), subsets=subsets, subset_size=subset_size or len(real)
    )
    return their_score(metric, real, fake)


def their_score(metric: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Return (1,) what a metric of torchmetrics says; of several numbers the first."""
    metric.update(real, real=True)
    metric.update(fake, real=False)
    score = metric.compute()
    return (score[0] if isinstance(score, tuple) else score).reshape(1)


def torchmetrics_image() -> ModuleType:
    """Return `torchmetrics.image`, also without the torchvision that the whole of torch-fidelity needs."""
    if "torch_fidelity" not in sys.modules and (spec := importlib.util.find_spec("torch_fidelity")):
        sys.modules["torch_fidelity"] = importlib.util.module_from_spec(spec)  # its parts import, its whole need not
    import torchmetrics.image.fid
    import torchmetrics.image.kid

    return torchmetrics.image
