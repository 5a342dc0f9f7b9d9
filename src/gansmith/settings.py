"""The parts a recipe is made of: networks, optimisers, penalties, regularisation, schedules. Values only, no torch.

`recipe.py` puts them together and checks what can be combined; `build.py` turns them into torch objects.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

ObjectiveName = Literal["adversarial", "autoencoder"]
AdversarialLossName = Literal["minimax", "non_saturating", "least_squares", "wasserstein", "hinge", "relativistic"]
LossName = Literal[AdversarialLossName, "elbo"]
PenaltyName = Literal["r1", "r2", "gradient_penalty"]
Precision = Literal["float32", "bfloat16"]
UpdateName = Literal["alternating", "simultaneous"]
Normalisation = Literal["batch", "spectral"]
PipeOperation = Literal[
    "flip", "quarter_turn", "shift", "scale", "rotate", "stretch", "fractional_shift", "brightness", "contrast",
    "luma_flip", "hue", "saturation", "cutout",
]  # fmt: skip
DiffAugmentOperation = Literal["colour", "translation", "cutout"]
AugmentationPolicy = Literal["pipe", "diffaugment"]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Width = Annotated[int, Field(gt=0, le=2**20)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1)]
GroupedWidth = Annotated[int, Field(gt=0, le=2**20, multiple_of=8)]


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown keys, infinities and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MLPGenerator(Settings):
    """Dense layers with LeakyReLU 0.2, then a dense layer to C*H*W and tanh (Goodfellow et al. 2014)."""

    family: Literal["mlp"] = "mlp"
    latent_dim: Width = 100
    hidden: Widths = (128, 128)
    normalisation: Literal["batch"] | None = None  # after each hidden dense layer


class MLPDiscriminator(Settings):
    """Flatten, dense layers with LeakyReLU 0.2, one logit."""

    family: Literal["mlp"] = "mlp"
    hidden: Widths = (128, 128)
    normalisation: Normalisation | None = None  # batch: not on the first layer
    dropout: Share = 0.0  # after each LeakyReLU


class DCGANGenerator(Settings):
    """A dense layer to the base map, then transposed convolutions of stride 2 (Radford et al. 2016)."""

    family: Literal["dcgan"] = "dcgan"
    latent_dim: Width = 100
    width: Width = 64  # channels of the last hidden map; earlier ones double, up to 16 x width
    kernel: Literal[4, 5] = 4  # of the transposed convolutions, pixels
    stem: bool = False  # a transposed convolution of stride 1 before the first doubling
    head: Literal["transposed", "convolution"] = "convolution"  # the layer that makes the C output channels


class DCGANDiscriminator(Settings):
    """Convolutions of stride 2 with LeakyReLU 0.2, flatten, one logit."""

    family: Literal["dcgan"] = "dcgan"
    width: Width = 64  # channels of the first map; later ones double, up to 16 x width
    kernel: Literal[4, 5] = 4
    normalisation: Normalisation | None = None  # batch: not on the first layer
    dropout: Share = 0.0  # after each LeakyReLU


class DCGANEncoder(Settings):
    """Convolutions of stride 2 with LeakyReLU 0.2, flatten, two dense heads: means and log-variances of the latents."""

    family: Literal["dcgan"] = "dcgan"
    width: Width = 64  # channels of the first map; later ones double, up to 16 x width
    kernel: Literal[4, 5] = 4


class DenseConvGenerator(Settings):
    """Dense layers up to the base map, then convolutions 3x3 and nearest upsampling; batch norm and ReLU."""

    family: Literal["dense-conv"] = "dense-conv"
    latent_dim: Width = 100
    width: Width = 64  # channels of the last convolution; dense 4, 8, 16 x width, maps 4, 2, ... 2, 1 x width


class DenseConvDiscriminator(Settings):
    """Flatten, dense layers with LeakyReLU 0.2, one logit."""

    family: Literal["dense-conv"] = "dense-conv"
    width: Width = 64  # dense layers of 8, 4, 2 x width
    normalisation: Normalisation | None = None  # batch: not on the first layer
    dropout: Share = 0.0  # after each LeakyReLU


class ResNetGenerator(Settings):
    """Residual up blocks with batch norm, conditional where there are classes (Miyato et al. 2018)."""

    family: Literal["resnet"] = "resnet"
    latent_dim: Width = 128
    width: Width = 256  # channels of the last block
    growth: Literal[1, 2] = 1  # channels of a block / those of the next: 1 as at 32x32, 2 as at 48x48; up to 16 x width


class ResNetDiscriminator(Settings):
    """Residual down blocks, plain blocks, sum over the map, one logit (Miyato et al. 2018)."""

    family: Literal["resnet"] = "resnet"
    width: Width = 128  # channels of the first block
    growth: Literal[1, 2] = 1  # 1: two plain blocks at the end, as at 32x32; 2: doubling, one plain, as at 48x48
    normalisation: Literal["spectral"] | None = "spectral"


def whole_groups(width: float) -> int:
    """Return the least multiple of 8, at least 8, that is not below this number of channels: twice as many are whole
    groups of 16.
    """
    return max(1, math.ceil(width / 8)) * 8


class R3GANGenerator(Settings):
    """Learnable base maps scaled by the latents, residual blocks without normalisation, bilinear doubling; no tanh
    (Huang et al. 2024).
    """

    family: Literal["r3gan"] = "r3gan"
    latent_dim: Width = 64
    width: GroupedWidth = 768  # channels of the base map; blocks are twice as wide inside, in groups of 16
    constant: PositiveInt = 4  # resolutions of that width, from the base map up; each one above has half of the last
    blocks: PositiveInt = 2  # at each resolution


class R3GANDiscriminator(Settings):
    """The generator mirrored: blocks and bilinear halving down to the base map, then one logit (Huang et al. 2024)."""

    family: Literal["r3gan"] = "r3gan"
    width: GroupedWidth = 768  # as in the generator
    constant: PositiveInt = 4
    blocks: PositiveInt = 2

    normalisation: ClassVar[None] = None  # there is none to choose


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
    """What acts on weights alone. L1 and L2 on conv, dense and embedding weights of both networks; 0 or null is off."""

    l1: Weight = 0.0  # x the sum of |w|, added to the loss of each network
    l2: Weight = 0.0  # x the sum of w^2, added to the loss of each network
    weight_clipping: Rate | None = None  # D's parameters are kept in [-c, c] after each step (Arjovsky et al. 2017)


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


GeneratorSettings = Annotated[
    MLPGenerator | DCGANGenerator | DenseConvGenerator | ResNetGenerator | R3GANGenerator,
    Field(discriminator="family"),
]
DiscriminatorSettings = Annotated[
    MLPDiscriminator | DCGANDiscriminator | DenseConvDiscriminator | ResNetDiscriminator | R3GANDiscriminator,
    Field(discriminator="family"),
]
EncoderSettings = DCGANEncoder
NetworkSettings = GeneratorSettings | DiscriminatorSettings | EncoderSettings
OptimizerSettings = Annotated[Adam | RMSprop | SGD, Field(discriminator="name")]
