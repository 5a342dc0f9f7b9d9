"""Extractors: what turns images into features. One file each; `choose_extractor` is the way in.

`classifier` and `random` work offline, `inception` and `dinov2` are what papers use. The protocol is
`evaluation/extractor.py`; `evaluation/features.py` keeps what they return.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from gansmith.classifiers import LabelledData
from gansmith.errors import UsageError, near_matches
from gansmith.evaluation.extractor import Extractor
from gansmith.evaluation.extractors.classifier import make_classifier
from gansmith.evaluation.extractors.dinov2 import make_dinov2
from gansmith.evaluation.extractors.dinov2 import require as require_dinov2
from gansmith.evaluation.extractors.inception import make_inception
from gansmith.evaluation.extractors.inception import require as require_inception
from gansmith.evaluation.extractors.module import ModuleExtractor
from gansmith.evaluation.extractors.preparation import Setting
from gansmith.evaluation.extractors.random import make_random
from gansmith.networks.classifier import SMALLEST_SIDE
from gansmith.report import ExtractorName
from gansmith.training.classify import shape_of

EXTRACTORS: dict[ExtractorName, Callable[[Setting], Extractor]] = {
    "classifier": make_classifier,
    "random": make_random,
    "inception": make_inception,
    "dinov2": make_dinov2,
}
REQUIREMENTS: dict[str, Callable[[Path | None], None]] = {
    "inception": require_inception,
    "dinov2": require_dinov2,
}


def choose_extractor(
    extractor: str | nn.Module | None,
    train: LabelledData,
    held_out: LabelledData | None = None,
    *,
    weights: Path | None = None,
    device: torch.device,
    say: Callable[[str], None] = lambda line: None,
    on_progress: Callable[[float, str], None] | None = None,
) -> Extractor:
    """Return what reads images: one of the table by name, the offline default, or the user's own module.

    Args:
        extractor: a name; None: "classifier" where the data have two classes or more and images of 4x4 at least, else
            "random"; or a module that takes images (N, C, H, W) in [-1, 1] and returns (N, D) features.
        train: the real images.
        held_out: real images of the same classes that tell how good a classifier is; None: a fifth of `train`.
        weights: a file (inception) or folder (dinov2) of weights, in place of the published ones.
        device: that images are read on; a classifier is always trained on the CPU.
        say: called with one line now and then: what is trained, how good it is.
        on_progress: called with (share done, what is being done) while a classifier is trained.

    Raises:
        UsageError: no such extractor, an extra is missing, there are no weights, or it has no use for them.
        DataError: the data have no labels for a classifier, or a shape that cannot be read.
        CheckpointError: the weights are damaged or of another network.
        ResourceError: the cache cannot be written to.
    """
    setting = Setting(train, held_out, weights, device, say, on_progress)
    if isinstance(extractor, nn.Module):
        return ModuleExtractor.of(extractor, setting)
    name = _default(train) if extractor is None else extractor
    make = EXTRACTORS.get(name)  # type: ignore[call-overload]
    if make is None:
        names = ", ".join(EXTRACTORS)
        raise UsageError(f"extractor {name!r}: there is none of that name{near_matches(name, EXTRACTORS)}; {names}")
    made: Extractor = make(setting)
    return made


def require(extractor: str | nn.Module | None, weights: Path | None) -> None:
    """Raise what an extractor lacks, before anything is computed: an extra, or weights that were named.

    Raises:
        UsageError: says what to install, and where weights go.
    """
    if isinstance(extractor, str) and extractor in REQUIREMENTS:
        REQUIREMENTS[extractor](weights)


def _default(train: LabelledData) -> ExtractorName:
    has_classes = train.labels is not None and len(train.class_names) >= 2
    return "classifier" if has_classes and min(shape_of(train)[1:]) >= SMALLEST_SIDE else "random"
