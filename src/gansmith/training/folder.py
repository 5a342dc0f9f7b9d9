"""A run's folder: what is in it, whether it belongs to a request, and who is training in it.

config.yaml  metrics.jsonl  reals.png  samples/000012800.png  checkpoints/000000012800/  .lock
evaluations.jsonl  best/ (where it is evaluated while training)
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from gansmith.checkpoint import write_synced
from gansmith.errors import ResourceError, UsageError
from gansmith.overrides import describe_validation
from gansmith.recipe import Recipe
from gansmith.request import Request
from gansmith.settings import Settings
from gansmith.sizes import Fit
from gansmith.version import __version__

CONFIG = "config.yaml"
LARGEST_CONFIG = 2**20
MOST_PROBLEMS = 10
RUNS = Path("runs")
log = logging.getLogger("gansmith")


@dataclass(frozen=True)
class Intervals:
    """What a run does now and then, in images seen; None: not, or by default.

    Attributes:
        save_every, keep_every, evaluate_every, patience: see `RunConfig`.
    """

    save_every: int | None = None
    keep_every: int | None = None
    evaluate_every: int | None = None
    patience: int | None = None


@dataclass(frozen=True)
class RunConfig:
    """Everything that reruns a run: `gansmith train --config runs/x/config.yaml --out runs/y`.

    Attributes:
        data: as given on the command line; for a Python object, its name.
        request: the requested recipe.
        recipe: the resolved one.
        fingerprint: of the decoded data.
        seed: of everything random.
        images, minutes: the budget.
        save_every: images between snapshots, or None.
        micro_batch: images computed at once where a whole batch does not fit into memory, or None.
        keep_every: keep the checkpoint at each multiple of so many images for good, or None.
        evaluate_every: images between evaluations while training, or None.
        patience: evaluations in a row without a new best after which training stops, or None.
        sync_batch: batch norm has the statistics of the batch of all ranks.
    """

    data: str
    request: Request
    recipe: Recipe
    fingerprint: str
    seed: int
    images: int | None
    minutes: float | None
    save_every: int | None
    micro_batch: int | None = None
    keep_every: int | None = None
    evaluate_every: int | None = None
    patience: int | None = None
    sync_batch: bool = False

    @property
    def intervals(self) -> Intervals:
        """What it does now and then."""
        return Intervals(self.save_every, self.keep_every, self.evaluate_every, self.patience)

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share to be one: request, data, seed."""
        return {**self.request.as_dict(), "data fingerprint": self.fingerprint, "seed": self.seed}

    def save(self, path: Path) -> None:
        """Write it as YAML, whole or not at all."""
        values = {
            "gansmith": __version__,
            "data": self.data,
            "data_fingerprint": self.fingerprint,
            "seed": self.seed,
            "budget": {"images": self.images, "minutes": self.minutes},
            "save_every": self.save_every,
            "micro_batch": self.micro_batch,
            "keep_every": self.keep_every,
            "evaluate_every": self.evaluate_every,
            "patience": self.patience,
            "sync_batch": self.sync_batch,
            "request": self.request.as_dict(),
            "recipe_id": self.recipe.id,
            "recipe": json.loads(self.recipe.canonical_json()),
        }
        head = "# This file reruns the run: gansmith train --config FILE --out NEW_FOLDER\n"
        partial = path.with_suffix(".tmp")
        write_synced(partial, (head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)).encode())
        partial.replace(path)

    @staticmethod
    def load(path: Path) -> RunConfig:
        """Return the config in a file.

        Raises:
            UsageError: it is missing, too large, not YAML, or does not describe a run; with what is wrong.
        """
        try:
            if path.stat().st_size > LARGEST_CONFIG:
                raise UsageError(f"{path}: larger than {LARGEST_CONFIG >> 20} MB; this is no config")
            file = _ConfigFile.model_validate(yaml.load(path.read_bytes(), _StrictLoader))
            if file.recipe_id != file.recipe.id:
                raise UsageError(
                    f"{path}: its recipe was edited: its id is {file.recipe.id} now, recipe_id says {file.recipe_id}. "
                    "Ask for the change instead (--recipe, --set), or correct recipe_id and choose a new --out"
                )
            return RunConfig(
                data=file.data,
                request=Request.from_dict(file.request.model_dump()),
                recipe=file.recipe,
                fingerprint=file.data_fingerprint,
                seed=file.seed,
                images=file.budget.images,
                minutes=file.budget.minutes,
                save_every=file.save_every,
                micro_batch=file.micro_batch,
                keep_every=file.keep_every,
                evaluate_every=file.evaluate_every,
                patience=file.patience,
                sync_batch=file.sync_batch,
            )
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
        except ValidationError as error:
            lines = describe_validation(error)
            more = [f"and {len(lines) - MOST_PROBLEMS} more"] if len(lines) > MOST_PROBLEMS else []
            raise UsageError(
                [f"{path}: does not describe a run: {line}" for line in [*lines[:MOST_PROBLEMS], *more]]
            ) from error
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise UsageError(f"{path}: does not describe a run ({type(error).__name__}: {error})") from error


