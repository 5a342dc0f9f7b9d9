"""Adversarial evaluation: can a fresh discriminator tell samples from real images that no network has seen?

A classifier two-sample test (Lopez-Paz and Oquab 2017; for generators: Yang et al. 2017).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from gansmith import runtime
from gansmith.classifiers import wilson_interval
from gansmith.data import DataSet
from gansmith.errors import DataError
from gansmith.evaluation.trials import Share, as_pixels, labelled, part_of, seconds_a_step
from gansmith.images import Pixels
from gansmith.training.classify import train_classifier

NUM_STEPS = 1000
"""Of training, each on 128 images: fixed beforehand, so that the test part has no say in when to stop."""
FEWEST_IMAGES = 20
CLASS_NAMES = ("real", "fake")


@dataclass(frozen=True)
class Detection:
    """How well samples were told from real images.

    Attributes:
        num_right: images of the test part that were read right.
        num_test: images of the test part, half of them real.
        num_train: images that the discriminator was trained on, half of them real.
        num_steps: of its training, each on 128 images.
        seconds: of training and testing.
    """

    num_right: int
    num_test: int
    num_train: int
    num_steps: int
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of the test part that was read right: 0.5 is guessing, 1 is telling every image."""
        return self.num_right / self.num_test

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy (Wilson 1927): of this discriminator, for other images."""
        return wilson_interval(self.num_right, self.num_test)

    @property
    def verdict(self) -> str:
        """One sentence."""
        low, high = self.interval
        found = f"{self.accuracy:.1%} ({low:.1%} to {high:.1%}) of images told right"
        if low > 0.5:
            return f"told apart: {found}, 50 % would be guessing"
        return f"not told apart by this discriminator: {found}, which is guessing"


def detect(
    real: Pixels | Tensor, fake: Pixels | Tensor, seed: int = 0, device: str = "cpu", on_progress: Share | None = None,
    *, num_steps: int = NUM_STEPS,
) -> Detection:  # fmt: skip
    """Train a fresh discriminator on one half of the images and return how well it tells the other half.

    As many images of each kind as there are of the rarer one, drawn at random; each kind is divided into two halves at
    random. The discriminator is the small classifier with two classes; its state after the last step is judged. Shifts
    by up to two pixels are the same for both kinds. The same images, seed and threads give the same result.

    Args:
        real: (N, C, H, W) uint8, images that the generator was not trained on, each once.
        fake: (M, C, H, W) uint8, rounded as the real ones were.
        seed: of the division, the weights and the order.
        device: "cpu", "cuda", "auto".
        on_progress: told the share that is done.
        num_steps: of training; results of different numbers are not comparable.

    Raises:
        DataError: there are fewer than 20 of a kind, or they are not uint8 images of one shape.
        UsageError: images are smaller than 4x4.
    """
    begun = time.perf_counter()
    train, test = _halves(as_pixels(real, "real images"), as_pixels(fake, "samples"), seed)
    discriminator = train_classifier(
        train, test, num_steps, seed, device=device, on_progress=part_of(on_progress, 0, 1)
    )  # fmt: skip
    num_right = round(discriminator.accuracy * len(test))
    return Detection(num_right, len(test), len(train), num_steps, time.perf_counter() - begun)


def estimate_seconds(real: Pixels | Tensor, device: str = "cpu", *, num_steps: int = NUM_STEPS) -> float:
    """Return about how long `detect` takes here for such images (N, C, H, W) uint8, from a few steps. Raises as that."""
    pixels = as_pixels(real, "real images")
    few = labelled(pixels[:128], np.arange(len(pixels[:128])) % 2, CLASS_NAMES, "real images")
    return seconds_a_step(few, device) * num_steps


def _halves(real: Pixels, fake: Pixels, seed: int) -> tuple[DataSet, DataSet]:
    """Return the part to train on and the part to test on, each with as many real as fake images."""
    if real.shape[1:] != fake.shape[1:]:
        raise DataError(f"samples are {fake.shape[1:]}, real images {real.shape[1:]} (C, H, W): must be the same")
    fewest = min(len(real), len(fake))
    if fewest < FEWEST_IMAGES:
        counts = f"{len(real)} held-out real images and {len(fake)} samples"
        raise DataError(f"{counts}: a discriminator needs at least {FEWEST_IMAGES} of each to learn and to be tested")
    half = fewest // 2
    random = np.random.Generator(np.random.Philox(key=runtime.seed_of(seed, "detection")))
    chosen = [random.permutation(len(images))[: 2 * half] for images in (real, fake)]
    labels = np.repeat(np.arange(2), half)
    parts = []
    for name, place in (("train", slice(0, half)), ("test", slice(half, 2 * half))):
        images = np.concatenate([kind[rows[place]] for kind, rows in zip((real, fake), chosen, strict=True)])
        parts.append(labelled(images, labels, CLASS_NAMES, f"{name} half"))
    return parts[0], parts[1]
