"""The five base systems of the field with their published settings, and for a small machine a narrow DCGAN, with the
autoencoder it is to be compared with.

Each function takes what data and machine decide (size, channels, precision, number of classes) and returns the whole
method. `num_classes` 0 is unconditional; otherwise the networks are told the class.
"""

from __future__ import annotations

from gansmith.recipe import Recipe
from gansmith.settings import (
    Adam,
    DCGANDiscriminator,
    DCGANEncoder,
    DCGANGenerator,
    DenseConvDiscriminator,
    DenseConvGenerator,
    LinearDecay,
    MLPDiscriminator,
    MLPGenerator,
    Precision,
    ResNetDiscriminator,
    ResNetGenerator,
)
from gansmith.sizes import Size

LARGEST_CONSTANT_SIDE = 32
"""Pixels. Up to here residual networks have the same width at every resolution, above it they double."""


def mlp(size: Size = (28, 28), channels: int = 1, precision: Precision = "float32", num_classes: int = 0) -> Recipe:
    """Multilayer perceptrons, non-saturating loss: the first GAN, for images up to 32x32.

    Family: Goodfellow et al. 2014. Corrected against the published descriptions: data in [-1, 1] to match the tanh
    output, and a generator step in every iteration.

    Args:
        size: (height, width) in pixels; any.
        channels: of the images.
        precision: of matrix products; "bfloat16" where the machine has it.
        num_classes: 0 for none.
    """
    return Recipe(
        size=size,
        channels=channels,
        precision=precision,
        num_classes=num_classes,
        generator=MLPGenerator(),
        discriminator=MLPDiscriminator(),
        batch_size=128,
    )


def dcgan_28(
    size: Size = (28, 28), channels: int = 1, precision: Precision = "float32", num_classes: int = 0
) -> Recipe:
    """The tutorial DCGAN for MNIST-like 28x28 images: 5x5 transposed convolutions, dropout in D.

    Family: Radford et al. 2016 in the form of the well-known tutorials. Corrected: shapes that fit, batch-norm eps
    1e-5 and momentum 0.1. As there, both players are updated from the same point.

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of convolutions and matrix products.
        num_classes: 0 for none.
    """
    return Recipe(
        size=size,
        channels=channels,
        precision=precision,
        num_classes=num_classes,
        generator=DCGANGenerator(width=64, kernel=5, stem=True, head="transposed"),
        discriminator=DCGANDiscriminator(width=64, kernel=5, dropout=0.3),
        batch_size=128,
        update="simultaneous",
    )


def dcgan_32(
    size: Size = (32, 32), channels: int = 3, precision: Precision = "float32", num_classes: int = 0
) -> Recipe:
    """The DCGAN for CIFAR-like images, 32x32 and other sizes by adding or dropping stages; batch norm in both.

    Family: Radford et al. 2016. Corrected: data in [-1, 1], no batch norm on D's input layer or on G's output.

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of convolutions and matrix products.
        num_classes: 0 for none.
    """
    return Recipe(
        size=size,
        channels=channels,
        precision=precision,
        num_classes=num_classes,
        generator=DCGANGenerator(width=64, kernel=4, head="convolution"),
        discriminator=DCGANDiscriminator(width=64, kernel=4, normalisation="batch"),
        batch_size=64,
    )


def dense_conv(
    size: Size = (28, 28), channels: int = 1, precision: Precision = "float32", num_classes: int = 0
) -> Recipe:
    """The dense-conv hybrid for 28x28 images: dense layers, then convolutions and upsampling; a dense discriminator.

    Family: the textbook form of a generator that grows dense layers into a small map and refines it by convolutions
    with nearest upsampling. Corrected: the map is doubled after the first convolutions only as often as the size asks
    for, logits instead of a sigmoid, data in [-1, 1].

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of convolutions and matrix products.
        num_classes: 0 for none.
    """
    return Recipe(
        size=size,
        channels=channels,
        precision=precision,
        num_classes=num_classes,
        generator=DenseConvGenerator(),
        discriminator=DenseConvDiscriminator(),
        batch_size=128,
    )


