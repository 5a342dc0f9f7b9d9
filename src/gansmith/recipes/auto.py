"""The default recipe: family, width, batch, rates and precision from what is known of data, machine and budget.

Pure functions of `DataFacts`, `MachineFacts` and `Budget`, without torch. What the rules stand on is in docs/log.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from gansmith.budget import DEFAULT_MINUTES, Budget
from gansmith.facts import FEW_IMAGES, DataFacts, MachineFacts
from gansmith.recipe import Recipe
from gansmith.recipes.base import dcgan_small, mlp
from gansmith.settings import Adam, Augmentation, MLPDiscriminator, MLPGenerator, PenaltySettings
from gansmith.sizes import Size, required_stages, size_text, stages_of

WIDTHS = (16, 32, 48, 64, 96, 128)
USUAL_WIDTH = 32
ENOUGH_UPDATES, FEWEST_UPDATES = 20_000, 1_000
"""Generator updates that a width above, or up to, the usual one must get within the budget."""
EFFICIENCY, STEP_OVERHEAD = 0.3, 0.009
"""A step takes its operations at this share of the measured speed of a large convolution, when the passes below are
counted in full, and so many seconds besides, however narrow the networks: fits of two machines (docs/log.md).
"""
GENERATOR_PASSES, DISCRIMINATOR_PASSES = 4, 8
"""Forward passes that one step of both players costs: a backward pass counts two, or one without weight gradients."""
BATCH, LARGE_BATCH, LARGE_GFLOPS = 32, 64, 20_000.0
SMALLEST_CONVOLUTIONAL_SIDE = 8
TOY_WIDTHS = (128, 128, 128)
TOY_GAMMA, MOST_TOY_LATENTS = 0.01, 16


@dataclass(frozen=True)
class Choice:
    """A recipe and why it is that one.

    Attributes:
        recipe: the method.
        reasons: one line for each thing that was chosen.
    """

    recipe: Recipe
    reasons: tuple[str, ...]


def auto_family(data: DataFacts) -> str:
    """Return the family that suits the data: "dcgan" for images, "mlp" for points and the smallest images."""
    is_tiny = data.one_size and max(data.size) < SMALLEST_CONVOLUTIONAL_SIDE and stages_of(data.size) is None
    return "mlp" if is_tiny else "dcgan"


def auto(
    data: DataFacts, machine: MachineFacts, budget: Budget, size: Size, channels: int, num_classes: int = 0
) -> Choice:
    """Chosen for your data, machine and budget; it says what it chose and why.

    Args:
        data: what the data are.
        machine: what the machine can do.
        budget: how long training may take.
        size: (height, width) to train at; `auto_family` can make it.
        channels: of the images to train on.
        num_classes: that the networks are told; 0 for none.
    """
    if auto_family(data) == "mlp":
        return _toy(data, machine, size, channels, num_classes)
    batch = LARGE_BATCH if machine.gflops >= LARGE_GFLOPS else BATCH
    width, reason = _choose_width(machine, budget, size, channels, batch)
    rate = 1e-3 * min(1.0, USUAL_WIDTH / width)
    are_few = data.num_images < FEW_IMAGES
    recipe = dcgan_small(size, channels, machine.precision, num_classes, width).replace(
        generator_optimizer=Adam(learning_rate=rate, beta1=0.0),
        discriminator_optimizer=Adam(learning_rate=2 * rate, beta1=0.0),
        batch_size=batch,
        augmentation=Augmentation(policy="diffaugment") if are_few else None,
    )
    stages = required_stages(size)
    base_map = f"{stages.height}x{stages.width}"
    reasons = [
        f"a DCGAN: {size_text(size)} is a {base_map} map doubled {stages.num_doublings} times",
        reason,
        f"batch {batch}, rates {rate:g} (G) and {2 * rate:g} (D), hinge loss, spectral norm in D: for any budget; the "
        "best of what was tried for half a million images (for days of a GPU see the r3gan recipes)",
        *_shared_reasons(data, machine, num_classes),
    ]
    if are_few:
        reasons.append(
            f"augmentation diffaugment: of only {data.num_images:,} images the discriminator would soon know each by "
            "heart"
        )
    return Choice(recipe, tuple(reasons))


def _toy(data: DataFacts, machine: MachineFacts, size: Size, channels: int, num_classes: int) -> Choice:
    adam, penalty = Adam(learning_rate=1e-3, beta1=0.0, beta2=0.99), PenaltySettings(weight=TOY_GAMMA)
    num_values = size[0] * size[1] * channels
    recipe = mlp(size, channels, "float32", num_classes).replace(
        generator=MLPGenerator(latent_dim=min(MOST_TOY_LATENTS, num_values), hidden=TOY_WIDTHS),
        discriminator=MLPDiscriminator(hidden=TOY_WIDTHS),
        loss="relativistic",
        penalties={"r1": penalty, "r2": penalty},
        generator_optimizer=adam,
        discriminator_optimizer=adam,
    )
    reasons = [
        f"multilayer perceptrons of {len(TOY_WIDTHS)} x {TOY_WIDTHS[0]}: {size_text(size)} is too small to convolve",
        f"relativistic pairs with R1 and R2 of {TOY_GAMMA:g}: they keep modes that the plain game loses",
        f"batch {recipe.batch_size}, rates {adam.learning_rate:g}, precision float32: the networks are tiny",
    ]
    return Choice(recipe, (*reasons, *_shared_reasons(data, machine, num_classes)[1:]))


def _choose_width(machine: MachineFacts, budget: Budget, size: Size, channels: int, batch: int) -> tuple[int, str]:
    """Return the widest network that is still updated often enough, and why."""
    by_time = Budget(minutes=budget.minutes or DEFAULT_MINUTES)
    horizon = Budget(budget.images, by_time.minutes)

    def updates(width: int, within: Budget) -> float:
        seconds = _step_flops(size, channels, width, batch) / (machine.gflops * 1e9 * EFFICIENCY) + STEP_OVERHEAD
        return within.num_steps(batch, seconds)

    narrow = [width for width in WIDTHS if width <= USUAL_WIDTH and updates(width, by_time) >= FEWEST_UPDATES]
    wide = [width for width in WIDTHS if width > USUAL_WIDTH and updates(width, horizon) >= ENOUGH_UPDATES]
    width = max([*narrow, *wide], default=WIDTHS[0])
    guessed = "" if budget.minutes else " (counted on, as no --minutes is given)"
    got = _rounded(updates(width, horizon))
    reason = f"width {width}: about {got} generator updates in {horizon}{guessed} on {machine.device}"
    if wider := [other for other in WIDTHS if other > width]:
        needed = ENOUGH_UPDATES if wider[0] > USUAL_WIDTH else FEWEST_UPDATES
        got = _rounded(updates(wider[0], horizon))
        reason += f"; width {wider[0]} is worth it from {needed:,} on, and would get {got}"
    return width, reason


def _rounded(updates: float) -> str:
    digits = max(0, len(str(int(updates))) - 2)
    return f"{int(round(updates, -digits)):,}"


def _step_flops(size: Size, channels: int, width: int, batch: int) -> float:
    """Return the floating-point operations of one step of `dcgan_small` at this width."""
    recipe = dcgan_small(size, channels)
    stages = required_stages(size)
    area = stages.height * stages.width
    taps = 5 * 5
    generator_widths = [width * min(2**index, 16) for index in reversed(range(stages.num_doublings + 1))]
    macs_g: float = recipe.generator.latent_dim * generator_widths[0] * area
    macs_g += taps * area * generator_widths[0] * generator_widths[1]  # the stem
    for index, (before, after) in enumerate(pairwise([*generator_widths[1:], channels])):
        macs_g += taps * area * 4**index * before * after
    macs_d: float = 0.0
    discriminator_widths = [channels, *(width * min(2**index, 16) for index in range(stages.num_doublings))]
    for index, (before, after) in enumerate(pairwise(discriminator_widths)):
        macs_d += taps * area * 4 ** (stages.num_doublings - 1 - index) * before * after
    macs_d += area * discriminator_widths[-1] * 4 * width
    return 2.0 * batch * (GENERATOR_PASSES * macs_g + DISCRIMINATOR_PASSES * macs_d)


def _shared_reasons(data: DataFacts, machine: MachineFacts, num_classes: int) -> list[str]:
    reason = "the machine computes it in hardware" if machine.precision == "bfloat16" else "the best of this machine"
    reasons = [f"precision {machine.precision}: {reason}"]
    if num_classes:
        reasons.append(f"conditional: the networks are told which of {num_classes} classes")
    elif data.num_classes > 1:
        reasons.append(f"unconditional: there are {data.num_classes} classes; --conditional would tell the networks")
    return reasons
