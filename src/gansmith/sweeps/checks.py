"""Whether a score to rank by can exist, before anything is trained for it."""

from __future__ import annotations

import numpy as np

from gansmith.data.sources import StackedSource
from gansmith.evaluation.frechet import frechet_obstacle, infinity_obstacle
from gansmith.evaluation.neighbours import neighbourhood_obstacle
from gansmith.evaluation.reference import RealImages
from gansmith.report import INCEPTION_SCORES, ExtractorFacts


def score_obstacle(score: str, real: RealImages, num_samples: int, extractor: ExtractorFacts) -> str | None:
    """Return why no generator can have a score, whatever it makes; None where it can.

    Args:
        score: one of `report.RANKED_SCORES`.
        real: what samples are compared with.
        num_samples: that the score is of.
        extractor: what reads them.
    """
    score, name = INCEPTION_SCORES.get(score, score), real.facts.name
    num_real, dim = len(real.compared), extractor.dim
    if score == "modes":
        return None if isinstance(real.source, StackedSource) else f"{name} is not stacked; give stacked:DATA"
    if score == "is":
        knows_classes = real.has_classes or extractor.name == "inception"
        return None if knows_classes else f"{name} has no two classes; --score inception-score needs none"
    if score == "intra-fd":
        if not real.has_classes:
            return f"{name} has no two classes"
        rarest = int(np.bincount(np.asarray(real.compared.labels)).min())
        reason = frechet_obstacle(rarest, num_samples // len(real.compared.class_names), dim)
        return reason and f"of a class there are {reason}"
    if score == "fd":
        return frechet_obstacle(num_real, num_samples, dim)
    if score == "fd-infinity":
        return infinity_obstacle(num_real, num_samples, dim)
    return None if score == "kd" else neighbourhood_obstacle(num_real, num_samples)
