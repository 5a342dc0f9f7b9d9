"""What each technique of the training step is worth on this machine: the step with it against the step without it.

    python benchmarks/techniques.py [RECIPE ...] [--seconds 1] [--quick]

Both train in one process, in turn (`gansmith.bench.interleaving`); all other techniques stay on. "Without" replaces one
function by the plain way of computing the same. The table of docs/log.md is made by this command.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv_transpose2d, dropout, interpolate, linear

from gansmith import runtime
from gansmith.bench.contenders import OurTraining, noise
from gansmith.bench.interleaving import PAIRS, Contender, interleave
from gansmith.bench.rows import row_of
from gansmith.layers import product
from gansmith.layers.dropout import Dropout
from gansmith.layers.fourier import FourierConv2d, FourierConvTranspose2d
from gansmith.layers.labels import Logit
from gansmith.layers.resample import (
    PooledConv2d,
    ThinConv2d,
    ThinConvTranspose2d,
    UpsampledConv2d,
    corners_kernel,
)
from gansmith.training import step
from gansmith.training.state import TrainState

CPU = torch.device("cpu")
RECIPES = ("mlp", "dcgan-28", "dcgan-32", "dense-conv", "dcgan-small", "resnet-b32")
Undo = Callable[[OurTraining], object]


def two_passes(
    state: TrainState, real_images: Tensor, fake_images: Tensor, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the logits of both, by a pass each."""
    discriminator = state.modules["discriminator"]
    with runtime.autocast(state.device, state.recipe.precision):
        return discriminator(real_images, labels), discriminator(fake_images, labels)


def upsampled_plainly(layer: UpsampledConv2d, maps: Tensor) -> Tensor:
    """Return what the layer does, in two operations."""
    return nn.Conv2d.forward(layer, interpolate(maps, scale_factor=2.0, mode="nearest"))


def upsampled_with_bias_inside(layer: UpsampledConv2d, maps: Tensor) -> Tensor:
    """Return what the layer does, the bias added by the convolution."""
    kernel = corners_kernel(layer.weight).flip(2, 3).transpose(0, 1)
    return conv_transpose2d(maps, kernel, layer.bias, stride=2, padding=1)


def dropped_plainly(layer: Dropout, values: Tensor) -> Tensor:
    """Return what torch's dropout does."""
    return dropout(values, layer.share, layer.training)


