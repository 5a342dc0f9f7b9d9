"""What samples are worth to a classifier: does one that learns from them read real images better or worse?

The classification accuracy score and its augmented form (Ravuri and Vinyals 2019), over several seeds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gansmith import runtime
from gansmith.classifiers import LabelledData
from gansmith.data import DataSet
from gansmith.errors import DataError, UsageError
from gansmith.evaluation.intervals import seeds_interval
from gansmith.evaluation.trials import Joined, Share, as_pixels, labelled, part_of, seconds_a_step
from gansmith.images import Pixels
from gansmith.training.classify import Rows, check_splits, default_num_steps, train_classifier

SEEDS = (0, 1, 2)
TRAININGS_A_SEED = 3


@dataclass(frozen=True)
class OverSeeds:
    """One number for each seed.

    Attributes:
        values: two or more.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of the values."""
        return float(np.mean(self.values))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean (Student's t): of other seeds on the same held-out images."""
        return seeds_interval(self.values)


@dataclass(frozen=True)
class Worth:
    """Accuracy on real held-out images of classifiers that learnt from real images, samples, or both.

    Attributes:
        real, fake, both: accuracy by seed, 0 to 1.
        gain: accuracy on both less accuracy on real, by seed.
        seeds: of weights, order, and choice of real images.
        num_real, num_fake: images learnt from; both: their sum.
        num_held_out: images the accuracy is of.
        num_steps: of each training, on 128 images each.
        seconds: in all.
    """

    real: OverSeeds
    fake: OverSeeds
    both: OverSeeds
    gain: OverSeeds
    seeds: tuple[int, ...]
    num_real: int
    num_fake: int
    num_held_out: int
    num_steps: int
    seconds: float

    @property
    def verdict(self) -> str:
        """One sentence that says plainly whether the samples help."""
        low, high = (100 * end for end in self.gain.interval)
        points = f"{100 * self.gain.mean:+.1f} points ({low:+.1f} to {high:+.1f})"
        if high < 0:
            return f"training on both hurts: {points}"
        if low > 0:
            return f"training on both helps: {points}"
        return f"training on both makes no difference that {len(self.seeds)} seeds show: {points}"


def worth(
    train: LabelledData, held_out: LabelledData, fakes: Pixels | Tensor, fake_labels: NDArray[np.int64] | Tensor,
    seeds: Sequence[int] = SEEDS, device: str = "cpu", on_progress: Share | None = None,
    *, num_real: int | None = None, num_steps: int | None = None,
) -> Worth:  # fmt: skip
    """Train the small classifier on real images, on samples and on both, and test each on held-out real images.

    For every seed, the three trainings have the same number of steps, first weights and real images, so that their
    differences are paired. "Both" is all the images in one heap: with a tenth as many samples as real images, a tenth
    of each batch are samples. The intervals are over seeds.

    Args:
        train: real, with labels: what the generator was trained on.
        held_out: real, with the same classes.
        fakes: (N, C, H, W) uint8.
        fake_labels: (N,) class numbers: those that the generator was asked for, or what a classifier reads.
        seeds: two or more; three make a wide interval.
        device: "cpu", "cuda", "auto".
        on_progress: told the share that is done.
        num_real: take only so many of `train`, drawn with each seed; a classifier that has all of them has little to
            gain.
        num_steps: of each training; by default five passes over the real images taken, at least 100,000 images.

    Raises:
        DataError: labels or shapes do not fit.
        UsageError: there are fewer than two seeds, or `num_real` is more than there are.
    """
    begun = time.perf_counter()
    made = _checked(train, held_out, fakes, fake_labels, seeds, num_real)
    taken = num_real or len(train)
    num_steps = num_steps or default_num_steps(taken)
    found: list[list[float]] = []
    for place, seed in enumerate(seeds):
        real = _drawn(train, taken, seed)
        found.append([])
        for number, part in enumerate((real, made, Joined(real, made))):
            tell = part_of(on_progress, TRAININGS_A_SEED * place + number, TRAININGS_A_SEED * len(seeds))
            found[-1].append(
                train_classifier(part, held_out, num_steps, seed, device=device, on_progress=tell).accuracy
            )
    on_real, on_fake, on_both = zip(*found, strict=True)
    gain = tuple(b - r for b, r in zip(on_both, on_real, strict=True))
    return Worth(
        *map(OverSeeds, (on_real, on_fake, on_both, gain)), tuple(seeds), taken, len(made), len(held_out), num_steps,
        time.perf_counter() - begun,
    )  # fmt: skip


def estimate_seconds(
    train: LabelledData, num_seeds: int = len(SEEDS), device: str = "cpu",
    *, num_real: int | None = None, num_steps: int | None = None,
) -> float:  # fmt: skip
    """Return about how long `worth` takes here with these arguments, from a few steps. Raises as that."""
    num_steps = num_steps or default_num_steps(num_real or len(train))
    return seconds_a_step(train, device) * num_steps * TRAININGS_A_SEED * num_seeds


def _drawn(train: LabelledData, count: int, seed: int) -> LabelledData:
    if count == len(train):
        return train
    random = np.random.Generator(np.random.Philox(key=runtime.seed_of(seed, "worth")))
    return Rows(train, np.sort(random.permutation(len(train))[:count]))


def _checked(
    train: LabelledData, held_out: LabelledData, fakes: Pixels | Tensor, fake_labels: NDArray[np.int64] | Tensor,
    seeds: Sequence[int], num_real: int | None,
) -> DataSet:  # fmt: skip
    """Return the samples as labelled data that fit the real ones."""
    check_splits(train, held_out)
    if len(seeds) < 2:
        raise UsageError(f"seeds {tuple(seeds)}: an interval over seeds needs at least two")
    if num_real is not None and not 0 < num_real <= len(train):
        raise UsageError(f"num_real {num_real}: {train.name} has {len(train)} images; must be 1 to {len(train)}")
    pixels, labels = as_pixels(fakes, "samples"), np.asarray(fake_labels, np.int64)
    if labels.shape != (len(pixels),) or not len(labels):
        raise DataError(f"samples: {len(pixels)} images with labels of shape {labels.shape}; must be one each")
    if labels.min() < 0 or labels.max() >= len(train.class_names):
        seen = f"{labels.min()} to {labels.max()}"
        raise DataError(f"samples: labels {seen}; {train.name} has classes 0 to {len(train.class_names) - 1}")
    made = labelled(pixels, labels, train.class_names, "samples")
    check_splits(made, held_out)
    return made
