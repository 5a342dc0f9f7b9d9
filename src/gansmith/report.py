"""Numbers with how they were measured: the only thing that evaluation emits. Plain values, JSON in and out, no torch.

`evaluation/` fills them in; `evaluation/page.py` shows one to a person.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from gansmith.errors import CheckpointError
from gansmith.settings import Precision, Settings

FORMAT = 1
Better = Literal["lower", "higher", "none"]
"""What a better generator has; "none" where neither end is (an accuracy of telling apart is best at 0.5)."""
ExtractorName = Literal["classifier", "random", "inception", "dinov2"]
"""What can turn images into features; `evaluation/extractors/` has them."""
Verdict = Literal[
    "healthy", "discriminator winning", "generator winning", "mode collapse", "oscillating", "diverged", "memorising"
]
"""What can be said of a training; `training/health.py` says it."""
EXTRACTOR_NAMES: tuple[str, ...] = get_args(ExtractorName)


class Interval(Settings):
    """A 95 % confidence interval.

    Attributes:
        low, high: its ends.
        method: how it was found and of what: "jackknife over 20 groups, t(19)", "Wilson, 10,000 samples".
    """

    low: float
    high: float
    method: str


class Score(Settings):
    """One number, or why there is none, with everything it depends on.

    Attributes:
        name: what it is: "fd_classifier"; "fid" only with Inception features.
        title: for a person: "Fréchet distance (classifier features)".
        value: None where it cannot be computed.
        reason: why there is no value.
        interval: None where none can be given; the protocol says why.
        better: which way is better.
        held_out: the same number for held-out real images in place of samples: what a perfect generator gets.
        protocol: counts, k, kernels: "10,000 samples against 60,000 images of train".
        replicates: the number without group g of samples and reals, for each of the 20 groups; for comparing reports.
        details: what else was found: {"hit": 10, "of": 10}.
        warnings: why to be careful with it.
        verdict: one sentence where the score judges: "flagged: ..." or "passes: ...".
        seconds: of computing.
    """

    name: str
    title: str
    value: float | None
    reason: str | None = None
    interval: Interval | None = None
    better: Better = "lower"
    held_out: float | None = None
    protocol: str
    replicates: tuple[float, ...] = ()
    details: dict[str, Any] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    verdict: str | None = None
    seconds: Annotated[float, Field(ge=0)] = 0.0


class Subject(Settings):
    """What was evaluated: samples of a generator, or somebody's images.

    Attributes:
        kind: "generator" or "images".
        name: of the run or file.
        path: as it was given.
        fingerprint: 16 hex digits: of the generator's weights, or of the images.
        num_samples: how many were read.
        size, channels: of each.
        seed: of latents and labels; None for images.
        precision: that a generator's convolutions and matrix products were computed in; None for images, and in reports
            before it was recorded, when all were computed in float32.
        recipe_name, recipe_id, recipe: of a generator.
        training_seed, images_seen, training_seconds: of a generator's run.
        data_fingerprint: of the data a run was trained on.
    """

    kind: Literal["generator", "images"]
    name: str
    path: str
    fingerprint: str
    num_samples: PositiveInt
    size: tuple[PositiveInt, PositiveInt]
    channels: PositiveInt
    seed: NonNegativeInt | None = None
    precision: Precision | None = None
    recipe_name: str | None = None
    recipe_id: str | None = None
    recipe: dict[str, Any] | None = None
    training_seed: NonNegativeInt | None = None
    images_seen: NonNegativeInt | None = None
    training_seconds: float | None = None
    data_fingerprint: str | None = None


class Reference(Settings):
    """The real images that samples are compared with.

    Attributes:
        name: of the data.
        path: as it was given, to rerun.
        split: "train" or "test".
        fingerprint: 16 hex digits, of the decoded images of that split and their classes.
        num_images: of that split.
        num_compared: of those that samples are compared with, always the same ones; usually all.
        num_held_out: real images that no generator trained on; 0 where there are none.
        held_out: what those are: "its test split".
        class_names: by number; empty where there are none.
        fit: how images of another shape were made to fit.
        original: what the images were before: "32x32, 3 channels", "mixed sizes around 40x60"; "" where they had the
            size and channels of the samples.
    """

    name: str
    path: str
    split: Literal["train", "test"]
    fingerprint: str
    num_images: PositiveInt
    num_compared: PositiveInt
    num_held_out: NonNegativeInt
    held_out: str
    class_names: tuple[str, ...] = ()
    fit: str = "crop"
    original: str = ""


class ExtractorFacts(Settings):
    """What images were turned into features by.

    Attributes:
        name: "classifier", "random", "inception", "dinov2", or the user's own.
        checksum: 16 hex digits, of weights and preparation: equal features come from equal checksums.
        dim: numbers for each image.
        preparation: what is done to an image first: "none (28x28)", "bilinear to 299x299, three channels".
        note: "99.44 % (99.27 % to 99.57 %) of 10,000 held-out images read right".
        is_published: whether the weights are the ones published under that name, by their sha256; only then is a
            Fréchet distance called FID. None where nothing was published to compare with.
    """

    name: str
    checksum: str
    dim: PositiveInt
    preparation: str
    note: str = ""
    is_published: bool | None = None


class Health(Settings):
    """How a training stands, in words (docs/health.md).

    Attributes:
        verdict: one of `Verdict`.
        images: seen when it was said.
        evidence: the numbers it rests on, and over how many images.
        action: what to do about it; "" where nothing is to be done.
        overrides: of the recipe, that do it: ("loss=non_saturating",).
    """

    verdict: Verdict
    images: NonNegativeInt
    evidence: str
    action: str = ""
    overrides: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return what is said of it: the verdict with its evidence, and what to do."""
        lines = [f"health: {self.verdict} at {self.images:,} images: {self.evidence}"]
        if self.action:
            options = "".join(f" --set {override}" for override in self.overrides)
            lines.append(f"  {self.action}{f':{options}' if options else ''}")
        return lines


