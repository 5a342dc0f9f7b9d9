"""The state that a session begins with: fresh, or from the newest whole checkpoint; on every rank that of rank 0."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from gansmith import ranks, runtime
from gansmith.checkpoint import clean_up, read_newest
from gansmith.data import DataSet, StreamedSet
from gansmith.facts import Classes
from gansmith.layers.sync import synchronised
from gansmith.restore import restore, restore_optimizers
from gansmith.training.folder import RunConfig
from gansmith.training.log import Metrics
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.state import TrainState

CHECKPOINTS, METRICS = "checkpoints", "metrics.jsonl"
log = logging.getLogger("gansmith")


def open_state(
    config: RunConfig, data: DataSet | StreamedSet, device: torch.device, folder: Path, say: Callable[[str], None]
) -> tuple[TrainState, float]:
    """Return the state to go on from and the seconds of training until then; metrics of after it are dropped.

    Args:
        config: of the run.
        data: decoded, or streamed.
        device: where the state is to be.
        folder: of the run; only rank 0 looks into it.
        say: told where training goes on, and whether the machine is another one.

    Raises:
        CheckpointError: there are checkpoints and none is whole, or they do not fit the recipe.
        OSError: the folder cannot be written to.
    """
    state = OBJECTIVES[config.recipe.objective].initialise(config.recipe, config.seed, device)
    state.micro_batch = config.micro_batch
    if config.recipe.num_classes:
        state.classes = _classes_of(data)
    seconds = _go_back(state, folder, say) if ranks.current().is_first else 0.0
    if config.sync_batch:
        for module in state.modules.values():
            synchronised(module)
    share_state(state)
    return state, ranks.of_first(seconds)


def _classes_of(data: DataSet | StreamedSet) -> Classes | None:
    return Classes(data.class_names, data.class_counts) if data.class_names else None


def _go_back(state: TrainState, folder: Path, say: Callable[[str], None]) -> float:
    clean_up(folder / CHECKPOINTS)
    checkpoint, passed_over = read_newest(folder / CHECKPOINTS)
    for reason in passed_over:
        log.warning("%s; going on from an earlier checkpoint", reason)
    metrics = Metrics(folder / METRICS)
    if checkpoint is None:
        metrics.rewind(-1)
        return 0.0
    restore(state, checkpoint)
    metrics.rewind(state.counters["images"])
    say(f"{folder}: going on from {state.counters['images']:,} images")
    facts = runtime.machine_facts(state.device)
    for key, value in {"ranks": 1, **checkpoint.about["machine"]}.items():  # it was always 1 before it was written
        if facts.get(key) != value:
            say(f"  {key} was {value}, is {facts.get(key)}: the rest will not be bit for bit the same")
    return checkpoint.state.seconds


def share_state(state: TrainState) -> None:
    """Give every rank the weights, averages, optimisers and counters of rank 0.

    Args:
        state: of the same recipe and seed everywhere; on rank 0, where training goes on from.
    """
    if ranks.current().size == 1:
        return
    ranks.copy_from_first([*state.module_tensors().values(), *state.ema_tensors().values()])
    state.counters, state.classes = ranks.of_first((state.counters, state.classes))
    own = state.optimizer_tensors()
    shapes = ranks.of_first({name: (tensor.shape, tensor.dtype) for name, tensor in own.items()})
    found = {
        name: own[name].cpu() if ranks.current().is_first else torch.empty(shape, dtype=dtype)
        for name, (shape, dtype) in shapes.items()
    }
    ranks.copy_from_first(found.values())
    if not ranks.current().is_first:
        restore_optimizers(state, found, len(found), Path("rank 0"))
