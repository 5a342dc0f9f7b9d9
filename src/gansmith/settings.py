"""The parts a recipe is made of: networks, optimisers, penalties, regularisation, schedules. Values only, no torch.

`recipe.py` puts them together and checks what can be combined; `build.py` turns them into torch objects.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, SerializerFunctionWrapHandler, model_serializer

ObjectiveName = Literal["adversarial", "autoencoder"]
AdversarialLossName = Literal["minimax", "non_saturating", "least_squares", "wasserstein", "hinge", "relativistic"]
LossName = Literal[AdversarialLossName, "elbo"]
PenaltyName = Literal["r1", "r2", "gradient_penalty", "consistency", "balanced_consistency"]
Precision = Literal["float32", "bfloat16"]
UpdateName = Literal["alternating", "simultaneous"]
Normalisation = Literal["batch", "spectral"]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(gt=0, le=2**20)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1)]


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown keys, infinities and NaN.

    Attributes:
        ADDED: fields that came later. They are left out of the JSON where they have their default, which says what was
            done before, so that ids of recipes of before stand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    ADDED: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_added(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        left_out = {
            name for name in self.ADDED if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }
        return {name: value for name, value in handler(self).items() if name not in left_out}


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
    attention: PositiveInt | None = None  # height of the map at which self-attention sits (Zhang et al. 2019)
    ADDED = frozenset({"attention"})


class DCGANDiscriminator(Settings):
    """Convolutions of stride 2 with LeakyReLU 0.2, flatten, one logit."""

    family: Literal["dcgan"] = "dcgan"
    width: Width = 64  # channels of the first map; later ones double, up to 16 x width
    kernel: Literal[4, 5] = 4
    normalisation: Normalisation | None = None  # batch: not on the first layer
    dropout: Share = 0.0  # after each LeakyReLU
    attention: PositiveInt | None = None  # height of the map at which self-attention sits (Zhang et al. 2019)
    minibatch_std: bool = False  # before the logit: how much four images differ, as a channel (Karras et al. 2018)
    ADDED = frozenset({"attention", "minibatch_std"})


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
    attention: PositiveInt | None = None  # height of the map at which self-attention sits (Zhang et al. 2019)
    ADDED = frozenset({"attention"})


class ResNetDiscriminator(Settings):
    """Residual down blocks, plain blocks, sum or mean over the map, one logit (Miyato et al. 2018)."""

    family: Literal["resnet"] = "resnet"
    width: Width = 128  # channels of the first block
    growth: Literal[1, 2] = 1  # 1: two plain blocks at the end, as at 32x32; 2: doubling, one plain, as at 48x48
    normalisation: Literal["spectral"] | None = "spectral"
    pool: Literal["sum", "mean"] = "sum"  # over the last map; mean as in Gulrajani et al. 2017
    attention: PositiveInt | None = None  # height of the map at which self-attention sits (Zhang et al. 2019)
    minibatch_std: bool = False  # before the logit: how much four images differ, as a channel (Karras et al. 2018)
    ADDED = frozenset({"pool", "attention", "minibatch_std"})


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


GeneratorSettings = Annotated[
    MLPGenerator | DCGANGenerator | DenseConvGenerator | ResNetGenerator, Field(discriminator="family")
]
DiscriminatorSettings = Annotated[
    MLPDiscriminator | DCGANDiscriminator | DenseConvDiscriminator | ResNetDiscriminator, Field(discriminator="family")
]
EncoderSettings = DCGANEncoder
NetworkSettings = GeneratorSettings | DiscriminatorSettings | EncoderSettings
OptimizerSettings = Annotated[Adam | RMSprop | SGD, Field(discriminator="name")]
