"""Checkpoints: save, verify, load. A folder of safetensors and JSON; nothing is ever unpickled.

    recipe.json  modules.safetensors  ema.safetensors  optimizers.safetensors  state.json  about.json

Written aside, synced, then renamed, so that a checkpoint is there whole or not at all. `about.json` holds the sha256 of
every other file: neither safetensors nor torch notices a flipped byte. The format is described in docs/checkpoints.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from gansmith.errors import CheckpointError, ResourceError
from gansmith.overrides import describe_validation
from gansmith.recipe import Recipe
from gansmith.training.snapshot import Progress, Snapshot
from gansmith.training.state import TrainState
from gansmith.version import __version__

FORMAT = 2
"""Of the folder; a reader refuses a newer one by name."""
KEEP = 2
PARTIAL, REPLACED = ".writing-", ".replaced-"
TENSOR_FILES = ("modules.safetensors", "ema.safetensors", "optimizers.safetensors")
OWN_SUM = "sha256_of_the_rest"
FILES = ("recipe.json", "state.json", *TENSOR_FILES)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read from disk and found whole.

    Attributes:
        path: its folder.
        recipe: the resolved method.
        state: how far training was.
        about: version, machine, data fingerprint.
        tensors: file name -> "name/key" -> tensor.
    """

    path: Path
    recipe: Recipe
    state: Progress
    about: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def save_checkpoint(
    state: TrainState, folder: Path, seconds: float, fingerprint: str, is_settled: bool = True,
    keep_every: int | None = None,
) -> Path:  # fmt: skip
    """Write the state at once. Arguments as in `Snapshot.of` and `write_checkpoint`, which it returns and raises as."""
    return write_checkpoint(Snapshot.of(state, seconds, fingerprint, is_settled), folder, keep_every)


def write_checkpoint(snapshot: Snapshot, folder: Path, keep_every: int | None = None) -> Path:
    """Write a state to `folder`/<images seen>, keep the last two checkpoints there, and return the new one's path.

    Args:
        snapshot: of the state.
        folder: `checkpoints` of a run.
        keep_every: also keep, for good, the first checkpoint at or past each multiple of so many images.

    Raises:
        ResourceError: the disk is full or not writable; nothing partial stays, earlier checkpoints are kept.
    """
    final = folder / f"{snapshot.images:012d}"
    partial = folder / f"{PARTIAL}{final.name}-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        _write_files(snapshot, partial)
        put_in_place(partial, final)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ResourceError(f"{final}: could not save ({error.strerror}); earlier checkpoints are kept") from error
    # Only older ones: a damaged checkpoint of more images must not push the new one out.
    older = [path for path in checkpoint_folders(folder) if int(path.name) <= int(final.name)]
    for old in older[KEEP:]:
        if keep_every is None or not _is_first_past_multiple(old, older, keep_every):
            shutil.rmtree(old, ignore_errors=True)
    return final


def _is_first_past_multiple(path: Path, newest_first: list[Path], every: int) -> bool:
    before = newest_first[newest_first.index(path) + 1 :]
    return int(path.name) // every > (int(before[0].name) // every if before else 0)


def _write_files(snapshot: Snapshot, folder: Path) -> None:
    contents = {
        "recipe.json": snapshot.recipe.canonical_json().encode(),
        "state.json": snapshot.progress.model_dump_json().encode(),
        **{name: _tensor_bytes(tensors) for name, tensors in zip(TENSOR_FILES, snapshot.groups, strict=True)},
    }
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "images_seen": snapshot.images,
        "recipe_id": snapshot.recipe.id,
        "data_fingerprint": snapshot.fingerprint,
        "machine": snapshot.machine,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    about[OWN_SUM] = sum_of_about(about)
    for name, content in [*contents.items(), ("about.json", json.dumps(about, indent=1).encode())]:
        write_synced(folder / name, content)
    _sync_folder(folder)


