"""Numbers that a recipe takes where it is given none, by rules of thumb of the papers. No torch."""

from __future__ import annotations

from gansmith.settings import Augmentation, LossName, PenaltyName, PenaltySettings
from gansmith.sizes import Size, size_text

SMALLEST_AUGMENTED_SIDE = 4
UNANCHORED: frozenset[LossName] = frozenset({"wasserstein", "relativistic"})
"""Losses that see differences of logits alone, so that no logit means "undecided"."""


def usual_weight(penalty: PenaltyName, size: Size, batch_size: int) -> float:
    """Return a penalty's weight where a recipe has none.

    Of R1 and R2: gamma = 0.0002 * pixels / batch (Karras et al. 2020, appendix C), to four digits; of the gradient
    penalty (Gulrajani et al. 2017) and of consistency (Zhang et al. 2020, Zhao et al. 2021): lambda = 10.
    """
    if penalty not in ("r1", "r2"):
        return 10.0
    return float(f"{2e-4 * size[0] * size[1] / batch_size:.4g}")


def with_weight(penalty: PenaltyName, settings: PenaltySettings, size: Size, batch_size: int) -> PenaltySettings:
    """Return the settings with a weight: their own, or else the usual one."""
    if settings.weight is not None:
        return settings
    return settings.model_copy(update={"weight": usual_weight(penalty, size, batch_size)})


def usual_target(loss: LossName) -> float:
    """Return the mean sign above which an adaptive probability rises.

    Of reals against the logit at which D is undecided: 0.6 (Karras et al. 2020, section 3.1). Where a loss has no such
    logit, the sign is that of a real against a fake. With normal logits, undecided half-way between the two means, 0.6
    says that Phi(m) = 0.8 of the reals, at m = 0.84 standard deviations, are told; of pairs Phi(sqrt(2) m) = 0.883 are
    then in order, a mean sign of 0.77.
    """
    return 0.77 if loss in UNANCHORED else 0.6


def with_target(augmentation: Augmentation | None, loss: LossName) -> Augmentation | None:
    """Return the settings, where they are adaptive with a target: their own, or else the usual one."""
    if augmentation is None or augmentation.adaptive is None or augmentation.adaptive.target is not None:
        return augmentation
    adaptive = augmentation.adaptive.model_copy(update={"target": usual_target(loss)})
    return augmentation.model_copy(update={"adaptive": adaptive})


def check_augmentation(augmentation: Augmentation, size: Size, channels: int) -> None:
    """Check that there is something to augment.

    Raises:
        ValueError: there is not, with why.
    """
    if min(size) < SMALLEST_AUGMENTED_SIDE:
        raise ValueError(
            f"augmentation moves and recolours pictures of at least {SMALLEST_AUGMENTED_SIDE} pixels a side, and size "
            f"is {size_text(size)}; leave augmentation out"
        )
    if not augmentation.operations_for(channels):
        raise ValueError(
            f"augmentation.operations {', '.join(augmentation.operations or ())} are of red, green and blue, and "
            f"channels is {channels}; choose others, or leave them out for all"
        )
