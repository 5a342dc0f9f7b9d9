"""The score of memorisation: how near samples are to training images, against how near held-out real images are."""

from __future__ import annotations

from gansmith.evaluation.context import Context
from gansmith.evaluation.memorisation import NEAR_COPY, NUM_NEIGHBOURS, memorisation, memorisation_obstacle
from gansmith.report import Interval, Score

NAME, TITLE = "memorisation", "Memorisation: share of near-copies"


def memorisation_score(context: Context) -> list[Score]:
    """Return the share of samples that are near-copies of a training image, and whether that is more than chance."""
    train = context.real.train
    protocol = (
        f"{context.num_samples:,} samples, each against all {len(train):,} training images, in pixels (sides over 32 "
        f"averaged down); a near-copy is under {NEAR_COPY:g} times as far from its nearest as from its {NUM_NEIGHBOURS}th "
        "nearest"
    )
    if reason := memorisation_obstacle(len(train)):
        return [Score(name=NAME, title=TITLE, value=None, protocol=protocol, reason=reason)]
    found = memorisation(context.nearness, context.usual_nearness)
    others = "training images, each against all others" if found.is_stand_in else "held-out real images"
    low, high = found.interval
    shares = f"{found.share:.2%} of samples are near-copies ({low:.2%} to {high:.2%}), {found.held_out_share:.2%} of {others}"
    warnings = [] if not found.is_stand_in else [
        f"{context.real.facts.name} has no test split: training images stand in for held-out ones"
    ]  # fmt: skip
    if context.samples.config and context.samples.config.fingerprint != train.fingerprint:
        warnings.append("the run was trained on other data than these: copies of those would not be seen")
    verdict = f"flagged: {shares}; look at the worst pairs" if found.flagged else f"passes: {shares}"
    return [
        Score(
            name=NAME, title=TITLE, value=found.share, held_out=found.held_out_share, protocol=protocol,
            interval=Interval(low=low, high=high, method=f"Wilson, {context.num_samples:,} samples"),
            details={
                "flagged": found.flagged,
                "ratio_of_median_distances": round(found.distance_ratio, 4),
                "pairs": [{"sample": pair.fake, "training_image": pair.train, "distance": round(pair.distance, 3),
                           "relative": round(pair.relative, 4)} for pair in found.pairs],
            },
            warnings=tuple(warnings), verdict=verdict,
        )
    ]  # fmt: skip
