"""A trained generator with its recipe, from a run, a checkpoint or a saved model folder; and saving one.

A saved model folder holds `model.safetensors` and `config.json`: enough to sample, nothing of training.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from gansmith import runtime, sampling
from gansmith.build import build_generator
from gansmith.checkpoint import Checkpoint, read_checkpoint, read_newest, write_synced
from gansmith.ema import settle_generator
from gansmith.errors import CheckpointError, UsageError, near_matches
from gansmith.facts import Classes
from gansmith.overrides import describe_validation
from gansmith.recipe import Recipe
from gansmith.restore import check_tensors, copy_tensors
from gansmith.settings import Precision
from gansmith.version import __version__

FORMAT = 2
GENERATOR = "generator"
MOST_CLASSES_SHOWN = 20
log = logging.getLogger("gansmith")


@dataclass(frozen=True)
class Model:
    """A generator and what it was trained by.

    Attributes:
        generator: (latents, labels) -> samples, in eval mode.
        recipe: the method.
        images_seen: real images its training had seen.
        classes: what a conditional generator can be asked for, else None.
    """

    generator: nn.Module
    recipe: Recipe
    images_seen: int
    classes: Classes | None = None

    @property
    def precision(self) -> Precision:
        """What its samples are computed in: see `sampling.precision_of`."""
        return sampling.precision_of(self.recipe, self.generator)

    def labels_of(self, chosen: Sequence[str | int] | None, count: int, seed: int) -> Tensor | None:
        """Return the labels of `count` samples (count,) int64, or None where the generator takes none.

        Args:
            chosen: names or numbers of classes, taken in turn; None draws by how often each occurs in the data.
            count: of samples.
            seed: of the draw.

        Raises:
            UsageError: there is no such class, or the generator is not conditional.
        """
        if self.classes is None:
            if chosen is not None:
                raise UsageError("this generator knows no classes; train with --conditional to choose them")
            return None
        if chosen is None:
            return sampling.labels_of(seed, count, self.classes)
        if not chosen:
            raise UsageError("classes is empty; name one class or more, or leave it out to draw them")
        numbers = torch.tensor([_class_number(choice, self.classes.names) for choice in chosen])
        return numbers[torch.arange(count) % len(numbers)]


def _class_number(choice: str | int, names: tuple[str, ...]) -> int:
    if choice in names:
        return names.index(str(choice))
    text = str(choice)
    are_numbers = all(name.isdigit() for name in names)  # then a number is a name, and no place in the list
    if not are_numbers and text.isascii() and text.isdigit() and int(text) < len(names):
        return int(text)
    shown = ", ".join(names[:MOST_CLASSES_SHOWN]) + (", ..." if len(names) > MOST_CLASSES_SHOWN else "")
    raise UsageError(f"class {text!r}: there is no such class{near_matches(text, names)}; there are {shown}")


def sample(
    model: Model | str | os.PathLike[str], count: int = 64, seed: int = 0, *,
    classes: Sequence[str | int] | None = None, truncation: float | None = None, among_ranks: bool = False,
) -> Tensor:  # fmt: skip
    """Return (count, C, H, W) float32 samples in [-1, 1] on the CPU; sample i is a function of (seed, i).

    Args:
        model: loaded, or the path of a run, checkpoint or saved model.
        count: at least 1.
        seed: 0 or more.
        classes: names or numbers of classes, taken in turn, for a conditional model; by default, classes are drawn as
            often as they occur in the training data.
        truncation: keep latents within so many standard deviations: less variety, more typical samples.
        among_ranks: all the processes that torchrun started call this alike; each draws a part, and has all in the end.

    Raises:
        CheckpointError: there is no usable model at the path.
        UsageError: count, seed or truncation is out of range, or there is no such class.
    """
    if count < 1 or not 0 <= seed < 2**63:
        raise UsageError(f"count={count}, seed={seed}: count must be at least 1, seed from 0 to 2^63 - 1")
    if truncation is not None and not truncation > 0:
        raise UsageError(f"truncation={truncation}: must be above 0")
    loaded = _loaded(model)
    labels = loaded.labels_of(classes, count, seed)
    return sampling.sample(
        loaded.generator, count, seed, labels, truncation, precision=loaded.precision, among_ranks=among_ranks
    )


def interpolate(
    model: Model | str | os.PathLike[str], count: int = 16, num_frames: int = 96, num_stops: int = 4, seed: int = 0,
    classes: Sequence[str | int] | None = None,
) -> list[Tensor]:  # fmt: skip
    """Return the frames of a looping walk between latents; a walk keeps its class. See `sampling.interpolate` and
    `sample` for the arguments.

    Raises:
        CheckpointError: there is no usable model at the path.
        UsageError: there is no such class.
    """
    loaded = _loaded(model)
    labels = loaded.labels_of(classes, count, seed)
    return sampling.interpolate(
        loaded.generator, count, num_frames, num_stops, seed, labels, precision=loaded.precision
    )


def _loaded(model: Model | str | os.PathLike[str]) -> Model:
    return model if isinstance(model, Model) else load(model)


def load(path: str | os.PathLike[str], raw: bool = False, device: str = "cpu") -> Model:
    """Return the model in a run folder (its newest whole checkpoint), a checkpoint, or a saved model folder.

    Args:
        path: of any of the three.
        raw: the weights as trained instead of their average; not in a saved model folder.
        device: "cpu", "cuda", "auto".

    Raises:
        CheckpointError: there is none of them, or it is damaged or does not fit its recipe.
    """
    path = Path(path)
    if (path / "config.json").exists():
        if raw:
            raise CheckpointError(
                f"{path}: a saved model holds the averaged weights only; --raw needs a run or checkpoint"
            )
        return _load_saved(path, device)
    return _from_checkpoint(find_checkpoint(path), raw, device)


def find_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint at `path`, or the newest whole one of the run there; damaged ones are logged by name.

    Raises:
        CheckpointError: there is none.
    """
    if (path / "config.yaml").exists() or (path / "checkpoints").is_dir():
        checkpoint, passed_over = read_newest(path / "checkpoints")
        for reason in passed_over:
            log.warning("%s; using an earlier one", reason)
        if checkpoint is None:
            raise CheckpointError(f"{path}: this run has no checkpoint yet")
        return checkpoint
    if path.name == "checkpoints" and path.is_dir():
        return find_checkpoint(path.parent)
    if not path.exists():
        raise CheckpointError(f"{path}: no such run folder, checkpoint or saved model")
    if path.is_dir() and not (path / "about.json").exists() and not path.name.isdigit():
        runs = [entry.name for entry in sorted(path.iterdir()) if (entry / "config.yaml").exists()]
        hint = f"; runs in it: {', '.join(runs)}" if runs else ""
        raise CheckpointError(f"{path}: neither a run folder nor a checkpoint nor a saved model{hint}")
    return read_checkpoint(path)


