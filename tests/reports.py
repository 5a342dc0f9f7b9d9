"""Reports and exhibits as an evaluation would make them, without one: for tests of what shows and compares them."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gansmith.evaluation.exhibit import Exhibit, Frame, Picture, evaluation_curves, training_curves
from gansmith.report import ExtractorFacts, Interval, Reference, Report, Score, Subject

NUM_GROUPS = 20
SHARED = np.random.default_rng(99).normal(size=NUM_GROUPS)
"""Noise of the reals: in the replicates of every report alike."""


def distance(
    name: str, title: str, value: float, noise: float, held_out: float | None, seed: int = 0, better: str = "lower"
) -> Score:
    """A score whose replicates share most of their noise with every other report's."""
    own = np.random.default_rng(seed).normal(size=NUM_GROUPS)
    replicates = value + noise / 4 * (SHARED + 0.3 * own) / np.sqrt(NUM_GROUPS)
    half = 2.093 * np.sqrt((NUM_GROUPS - 1) / NUM_GROUPS * ((replicates - replicates.mean()) ** 2).sum())
    return Score(
        name=name,
        title=title,
        value=value,
        interval=Interval(low=value - half, high=value + half, method="jackknife over 20 groups, t(19)"),
        better=better,
        held_out=held_out,
        protocol="10,000 samples against 60,000 images of train",
        replicates=tuple(replicates),
        seconds=1.7,
    )


def share(name: str, title: str, value: float, low: float, high: float, **more: Any) -> Score:
    """A score with a Wilson interval of 10,000 samples."""
    return Score(
        name=name,
        title=title,
        value=value,
        interval=Interval(low=low, high=high, method="Wilson, 10,000 samples"),
        **{"better": "lower", "protocol": "10,000 samples against 60,000 training images", **more},
    )


def scores(quality: float = 1.0, seed: int = 0) -> tuple[Score, ...]:
    """The default scores of a generator: the larger `quality` (1 is decent), the worse."""
    return (
        distance("fd_classifier", "Fréchet distance (classifier features)", 12.34 * quality, 0.9, 0.312, seed),
        distance("fd_infinity", "Fréchet distance, extrapolated to infinite samples", 11.61 * quality, 1.3, 0.02, seed),
        distance("kid", "Kernel distance (KID)", 0.00234 * quality, 0.0004, 0.000003, seed),
        distance("precision", "Precision", 0.871 - 0.1 * quality, 0.02, 0.894, seed, "higher"),
        distance("recall", "Recall", 0.751 - 0.2 * quality, 0.03, 0.902, seed, "higher"),
        Score(
            name="class_coverage", title="Classes hit", value=10, better="higher",
            protocol="a class is hit by 10 samples that the classifier gives it", held_out=10,
            details={"hit": 10, "of": 10, "reverse_kl": 0.0123},
            warnings=("The classifier reads samples it was not trained on; a class may be hit by noise.",),
        ),
        share("near_copies", "Near copies of training images", 0.0021, 0.0014, 0.0032, held_out=0.0019,
              verdict="passes: no closer to training images than held-out reals are"),
        Score(name="fid", title="FID (Inception features)", value=None,
              reason="the extra `fid` is not installed: pip install 'gansmith[fid]'", protocol="not measured"),
    )  # fmt: skip


