"""What two ranks and one process train alike, in float64: recipes, the training, and mistakes that must show."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from gansmith import ranks, recipes
from gansmith.build import build_generator
from gansmith.data import Batch, Order
from gansmith.evaluation.evaluator import measure
from gansmith.evaluation.features import features_among_ranks
from gansmith.evaluation.opening import Asked, open_context, plan_of
from gansmith.facts import Classes
from gansmith.launch import leave_at_once
from gansmith.layers.sync import synchronised
from gansmith.models import Model, sample, save_pretrained
from gansmith.recipe import SGD, Adam, DCGANDiscriminator, MLPGenerator, Recipe, ResNetDiscriminator
from gansmith.settings import AdaptiveProbability, Augmentation, PenaltySettings, Regularisation
from gansmith.training import step
from gansmith.training.adversarial import Adversarial
from gansmith.training.draws import Draws
from gansmith.training.log import Display
from gansmith.training.loop import Batches
from gansmith.training.state import TrainState

STEPS, NUM_RANKS, NUM_SAMPLES = 3, 2, 1100


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        recipe: shrunk.
        is_synchronised: batch norm is over the ranks.
        micro_batch: of each rank; one process takes its batch whole.
    """

    recipe: Recipe
    is_synchronised: bool = False
    micro_batch: int | None = None


def _recipe(base: Recipe, **changes: object) -> Recipe:
    return base.replace(**changes).shrunk()


def _conditional(base: Callable[..., Recipe], **changes: object) -> Recipe:
    return _recipe(base(num_classes=3), **changes)


def _penalty(name: str, weight: float = 10.0, every: int = 1) -> dict[str, PenaltySettings]:
    return {name: PenaltySettings(weight=weight, every=every)}


