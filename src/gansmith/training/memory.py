"""Whether a batch fits into memory: estimated before training by watching what a small step keeps for its gradients.

Where it does not fit, the batch is computed in parts (`TrainState.micro_batch`), unless the recipe needs it whole.
"""

from __future__ import annotations

import traceback
import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from gansmith import ranks, runtime
from gansmith.build import build_networks, num_parameters
from gansmith.errors import ResourceError
from gansmith.layers.piecewise import PiecewiseLinear
from gansmith.recipe import Recipe
from gansmith.training.estimate import SMALL_BATCHES, random_batches, with_batch
from gansmith.training.objective import Objective

OVERHEAD = 1.6
"""Memory that a step takes / what it keeps for its gradients: temporary results, fragmentation, workspaces."""
SLACK = 150 * 2**20
USABLE_SHARE = 0.9
BYTES = 4


class SavedTensors:
    """While entered, counts the bytes that autograd keeps alive.

    Attributes:
        peak: the most at once.
    """

    def __init__(self) -> None:
        self.peak = self._now = 0
        self._uses: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda kept: kept.tensor)

    def __enter__(self) -> SavedTensors:
        """Begin to count."""
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop counting."""
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> _Kept:
        kept = _Kept(tensor.detach())  # an output that kept its own graph would never go away
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        self._uses[key] = self._uses.get(key, 0) + 1
        if self._uses[key] == 1:
            self._now += size
            self.peak = max(self.peak, self._now)
        weakref.finalize(kept, self._forget, key, size)
        return kept

    def _forget(self, key: int, size: int) -> None:
        self._uses[key] -= 1
        if self._uses[key] == 0:
            self._now -= size


class _Kept:
    """A saved tensor that can be watched going away."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


REPEATED = 2.6
"""What a pass that is repeated (`shared_pass.py`) holds / what autograd keeps of it: signs, slopes and outputs are kept
outside (measured of `r3gan-small`: 2.0 in a simultaneous update, 2.6 in an alternating one).
"""


@dataclass(frozen=True)
class StepBytes:
    """What a step takes, in bytes.

    Attributes:
        fixed: whatever the batch: weights, their gradients and averages, the optimisers.
        held: for each image of the batch, also where it is computed in parts: the images and latents themselves.
        kept: for each image that is computed at once: what its gradients need.
    """

    fixed: float
    held: float
    kept: float


def step_bytes(recipe: Recipe, objective: Objective) -> StepBytes:
    """Return what training takes.

    Args:
        recipe: whose batch size does not matter.
        objective: of the recipe.
    """
    cpu, peaks = torch.device("cpu"), []
    state = objective.initialise(recipe, 0, cpu)
    for batch in SMALL_BATCHES:
        small = with_batch(recipe, batch).replace(discriminator_steps=1)
        state.recipe, state.counters["steps"] = small, 0  # the first step is every lazy penalty's turn
        batches = random_batches(objective, small, cpu)
        with ranks.alone(), SavedTensors() as saved:
            objective.step(state, batches)
        peaks.append(saved.peak)
    per_image = (peaks[1] - peaks[0]) / (SMALL_BATCHES[1] - SMALL_BATCHES[0])
    if recipe.penalties_share_pass and isinstance(state.modules.get("discriminator"), PiecewiseLinear):
        per_image *= REPEATED
    trained = sum(num_parameters(module) for module in state.modules.values())
    averaged = sum(num_parameters(module) for module in state.ema.values())
    optimizer_values = sum(tensor.numel() for tensor in state.optimizer_tensors().values())
    whatever_the_batch = max(0.0, peaks[0] - SMALL_BATCHES[0] * per_image)  # such as transformed kernels
    fixed = BYTES * (2 * trained + averaged + optimizer_values) + OVERHEAD * whatever_the_batch + SLACK
    items = sum(batch.images.numel() for batch in batches.values()) / SMALL_BATCHES[1]
    # Twice: images while they become floats, the latents of both players.
    return StepBytes(fixed, 2 * BYTES * (items + recipe.generator.latent_dim), OVERHEAD * per_image)


def network_bytes(recipe: Recipe) -> int:
    """Return the bytes that weights and gradients alone take; found without taking them."""
    discriminator = recipe.discriminator and recipe.discriminator.model_copy(update={"normalisation": None})
    bare = recipe.model_copy(update={"discriminator": discriminator})  # spectral norm would be computed, for next to 0
    return 2 * BYTES * sum(num_parameters(network) for network in build_networks(bare, device="meta").values())


