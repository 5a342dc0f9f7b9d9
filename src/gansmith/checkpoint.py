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
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from gansmith import runtime
from gansmith.errors import CheckpointError, ResourceError
from gansmith.recipe import Recipe
from gansmith.training.state import TrainState
from gansmith.version import __version__

FORMAT = 1
"""Of the folder; a reader refuses a newer one by name."""
KEEP = 2
PARTIAL, REPLACED = ".writing-", ".replaced-"
TENSOR_FILES = ("modules.safetensors", "ema.safetensors", "optimizers.safetensors")
FILES = ("recipe.json", "state.json", *TENSOR_FILES)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read from disk and found whole.

    Attributes:
        path: its folder.
        recipe: the resolved method.
        state: `seed`, `counters`, `seconds` (of training).
        about: version, machine, data fingerprint.
        tensors: file name -> "name/key" -> tensor.
    """

    path: Path
    recipe: Recipe
    state: dict[str, Any]
    about: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def save_checkpoint(state: TrainState, folder: Path, seconds: float, fingerprint: str) -> Path:
    """Write the state to `folder`/<images seen>, keep the last two checkpoints there, and return the new one's path.

    Args:
        state: as it is between two steps.
        folder: `checkpoints` of a run.
        seconds: of training so far.
        fingerprint: of the data.

    Raises:
        ResourceError: the disk is full or not writable; nothing partial stays, earlier checkpoints are kept.
    """
    final = folder / f"{state.counters['images']:012d}"
    partial = folder / f"{PARTIAL}{final.name}-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        _write_files(state, partial, seconds, fingerprint)
        _put_in_place(partial, final)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ResourceError(f"{final}: could not save ({error.strerror}); earlier checkpoints are kept") from error
    for old in checkpoint_folders(folder)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _write_files(state: TrainState, folder: Path, seconds: float, fingerprint: str) -> None:
    progress = {"seed": state.seed, "counters": state.counters, "seconds": seconds}
    groups = (state.module_tensors(), state.ema_tensors(), state.optimizer_tensors())
    contents = {
        "recipe.json": state.recipe.canonical_json().encode(),
        "state.json": json.dumps(progress).encode(),
        **{name: _tensor_bytes(tensors) for name, tensors in zip(TENSOR_FILES, groups, strict=True)},
    }
    about = {
        "format": FORMAT,
        "version": __version__,
        "images_seen": state.counters["images"],
        "recipe_id": state.recipe.id,
        "data_fingerprint": fingerprint,
        "machine": runtime.machine_facts(state.device),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    for name, content in [*contents.items(), ("about.json", json.dumps(about, indent=1).encode())]:
        write_synced(folder / name, content)
    _sync_folder(folder)


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


def _put_in_place(partial: Path, final: Path) -> None:
    """Rename; a checkpoint of the same step (a damaged one, or the same one again) is moved out of the way first."""
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
    """Remove what a killed save left; a checkpoint that was moved aside but not yet replaced is put back."""
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
        written_by, newer = about["version"], about["format"] > FORMAT
        sums = about["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: about.json is missing or damaged ({type(error).__name__})") from error
    if newer:
        raise NewerFormatError(
            f"{path}: written by gansmith {written_by} in format {about['format']}; this is gansmith {__version__}, "
            f"which reads up to format {FORMAT}: upgrade gansmith"
        )
    contents = {name: _verified(path / name, sums.get(name)) for name in FILES}
    try:
        recipe = Recipe.model_validate_json(contents["recipe.json"])
        tensors = {name: safetensors.torch.load(contents[name]) for name in TENSOR_FILES}
        return Checkpoint(path, recipe, json.loads(contents["state.json"]), about, tensors)
    except (ValidationError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error


def _verified(path: Path, expected: str | None) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise CheckpointError(f"{path}: damaged ({len(content):,} bytes whose sha256 is not the one recorded)")
    return content


def restore(state: TrainState, checkpoint: Checkpoint) -> None:
    """Put a checkpoint into a freshly initialised state of the same recipe.

    Raises:
        CheckpointError: keys are missing or unexpected, or shapes differ; they are named.
    """
    modules, ema, optimizers = (checkpoint.tensors[name] for name in TENSOR_FILES)
    copy_tensors(state.module_tensors(), modules, checkpoint.path / "modules.safetensors")
    copy_tensors(state.ema_tensors(), ema, checkpoint.path / "ema.safetensors")
    for name, optimizer in state.optimizers.items():
        own = {key.removeprefix(f"{name}/"): value for key, value in optimizers.items() if key.startswith(f"{name}/")}
        _restore_optimizer(optimizer, own, checkpoint.path / "optimizers.safetensors")
    state.counters = dict(checkpoint.state["counters"])


@torch.no_grad()
def copy_tensors(into: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors by name into existing ones.

    Raises:
        CheckpointError: the names or shapes are not the same; up to five of them are named, with `path`.
    """
    problems = [f"{name} is missing" for name in into.keys() - found.keys()]
    problems += [f"{name} is not expected" for name in found.keys() - into.keys()]
    problems += [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(into[name].shape)}"
        for name in into.keys() & found.keys()
        if into[name].shape != found[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(f"{path}: does not fit the recipe: {'; '.join(sorted(problems)[:5])}{more}")
    for name, tensor in into.items():
        tensor.copy_(found[name])


def _restore_optimizer(optimizer: torch.optim.Optimizer, found: Mapping[str, Tensor], path: Path) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in found.items():
        index, entry = key.split("/", 1)
        parameter = parameters[int(index)] if int(index) < len(parameters) else None
        if parameter is None or (value.ndim and value.shape != parameter.shape):
            raise CheckpointError(f"{path}: {key} of shape {tuple(value.shape)} does not fit the recipe's optimiser")
        # The memory layout of the parameter (channels last), or every later step would be slower.
        entries.setdefault(int(index), {})[entry] = torch.empty_like(parameter).copy_(value) if value.ndim else value
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