class _RequestInFile(Settings):
    recipe: str | Recipe
    set: tuple[str, ...]
    size: tuple[PositiveInt, PositiveInt] | None
    channels: PositiveInt | None
    conditional: bool
    fit: Fit


class _BudgetInFile(Settings):
    images: PositiveInt | None
    minutes: PositiveFloat | None


class _ConfigFile(Settings):
    """What config.yaml holds, checked field by field: people edit it."""

    gansmith: str
    data: str
    data_fingerprint: str
    seed: NonNegativeInt
    budget: _BudgetInFile
    save_every: PositiveInt | None
    micro_batch: PositiveInt | None
    keep_every: PositiveInt | None
    evaluate_every: PositiveInt | None = None  # files of before it was there
    patience: PositiveInt | None = None
    sync_batch: bool = False
    request: _RequestInFile
    recipe_id: str
    recipe: Recipe


class _StrictLoader(yaml.SafeLoader):
    """YAML without objects and without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; a key that comes twice is an error, where YAML would keep the last."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def differences(asked: RunConfig, stored: RunConfig, is_exact: bool = False) -> list[str]:
    """Return one line for each part of the identity in which two configs differ.

    Args:
        asked: what is to be trained.
        stored: what a folder holds.
        is_exact: compare the resolved recipes too; usually the stored one is gone on with, whatever the machine.
    """
    ours_theirs = [
        {**config.identity(), **({"recipe id": config.recipe.id} if is_exact else {})} for config in (asked, stored)
    ]
    pairs = zip(ours_theirs[0].items(), ours_theirs[1].values(), strict=True)
    return [
        f"{key}: the run has {_short(theirs)}, asked for {_short(ours)}"
        for (key, ours), theirs in pairs
        if ours != theirs
    ]


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def find_run(
    asked: RunConfig, out: Path | None, runs: Path = RUNS, is_exact: bool = False
) -> tuple[Path, RunConfig | None]:
    """Return the folder to train in, and its stored config if it holds a run to go on with.

    Without `out`: the newest run with the same identity, else a new `runs/<data>-<recipe>-k`. With `is_exact`, the
    resolved recipe must be the same too.

    Raises:
        UsageError: `out` holds another run (with the differences), or something else.
    """
    if out is None:
        return _newest_match(asked, runs, is_exact)
    if (out / CONFIG).exists():
        stored = RunConfig.load(out / CONFIG)
        if different := differences(asked, stored, is_exact):
            raise UsageError(
                [f"{out} holds another run:", *(f"  {line}" for line in different), "choose another --out"]
            )
        return out, stored
    if out.is_file() or (out.is_dir() and any(entry.name != ".lock" for entry in out.iterdir())):
        raise UsageError(f"--out {out}: exists and is not a run folder; choose another")
    return out, None


def _newest_match(asked: RunConfig, runs: Path, is_exact: bool) -> tuple[Path, RunConfig | None]:
    prefix = f"{_file_name(asked.data)}-{asked.request.name}"
    numbered = {}
    for folder in runs.glob(f"{prefix}-*") if runs.is_dir() else []:
        if match := re.fullmatch(rf"{re.escape(prefix)}-(\d+)", folder.name):
            numbered[int(match[1])] = folder
    for number in sorted(numbered, reverse=True):
        if not (numbered[number] / CONFIG).exists():
            continue
        try:
            stored = RunConfig.load(numbered[number] / CONFIG)
        except UsageError as error:
            log.warning("%s; this run is passed over", error.problems[0])
            continue
        if not differences(asked, stored, is_exact):
            return numbered[number], stored
    return runs / f"{prefix}-{max(numbered, default=0) + 1}", None


def _file_name(data: str) -> str:
    return re.sub(r"[^\w.-]+", "_", Path(data).resolve().stem if Path(data).exists() else data) or "data"


def lock(folder: Path) -> FileLock:
    """Return the held lock of a run folder; it is freed when this process ends, however it ends.

    Raises:
        ResourceError: another live process trains in the folder, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / ".lock")
        held.acquire(timeout=0)
    except Timeout:
        raise ResourceError(f"{folder}: another process is training in this run; choose another --out") from None
    except OSError as error:
        raise ResourceError(f"{folder}: cannot be written to ({error.strerror})") from error
    return held