def choose_micro_batch(recipe: Recipe, objective: Objective, device: torch.device, num_ranks: int = 1) -> int | None:
    """Return how many images to compute at once, or None where the whole batch (of a rank, its share) fits into memory.

    Args:
        recipe: whose batch it is.
        objective: of the recipe.
        device: whose memory counts.
        num_ranks: that share the batch, and on a CPU the memory too.

    Raises:
        ResourceError: it does not fit and cannot be computed in parts, or not even one image fits; with what does.
    """
    free = runtime.available_memory(device) * USABLE_SHARE / (num_ranks if device.type == "cpu" else 1)
    if (networks := network_bytes(recipe)) > free:
        raise ResourceError(
            f"the networks take at least {_gigabytes(networks)}, {_gigabytes(free)} are free; take narrower ones "
            f"({', '.join(f'--set {name}.width=...' for name in recipe.networks)}) or a smaller --size"
        )
    step, batch = step_bytes(recipe, objective), recipe.batch_size // num_ranks
    whole = step.fixed + (step.held + step.kept) * batch
    if whole <= free:
        return None
    share = f"a share of {batch} (of {num_ranks} ranks)" if num_ranks > 1 else f"a batch of {batch}"
    needed = f"{share} needs about {_gigabytes(whole)}, {_gigabytes(free)} are free"
    fits = int((free - step.fixed) / (step.held + step.kept))
    if fits < 1:
        raise ResourceError(f"{needed}, too little for one image; take a smaller --size or a narrower network")
    smaller = _power_of_two(fits) * num_ranks
    if mixes := recipe.needs_whole_batch:
        raise ResourceError(f"{needed}; {mixes} needs the batch whole: --set batch_size={smaller} fits")
    at_once = int((free - step.fixed - step.held * batch) / step.kept)
    if at_once < 1:
        raise ResourceError(f"{needed}, too little even in parts: --set batch_size={smaller} fits")
    return _power_of_two(at_once)


def _power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1)


def _gigabytes(size: float) -> str:
    return f"{max(size, 0) / 1e9:,.1f} GB"


def next_micro_batch(
    recipe: Recipe, micro_batch: int | None, objective: Objective, device: torch.device, num_ranks: int = 1
) -> int:
    """Return how many images to compute at once after memory ran out: half as many.

    Args:
        recipe: whose batch it was.
        micro_batch: images computed at once; None: the whole batch.
        objective: of the recipe; steps are tried to find a batch that fits, where it must be whole.
        device: whose memory ran out; what the failed step took there is to be free again.
        num_ranks: that share the batch. One alone cannot go back and try again.

    Raises:
        ResourceError: fewer will not help, or cannot be; with what to do.
    """
    at_once = micro_batch or recipe.batch_size // num_ranks
    half, mixes = at_once // 2, recipe.needs_whole_batch
    if half >= 1 and not mixes and num_ranks == 1:
        return half
    fits = next((size for size in _halves(at_once) if _fits(with_batch(recipe, size), objective, device)), None)
    if fits is None:
        raise ResourceError(f"out of memory with a batch of {at_once}, and of 1; take a smaller --size")
    why = f"{mixes} needs it whole" if mixes else f"each of {num_ranks} ranks computes it at once"
    raise ResourceError(
        f"out of memory with a batch of {at_once}; {why}: --set batch_size={fits * num_ranks} fits, with another "
        "--out; or a smaller --size"
    )


def _halves(number: int) -> list[int]:
    """Return number / 2, / 4, ..., 1."""
    return [number >> shift for shift in range(1, number.bit_length())]


def _fits(recipe: Recipe, objective: Objective, device: torch.device) -> bool:
    """Return whether steps can be taken: two, because optimisers take their memory in the first."""
    try:
        with ranks.alone(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            state = objective.initialise(recipe, 0, device)
            for _ in range(2):
                state.counters["steps"] = 0  # every lazy penalty's turn
                objective.step(state, random_batches(objective, recipe, device))
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        free_what_failed(error, device)
        return False
    return True


def free_what_failed(error: BaseException, device: torch.device) -> None:
    """Let go of what the failed work held: an error keeps the variables of all functions that it came through."""
    traceback.clear_frames(error.__traceback__)
    if device.type == "cuda":
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether torch could not get memory, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