def sum_of_about(about: Mapping[str, Any]) -> str:
    """Return the sha256 of about.json's content but for the field that holds this very sum."""
    rest = {key: value for key, value in about.items() if key != OWN_SUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # a folder cannot be opened for syncing elsewhere
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(partial: Path, final: Path) -> None:
    """Rename a folder that was written aside; one of that name is moved out of the way first, and then removed."""
    if final.exists():
        replaced = final.with_name(f"{REPLACED}{final.name}-{os.getpid()}")
        final.rename(replaced)
        partial.rename(final)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        partial.rename(final)
    _sync_folder(final.parent)


def checkpoint_folders(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, newest (most images seen) first; not verified."""
    if not folder.is_dir():
        return []
    return sorted(
        (entry for entry in folder.iterdir() if entry.name.isdigit()), key=lambda p: int(p.name), reverse=True
    )


def clean_up(folder: Path) -> None:
    """Remove what a killed save left; a folder that was moved aside but not yet replaced is put back."""
    for left in list(folder.glob(f"{PARTIAL}*")):
        shutil.rmtree(left, ignore_errors=True)
    for left in list(folder.glob(f"{REPLACED}*")):
        original = folder / left.name.removeprefix(REPLACED).split("-")[0]
        if original.exists():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.rename(original)


def read_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest whole checkpoint in a folder and, for each newer one that was passed over, why.

    Returns:
        (None, []) where there is no checkpoint at all.

    Raises:
        CheckpointError: there are checkpoints and none is whole, each with its reason; or one is from a newer version.
    """
    reasons: list[str] = []
    for path in checkpoint_folders(folder):
        try:
            return read_checkpoint(path), reasons
        except NewerFormatError:
            raise
        except CheckpointError as error:
            reasons.append(str(error))
    if reasons:
        raise CheckpointError("no usable checkpoint is left:\n  " + "\n  ".join(reasons))
    return None, []


class NewerFormatError(CheckpointError):
    """A checkpoint that a later version wrote: whole, but not for this version to pass over."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Return a checkpoint after verifying the sha256 of each file.

    Raises:
        CheckpointError: it is no checkpoint, a file is missing or damaged (named), or it is from a newer version.
    """
    if not path.is_dir():
        kind = (
            "there is nothing there"
            if not path.exists()
            else "a file; a checkpoint is a folder, and gansmith never unpickles"
        )
        raise CheckpointError(f"{path}: not a checkpoint ({kind})")
    try:
        about = json.loads((path / "about.json").read_bytes())
        if about[OWN_SUM] != sum_of_about(about):
            raise ValueError("its sha256 is not the one recorded")
        newer = about["format"] > FORMAT
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: about.json is missing or damaged ({type(error).__name__})") from error
    if newer:
        raise NewerFormatError(
            f"{path}: written by gansmith {about.get('version')} in format {about['format']}; this is gansmith "
            f"{__version__}, which reads up to format {FORMAT}: upgrade gansmith"
        )
    sums = about.get("sha256")
    if not isinstance(sums, dict):
        raise CheckpointError(f"{path}: about.json has no sha256 of the other files")
    if not isinstance(about.get("machine"), dict):
        raise CheckpointError(f"{path}: about.json does not say which machine it was trained on")
    contents = {name: _verified(path / name, sums.get(name)) for name in FILES}
    try:
        recipe = Recipe.model_validate_json(contents["recipe.json"])
        tensors = {name: safetensors.torch.load(contents[name]) for name in TENSOR_FILES}
        progress = Progress.model_validate_json(contents["state.json"])
        return Checkpoint(path, recipe, progress, about, tensors)
    except ValidationError as error:
        file = "recipe.json" if error.title == Recipe.__name__ else "state.json"
        raise CheckpointError(f"{path / file}: cannot be read ({'; '.join(describe_validation(error))})") from error
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error


def _verified(path: Path, expected: str | None) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise CheckpointError(f"{path}: damaged ({len(content):,} bytes whose sha256 is not the one recorded)")
    return content
