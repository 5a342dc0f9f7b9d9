"""What is evaluated: samples drawn from a run, checkpoint or saved model, or images from a folder, zip or npz."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gansmith import models, ranks, runtime, sampling
from gansmith.data import facts_of, open_data, open_source
from gansmith.data.cache import Progress, cache_folder
from gansmith.errors import DataError, UsageError
from gansmith.images import POINT_SHAPE, to_uint8
from gansmith.models import Model
from gansmith.report import Subject
from gansmith.sizes import size_text
from gansmith.training.folder import CONFIG, RunConfig

SHORT = 16
log = logging.getLogger("gansmith")


@dataclass(frozen=True)
class Samples:
    """Images to evaluate, as anyone would see them: rounded to uint8.

    Attributes:
        images: (N, C, H, W) uint8 on the CPU.
        labels: (N,) int64 that a conditional generator was asked for, or the class folders of images; or None.
        facts: where they come from.
        model: that drew them, or None.
        run: the folder of its run, or None.
        config: of that run, or None.
        class_names: what the labels number.
    """

    images: Tensor
    labels: Tensor | None
    facts: Subject
    class_names: tuple[str, ...] = ()
    model: Model | None = None
    run: Path | None = None
    config: RunConfig | None = None


def is_generator(path: Path) -> bool:
    """Return whether a path is a run, a checkpoint or a saved model rather than images."""
    marks = (CONFIG, "config.json", "about.json", "checkpoints")
    return path.is_dir() and any((path / mark).exists() for mark in marks)


def open_subject(
    subject: Any, num_samples: int, seed: int = 0, device: str = "auto", on_progress: Progress | None = None,
    among_ranks: bool = False,
) -> Samples:  # fmt: skip
    """Return up to `num_samples` images of a generator or of a collection of images.

    Args:
        subject: path of a run, checkpoint or saved model; or a folder, zip, npz or object with images.
        num_samples: to draw; of a collection with more, so many are chosen by the seed.
        seed: of latents and labels, or of that choice.
        device: where a generator computes.
        on_progress: called with (samples done, samples in all).
        among_ranks: all ranks call this alike; each draws a part of a generator's samples, and has all in the end.

    Raises:
        CheckpointError: the run has no usable checkpoint.
        DataError: there are no usable images, or they are points, or of mixed sizes.
    """
    if isinstance(subject, str | os.PathLike) and is_generator(Path(subject)):
        return _drawn(Path(subject), num_samples, seed, device, on_progress, among_ranks)
    return _collected(subject, num_samples, seed, on_progress)


def _drawn(
    path: Path, count: int, seed: int, device: str, on_progress: Progress | None, among_ranks: bool
) -> Samples:  # fmt: skip
    model = models.load(path, device=device)
    recipe = model.recipe
    if (recipe.channels, *recipe.size) == POINT_SHAPE:
        raise DataError(f"{path}: its samples are points of the plane; these scores are of images")
    labels = model.labels_of(None, count, seed)
    start, stop = ranks.part_of(count, sampling.BATCH) if among_ranks else (0, count)
    images = draw(model, count, seed, labels, on_progress, (start, stop))
    images = ranks.gathered(images) if among_ranks else images
    run = _run_of(path)
    config = RunConfig.load(run / CONFIG) if run else None
    facts = Subject(
        kind="generator",
        name=(run or path).resolve().name,
        path=str(path),
        fingerprint=weights_fingerprint(model),
        num_samples=count,
        size=recipe.size,
        channels=recipe.channels,
        seed=seed,
        precision=model.precision,
        recipe_name=config.request.name if config else None,
        recipe_id=recipe.id,
        recipe=recipe.model_dump(mode="json"),
        training_seed=config.seed if config else None,
        images_seen=model.images_seen,
        training_seconds=_training_seconds(path) if run else None,
        data_fingerprint=config.fingerprint if config else None,
    )
    return Samples(images, labels, facts, model.classes.names if model.classes else (), model, run, config)


def draw(
    model: Model, count: int, seed: int, labels: Tensor | None = None, on_progress: Progress | None = None,
    part: tuple[int, int] | None = None,
) -> Tensor:  # fmt: skip
    """Return (count, C, H, W) uint8 samples, drawn in batches so that floats of all never lie in memory; of a `part`
    (start, stop) of them, those alone.
    """
    generator, (start, stop) = model.generator, part or (0, count)
    latents = sampling.latents_of(seed, count, sampling.latent_dim_of(generator))[start:stop]
    labels, count = None if labels is None else labels[start:stop], stop - start
    images = torch.empty((count, model.recipe.channels, *model.recipe.size), dtype=torch.uint8)
    done = 0
    for samples in sampling.batches(generator, latents, labels, precision=model.precision):
        images[done : done + len(samples)] = to_uint8(samples)
        done += len(samples)
        if on_progress:
            on_progress(done, count)
    return images


def weights_fingerprint(model: Model) -> str:
    """Return 16 hex digits that are equal for equal weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.generator.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:SHORT]


def _run_of(path: Path) -> Path | None:
    """Return the run folder that a path is, or lies in as a checkpoint or `best/`."""
    resolved = path.resolve()
    for folder in (path, resolved.parent, resolved.parent.parent):
        if (folder / CONFIG).exists():
            return folder
    return None


def _training_seconds(path: Path) -> float | None:
    if (path / "config.json").exists():  # a saved model knows no time
        return None
    return models.find_checkpoint(path).state.seconds


def _collected(subject: Any, count: int, seed: int, on_progress: Progress | None) -> Samples:
    if isinstance(subject, os.PathLike | str) and not Path(subject).exists() and "/" in os.fspath(subject):
        raise UsageError(f"{subject}: no such run, checkpoint, saved model, folder or file of images")
    source = open_source(subject)
    facts = facts_of(source, cache_folder())
    if (facts.channels, *facts.size) == POINT_SHAPE:
        raise DataError(f"{source.name}: holds points of the plane; these scores are of images")
    if not facts.one_size:
        raise DataError(
            f"{source.name}: its images are of mixed sizes around {size_text(facts.size)}; bring them to one size "
            "first, since the way they are resized would be part of every score"
        )
    data = open_data(source, facts.size, facts.channels, "train", on_progress)
    if data.num_refitted:
        log.warning("%s: %d images of another size were brought to %s", data.name, data.num_refitted,
                    size_text(facts.size))  # fmt: skip
    order = np.random.Generator(np.random.Philox(key=runtime.seed_of(seed, "choice"))).permutation(len(data))
    places = np.sort(order[:count])
    chosen = data.batch(places)
    return Samples(
        chosen.images,
        chosen.labels,
        Subject(
            kind="images",
            name=data.name,
            path=os.fspath(subject) if isinstance(subject, str | os.PathLike) else data.name,
            fingerprint=data.fingerprint,
            num_samples=len(places),
            size=facts.size,
            channels=facts.channels,
        ),
        data.class_names,
    )
