"""What is counted class by class: the modes of stacked images, and the Fréchet distance within each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gansmith.errors import DataError
from gansmith.evaluation.classes import reverse_kl
from gansmith.evaluation.frechet import frechet_estimate, frechet_obstacle
from gansmith.evaluation.intervals import Estimate, groups_of
from gansmith.evaluation.moments import Moments, grouped_moments, total

NUM_STACKED = 3
MISREAD = 0.1
"""More than the share of one class that a usable classifier reads as some one other class."""


class Reader(Protocol):
    """What reads single-channel images; `Classifier` is the usual one."""

    def probabilities(self, images: Tensor) -> Tensor:
        """Return (N, K) class probabilities for images (N, 1, H, W) uint8."""
        ...


@dataclass(frozen=True)
class Modes:
    """Modes of stacked images that samples were found in.

    Attributes:
        num_modes: that have more samples than misreading of other modes would give them.
        num_read: that at least one sample was read as: the number in papers.
        of: modes there are, the cube of the number of classes.
        num_samples: that were read.
        kl: reverse Kullback-Leibler divergence KL(samples || real) over modes in nats, as in papers.
        counts: (of,) int64, samples read as each mode; mode (a, b, c) is K^2 a + K b + c.
    """

    num_modes: int
    num_read: int
    of: int
    num_samples: int
    kl: float
    counts: NDArray[np.int64]

    @property
    def kl_of_perfect(self) -> float:
        """What the divergence of a perfect generator is about, since samples are finite: (modes - 1) / (2 samples)."""
        return (self.of - 1) / (2 * self.num_samples)


def stacked_modes(
    images: Tensor, classifier: Reader, real_counts: NDArray[np.int64] | None = None
) -> Modes:  # fmt: skip
    """Return how many modes stacked samples have (Metz et al. 2017; Lin et al. 2018, PacGAN: 26,000 samples).

    Each channel is read by a classifier of single images. In papers a mode counts from its first sample on (`num_read`);
    a classifier that misreads one image in 200 then finds a hundred modes in a generator of ten. `num_modes` leaves
    out a mode that has less than a tenth of the samples of a mode that differs in one class, or a hundredth in two.

    Args:
        images: (N, 3, H, W) uint8, N >= 1.
        classifier: of single-channel images of K classes.
        real_counts: (K^3,) how often each mode is in the real data; by default all alike, as in papers.

    Raises:
        DataError: the images have not three channels or there are none, or are not what the classifier takes.
    """
    if images.ndim != 4 or images.shape[1] != NUM_STACKED or not len(images):
        raise DataError(f"images of shape {tuple(images.shape)}: stacked images have three channels, (N, 3, H, W)")
    read = [classifier.probabilities(images[:, place : place + 1]) for place in range(NUM_STACKED)]
    num_classes, of = read[0].shape[1], read[0].shape[1] ** NUM_STACKED
    first, second, third = (part.argmax(1) for part in read)
    counts = torch.bincount(num_classes**2 * first + num_classes * second + third, minlength=of)
    explained = counts.double().view((num_classes,) * NUM_STACKED)
    for axis in range(NUM_STACKED):
        explained = torch.maximum(explained, MISREAD * explained.amax(axis, keepdim=True))
    is_mode = (counts > 0) & (counts >= explained.flatten())
    return Modes(
        int(is_mode.sum()), int((counts > 0).sum()), of, len(images),
        reverse_kl(counts.numpy(), np.ones(of, np.int64) if real_counts is None else real_counts), counts.numpy(),
    )  # fmt: skip


@dataclass(frozen=True)
class IntraClass:
    """Fréchet distance within each class, and its mean.

    Attributes:
        estimate: mean over all classes, with replicates; None where some class has no distance.
        by_class: distance of each class; None where there is none.
        reason: why there is no estimate.
    """

    estimate: Estimate | None
    by_class: tuple[float | None, ...]
    reason: str | None = None


def intra_class_distance(
    fake_features: Tensor, fake_labels: NDArray[np.int64], real_features: Tensor, real_labels: NDArray[np.int64],
    num_classes: int,
) -> IntraClass:  # fmt: skip
    """Return the mean over classes of the Fréchet distance between samples and real images of one class.

    "Intra-FID" (Miyato and Koyama 2018) where the features are Inception's. A generator that makes good images of the
    wrong class has a low Fréchet distance and a high one of this kind.

    Args:
        fake_features: (N, D) float32.
        fake_labels: (N,) the classes that the generator was asked for.
        real_features: (M, D) float32.
        real_labels: (M,).
        num_classes: classes are 0 to num_classes - 1.
    """
    by_class: list[Estimate | None] = []
    reasons = []
    for number in range(num_classes):
        real, fake = (
            _grouped(features[torch.from_numpy(labels == number)])
            for features, labels in ((real_features, real_labels), (fake_features, fake_labels))
        )
        obstacle = frechet_obstacle(total(real), total(fake))
        reasons += [f"class {number}: {obstacle}"] if obstacle else []
        by_class.append(None if obstacle else frechet_estimate(real, fake))
    values = tuple(None if one is None else one.value for one in by_class)
    if reasons:
        return IntraClass(None, values, "; ".join(reasons))
    found = [one for one in by_class if one is not None]
    replicates = np.mean([one.replicates for one in found], axis=0)
    return IntraClass(Estimate(float(np.mean([one.value for one in found])), tuple(replicates.tolist())), values)


def _grouped(features: Tensor) -> list[Moments]:
    return grouped_moments(features, groups_of(len(features)))