def _from_checkpoint(checkpoint: Checkpoint, raw: bool, device: str) -> Model:
    file = "modules.safetensors" if raw else "ema.safetensors"
    prefix = f"{GENERATOR}/"
    found = {k.removeprefix(prefix): v for k, v in checkpoint.tensors[file].items() if k.startswith(prefix)}
    recipe = checkpoint.recipe
    generator = _filled(recipe, found, checkpoint.path / file, device)
    if not raw and not checkpoint.state.is_settled:
        settle_generator(generator, checkpoint.state.seed, recipe.precision, checkpoint.state.classes)
    return Model(generator, checkpoint.recipe, int(checkpoint.about["images_seen"]), checkpoint.state.classes)


def _filled(recipe: Recipe, found: dict[str, Tensor], path: Path, device: str) -> nn.Module:
    # Shapes first: a forged recipe could ask for more memory than there is.
    check_tensors(build_generator(recipe, device="meta").state_dict(), found, path)
    generator = build_generator(recipe)
    copy_tensors(generator.state_dict(), found, path)
    return generator.to(runtime.choose_device(device)).requires_grad_(False).eval()


def save_pretrained(model: Model, path: str | os.PathLike[str]) -> Path:
    """Write `model.safetensors` and `config.json` into a folder, made if need be; return its path.

    Raises:
        UsageError: the folder is that of a run.
    """
    path = Path(path)
    if (path / "config.yaml").exists():
        raise UsageError(f"{path}: is a run folder; save the model into one of its own")
    path.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in model.generator.state_dict().items()}
    content = safetensors.torch.save(tensors)
    config = {
        "format": FORMAT,
        "version": __version__,
        "images_seen": model.images_seen,
        "sha256": hashlib.sha256(content).hexdigest(),
        "classes": None if model.classes is None else asdict(model.classes),
        "recipe": model.recipe.model_dump(mode="json"),
    }
    write_synced(path / "model.safetensors", content)
    write_synced(path / "config.json", json.dumps(config, indent=1).encode())
    return path


def _load_saved(path: Path, device: str) -> Model:
    try:
        config = json.loads((path / "config.json").read_bytes())
        if config.get("kind") == "classifier":
            raise CheckpointError(f"{path}: holds a classifier, which makes no images; give a run or a saved generator")
        content = (path / "model.safetensors").read_bytes()
        if config["format"] > FORMAT:
            raise CheckpointError(f"{path}: written by gansmith {config['version']}; upgrade gansmith to read it")
        if hashlib.sha256(content).hexdigest() != config["sha256"]:
            raise CheckpointError(f"{path / 'model.safetensors'}: damaged (its sha256 is not the one recorded)")
        recipe = Recipe.model_validate(config["recipe"])
        tensors = safetensors.torch.load(content)
        images_seen = int(config["images_seen"])
        classes = _classes_in(config, recipe)
    except ValidationError as error:
        raise CheckpointError(
            f"{path}: not a readable saved model (its recipe: {'; '.join(describe_validation(error))})"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable saved model ({error})") from error
    return Model(_filled(recipe, tensors, path / "model.safetensors", device), recipe, images_seen, classes)


def _classes_in(config: dict[str, Any], recipe: Recipe) -> Classes | None:
    found = config.get("classes")
    if any(len(found[key]) != recipe.num_classes for key in ("names", "counts")) if found else recipe.num_classes:
        raise ValueError(f"its classes are not the {recipe.num_classes} of its recipe")
    return None if found is None else Classes(tuple(map(str, found["names"])), tuple(map(int, found["counts"])))
