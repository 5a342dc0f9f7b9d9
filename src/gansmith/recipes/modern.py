"""The modern baseline: R3GAN with its published settings, and narrow for a CPU.

Functions as in `base.py`. The published sets are made for one size; at another, networks have more or fewer stages.
"""

from __future__ import annotations

from gansmith.recipe import Recipe
from gansmith.settings import (
    Adam,
    Augmentation,
    BurnIn,
    LinearDecay,
    PenaltySettings,
    Precision,
    R3GANDiscriminator,
    R3GANGenerator,
)
from gansmith.sizes import Size


def _r3gan(
    size: Size, channels: int, precision: Precision, num_classes: int, batch_size: int, rate: float, gamma: float,
    half_life: int, burn_in: BurnIn, probability: float = 0.0,
) -> Recipe:  # fmt: skip
    """What the published sets share; rate, gamma, half-life and probability are those after the burn-in."""
    adam = Adam(learning_rate=rate, beta1=0.0, beta2=0.99)
    return Recipe(
        size=size,
        channels=channels,
        precision=precision,
        num_classes=num_classes,
        generator=R3GANGenerator(),
        discriminator=R3GANDiscriminator(),
        loss="relativistic",
        penalties={"r1": PenaltySettings(weight=gamma), "r2": PenaltySettings(weight=gamma)},
        penalties_share_pass=True,
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        batch_size=batch_size,
        ema_half_life_images=half_life,
        burn_in=burn_in,
        augmentation=Augmentation(probability=probability) if probability else None,
    )


def r3gan_cifar10(
    size: Size = (32, 32), channels: int = 3, precision: Precision = "float32", num_classes: int = 0
) -> Recipe:
    """R3GAN for CIFAR-10, as published with classes; for a GPU and days.

    Family: Huang et al. 2024: relativistic pairing with R1 and R2 at every step, residual networks without
    normalisation of 21 million parameters each, 250 million images.

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of the three highest resolutions.
        num_classes: 0 for none; published with 10.
    """
    return _r3gan(size, channels, precision, num_classes, 512, 5e-5, 0.005, 5_000_000, _long_burn_in(), 0.55)


def r3gan_stacked_mnist(
    size: Size = (32, 32), channels: int = 3, precision: Precision = "float32", num_classes: int = 0
) -> Recipe:
    """R3GAN for Stacked-MNIST, where 1,000 modes are to be found; for a GPU.

    Family: Huang et al. 2024; 10 million images, no augmentation. Arguments as `r3gan_cifar10`.
    """
    burn_in = BurnIn(length_images=2_000_000, penalty_factor=10.0, beta2=0.9, ema_half_life_images=0)
    return _r3gan(size, channels, precision, num_classes, 512, 2e-4, 0.1, 500_000, burn_in)


def r3gan_64(
    size: Size = (64, 64), channels: int = 3, precision: Precision = "float32", num_classes: int = 0
) -> Recipe:
    """R3GAN for 64x64 images such as faces; for several GPUs.

    Family: Huang et al. 2024, their set for FFHQ at 64x64; 100 million images. Arguments as `r3gan_cifar10`.
    """
    return _r3gan(size, channels, precision, num_classes, 256, 5e-5, 0.2, 500_000, _long_burn_in(), 0.3)


def r3gan_256(
    size: Size = (256, 256), channels: int = 3, precision: Precision = "float32", num_classes: int = 0
) -> Recipe:
    """R3GAN for 256x256 images such as faces; for many GPUs.

    Family: Huang et al. 2024, their set for FFHQ at 256x256; 200 million images. Arguments as `r3gan_cifar10`.
    """
    return _r3gan(size, channels, precision, num_classes, 256, 5e-5, 15.0, 500_000, _long_burn_in(), 0.3)


def _long_burn_in() -> BurnIn:
    """That of the sets which lower their rates and augment."""
    return BurnIn(
        length_images=20_000_000,
        learning_rate_factor=4.0,
        penalty_factor=10.0,
        beta2=0.9,
        ema_half_life_images=0,
        augmentation_probability=0.0,
    )


def r3gan_small(
    size: Size = (28, 28), channels: int = 1, precision: Precision = "float32", num_classes: int = 0, width: int = 64
) -> Recipe:
    """R3GAN narrow enough for minutes on a CPU, for images of 28 to 32 pixels.

    Ours: the networks of Huang et al. 2024 with one block at each resolution and half the channels at each doubling,
    higher rates, which fall, and smaller batches; gamma 1, of colours 0.1. Both players are updated from the same
    point, so that the pass that gives R1 and R2 gives the generator's gradient too. What was tried is in docs/log.md.

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of the three highest resolutions.
        num_classes: 0 for none.
        width: of the base map of both networks, a multiple of 8.
    """
    adam = Adam(learning_rate=2e-3, beta1=0.0, beta2=0.99)
    penalty = PenaltySettings(weight=1.0 if channels == 1 else 0.1)
    return Recipe(
        size=size,
        channels=channels,
        precision=precision,
        num_classes=num_classes,
        generator=R3GANGenerator(width=width, constant=1, blocks=1),
        discriminator=R3GANDiscriminator(width=width, constant=1, blocks=1),
        loss="relativistic",
        penalties={"r1": penalty, "r2": penalty},
        penalties_share_pass=True,
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        learning_rate_schedule=LinearDecay(length_images=300_000, final_factor=0.1),
        batch_size=32,
        update="simultaneous",
    )
