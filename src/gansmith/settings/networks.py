"""Settings of network families: one class for each player that a family has."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from gansmith.settings.base import GroupedWidth, Normalisation, Settings, Share, Width, Widths


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
    """Convolutions of stride 2 with LeakyReLU 0.2, flatten, dense layers if any, one logit."""

    family: Literal["dcgan"] = "dcgan"
    width: Width = 64  # channels of the first map; later ones double, up to 16 x width
    kernel: Literal[4, 5] = 4
    normalisation: Normalisation | None = None  # batch: not on the first layer
    dropout: Share = 0.0  # after each LeakyReLU
    attention: PositiveInt | None = None  # height of the map at which self-attention sits (Zhang et al. 2019)
    minibatch_std: bool = False  # of the last map: how much four images differ, as a channel (Karras et al. 2018)
    hidden: tuple[Width, ...] = ()  # dense layers between the last map and the logit
    ADDED = frozenset({"attention", "minibatch_std", "hidden"})


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
