"""Latents into samples: plain sampling and walks between latents. Independent of batch size and device, to rounding.

Latent number i of a seed is a function of (seed, i): the first 8 of 64 samples are the 8 of a request for 8. Everything
shown, saved and measured is computed here, in the precision that the caller names (of a recipe's: `precision_of`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from gansmith import ranks, runtime
from gansmith.facts import Classes
from gansmith.recipe import Recipe
from gansmith.settings import Precision

BATCH = 128
CAST_ONCE = (nn.Linear, nn.ConvTranspose2d)
"""Layers of a sampling form whose weights are rounded before the first batch, not anew for each by autocast."""


@runtime_checkable
class HasSamplingForm(Protocol):
    """A generator that can give a faster copy of itself; others are sampled as they are."""

    def for_sampling(self) -> nn.Module:
        """Return a module of the same function in eval mode, to rounding, that shares nothing it changes."""
        ...


def precision_of(recipe: Recipe, generator: nn.Module) -> Precision:
    """Return what samples of a recipe are computed in: its own precision where the generator's device has that in
    hardware, else "float32".
    """
    return runtime.supported_precision(recipe.precision, _device_of(generator))


def _device_of(generator: nn.Module) -> torch.device:
    return next(generator.parameters()).device


def latents_of(seed: int, count: int, latent_dim: int) -> Tensor:
    """Return (count, latent_dim) float32 normal latents on the CPU; row i depends on (seed, i) alone."""
    random = np.random.Generator(np.random.Philox(key=seed))
    return torch.from_numpy(random.standard_normal((count, latent_dim), dtype=np.float32))


def truncated(latents: Tensor, threshold: float) -> Tensor:
    """Return the latents with every value moved inside [-threshold, threshold], distributed as a truncated normal.

    The truncation trick (Brock et al. 2019) by inverse transform instead of redrawing: value v becomes the quantile of
    the truncated distribution that v is of the normal one, so a sample stays recognisably itself, less extreme.

    Args:
        latents: (N, D) float32, normal.
        threshold: above 0; 2 is mild, 0.5 strong.
    """
    low, high = torch.special.ndtr(torch.tensor([-threshold, threshold], dtype=torch.float64)).tolist()
    values: Tensor = torch.special.ndtri(low + torch.special.ndtr(latents.double()) * (high - low))
    return values.float()


def labels_of(seed: int, count: int, classes: Classes) -> Tensor:
    """Return (count,) int64 labels drawn by how often the classes occur; label i depends on (seed, i) alone."""
    random = np.random.Generator(np.random.Philox(key=runtime.seed_of(seed, "labels")))
    ends = np.cumsum(classes.counts) / sum(classes.counts)
    return torch.from_numpy(np.searchsorted(ends, random.random(count), side="right").astype(np.int64))


def generate(
    generator: nn.Module, latents: Tensor, labels: Tensor | None = None, *, precision: Precision,
    batch_size: int = BATCH,
) -> Tensor:  # fmt: skip
    """Return samples (N, C, *space) float32 in [-1, 1] on the CPU for latents (N, latent_dim), in eval mode.

    Args:
        generator: (latents, labels) -> samples; neither its mode nor anything else of it is changed.
        latents: (N, latent_dim) float32, on any device; N at least 1.
        labels: (N,) int64 or None.
        precision: of convolutions and matrix products.
        batch_size: how many are computed at once; changes the memory used, and results by rounding only.
    """
    samples, done = torch.empty(0), 0
    for part in batches(generator, latents, labels, precision=precision, batch_size=batch_size):
        if not done:
            samples = part.new_empty((len(latents), *part.shape[1:]))
        samples[done : done + len(part)] = part
        done += len(part)
    return samples


def batches(
    generator: nn.Module, latents: Tensor, labels: Tensor | None = None, *, precision: Precision,
    batch_size: int = BATCH,
) -> Iterator[Tensor]:  # fmt: skip
    """Yield the samples of `generate`, `batch_size` at a time, so that not all of them need lie in memory.

    Of a generator with `for_sampling` the weights are those at the first of them, whatever happens to it meanwhile.
    """
    device = _device_of(generator)
    form = _fast_form(generator, precision)
    for start in range(0, len(latents), batch_size):
        part = None if labels is None else labels[start : start + batch_size].to(device)
        yield _computed(form, latents[start : start + batch_size].to(device), part, precision)


def _fast_form(generator: nn.Module, precision: Precision) -> nn.Module:
    if not isinstance(generator, HasSamplingForm):
        return generator
    form = generator.for_sampling()
    if precision != "float32":
        for layer in form.modules():
            if isinstance(layer, CAST_ONCE):
                layer.to(runtime.DTYPES[precision])
    return form


@torch.no_grad()
def _computed(generator: nn.Module, latents: Tensor, labels: Tensor | None, precision: Precision) -> Tensor:
    was_training = generator.training
    generator.eval()
    try:
        with runtime.autocast(latents.device, precision):
            samples: Tensor = generator(latents, labels)
    finally:
        generator.train(was_training)
    return samples.float().cpu()


def sample(
    generator: nn.Module, count: int, seed: int = 0, labels: Tensor | None = None, truncation: float | None = None, *,
    precision: Precision, among_ranks: bool = False,
) -> Tensor:  # fmt: skip
    """Return `count` samples (count, C, *space) float32 in [-1, 1] on the CPU.

    Args:
        generator: with an attribute `latent_dim`.
        count: at least 1.
        seed: 0 or more; sample i is a function of (seed, i) and its label.
        labels: (count,) int64 or None.
        truncation: threshold of `truncated`, or None.
        precision: of convolutions and matrix products.
        among_ranks: all ranks call this alike; each draws a part, of whole batches, and has all of them in the end.
    """
    start, stop = ranks.part_of(count, BATCH) if among_ranks else (0, count)
    latents = latents_of(seed, count, latent_dim_of(generator))[start:stop]
    latents = latents if truncation is None else truncated(latents, truncation)
    part = generate(generator, latents, None if labels is None else labels[start:stop], precision=precision)
    return ranks.gathered(part) if among_ranks else part


def latent_dim_of(generator: nn.Module) -> int:
    """Return how many latents a sample of this generator takes: its attribute `latent_dim`."""
    return cast(int, generator.latent_dim)


def slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Return the point at `share` of the great-circle way between rows of `start` and `end` (Shoemake 1985).

    Lengths are interpolated linearly, so that a walk between normal latents stays among normal latents.

    Args:
        start: (N, D) float32, non-zero rows.
        end: (N, D) float32, non-zero rows, not opposite to those of `start`.
        share: 0 at `start`, 1 at `end`.
    """
    start_length, end_length = start.norm(dim=1, keepdim=True), end.norm(dim=1, keepdim=True)
    cosine = ((start / start_length) * (end / end_length)).sum(1, keepdim=True).clamp(-1, 1)
    angle = torch.acos(cosine).clamp_min(1e-6)
    direction: Tensor = (
        torch.sin((1 - share) * angle) * start / start_length + torch.sin(share * angle) * end / end_length
    ) / torch.sin(angle)
    length: Tensor = torch.lerp(start_length, end_length, share)
    return direction * length


def interpolate(
    generator: nn.Module,
    count: int = 16,
    num_frames: int = 96,
    num_stops: int = 4,
    seed: int = 0,
    labels: Tensor | None = None,
    *,
    precision: Precision,
) -> list[Tensor]:
    """Return the frames of a spherical walk that ends where it began, each (count, C, *space) in [-1, 1].

    Args:
        generator: with an attribute `latent_dim`.
        count: walks shown side by side.
        num_frames: in the whole loop; divided evenly between the stops.
        num_stops: random latents that every walk passes.
        seed: of the stops.
        labels: (count,) int64, one for each walk, or None.
        precision: of convolutions and matrix products.
    """
    latent_dim = latent_dim_of(generator)
    stops = latents_of(seed, count * num_stops, latent_dim).view(num_stops, count, latent_dim)
    places = [frame * num_stops / num_frames for frame in range(num_frames)]
    path = [slerp(stops[math.floor(place)], stops[(math.floor(place) + 1) % num_stops], place % 1) for place in places]
    repeated = None if labels is None else labels.repeat(num_frames)
    return list(torch.split(generate(generator, torch.cat(path), repeated, precision=precision), count))
