"""The base systems of the field with their published settings, and the default for a small machine.

Each function takes what the data and the machine decide (size, channels, precision) and returns the whole method.
"""

from __future__ import annotations

from gansmith.recipe import (
    Adam,
    DCGANDiscriminator,
    DCGANGenerator,
    MLPDiscriminator,
    MLPGenerator,
    Precision,
    Recipe,
)
from gansmith.sizes import Size


def mlp(size: Size = (28, 28), channels: int = 1, precision: Precision = "float32") -> Recipe:
    """Multilayer perceptrons, non-saturating loss: the first GAN, for images up to 32x32.

    Family: Goodfellow et al. 2014. Corrected against the published descriptions: data in [-1, 1] to match the tanh
    output, and a generator step in every iteration.

    Args:
        size: (height, width) in pixels; any.
        channels: of the images.
        precision: of matrix products; "bfloat16" where the machine has it.
    """
    return Recipe(
        size=size,
        channels=channels,
        precision=precision,
        generator=MLPGenerator(),
        discriminator=MLPDiscriminator(),
        batch_size=128,
    )


def dcgan_28(size: Size = (28, 28), channels: int = 1, precision: Precision = "float32") -> Recipe:
    """The tutorial DCGAN for MNIST-like 28x28 images: 5x5 transposed convolutions, dropout in D.

    Family: Radford et al. 2016 in the form of the well-known tutorials. Corrected: shapes that fit, batch-norm eps
    1e-5 and momentum 0.1.

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of convolutions and matrix products.
    """
    return Recipe(
        size=size,
        channels=channels,
        precision=precision,
        generator=DCGANGenerator(width=64, kernel=5, stem=True, head="transposed"),
        discriminator=DCGANDiscriminator(width=64, kernel=5, dropout=0.3),
        batch_size=128,
    )


def dcgan_32(size: Size = (32, 32), channels: int = 3, precision: Precision = "float32") -> Recipe:
    """The DCGAN for CIFAR-like images, 32x32 and other sizes by adding or dropping stages; batch norm in both.

    Family: Radford et al. 2016. Corrected: data in [-1, 1], no batch norm on D's input layer or on G's output.

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of convolutions and matrix products.
    """
    return Recipe(
        size=size,
        channels=channels,
        precision=precision,
        generator=DCGANGenerator(width=64, kernel=4, head="convolution"),
        discriminator=DCGANDiscriminator(width=64, kernel=4, normalisation="batch"),
        batch_size=64,
    )


def dcgan_small(size: Size = (28, 28), channels: int = 1, precision: Precision = "float32") -> Recipe:
    """The newcomer's default: a narrow DCGAN with spectral norm in D and hinge loss, good within minutes on a CPU.

    Ours: the layers of `dcgan_28` at half the width. Many small, stable updates beat few large ones at a small
    budget: rates 1e-3 and 2e-3 (two time-scales, Heusel et al. 2017), beta1 0, batch 32, spectral norm (Miyato et
    al. 2018). What was tried is in docs/log.md.

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of convolutions and matrix products.
    """
    return Recipe(
        size=size,
        channels=channels,
        precision=precision,
        generator=DCGANGenerator(width=32, kernel=5, stem=True, head="transposed"),
        discriminator=DCGANDiscriminator(width=32, kernel=5, normalisation="spectral"),
        loss="hinge",
        generator_optimizer=Adam(learning_rate=1e-3, beta1=0.0),
        discriminator_optimizer=Adam(learning_rate=2e-3, beta1=0.0),
        batch_size=32,
    )