class Report(Settings):
    """Scores of one subject against one reference.

    Attributes:
        format: of this file.
        gansmith: version.
        created: ISO 8601, UTC.
        subject, reference, extractor: what was measured, against what, through what.
        scores: in the order asked for.
        health: of the training, where a run was evaluated that says so.
        environment: torch, device, threads, CPU.
        command: that measures it again.
        seconds: in all.
    """

    format: PositiveInt = FORMAT
    gansmith: str
    created: str
    subject: Subject
    reference: Reference
    extractor: ExtractorFacts
    scores: tuple[Score, ...]
    health: Health | None = None
    environment: dict[str, Any]
    command: str
    seconds: Annotated[float, Field(ge=0)]

    def score(self, name: str) -> Score | None:
        """Return the score of that name, or None."""
        return next((score for score in self.scores if score.name == name), None)

    def to_json(self) -> str:
        """Return it as indented JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)


def load_report(path: Path) -> Report:
    """Return the report in a `report.json`.

    Raises:
        CheckpointError: there is none, or it is not readable, or a newer gansmith wrote it.
    """
    try:
        values = json.loads(path.read_bytes())
        if values["format"] > FORMAT:
            raise CheckpointError(f"{path}: written by gansmith {values['gansmith']}; upgrade gansmith to read it")
        return Report.model_validate(values)
    except (OSError, ValueError, LookupError, TypeError, ValidationError) as error:
        raise CheckpointError(f"{path}: not a readable report ({type(error).__name__}: {error})") from error


DEFAULT_SCORES = ("fd", "fd-infinity", "kd", "precision", "recall", "density", "coverage", "classes", "memorisation")
"""What is measured when nothing is asked for, as far as the data allow."""
REQUESTED_SCORES = ("is", "intra-fd", "adversarial", "worth", "modes")
"""What is measured only when it is asked for."""
RANKED_SCORES = (
    "fd", "fd-infinity", "kd", "precision", "recall", "density", "coverage", "is", "intra-fd", "modes", "fid", "kid",
    "inception-score",
)  # fmt: skip
"""What a sweep can rank by: one number, with a better end."""
INCEPTION_SCORES = {"fid": "fd", "kid": "kd", "inception-score": "is"}
"""Names of papers for scores that mean Inception features."""
