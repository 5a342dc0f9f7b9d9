"""Which image sizes a network family can make: stage arithmetic, without torch.

A convolutional family starts from a small base map and doubles it: H = h * 2^k and W = w * 2^k, with h and w in
4..7 and the same k. A contract test compares this page with the networks themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Fit = Literal["crop", "pad", "stretch"]
"""How an image of another shape becomes the wanted one: cut around the middle, framed, or distorted."""
Size = tuple[int, int]
"""(height, width) in pixels."""

SMALLEST_BASE, LARGEST_BASE = 4, 7
MOST_DOUBLINGS = 8
ANY_SIZE_FAMILIES = frozenset({"mlp"})
ATTENTION_FAMILIES = frozenset({"dcgan", "resnet"})


@dataclass(frozen=True)
class Stages:
    """How a size is reached: a base map of `height` x `width`, doubled `num_doublings` times."""

    height: int
    width: int
    num_doublings: int


def stages_of(size: Size) -> Stages | None:
    """Return the base and the number of doublings that make `size`, or None where there are none."""
    for num_doublings in range(1, MOST_DOUBLINGS + 1):
        scale = 2**num_doublings
        bases = [side // scale for side in size if side % scale == 0]
        if len(bases) == 2 and all(SMALLEST_BASE <= base <= LARGEST_BASE for base in bases):
            return Stages(bases[0], bases[1], num_doublings)
    return None


def required_stages(size: Size) -> Stages:
    """Return the stages of a size that a recipe has let through."""
    stages = stages_of(size)
    assert stages is not None, f"the recipe let size {size} through"
    return stages


def num_residual_halvings(size: Size, growth: int) -> int:
    """Return how often a residual discriminator halves its map: to about 8x8 with constant widths (growth 1), to about
    3x3 with doubling ones (growth 2).
    """
    num_doublings = required_stages(size).num_doublings
    return num_doublings + 1 if growth == 2 else max(num_doublings - 1, min(num_doublings, 2))


def attention_heights(family: str, size: Size, growth: int | None = None) -> tuple[int, ...]:
    """Return the heights of the maps at which attention can sit, largest first; none where the family has no maps.

    From half the image's height down to the smallest map: at full size, weights of all pairs of pixels are too many.

    Args:
        family: of a network.
        size: (height, width) of the images; one that `stages_of` knows.
        growth: of a residual discriminator, which ends at another map than the base.
    """
    if family not in ATTENTION_FAMILIES:
        return ()
    halvings = required_stages(size).num_doublings if growth is None else num_residual_halvings(size, growth)
    return tuple(size[0] >> count for count in range(1, halvings + 1))


def can_make(family: str, size: Size) -> bool:
    """Return whether the family makes images of exactly this size."""
    return min(size) >= 1 and (family in ANY_SIZE_FAMILIES or stages_of(size) is not None)


def nearest_size(family: str, size: Size) -> Size:
    """Return the size nearest to `size` (smallest sum of the two differences) that the family can make."""
    if can_make(family, size):
        return size
    candidates = []
    for num_doublings in range(1, MOST_DOUBLINGS + 1):
        scale = 2**num_doublings
        height, width = (min(max(round(side / scale), SMALLEST_BASE), LARGEST_BASE) * scale for side in size)
        candidates.append((height, width))
    return min(candidates, key=lambda made: abs(made[0] - size[0]) + abs(made[1] - size[1]))


def size_text(size: Size) -> str:
    """Return "28x28" for (28, 28): height x width."""
    return f"{size[0]}x{size[1]}"


def parse_size(text: str) -> Size:
    """Return (height, width) from "64" or "40x48".

    Raises:
        ValueError: the text is neither.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"{text!r} is not a size; write one side (64) or height x width (40x48)")
    return int(parts[0]), int(parts[-1])
