"""The typed recipe: everything about the method, nothing about where it runs.

Its id, its names and its checks live here, without torch, so that a mistake is found in milliseconds. Ready recipes
are in `recipes/`; turning names into networks is `build.py`; overrides from the command line are `overrides.py`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from gansmith import sizes

LossName = Literal["minimax", "non_saturating", "least_squares", "wasserstein", "hinge", "relativistic"]
PenaltyName = Literal["r1", "gradient_penalty"]
Precision = Literal["float32", "bfloat16"]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
SHRINK = 8
"""`Recipe.shrunk` divides widths by this."""


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown keys, infinities and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MLPGenerator(Settings):
    """Dense layers with LeakyReLU 0.2, then a dense layer to C*H*W and tanh (Goodfellow et al. 2014)."""

    family: Literal["mlp"] = "mlp"
    latent_dim: PositiveInt = 100
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128, 128)


class MLPDiscriminator(Settings):
    """Flatten, dense layers with LeakyReLU 0.2, one logit."""

    family: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128, 128)


class DCGANGenerator(Settings):
    """A dense layer to the base map, then transposed convolutions of stride 2 (Radford et al. 2016)."""

    family: Literal["dcgan"] = "dcgan"
    latent_dim: PositiveInt = 100
    width: PositiveInt = 64  # channels of the last hidden map; earlier ones double, up to 16 x width
    kernel: Literal[4, 5] = 4  # of the transposed convolutions, pixels
    stem: bool = False  # a transposed convolution of stride 1 before the first doubling
    head: Literal["transposed", "convolution"] = "convolution"  # the layer that makes the C output channels


class DCGANDiscriminator(Settings):
    """Convolutions of stride 2 with LeakyReLU 0.2, flatten, one logit."""

    family: Literal["dcgan"] = "dcgan"
    width: PositiveInt = 64  # channels of the first map; later ones double, up to 16 x width
    kernel: Literal[4, 5] = 4
    normalisation: Literal["batch", "spectral"] | None = None  # batch: not on the first layer
    dropout: Share = 0.0  # after each LeakyReLU


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

    weight: Rate
    every: PositiveInt = 1  # lazily: every n-th discriminator step, with weight x n (Karras et al. 2020)


GeneratorSettings = Annotated[MLPGenerator | DCGANGenerator, Field(discriminator="family")]
DiscriminatorSettings = Annotated[MLPDiscriminator | DCGANDiscriminator, Field(discriminator="family")]
OptimizerSettings = Annotated[Adam | RMSprop | SGD, Field(discriminator="name")]


class Recipe(Settings):
    """One method, complete: what is trained, against what, and how. Frozen; validates itself; holds no tensor.

    Raises:
        pydantic.ValidationError: a field has the wrong type or range, the generator cannot make `size`, or the
            parts cannot be combined; the message says which and why.
    """

    objective: Literal["adversarial"] = "adversarial"
    size: tuple[PositiveInt, PositiveInt]  # height, width in pixels
    channels: PositiveInt
    generator: GeneratorSettings
    discriminator: DiscriminatorSettings
    loss: LossName = "non_saturating"
    penalties: dict[PenaltyName, PenaltySettings] = Field(default_factory=dict)
    generator_optimizer: OptimizerSettings = Adam()
    discriminator_optimizer: OptimizerSettings = Adam()
    batch_size: PositiveInt = 128  # real images, and fakes, of one discriminator step
    discriminator_steps: PositiveInt = 1  # n_dis: discriminator steps per generator step
    ema_half_life_images: Annotated[int, Field(ge=0)] = 20_000  # 0: the EMA generator is a copy
    precision: Precision = "float32"  # of convolutions and matrix products; weights and losses stay float32

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        for role, network in (("generator", self.generator), ("discriminator", self.discriminator)):
            if not sizes.can_make(network.family, self.size):
                nearest = sizes.size_text(sizes.nearest_size(network.family, self.size))
                raise ValueError(
                    f"size {sizes.size_text(self.size)} does not fit the {network.family} {role}: each side must be "
                    f"4, 5, 6 or 7 times the same power of two; the nearest that fits is {nearest}"
                )
        return self

    @model_validator(mode="after")
    def _check_batch_norm(self) -> Self:
        normalisation = getattr(self.discriminator, "normalisation", None)
        if normalisation == "batch" and self.penalties:
            raise ValueError(
                f"penalties {', '.join(self.penalties)} need the gradient of each image alone, but batch norm in the "
                "discriminator mixes the images of a batch; set discriminator.normalisation=spectral or null"
            )
        return self

    def canonical_json(self) -> str:
        """Return the recipe as JSON with sorted keys and every default written out: what the id is the hash of."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """The first 8 hex digits of the sha256 of `canonical_json`."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:8]

    def replace(self, **changes: Any) -> Recipe:
        """Return a validated copy with these top-level fields replaced."""
        return Recipe.model_validate({**dict(self), **changes})

    def shrunk(self) -> Recipe:
        """Return the same method with narrow networks, batch 8 and a short EMA: what contract and resume tests run."""
        return self.replace(
            generator=_narrowed(self.generator),
            discriminator=_narrowed(self.discriminator),
            batch_size=8,
            ema_half_life_images=min(self.ema_half_life_images, 64),
        )


def _narrowed(network: Settings) -> Settings:
    changes: dict[str, Any] = {}
    if isinstance(network, MLPGenerator | MLPDiscriminator):
        changes["hidden"] = tuple(max(width // SHRINK, 4) for width in network.hidden)
    if isinstance(network, DCGANGenerator | DCGANDiscriminator):
        changes["width"] = max(network.width // SHRINK, 4)
    if isinstance(network, MLPGenerator | DCGANGenerator):
        changes["latent_dim"] = max(network.latent_dim // SHRINK, 4)
    return network.model_copy(update=changes)
