"""Steps that are recorded once and then replayed: on a GPU, hundreds of kernels for one launch.

A recording repeats device work alone; no Python runs. So whatever differs from step to step must reach the work through
tensors that are overwritten (batches, latents, learning rates) or generators that are seeded anew, and a step that does
other work (another lazy penalty is due) has a recording of its own. What records is a `Recorder`: `cuda_graph.py`,
or a stand-in in tests. The average and the counters stay outside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from gansmith import ranks
from gansmith.data import Batch
from gansmith.recipe import SGD, Recipe
from gansmith.training.descent import parameters_of
from gansmith.training.draws import Draws, seed_dropout
from gansmith.training.measures import is_measured
from gansmith.training.objective import Objective
from gansmith.training.scoring import is_due
from gansmith.training.state import TrainState
from gansmith.training.step import whole_step

Work = Callable[[], dict[str, Tensor]]
Pattern = tuple[tuple[str, ...], ...]
WARM_UP_STEPS = 3
"""Steps of a pattern that are taken kernel by kernel before one is recorded: libraries and optimisers set themselves up
in the first.
"""
log = logging.getLogger("gansmith")


class Recordable(Objective, Protocol):
    """An objective that tells what a step draws from what it does on the device."""

    def draws(self, state: TrainState) -> list[Draws]:
        """Return what each phase of a step draws."""
        ...

    def update(self, state: TrainState, batches: dict[str, Batch], draws: list[Draws]) -> dict[str, Tensor]:
        """Change the networks. Reads the state's counters, recipe and `micro_batch`, and changes none of them."""
        ...


class Recorder(Protocol):
    """How work is recorded."""

    def warm_up(self, work: Work) -> dict[str, Tensor]:
        """Do the work as it will be done while it is recorded, and return what it does."""
        ...

    def record(self, state: TrainState, work: Work, generators: Sequence[torch.Generator]) -> Work:
        """Record the work, without doing it, and return what does it again; its results are the caller's to keep.

        Args:
            state: whose optimisers take part.
            work: writes only tensors that exist before, and returns 0-d tensors.
            generators: that it draws from, beside torch's global one.

        Raises:
            RuntimeError: the work cannot be recorded; nothing of it was done.
        """
        ...


def for_device(objective: Recordable, recipe: Recipe, device: torch.device, say: Callable[[str], None]) -> Objective:
    """Return the objective whose steps are replayed on a GPU; elsewhere, or where they cannot be, itself.

    Args:
        objective: of the recipe.
        recipe: to be trained.
        device: where to.
        say: told why steps on a GPU are not replayed.
    """
    if device.type != "cuda":
        return objective
    if (reason := why_not_recorded(recipe)) is not None:
        say(f"steps are launched kernel by kernel, not as a CUDA graph: {reason}")
        return objective
    from gansmith.training.cuda_graph import CudaGraphs

    return RecordedSteps(objective, CudaGraphs(device))


def why_not_recorded(recipe: Recipe) -> str | None:
    """Return why steps of a recipe cannot be recorded, or None."""
    if ranks.current().size > 1:
        return f"{ranks.current().size} ranks sum their gradients in the midst of a step"
    if (burn_in := recipe.burn_in) is not None and (
        burn_in.beta2 is not None or (burn_in.penalty_factor != 1.0 and recipe.penalties)
    ):
        return "beta2 and the weights of penalties, which burn_in schedules, are numbers of the host"
    with_sgd = [name for name in recipe.networks if isinstance(recipe.optimizer_of(name), SGD)]
    if with_sgd and has_scheduled_rates(recipe):
        return f"torch's SGD reads a scheduled learning rate on the host ({', '.join(with_sgd)})"
    if recipe.top_k is not None:
        return "how many fakes count in the generator's loss (top_k) changes as training goes on"
    return None


def has_scheduled_rates(recipe: Recipe) -> bool:
    """Return whether learning rates change from step to step."""
    burns_in = recipe.burn_in is not None and recipe.burn_in.learning_rate_factor != 1.0
    return recipe.learning_rate_schedule is not None or burns_in