def resnet(size: Size = (32, 32), channels: int = 3, precision: Precision = "float32", num_classes: int = 0) -> Recipe:
    """The residual GAN of SNGAN: spectral norm in D, hinge loss, five D steps per G step; slow without a GPU.

    Family: Miyato et al. 2018, their configuration: widths 256 and 128 up to 32x32, doubling widths from 64 above;
    50,000 generator steps. With classes: conditional batch norm in G, projection in D. Corrected against textbook
    descriptions: no spectral norm in G, one power iteration for each forward pass of D.

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of convolutions and matrix products.
        num_classes: 0 for none.
    """
    is_small = max(size) <= LARGEST_CONSTANT_SIDE
    adam = Adam(learning_rate=2e-4, beta1=0.0, beta2=0.9)
    return Recipe(
        size=size,
        channels=channels,
        precision=precision,
        num_classes=num_classes,
        generator=ResNetGenerator(width=256, growth=1) if is_small else ResNetGenerator(width=64, growth=2),
        discriminator=ResNetDiscriminator(width=128, growth=1) if is_small else ResNetDiscriminator(width=64, growth=2),
        loss="hinge",
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        learning_rate_schedule=LinearDecay(length_images=16_000_000),
        batch_size=64,
        generator_batch_size=128,
        discriminator_steps=5,
    )


def dcgan_small(
    size: Size = (28, 28), channels: int = 1, precision: Precision = "float32", num_classes: int = 0, width: int = 32
) -> Recipe:
    """A narrow DCGAN with spectral norm in D and hinge loss, good within minutes on a CPU.

    Ours: the layers of `dcgan_28` at half the width, and a dense layer in D, which else adds up what it reads in small
    patches. Many small, stable updates beat few large ones at a small budget: rates 1e-3 and 2e-3 (two time-scales,
    Heusel et al. 2017), beta1 0, batch 32, spectral norm (Miyato et al. 2018). What was tried is in docs/log.md.

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of convolutions and matrix products.
        num_classes: 0 for none.
        width: of both networks.
    """
    return Recipe(
        size=size,
        channels=channels,
        precision=precision,
        num_classes=num_classes,
        generator=DCGANGenerator(width=width, kernel=5, stem=True, head="transposed"),
        discriminator=DCGANDiscriminator(width=width, kernel=5, normalisation="spectral", hidden=(4 * width,)),
        loss="hinge",
        generator_optimizer=Adam(learning_rate=1e-3, beta1=0.0),
        discriminator_optimizer=Adam(learning_rate=2e-3, beta1=0.0),
        batch_size=32,
    )


def vae(size: Size = (28, 28), channels: int = 1, precision: Precision = "float32", num_classes: int = 0) -> Recipe:
    """A variational autoencoder around the generator of `dcgan-small`: what a GAN is to be compared with.

    Family: Kingma & Welling 2014, with the variance of the pixels at its optimum instead of a weight to tune (Rybkin et
    al. 2021). The encoder has the convolutions of the discriminator of `dcgan_small`. It sees the images that a GAN of
    the same seed is shown, in the same order. Ours: 16 latents; with the 100 of `dcgan_small`, reconstructions of MNIST
    are sharper, and samples are no digits any more: most of the prior lies outside what images are encoded to.

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of convolutions and matrix products.
        num_classes: 0 for none.
    """
    return Recipe(
        objective="autoencoder",
        size=size,
        channels=channels,
        precision=precision,
        num_classes=num_classes,
        generator=DCGANGenerator(latent_dim=16, width=32, kernel=5, stem=True, head="transposed"),
        encoder=DCGANEncoder(width=32, kernel=5),
        loss="elbo",
        generator_optimizer=Adam(learning_rate=1e-3, beta1=0.9),
        batch_size=64,
    )
