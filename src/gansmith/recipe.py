"""The typed recipe: everything about the method, nothing about where it runs.

Its id and its checks live here, its parts in `settings/`, without torch, so that a mistake is found in milliseconds.
Ready recipes are in `recipes/`; turning names into networks is `build.py`; overrides are `overrides.py`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Self, get_args

from pydantic import Field, PositiveInt, SerializerFunctionWrapHandler, model_serializer, model_validator

from gansmith import rules, sizes
from gansmith.settings import (
    SGD,
    Adam,
    AdaptiveProbability,
    AdversarialLossName,
    Augmentation,
    BurnIn,
    DCGANDiscriminator,
    DCGANEncoder,
    DCGANGenerator,
    DenseConvDiscriminator,
    DenseConvGenerator,
    DiscriminatorSettings,
    EncoderSettings,
    GeneratorSettings,
    LinearDecay,
    LossName,
    MLPDiscriminator,
    MLPGenerator,
    NetworkSettings,
    ObjectiveName,
    OptimizerSettings,
    PenaltyName,
    PenaltySettings,
    Precision,
    R3GANDiscriminator,
    R3GANGenerator,
    Regularisation,
    ResNetDiscriminator,
    ResNetGenerator,
    RMSprop,
    Settings,
    TopK,
    UpdateName,
)
from gansmith.settings.shrinking import SHRUNK_BATCH, SHRUNK_HALF_LIFE, SHRUNK_LENGTH, narrowed, shortened

UNUSED: dict[ObjectiveName, frozenset[str]] = {
    "adversarial": frozenset({"encoder"}),
    "autoencoder": frozenset({
        "augmentation", "discriminator", "discriminator_optimizer", "discriminator_steps", "generator_batch_size",
        "penalties", "penalties_share_pass", "top_k", "update",
    }),
}  # fmt: skip
"""The fields that an objective knows nothing of. They keep their defaults, and are left out of the recipe's JSON, so
that a field added for one objective changes no id of another's recipes.
"""
ADDED: dict[str, Any] = {
    "update": "alternating", "penalties_share_pass": False, "burn_in": None, "augmentation": None, "top_k": None,
}  # fmt: skip
"""Fields that recipes have had only since later, with the default that says what was done before: at that, they are
left out of the JSON, so that ids of before stand.
"""


class Recipe(Settings):
    """One method, complete: what is trained, against what, and how. Frozen; validates itself; holds no tensor.

    Raises:
        pydantic.ValidationError: a field has the wrong type or range, the generator cannot make `size`, or the
            parts cannot be combined; the message says which and why.
    """

    objective: ObjectiveName = "adversarial"
    size: tuple[PositiveInt, PositiveInt]  # height, width in pixels
    channels: PositiveInt
    num_classes: Annotated[int, Field(ge=0)] = 0  # the networks are told the class; 0: they are not
    generator: GeneratorSettings  # of an autoencoder: the decoder
    discriminator: DiscriminatorSettings | None = None  # an adversarial recipe has one
    encoder: EncoderSettings | None = None  # an autoencoder has one, of as many latents as its generator
    loss: LossName = "non_saturating"
    penalties: dict[PenaltyName, PenaltySettings] = Field(default_factory=dict)
    penalties_share_pass: bool = False  # R1 and R2 from the pass that gives the logits, in its precision
    augmentation: Augmentation | None = None  # of what the discriminator sees
    regularisation: Regularisation = Regularisation()
    generator_optimizer: OptimizerSettings = Adam()  # of an autoencoder: of both networks, which share one loss
    discriminator_optimizer: OptimizerSettings = Adam()
    learning_rate_schedule: LinearDecay | None = None
    burn_in: BurnIn | None = None
    batch_size: PositiveInt = 128  # real images, and fakes, of one discriminator step
    generator_batch_size: PositiveInt | None = None  # fakes of one generator step; null: as many as batch_size
    discriminator_steps: PositiveInt = 1  # n_dis: discriminator steps per generator step
    update: UpdateName = "alternating"  # G after the last D step, or with it, from the same point and the same fakes
    top_k: TopK | None = None  # G's loss is of the fakes that D scores highest
    ema_half_life_images: Annotated[int, Field(ge=0)] = 20_000  # 0: the EMA generator is a copy
    precision: Precision = "float32"  # of convolutions and matrix products; weights and losses stay float32

    @model_validator(mode="after")
    def _check_objective(self) -> Self:
        needed = "encoder" if self.objective == "autoencoder" else "discriminator"
        if getattr(self, needed) is None:
            raise ValueError(f"objective {self.objective} needs {needed}=..., such as {{family: dcgan}}")
        for name in sorted(UNUSED[self.objective]):
            if getattr(self, name) != Recipe.model_fields[name].get_default(call_default_factory=True):
                raise ValueError(f"objective {self.objective} makes no use of {name}; leave it out")
        losses = get_args(AdversarialLossName) if self.objective == "adversarial" else ("elbo",)
        if self.loss not in losses:
            raise ValueError(f"loss {self.loss} is none of objective {self.objective}, which takes {', '.join(losses)}")
        for name in ("weight_clipping", "lecam"):
            if self.discriminator is None and getattr(self.regularisation, name):
                raise ValueError(
                    f"regularisation.{name} acts on a discriminator, and objective {self.objective} has none; leave it "
                    "out"
                )
        return self

    @model_validator(mode="after")
    def _follow_rules(self) -> Self:
        """Put numbers where a rule was asked for: they are part of the method."""
        if self.augmentation is not None:
            rules.check_augmentation(self.augmentation, self.size, self.channels)
        penalties = self.penalties.items()
        self.__dict__.update(  # frozen from here on
            penalties={name: rules.with_weight(name, each, self.size, self.batch_size) for name, each in penalties},
            augmentation=rules.with_target(self.augmentation, self.loss),
        )
        return self

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        for role, network in self.networks.items():
            if not sizes.can_make(network.family, self.size):
                nearest = sizes.size_text(sizes.nearest_size(network.family, self.size))
                raise ValueError(
                    f"size {sizes.size_text(self.size)} does not fit the {network.family} {role}: each side must be "
                    f"4, 5, 6 or 7 times the same power of two; the nearest that fits is {nearest}"
                )
            height = getattr(network, "attention", None)
            growth = network.growth if isinstance(network, ResNetDiscriminator) else None
            allowed = sizes.attention_heights(network.family, self.size, growth)
            if height is not None and height not in allowed:
                raise ValueError(
                    f"{role}.attention {height}: the {network.family} {role} of {sizes.size_text(self.size)} images "
                    f"has no such map; the heights of its maps are {', '.join(map(str, allowed))}"
                )
        return self

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        normalisation = self.discriminator and self.discriminator.normalisation
        if normalisation == "batch" and self.penalties:
            raise ValueError(
                f"penalties {', '.join(self.penalties)} need each image judged alone, but batch norm in the "
                "discriminator mixes the images of a batch; set discriminator.normalisation=spectral or null"
            )
        if normalisation == "spectral" and self.regularisation.weight_clipping is not None:
            raise ValueError(
                "regularisation.weight_clipping bounds the weights before spectral norm divides them by their norm, so "
                "it would bound nothing; set discriminator.normalisation=null or regularisation.weight_clipping=null"
            )
        if self.update == "simultaneous" and self.size_of_generator_batch != self.batch_size:
            raise ValueError(
                f"update simultaneous scores the same fakes for both players, but batch_size {self.batch_size} and "
                f"generator_batch_size {self.generator_batch_size} differ; set generator_batch_size=null"
            )
        if self.penalties_share_pass and (others := [name for name in self.penalties if name not in ("r1", "r2")]):
            raise ValueError(
                "penalties_share_pass true takes gradients at the images that are scored, which penalties "
                f"{', '.join(others)} are not made of; take r1 and r2, or set penalties_share_pass=false"
            )
        if self.penalties_share_pass and self.discriminator_mixes_images:
            raise ValueError(
                "penalties_share_pass true scores reals and fakes in one pass, but the discriminator mixes the images "
                "of a batch; set penalties_share_pass=false"
            )
        optimizers = {self.optimizer_of(name).name for name in self.networks}
        if self.burn_in is not None and self.burn_in.beta2 is not None and optimizers != {"adam"}:
            raise ValueError(
                f"burn_in.beta2 is of Adam, but the optimisers are {', '.join(sorted(optimizers))}; leave it out"
            )
        follows = self.augmentation is not None and self.augmentation.adaptive is not None
        if follows and self.burn_in is not None and self.burn_in.augmentation_probability is not None:
            raise ValueError(
                "burn_in.augmentation_probability is of a probability that the recipe prescribes, but "
                "augmentation.adaptive follows the discriminator; set burn_in.augmentation_probability=null"
            )
        if self.num_classes == 1:
            raise ValueError("num_classes 1: one class tells the networks nothing; 0 is unconditional")
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        left_out = {name for name, default in ADDED.items() if getattr(self, name) == default} | UNUSED[self.objective]
        return {name: value for name, value in handler(self).items() if name not in left_out}

    @property
    def networks(self) -> dict[str, NetworkSettings]:
        """The settings of the networks that are trained, by name."""
        parts: dict[str, NetworkSettings | None] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "encoder": self.encoder,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def optimizer_of(self, network: str) -> OptimizerSettings:
        """The optimiser of one of `networks`."""
        return self.discriminator_optimizer if network == "discriminator" else self.generator_optimizer

    @property
    def size_of_generator_batch(self) -> int:
        """Fakes of one generator step."""
        return self.generator_batch_size or self.batch_size

    @property
    def shares_fakes(self) -> bool:
        """Whether the fakes of the last D step serve the G step: as many, and G's loss wants no reals of its own."""
        pairs = self.loss == "relativistic" and self.update == "alternating"
        return self.size_of_generator_batch == self.batch_size and not pairs

    @property
    def is_augmented(self) -> bool:
        """Whether the discriminator ever sees transformed images."""
        starts = self.burn_in is not None and bool(self.burn_in.augmentation_probability)
        return self.augmentation is not None and (
            self.augmentation.adaptive is not None or self.augmentation.probability > 0 or starts
        )

    @property
    def discriminator_mixes_images(self) -> bool:
        """Whether a logit depends on the other images of the batch, by batch norm or minibatch deviation in D."""
        return self.discriminator is not None and (
            self.discriminator.normalisation == "batch" or getattr(self.discriminator, "minibatch_std", False)
        )

    @property
    def has_batch_norm(self) -> bool:
        """Whether a network normalises over the batch in training."""
        return (
            (self.discriminator is not None and self.discriminator.normalisation == "batch")
            or not isinstance(self.generator, MLPGenerator | R3GANGenerator)
            or (isinstance(self.generator, MLPGenerator) and bool(self.generator.normalisation))
        )

    @property
    def needs_whole_batch(self) -> str | None:
        """What mixes the images of a batch, so that it cannot be computed in parts, or None."""
        if self.has_batch_norm:
            return "batch norm"
        if self.discriminator_mixes_images:
            return "the standard deviation of minibatches"
        if self.top_k is not None:
            return "the choice of the top k fakes"
        return "the variance of the elbo" if self.loss == "elbo" else None

    def canonical_json(self) -> str:
        """Return the recipe as JSON with sorted keys and every default written out, without what its objective makes
        no use of: what the id is the hash of.
        """
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """The first 8 hex digits of the sha256 of `canonical_json`."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:8]

    def replace(self, **changes: Any) -> Recipe:
        """Return a validated copy with these top-level fields replaced."""
        return Recipe.model_validate({**dict(self), **changes})

    def shrunk(self) -> Recipe:
        """Return the same method with narrow networks, small batches and a short EMA: what contract tests run."""
        generator_batch = max(1, SHRUNK_BATCH * self.size_of_generator_batch // self.batch_size)
        return self.replace(
            **{name: narrowed(network) for name, network in self.networks.items()},
            batch_size=SHRUNK_BATCH,
            generator_batch_size=self.generator_batch_size and generator_batch,
            learning_rate_schedule=self.learning_rate_schedule and LinearDecay(length_images=SHRUNK_LENGTH),
            burn_in=self.burn_in and shortened(self.burn_in),
            ema_half_life_images=min(self.ema_half_life_images, SHRUNK_HALF_LIFE),
        )


__all__ = [
    "SGD", "Adam", "AdaptiveProbability", "AdversarialLossName", "Augmentation", "BurnIn", "DCGANDiscriminator",
    "DCGANEncoder", "DCGANGenerator", "DenseConvDiscriminator", "DenseConvGenerator", "LinearDecay", "LossName",
    "MLPDiscriminator", "MLPGenerator", "PenaltyName", "PenaltySettings", "Precision", "R3GANDiscriminator",
    "R3GANGenerator", "RMSprop", "Recipe", "Regularisation", "ResNetDiscriminator", "ResNetGenerator", "Settings",
    "TopK",
]  # fmt: skip
