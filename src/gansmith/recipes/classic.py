"""Classic large recipes on residual networks: WGAN-GP, and SNGAN with classes."""

from __future__ import annotations

from gansmith.recipe import Recipe
from gansmith.recipes.base import resnet
from gansmith.settings import LinearDecay, PenaltySettings, Precision, ResNetDiscriminator
from gansmith.sizes import Size

GENERATOR_STEPS = 100_000


def wgan_gp(size: Size = (32, 32), channels: int = 3, precision: Precision = "float32", num_classes: int = 0) -> Recipe:
    """WGAN-GP on the residual networks of `resnet`: Wasserstein loss and gradient penalty; slow without a GPU.

    Family: Gulrajani et al. 2017: no normalisation in D, whose last map is averaged; lambda 10 at random points between
    pairs of real and generated images; five D steps per G step; Adam 2e-4 (0, 0.9), falling linearly to 0 over
    100,000 generator steps. Widths and batches are those of `resnet`: 64 in D, 128 in G.

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of convolutions and matrix products.
        num_classes: 0 for none.
    """
    recipe = resnet(size, channels, precision, num_classes)
    assert isinstance(recipe.discriminator, ResNetDiscriminator)
    return recipe.replace(
        discriminator=recipe.discriminator.model_copy(update={"normalisation": None, "pool": "mean"}),
        loss="wasserstein",
        penalties={"gradient_penalty": PenaltySettings(weight=10.0)},
        learning_rate_schedule=LinearDecay(
            length_images=GENERATOR_STEPS * recipe.discriminator_steps * recipe.batch_size
        ),
    )


def sngan(size: Size = (32, 32), channels: int = 3, precision: Precision = "float32", num_classes: int = 0) -> Recipe:
    """SNGAN with classes: `resnet`, told the classes of the data without being asked to; slow without a GPU.

    Family: Miyato & Koyama 2018: batch norm in G with a scale and shift for each class, projection of the class onto
    D's features; the rest as in Miyato et al. 2018. Widths are 256 in G and 128 in D up to 32x32; above, as at 48x48,
    they double: 512-256-128-64 in G and 64-128-256-512-1024 in D. Data without classes is refused: that is for
    `resnet`.

    Args:
        size: (height, width) in pixels, each 4 to 7 times the same power of two.
        channels: of the images.
        precision: of convolutions and matrix products.
        num_classes: of the data.
    """
    return resnet(size, channels, precision, num_classes)