OFTEN = Augmentation(probability=0.5)
ADAPTIVE = Augmentation(probability=0.5, adaptive=AdaptiveProbability(target=0.0, images_to_certainty=100))
DENSE = MLPGenerator()  # no batch norm
LEVEL = Adam(beta1=0.0, beta2=0.9, epsilon=1e-3)
"""Biases before batch norm have gradients of 0 but for rounding, and Adam divides them by their own size."""
RESIDUAL = ResNetDiscriminator(width=512)
SPECTRAL = DCGANDiscriminator(width=32, kernel=5, normalisation="spectral")
WITHOUT_DROPOUT = DCGANDiscriminator(width=64, kernel=5)
CASES = {
    "mlp": Case(_recipe(recipes.mlp())),
    "mlp gradient penalty": Case(_recipe(recipes.mlp(), loss="wasserstein", penalties=_penalty("gradient_penalty"))),
    "mlp relativistic r1": Case(_recipe(recipes.mlp(), loss="relativistic", penalties=_penalty("r1", 1.0, every=2))),
    "mlp simultaneous relativistic r2": Case(
        _recipe(recipes.mlp(), loss="relativistic", update="simultaneous", penalties=_penalty("r2", 1.0))
    ),
    "mlp conditional n_dis 2 simultaneous": Case(
        _conditional(recipes.mlp, loss="hinge", discriminator_steps=2, update="simultaneous")
    ),
    "mlp conditional, a larger batch of G": Case(_conditional(recipes.mlp, generator_batch_size=384)),
    "mlp conditional, a smaller batch of G": Case(_conditional(recipes.mlp, generator_batch_size=64)),
    "mlp weights' own loss and clipping, sgd": Case(
        _recipe(
            recipes.mlp(),
            regularisation=Regularisation(l1=1e-4, l2=1e-3, weight_clipping=0.1),
            generator_optimizer=SGD(learning_rate=0.05),
            discriminator_optimizer=SGD(learning_rate=0.05),
        )
    ),
    "mlp augmented, conditional, a smaller batch of G": Case(
        _conditional(recipes.mlp, augmentation=OFTEN, generator_batch_size=64, discriminator_steps=2)
    ),
    "mlp augmented, conditional, a batch of G of two of D": Case(
        _conditional(recipes.mlp, augmentation=OFTEN, generator_batch_size=256, discriminator_steps=2)
    ),
    "mlp adaptively augmented, relativistic r1 in parts": Case(
        _recipe(recipes.mlp(), loss="relativistic", penalties=_penalty("r1", 1.0), augmentation=ADAPTIVE), micro_batch=3
    ),
    "mlp augmented simultaneous r2": Case(
        _recipe(recipes.mlp(), update="simultaneous", penalties=_penalty("r2", 1.0), augmentation=OFTEN)
    ),
    "mlp lecam, in parts": Case(
        _recipe(recipes.mlp(), loss="hinge", regularisation=Regularisation(lecam=0.3)), micro_batch=3
    ),
    "mlp simultaneous lecam, consistency": Case(
        _recipe(
            recipes.mlp(),
            update="simultaneous",
            regularisation=Regularisation(lecam=0.3),
            penalties=_penalty("balanced_consistency"),
        )
    ),
    "mlp in parts": Case(_recipe(recipes.mlp(), loss="least_squares"), micro_batch=3),
    "dcgan D spectral, r1": Case(
        _recipe(recipes.dcgan_small(), generator=DENSE, discriminator=SPECTRAL, penalties=_penalty("r1"))
    ),
    "resnet D, n_dis 2, hinge": Case(
        _conditional(recipes.resnet, generator=DENSE, discriminator=RESIDUAL, discriminator_steps=2)
    ),
    "dcgan-28, synchronised": Case(_recipe(recipes.dcgan_28(), discriminator=WITHOUT_DROPOUT), True),
    "dcgan-32, synchronised": Case(_recipe(recipes.dcgan_32()), True),
    "dcgan-32 simultaneous, synchronised": Case(_recipe(recipes.dcgan_32(), update="simultaneous"), True),
    "dcgan-32 relativistic, synchronised": Case(_recipe(recipes.dcgan_32(), loss="relativistic"), True),
    "dcgan-small conditional simultaneous, synchronised": Case(
        _conditional(recipes.dcgan_small, update="simultaneous"), True
    ),
    "dense-conv, synchronised": Case(_recipe(recipes.dense_conv(), loss="relativistic"), True),
    "resnet conditional, n_dis 2, synchronised": Case(
        _conditional(recipes.resnet, discriminator_steps=2, generator_optimizer=LEVEL), True
    ),
}  # fmt: skip


class Images:
    """Random images of three classes, as `loop.Batches` reads them."""

    name = fingerprint = "random"

    def __init__(self, recipe: Recipe) -> None:
        random = np.random.default_rng(0)
        self.images = torch.from_numpy(random.integers(0, 256, (50, recipe.channels, *recipe.size), dtype=np.uint8))
        self.labels = torch.arange(50) % 3 if recipe.num_classes else None

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: np.ndarray) -> Batch:
        return Batch(self.images[indices], None if self.labels is None else self.labels[indices])

    def order(self, seed: int, stream: str) -> Order:
        return Order(seed, len(self), stream)


class Adversarial64(Adversarial):
    """The objective, with latents in float64."""

    def draws(self, state: TrainState) -> list[Draws]:
        return [replace(each, latents=each.latents.double()) for each in super().draws(state)]