def logit_plainly(layer: Logit, features: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return what the layer does without classes, as a dense layer."""
    with runtime.full_precision(features.device):
        return linear(features.float(), layer.weight, layer.bias).squeeze(1)


@contextmanager
def with_field(ours: OurTraining, **changes: object) -> Iterator[None]:
    """Train with other fields of the recipe for a while."""
    before = ours.state.recipe
    ours.state.recipe = before.replace(**changes)
    try:
        yield
    finally:
        ours.state.recipe = before


@contextmanager
def making_fakes_again(ours: OurTraining) -> Iterator[None]:
    """Compute the batch in one "part", for which the fakes of the D step are not kept."""
    ours.state.micro_batch = ours.state.recipe.batch_size
    try:
        yield
    finally:
        ours.state.micro_batch = None


@contextmanager
def with_direct_convolutions(ours: OurTraining, stride: int) -> Iterator[None]:
    """Let the layers of this stride that multiply Fourier coefficients do what their classes in torch do."""
    layers = fourier_layers(ours, stride)
    for layer in layers:
        direct = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.ConvTranspose2d
        layer.forward = direct.forward.__get__(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


@contextmanager
def not_in_place(ours: OurTraining) -> Iterator[None]:
    """Give every LeakyReLU memory of its own for a while."""
    layers = [layer for module in ours.state.modules.values() for layer in module.modules()
              if isinstance(layer, nn.LeakyReLU)]  # fmt: skip
    for layer in layers:
        layer.inplace = False
    try:
        yield
    finally:
        for layer in layers:
            layer.inplace = True


def multiplies_small_maps(ours: OurTraining) -> bool:
    """Return whether any layer computes its maps as one product of matrices; trains a step."""
    answers: list[bool] = []
    pays = product.pays

    def recorded(*arguments: object) -> bool:
        answers.append(pays(*arguments))
        return answers[-1]

    with patch.object(product, "pays", recorded):
        ours.step()
    return any(answers)


TECHNIQUES: dict[str, tuple[Undo, Callable[[OurTraining], bool]]] = {
    "bfloat16": (
        lambda ours: with_field(ours, precision="float32"),
        lambda ours: ours.state.recipe.precision == "bfloat16",
    ),
    "simultaneous update, one backward": (
        lambda ours: with_field(ours, update="alternating"),
        lambda ours: ours.state.recipe.update == "simultaneous",
    ),
    "the D step's fakes serve the G step": (
        making_fakes_again,
        lambda ours: ours.state.recipe.update == "alternating",
    ),
    "one pass of D over reals and fakes": (
        lambda ours: patch.object(step, "logits_of_pair", two_passes),
        lambda ours: not ours.state.recipe.discriminator_mixes_images,
    ),
    "stem by Fourier coefficients": (
        lambda ours: with_direct_convolutions(ours, stride=1),
        lambda ours: bool(fourier_layers(ours, stride=1)),
    ),
    "layers of stride 2 by Fourier coefficients": (
        lambda ours: with_direct_convolutions(ours, stride=2),
        lambda ours: ours.state.recipe.precision == "float32" and bool(fourier_layers(ours, stride=2)),
    ),
    "small maps as one product of matrices": (
        lambda ours: patch.object(product, "pays", lambda *arguments: False),
        multiplies_small_maps,
    ),
    "thin convolution of D": (
        lambda ours: patch.object(ThinConv2d, "forward", nn.Conv2d.forward),
        lambda ours: has(ours, ThinConv2d),
    ),
    "thin transposed convolution of G": (
        lambda ours: patch.object(ThinConvTranspose2d, "forward", nn.ConvTranspose2d.forward),
        lambda ours: has(ours, ThinConvTranspose2d),
    ),
    "upsampling inside the convolution": (
        lambda ours: patch.object(UpsampledConv2d, "forward", upsampled_plainly),
        lambda ours: has(ours, UpsampledConv2d),
    ),
    "its bias outside": (
        lambda ours: patch.object(UpsampledConv2d, "forward", upsampled_with_bias_inside),
        lambda ours: any(layer.bias is not None for layer in layers_of(ours, UpsampledConv2d)),
    ),
    "pooling inside the convolution": (
        lambda ours: patch.object(
            PooledConv2d, "forward", lambda layer, maps: avg_pool2d(nn.Conv2d.forward(layer, maps), 2)
        ),
        lambda ours: has(ours, PooledConv2d),
    ),
    "dropout masks from bytes": (
        lambda ours: patch.object(Dropout, "forward", dropped_plainly),
        lambda ours: has(ours, Dropout),
    ),
    "LeakyReLU in place": (not_in_place, lambda ours: has(ours, nn.LeakyReLU)),
    "logit without a product of matrices": (
        lambda ours: patch.object(Logit, "forward", logit_plainly),
        lambda ours: True,
    ),
}
"""Name -> what undoes it, and whether a recipe has it."""


def layers_of(ours: OurTraining, kind: type) -> list[nn.Module]:
    """Return the layers of a class in all networks."""
    return [layer for module in ours.state.modules.values() for layer in module.modules() if isinstance(layer, kind)]


def fourier_layers(ours: OurTraining, stride: int) -> list[nn.Module]:
    """Return the layers of this stride that multiply Fourier coefficients; those of stride 2 do so in float32 alone."""
    layers = [*layers_of(ours, FourierConv2d), *layers_of(ours, FourierConvTranspose2d)]
    return [layer for layer in layers if layer.stride == (stride, stride)]


def has(ours: OurTraining, kind: type) -> bool:
    """Return whether any network has such a layer."""
    return bool(layers_of(ours, kind))


def measure(recipe_name: str, seconds: float) -> list[str]:
    """Return a line for each technique that the recipe has, and one for large blocks of memory."""
    recipe = row_of(recipe_name, runtime.best_precision(CPU)).recipe
    ours = OurTraining(recipe, noise(recipe, 2_000))
    lines = []

    def without(undo: Undo) -> Callable[[], None]:
        def one_step() -> None:
            with undo(ours):
                ours.step()

        return one_step

    for name, (undo, applies) in TECHNIQUES.items():
        if applies(ours):
            lines.append(line_of(recipe_name, name, ours, without(undo), seconds))
    lines.append(
        line_of(recipe_name, "large blocks of memory kept", ours, without(lambda _: nullcontext()), seconds,
                runtime.use_default_allocations)
    )  # fmt: skip
    return lines


def line_of(
    recipe_name: str, technique: str, ours: OurTraining, other: Callable[[], None], seconds: float,
    prepare: Callable[[], None] = runtime.keep_large_allocations,
) -> str:  # fmt: skip
    """Return a row: the step as it is against another, which gets its memory as `prepare` says."""
    images = ours.state.recipe.batch_size
    ratio = interleave(
        Contender(ours.step, images, runtime.keep_large_allocations), Contender(other, images, prepare), seconds, PAIRS
    )
    return f"| `{recipe_name}` | {technique} | {ratio.ratio:.2f}x | {ratio.low:.2f} to {ratio.high:.2f} |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--quick", action="store_true", help="dcgan-small alone, turns of a tenth of a second")
    options = parser.parse_args()
    print("| recipe | technique | with it / without it | interval |\n|---|---|---|---|")
    for name in ("dcgan-small",) if options.quick else options.recipes:
        for line in measure(name, 0.1 if options.quick else options.seconds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