class RecordedSteps:
    """An objective like the one given, whose `update` is recorded and replayed.

    The first steps of each pattern, and any whose batches have other shapes than the first, are taken without. Where
    recording fails, that is said once, and all further steps are.

    Args:
        objective: whose steps to take.
        recorder: records.
    """

    def __init__(self, objective: Recordable, recorder: Recorder) -> None:
        self._objective, self._recorder = objective, recorder
        self.initialise, self.batches = objective.initialise, objective.batches
        self.settle, self.preview, self.generator = objective.settle, objective.preview, objective.generator
        self._bound: tuple[object, ...] = ()
        self._inputs: Inputs | None = None
        self._warmed: dict[Pattern, int] = {}
        self._recordings: dict[Pattern, Work] = {}
        self._has_failed = False

    def step(self, state: TrainState, batches: dict[str, Batch]) -> dict[str, Tensor]:
        """Take one step, as the objective would."""
        num_images = self._objective.batches(state.recipe)["real_d"]
        return whole_step(state, num_images, lambda: self._update(state, batches, self._objective.draws(state)))

    def _update(self, state: TrainState, batches: dict[str, Batch], draws: list[Draws]) -> dict[str, Tensor]:
        if self._has_failed:
            return self._objective.update(state, batches, draws)
        inputs = self._inputs_for(state, batches, draws)
        if not inputs.fit(batches, draws):
            return self._objective.update(state, batches, draws)
        inputs.fill(batches, draws)
        pattern = pattern_of(state)
        if pattern in self._recordings:
            return self._recordings[pattern]()
        if self._warmed.get(pattern, 0) < WARM_UP_STEPS:
            self._warmed[pattern] = self._warmed.get(pattern, 0) + 1
            return self._recorder.warm_up(lambda: self._objective.update(state, inputs.batches, inputs.draws))
        try:
            self._recordings[pattern] = self._recorder.record(
                state, lambda: self._objective.update(state, inputs.batches, inputs.draws), inputs.generators
            )
        except RuntimeError as error:
            self._give_up(state, error)
            return self._objective.update(state, batches, draws)
        return self._recordings[pattern]()

    def _inputs_for(self, state: TrainState, batches: dict[str, Batch], draws: list[Draws]) -> Inputs:
        """Return the tensors that recordings of this state read; begin anew where its own were exchanged."""
        bound = (state, *(optimizer.state for optimizer in state.optimizers.values()))  # another one once loaded
        is_bound = len(bound) == len(self._bound) and all(a is b for a, b in zip(bound, self._bound, strict=True))
        if self._inputs is None or not is_bound:
            put_rates_on_device(state)
            self._bound, self._inputs = bound, Inputs(state.device, batches, draws)
            self._warmed, self._recordings = {}, {}
        return self._inputs

    def _give_up(self, state: TrainState, error: RuntimeError) -> None:
        self._has_failed, self._inputs, self._bound, self._recordings = True, None, (), {}
        seed_dropout(state)  # the recording has drawn from it
        for optimizer in state.optimizers.values():
            for parameter in parameters_of(optimizer):
                parameter.grad = None  # written to by nothing
        log.warning(
            "a training step could not be recorded as a CUDA graph (%s); it is launched kernel by kernel, slower on "
            "small networks; please report it",
            str(first_cause(error)).partition("\n")[0] or type(error).__name__,
        )


def first_cause(error: BaseException) -> BaseException:
    """Return what went wrong first: ending a failed recording raises once more."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error


def pattern_of(state: TrainState) -> Pattern:
    """Return what decides what the work of the next step is: which penalties are due in each of its discriminator
    steps, and, last, what else is measured.
    """
    recipe = state.recipe
    taken = state.counters["steps"] * recipe.discriminator_steps
    penalties = (
        tuple(name for name, settings in recipe.penalties.items() if is_due(settings, taken + index))
        for index in range(recipe.discriminator_steps)
    )
    return (*penalties, ("measures",) if recipe.objective == "adversarial" and is_measured(state) else ())


def put_rates_on_device(state: TrainState) -> None:
    """Turn scheduled learning rates into tensors, which `set_rates` overwrites and recordings read."""
    if has_scheduled_rates(state.recipe):
        for optimizer in state.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=state.device)


class Inputs:
    """What changes from step to step, in tensors and generators that stay the same ones.

    Args:
        device: where they are.
        batches: of a step, for their shapes.
        draws: of a step, for theirs.

    Attributes:
        batches: like those given, with the values of the last `fill`.
        draws: likewise; what two phases share is shared here too.
        generators: of `draws`, each once.
    """

    def __init__(self, device: torch.device, batches: dict[str, Batch], draws: list[Draws]) -> None:
        self.batches = {name: Batch(*map(_copy, _values_of(batch))) for name, batch in batches.items()}  # type: ignore[arg-type]
        copies = {id(each): replace(each, latents=each.latents.clone(), rng=torch.Generator(device)) for each in draws}
        self.draws = [copies[id(each)] for each in draws]
        self.generators = [each.rng for each in copies.values()]

    def fit(self, batches: dict[str, Batch], draws: list[Draws]) -> bool:
        """Return whether these have the shapes of those given first."""
        return _shapes_of(batches, draws) == _shapes_of(self.batches, self.draws)

    def fill(self, batches: dict[str, Batch], draws: list[Draws]) -> None:
        """Take over the values of these; no generator given is drawn from."""
        self.fill_batches(batches)
        self.fill_latents(draws)
        self.seed(draws)

    def fill_batches(self, batches: dict[str, Batch]) -> None:
        """Overwrite images, labels and conditions."""
        for name, batch in batches.items():
            for own, new in zip(_values_of(self.batches[name]), _values_of(batch), strict=True):
                if own is not None and new is not None:
                    own.copy_(new)

    def fill_latents(self, draws: list[Draws]) -> None:
        """Overwrite the latents."""
        for own, new in zip(self.draws, draws, strict=True):
            own.latents.copy_(new.latents)

    def seed(self, draws: list[Draws]) -> None:
        """Put each generator where that of the phase stands. A state lies on the host, a GPU's too."""
        for own, new in zip(self.draws, draws, strict=True):
            own.rng.set_state(new.rng.get_state())


def _values_of(batch: Batch) -> tuple[Tensor | None, ...]:
    return batch.images, batch.labels, batch.condition


def _copy(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.clone()


def _shapes_of(batches: dict[str, Batch], draws: list[Draws]) -> tuple[object, ...]:
    shapes = {
        name: [None if value is None else value.shape for value in _values_of(batch)] for name, batch in batches.items()
    }
    return shapes, [each.latents.shape for each in draws]