def train(case: Case) -> dict[str, Tensor]:
    """Take a few steps in float64 and return every tensor of the state."""
    objective = Adversarial64()
    state = objective.initialise(case.recipe, 0, torch.device("cpu"))
    for module in (*state.modules.values(), *state.ema.values()):
        module.double()
    if case.is_synchronised:
        for module in state.modules.values():
            synchronised(module)
    state.micro_batch = case.micro_batch if ranks.current().size > 1 else None
    batches = Batches(objective, state, Images(case.recipe))
    for _ in range(STEPS):
        real = {name: Batch(batch.images.double(), batch.labels) for name, batch in batches.next().items()}
        objective.step(state, real)
    groups = {"modules": state.module_tensors(), "ema": state.ema_tensors(), "optimizers": state.optimizer_tensors()}
    return {f"{group}/{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}


MISTAKES: dict[str, tuple[str, Callable[[], object]]] = {
    "the mean is over a rank's share": (
        "mlp", lambda: mock.patch.object(step, "mean_over_ranks", lambda values, count: values.sum() / count)
    ),
    "gradients are not summed": ("mlp", lambda: mock.patch.object(ranks, "sum_gradients", lambda *tensors: None)),
    "ranks take the same share": ("mlp", lambda: mock.patch.object(ranks, "share_of", lambda count: (0, count // 2))),
    "ranks augment alike": (
        "mlp augmented simultaneous r2",
        lambda: mock.patch.object(ranks, "rand", lambda count, rng, device: torch.rand(count, generator=rng)),
    ),
    "ranks mix by the same shares": (
        "mlp gradient penalty",
        lambda: mock.patch.object(ranks, "rand", lambda count, rng, device: torch.rand(count, generator=rng)),
    ),
    "anchors of each rank": (
        "mlp lecam, in parts", lambda: mock.patch.object(ranks, "sum_in_place", lambda sums: None)
    ),
    "batch norm of each rank": (
        "dcgan-28, synchronised", lambda: mock.patch(f"{__name__}.synchronised", lambda module: None)
    ),
    "no gradient through the other ranks' statistics": (
        "dcgan-32, synchronised", lambda: mock.patch.object(ranks, "sum_in_place", lambda sums: None)
    ),
}  # fmt: skip
"""name -> the case that it spoils, and how."""


def far_from_zero() -> Tensor:
    """Return float32 maps whose sum of squares would leave nothing of their variance."""
    return 1e4 + torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))


def normalised_far_from_zero() -> dict[str, Tensor]:
    """Return this rank's part of those maps after synchronised batch norm, and the running variance."""
    layer = torch.nn.BatchNorm2d(3, momentum=1.0)
    synchronised(layer)
    start, stop = ranks.share_of(8)
    return {"maps": layer(far_from_zero()[start:stop]).detach(), "running_var": layer.running_var}


def asked_of(folder: Path) -> Asked:
    """Return an evaluation of a saved model against the digits, of more samples than are read at once."""
    plan = plan_of(["fd", "kd", "memorisation"], "random")
    return Asked(str(folder / "model"), "digits", plan, NUM_SAMPLES, None, 0, "train", None, None, False, "cpu")


def save_model(folder: Path) -> None:
    """Save an untrained conditional generator of digits."""
    recipe = recipes.dcgan_small((8, 8), num_classes=2).shrunk()
    save_pretrained(Model(build_generator(recipe), recipe, 0, Classes(("a", "b"), (3, 1))), folder / "model")


def evaluated(folder: Path) -> dict[str, object]:
    """Return what all ranks draw and read together, and on rank 0 what that comes to."""
    context = open_context(asked_of(folder), Display(quiet=True), among_ranks=True)
    report = measure(asked_of(folder), quiet=True, among_ranks=True)
    return {
        "images": context.samples.images,
        "read": context.fake.values,
        "real": features_among_ranks(context.real.train, None, context.extractor).values,
        "sampled": sample(folder / "model", NUM_SAMPLES, seed=3, truncation=1.0, among_ranks=True),
        "scores": None if report is None else {score.name: score.value for score in report.report.scores},
    }


def work(rank: int, port: int, folder: Path) -> None:
    """Be one rank: train every case, and the spoilt ones, and save what came of it."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(NUM_RANKS), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    with ranks.joined("cpu"):
        results = {name: train(case) for name, case in CASES.items()}
        for name, (spoilt, patch) in MISTAKES.items():
            with patch():  # type: ignore[attr-defined]
                results[name] = train(CASES[spoilt])
        results["far from zero"] = normalised_far_from_zero()
        results["evaluated"] = evaluated(folder)
        torch.save(results, folder / f"{rank}.pt")
        ranks.wait_for_all()
    leave_at_once(0)
