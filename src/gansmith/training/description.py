"""What is said of the data before training: how many images, which classes, what was skipped, whether they are few."""

from __future__ import annotations

from collections.abc import Sequence

from gansmith.data import DataSet, StreamedSet
from gansmith.facts import FEW_IMAGES
from gansmith.recipe import Recipe
from gansmith.rules import SMALLEST_AUGMENTED_SIDE
from gansmith.sizes import size_text
from gansmith.training.log import Display

MOST_SKIPPED_SHOWN, MOST_CLASSES_SHOWN = 5, 12


def describe_data(data: DataSet | StreamedSet, recipe: Recipe, display: Display) -> None:
    """Say what there is to train on."""
    shape = f"{size_text(recipe.size)}, {recipe.channels} channel{'s' if recipe.channels > 1 else ''}"
    display.say(f"{data.name}: {len(data):,} images, {shape}, fingerprint {data.fingerprint}")
    if data.class_names:
        display.say(f"  {len(data.class_names)} classes: {class_balance(data.class_names, data.class_counts)}")
    if isinstance(data, StreamedSet):
        display.say(f"  {data.mixing}")
    else:
        if data.num_refitted:
            display.say(f"  {data.num_refitted:,} of them brought to {size_text(recipe.size)}")
        for name, reason in data.skipped[:MOST_SKIPPED_SHOWN]:
            display.say(f"  skipped {name}: {reason}")
        if len(data.skipped) > MOST_SKIPPED_SHOWN:
            display.say(f"  and {len(data.skipped) - MOST_SKIPPED_SHOWN:,} more skipped")
    for line in few_images_lines(len(data), recipe):
        display.say(f"  {line}")
    if len(data) < recipe.batch_size:
        display.say(
            f"  fewer images than one batch of {recipe.batch_size}: each batch shows some of them more than once"
        )
    if recipe.batch_size == 1 and recipe.has_batch_norm:
        display.say("  a batch of one image: batch norm of dense layers uses its running averages; --set batch_size=8")


def few_images_lines(count: int, recipe: Recipe | None = None) -> list[str]:
    """Return what to expect of so many training images and what to do about it; nothing where they are enough.

    Args:
        count: of the images.
        recipe: that they are to train; None: not chosen yet.
    """
    if count >= FEW_IMAGES:
        return []
    helps = [f"more images, from {FEW_IMAGES:,} on"]
    if recipe is None:
        helps.append("augmentation, which the default recipe then has (else --set augmentation.policy=diffaugment)")
    elif recipe.discriminator is not None and not recipe.is_augmented and min(recipe.size) >= SMALLEST_AUGMENTED_SIDE:
        helps.append("--set augmentation.policy=diffaugment, which shows the discriminator each in many forms")
    return [
        f"warning: only {count:,} image{'s' if count > 1 else ''} to train on: they are soon known by heart, and "
        "samples become copies of them or stop improving",
        "what helps: " + "; ".join([*helps, "--evaluate-every, which keeps the best generator"]),
        "whether samples are copies: `gansmith evaluate RUN` scores memorisation and shows the nearest images",
    ]


def class_balance(names: Sequence[str], counts: Sequence[int]) -> str:
    """Return "cats 62 %, dogs 38 %": the share of each class, of up to twelve."""
    total = max(sum(counts), 1)
    shown = [f"{name} {count / total:.1%}" for name, count in zip(names, counts, strict=False)]
    more = [f"and {len(shown) - MOST_CLASSES_SHOWN} more"] if len(shown) > MOST_CLASSES_SHOWN else []
    return ", ".join([*shown[:MOST_CLASSES_SHOWN], *more])