def report(name: str = "dcgan-small", quality: float = 1.0, seed: int = 0, **changes: Any) -> Report:
    """A report; `changes` replace fields of any of its parts by name: `num_samples=5_000`, `checksum="b" * 16`."""

    def part(which: type, /, **values: Any) -> Any:
        return which(**values | {key: changes.pop(key) for key in list(changes) if key in values})

    subject = part(
        Subject, kind="generator", name=name, path=f"runs/mnist-{name}-1", fingerprint=f"{seed:016x}",
        num_samples=10_000, size=(28, 28), channels=1, seed=0, recipe_name=name,
        recipe_id=f"{zlib.crc32(name.encode()):08x}",
        recipe={"loss": "non_saturating", "batch_size": 128, "generator": {"family": "dcgan", "width": 64}},
        training_seed=0, images_seen=205_952, training_seconds=240.0, data_fingerprint="1400cfd49357318d",
    )  # fmt: skip
    reference = part(
        Reference, name="mnist", path="../shared/data/mnist.zip", split="train", fingerprint="c0ffee5949357318",
        num_images=60_000, num_compared=60_000, num_held_out=10_000, held_out="its test split",
        class_names=tuple("0123456789"), fit="crop", original="",
    )  # fmt: skip
    extractor = part(
        ExtractorFacts, name="classifier", checksum="9f2c3a4b5d6e7f80", dim=256, preparation="none (28x28)",
        note="99.44 % (99.27 % to 99.57 %) of 10,000 held-out images read right",
    )  # fmt: skip
    return part(
        Report, gansmith="0.1.0", created="2026-11-21T18:02:11+00:00", subject=subject, reference=reference,
        extractor=extractor, scores=scores(quality, seed), seconds=41.3,
        environment={"torch": "2.13.0+cpu", "device": "cpu", "threads": 2, "cpu": "2 CPU threads"},
        command=f"gansmith evaluate runs/mnist-{name}-1 --data ../shared/data/mnist.zip --samples 10000",
    )  # fmt: skip


def png(width: int = 404, height: int = 404, seed: int = 0, mode: str = "L") -> bytes:
    """A picture of noise in cells."""
    shape = (height // 8 + 1, width // 8 + 1) + ((3,) if mode == "RGB" else ())
    noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def records(count: int = 240) -> list[dict[str, float]]:
    """Lines of `metrics.jsonl`."""
    random, found = np.random.default_rng(1), []
    for index in range(count):
        settled = 1 - np.exp(-index / 40)
        found.append({
            "images": 128 + 860 * index, "seconds": float(index), "images_per_second": 900 + 40 * random.normal(),
            "loss_d": 1.38 - 0.3 * settled + 0.02 * random.normal(), "d_accuracy": 0.5 + 0.3 * settled,
            "loss_g": 0.69 + 0.45 * settled + 0.03 * random.normal(),
        })  # fmt: skip
    return found


def evaluations(count: int = 8) -> list[dict[str, Any]]:
    """Lines of `evaluations.jsonl`."""
    return [
        {"images": 25_000 * index, "score": "fd_classifier", "num_samples": 2_000, "value": 4000.0 / 4**index + 12}
        for index in range(1, count + 1)
    ]


def exhibit(num_frames: int = 6) -> Exhibit:
    """Everything that a page can show."""
    return Exhibit(
        pictures=(
            Picture("Real images", "drawn from the train split", png(seed=1), "64 real images"),
            Picture("The samples", "not chosen: the first 64", png(seed=2), "64 samples"),
            Picture("Classes", "one row each", png(640, 320, seed=3), "samples by class"),
            Picture("Nearest neighbours", "each sample beside its 5", png(404, 300, seed=4, mode="RGB"), "neighbours"),
            Picture("Worst pairs", "the closest to a training image", png(300, 404, seed=5), "pairs"),
        ),
        frames=tuple(Frame(25_600 * index, png(seed=10 + index)) for index in range(num_frames)),
        curves=(*evaluation_curves(evaluations()), *training_curves(records())),
        recipe_yaml="recipe:\n  loss: non_saturating\n  batch_size: 128\n",
        config_note="chosen by auto for 28x28 grey images and 4 minutes",
    )


def run_folder(folder: Path, frames: Sequence[int] = (0, 25_600, 51_200), seed: int = 0) -> Path:
    """A run folder as training leaves it, without checkpoints."""
    (folder / "samples").mkdir(parents=True)
    for index, images in enumerate(frames):
        (folder / "samples" / f"{images:09d}.png").write_bytes(png(seed=seed + index))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records(60)))
    (folder / "config.yaml").write_text("recipe:\n  loss: hinge\n")
    return folder
