"""When training stops. A value without torch, so that a request can be checked, and `auto` can choose, by it."""

from __future__ import annotations

from dataclasses import dataclass

from gansmith.errors import UsageError

DEFAULT_MINUTES = 10.0
PATIENCE_ALONE = "--patience: counts evaluations, and there are none; give --evaluate-every too, such as 100k"


@dataclass(frozen=True)
class Budget:
    """When to stop. It only stops: schedules have their own lengths.

    Attributes:
        images: real images shown to D, or None.
        minutes: of training alone (not decoding, previews or saving), or None; whichever comes first.
    """

    images: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        """Check the border that Python callers come in by.

        Raises:
            UsageError: a number is not above 0, or neither is given.
        """
        problems = []
        if self.images is not None and (type(self.images) is not int or self.images < 1):
            problems.append(f"images={self.images!r}: must be a whole number above 0")
        if self.minutes is not None and (not isinstance(self.minutes, int | float) or not self.minutes > 0):
            problems.append(f"minutes={self.minutes!r}: must be a number above 0")
        if self.images is None and self.minutes is None:
            problems.append("a budget needs images, minutes or both")
        if problems:
            raise UsageError(problems)

    @staticmethod
    def of(images: int | None = None, minutes: float | None = None) -> Budget:
        """Return the budget, of ten minutes where neither is given."""
        return Budget(images, DEFAULT_MINUTES if images is None and minutes is None else minutes)

    def share(self, images: int, seconds: float) -> float:
        """Return the share that is spent, 1 when it is spent."""
        shares = [images / self.images] if self.images else []
        shares += [seconds / (self.minutes * 60)] if self.minutes else []
        return min(1.0, max(shares, default=0.0))

    def num_steps(self, images_per_step: int, seconds_per_step: float) -> float:
        """Return how many steps of so many images and seconds fit into it."""
        counts = [self.images / images_per_step] if self.images else []
        counts += [self.minutes * 60 / seconds_per_step] if self.minutes else []
        return min(counts)

    def __str__(self) -> str:
        """Return "200,000 images", "5 minutes" or both."""
        parts = [f"{self.images:,} images"] if self.images else []
        parts += [f"{self.minutes:g} minute{'s' if self.minutes != 1 else ''}"] if self.minutes else []
        return " or ".join(parts)
