"""Settings of how networks are trained: optimisers, penalties, augmentation, regularisation, schedules."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, PositiveInt, model_validator

from gansmith.settings.base import (
    AugmentationPolicy,
    DiffAugmentOperation,
    PipeOperation,
    Probability,
    Rate,
    Settings,
    Share,
    Weight,
)


class Adam(Settings):
    """Adam (Kingma & Ba 2015)."""

    name: Literal["adam"] = "adam"
    learning_rate: Rate = 2e-4
    beta1: Share = 0.5
    beta2: Share = 0.999
    epsilon: Rate = 1e-8


class RMSprop(Settings):
    """RMSprop (Tieleman & Hinton 2012)."""

    name: Literal["rmsprop"] = "rmsprop"
    learning_rate: Rate = 2e-4
    alpha: Share = 0.99
    epsilon: Rate = 1e-8


class SGD(Settings):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    learning_rate: Rate = 2e-4
    momentum: Share = 0.9


class PenaltySettings(Settings):
    """How strongly and how often a penalty is applied."""

    weight: Rate | None = None  # null: by the rule of its paper (`rules.usual_weight`); a recipe stores the number
    every: PositiveInt = 1  # lazily: every n-th discriminator step, with weight x n (Karras et al. 2020)

    @property
    def full_weight(self) -> float:
        """What the penalty is multiplied by in its turn, once a recipe has resolved the weight."""
        assert self.weight is not None
        return self.weight * self.every


GEOMETRY_OPERATIONS: frozenset[str] = frozenset(
    {"flip", "quarter_turn", "shift", "scale", "rotate", "stretch", "fractional_shift", "translation"}
)
COLOUR_OPERATIONS: frozenset[str] = frozenset({"brightness", "contrast", "luma_flip", "hue", "saturation", "colour"})
RGB_OPERATIONS: frozenset[str] = frozenset({"luma_flip", "hue", "saturation"})
"""Those that only three channels have a meaning for: red, green and blue."""


class AdaptiveProbability(Settings):
    """The probability follows how far D overfits (Karras et al. 2020, section 3.1)."""

    target: Annotated[float, Field(gt=-1, lt=1)] | None = None  # mean sign; null: by the loss (`rules.usual_target`)
    images_to_certainty: PositiveInt = 500_000  # shown while the probability moves from 0 to 1


class Augmentation(Settings):
    """What the discriminator sees is transformed at random, reals and fakes alike.

    "pipe" is that of StyleGAN2-ADA (Karras et al. 2020, appendix B) and R3GAN, each operation drawn for each image;
    "diffaugment" that of Zhao et al. 2020, whose groups are always applied.
    """

    policy: AugmentationPolicy = "pipe"
    operations: tuple[PipeOperation | DiffAugmentOperation, ...] | None = None  # null: all of the policy
    probability: Probability = 0.3  # of each; an adaptive one starts with it. Unless given: diffaugment 1, adaptive 0
    adaptive: AdaptiveProbability | None = None

    @model_validator(mode="before")
    @classmethod
    def _choose_probability(cls, values: Any) -> Any:
        if isinstance(values, dict) and "probability" not in values:
            if values.get("adaptive") is not None:
                return {**values, "probability": 0.0}
            if values.get("policy") == "diffaugment":
                return {**values, "probability": 1.0}
        return values

    @model_validator(mode="after")
    def _check_operations(self) -> Self:
        offered = self._offered
        if self.operations is not None and (strangers := [name for name in self.operations if name not in offered]):
            raise ValueError(
                f"operations {', '.join(strangers)} are none of policy {self.policy}, which has {', '.join(offered)}"
            )
        if self.operations == ():
            raise ValueError(
                "operations (): none would change nothing; leave them out for all, or set augmentation=null"
            )
        return self

    @property
    def _offered(self) -> tuple[str, ...]:
        return get_args(PipeOperation if self.policy == "pipe" else DiffAugmentOperation)

    def operations_for(self, channels: int) -> tuple[str, ...]:
        """Return what is done to images of so many channels: luma flip, hue and saturation take three."""
        chosen = self._offered if self.operations is None else self.operations
        return tuple(name for name in chosen if channels == 3 or name not in RGB_OPERATIONS)


class Regularisation(Settings):
    """What acts on weights, and on D's logits. L1 and L2 on conv, dense and embedding weights of both networks.

    0 or null is off.
    """

    l1: Weight = 0.0  # x the sum of |w|, added to the loss of each network
    l2: Weight = 0.0  # x the sum of w^2, added to the loss of each network
    weight_clipping: Rate | None = None  # D's parameters are kept in [-c, c] after each step (Arjovsky et al. 2017)
    lecam: Weight = 0.0  # x the distance of D's logits from moving averages of the other kind's (Tseng et al. 2021)
    ADDED = frozenset({"lecam"})


class TopK(Settings):
    """Only the fakes that D scores highest count in G's loss: a share of the batch that falls (Sinha et al. 2020)."""

    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.99  # what the share is multiplied by every `interval_images`
    interval_images: PositiveInt = 50_000  # the paper's epoch, which is of CIFAR-10
    floor: Annotated[float, Field(gt=0, le=1)] = 0.5  # the share never falls below it

    def count(self, images: int, batch: int) -> int:
        """Return how many of a batch count after so many images seen: at least one."""
        share: float = max(self.floor, self.gamma ** (images / self.interval_images))
        return max(1, round(batch * share))


class LinearDecay(Settings):
    """Both learning rates x a factor that falls linearly from 1 to `final_factor`, then stays."""

    length_images: PositiveInt
    final_factor: Share = 0.0

    def factor(self, images: int) -> float:
        """Return the factor after so many images seen."""
        return 1.0 - (1.0 - self.final_factor) * min(1.0, images / self.length_images)


class BurnIn(Settings):
    """What is different at the start of training: the values there, which move to the recipe's own by half a cosine
    over `length_images`, then stay (Huang et al. 2024). Null and a factor of 1 leave a value as it is.
    """

    length_images: PositiveInt
    learning_rate_factor: Weight = 1.0  # x both learning rates
    penalty_factor: Weight = 1.0  # x the weights of all penalties
    beta2: Share | None = None  # of Adam, for both networks
    ema_half_life_images: Annotated[int, Field(ge=0)] | None = None  # instead of the rule of 5 % of the images seen
    augmentation_probability: Annotated[float, Field(ge=0, le=1)] | None = None

    def share(self, images: int) -> float:
        """Return how far the way is gone after so many images seen: 0 at the start, 1 at the end and after."""
        return 0.5 * (1.0 - math.cos(math.pi * min(1.0, images / self.length_images)))


OptimizerSettings = Annotated[Adam | RMSprop | SGD, Field(discriminator="name")]
