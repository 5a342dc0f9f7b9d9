"""How a training stands, in words: from the records of `metrics.jsonl` alone, so that a run that goes on knows it.

What is measured is `measures.py` and, at previews, `checkup.py`; what to do about it is `advice.py`. What each verdict
rests on, and where its thresholds come from, is docs/health.md. Floats in, words out: no torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from gansmith.recipe import Recipe
from gansmith.report import Health, Verdict
from gansmith.training.advice import advice

HEALTHY: Verdict = "healthy"
MEASURE = "energy_distance"
"""A record with it has all measures of samples."""
SHORTEST_IMAGES, SHORTEST_STEPS, SHARE = 2_000, 100, 0.02
"""Images and steps of a moment, at least; images as a share of those seen by then. The first moment is not judged."""
PERSISTENCE = 4
"""Moments in a row that must say the same before it is said."""
SWINGS, OSCILLATION_MOMENTS, SWING_FACTOR = 4, 16, 2.0
"""Turns within so many moments, each by such a factor, that are an oscillation."""
WON, LOST = 0.98, 0.3
"""D accuracy from which on D has won, or up to which it is fooled."""
FAR, APART = 0.35, 0.15
"""Energy distance of samples that are nothing like the reals; and of such as are not all like them."""
PROGRESS = 0.85
"""Energy distance now over that four moments before: above it there is no progress."""
VANISHED = 0.02
"""Norm of G's gradient over the highest that it was: below it G has no signal."""
COLLAPSED, ONCE_DIVERSE = 0.3, 0.45
"""Diversity of a collapse, and one that shows that G could."""
ALIKE, LEFT = 0.12, 0.8
"""Diversity of a collapse from the beginning; energy distance over the first, which G has left."""
IDENTICAL = 0.3
"""Share of near-identical pairs, above that of reals, that is a collapse."""
SKIPPED = 0.01
"""Share of steps skipped for a loss or gradient that is no finite number."""
EXPLODED = 100.0
"""Of losses: over their size at the beginning, or over 1 if that is more."""
COPIES, SNAPSHOTS = 0.5, 2
"""Nearest real of samples over that of reals, below which they are copies; snapshots in a row that must say so."""


@dataclass(frozen=True)
class Moment:
    """The mean of records that are judged together.

    Attributes:
        images, steps: seen and taken at its end.
        values: what they measured, by name.
    """

    images: int
    steps: int
    values: Mapping[str, float]

    def __getitem__(self, name: str) -> float:
        """Return one value; 0 where it was not measured."""
        return self.values.get(name, 0.0)

    @property
    def identical(self) -> float:
        """Share of near-identical pairs of samples, less that of reals."""
        return self["near_identical"] - self["near_identical_reals"]

    @property
    def loss(self) -> float:
        """Size of the larger loss that has a fixed zero."""
        return self["size_of_loss"]


class Monitor:
    """Reads the records of one run as they come, and says how it stands when that changes.

    Args:
        recipe: of the run; what is advised fits it.
        records: of the run so far: it goes on as if it had seen them come.

    Attributes:
        moments: what is judged, oldest first.
        health: what was said last; None before the first.
    """

    def __init__(self, recipe: Recipe, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._recipe = recipe
        # The Wasserstein loss of G is a mean logit, whose zero may drift for as long as the training is well.
        self._losses = ("loss_d",) if recipe.loss == "wasserstein" else ("loss_d", "loss_g")
        self.moments: list[Moment] = []
        self._open: list[Mapping[str, Any]] = []
        self._candidates: list[Verdict] = []
        self._nearness: list[float] = []
        self.health: Health | None = None
        for record in records:
            self.take(record)

    def take(self, record: Mapping[str, Any]) -> Health | None:
        """Take the next record; return the verdict where it is another one than before."""
        if (nearest := record.get("nearest_real")) is not None:
            self._nearness.append(nearest)
        self._open.append(record)
        if not self._is_moment():
            return None
        steps = record["steps"] - (self.moments[-1].steps if self.moments else 0)
        skipped = sum(each.get("num_skipped") or 0 for each in self._open) / steps
        values = _means(self._open) | {"skipped": skipped}
        values["size_of_loss"] = max(abs(values.get(name, 0.0)) for name in self._losses)
        self.moments.append(Moment(record["images"], record["steps"], values))
        self._open = []
        if len(self.moments) == 1:
            return None
        self._candidates.append(self._judged())
        return self._said()

    def _is_moment(self) -> bool:
        """Return whether the records since the last moment are enough for another."""
        images, steps = self._open[-1]["images"], self._open[-1]["steps"]
        last = self.moments[-1] if self.moments else Moment(0, 0, {})
        is_long = images - last.images >= max(SHORTEST_IMAGES, SHARE * images)
        return is_long and steps - last.steps >= SHORTEST_STEPS and any(MEASURE in each for each in self._open)

    def _said(self) -> Health | None:
        recent = self._candidates[-PERSISTENCE:]
        if len(recent) < PERSISTENCE or 0 < recent.count(HEALTHY) < PERSISTENCE:
            return None
        if self.health is not None and self.health.verdict in recent:  # a failure may show now this way, now another
            return None
        verdict = max(recent, key=recent.count)
        action, overrides = advice(verdict, self._recipe)
        self.health = Health(
            verdict=verdict, images=self.moments[-1].images, evidence=self._evidence(verdict), action=action,
            overrides=overrides,
        )  # fmt: skip
        return self.health

    def _judged(self) -> Verdict:
        """Return what the newest moment looks like, beside those before; the gravest first."""
        moments = self.moments
        if has_diverged(moments):
            return "diverged"
        if has_collapsed(moments):
            return "mode collapse"
        if discriminator_wins(moments):
            return "discriminator winning"
        if generator_wins(moments):
            return "generator winning"
        if oscillates(moments):
            return "oscillating"
        if len(self._nearness) >= SNAPSHOTS and max(self._nearness[-SNAPSHOTS:]) < COPIES:
            return "memorising"
        return "healthy"

    def current(self) -> Health | None:
        """Return what was said last, with the numbers of now where they still say so."""
        if self.health is None or self._candidates[-1] != self.health.verdict:
            return self.health
        changes = {"images": self.moments[-1].images, "evidence": self._evidence(self.health.verdict)}
        return self.health.model_copy(update=changes)

    def _evidence(self, verdict: Verdict) -> str:
        recent = self.moments[-PERSISTENCE:]
        mean = Moment(recent[-1].images, recent[-1].steps, _means([each.values for each in recent]))
        span = OSCILLATION_MOMENTS if verdict == "oscillating" else PERSISTENCE
        before = self.moments[-span - 1].images if len(self.moments) > span else 0
        over = "at two previews in a row" if verdict == "memorising" else f"over {recent[-1].images - before:,} images"
        return f"{_numbers(verdict, mean, self.moments, self._nearness)}, {over}"


def health_of(recipe: Recipe, records: Iterable[Mapping[str, Any]], images: int | None = None) -> Health | None:
    """Return what was said last of a run, by its records; None where it was too short to be judged, or is of old.

    Args:
        recipe: of the run.
        records: of `metrics.jsonl`.
        images: leave out those after so many images seen.
    """
    return Monitor(recipe, (each for each in records if images is None or each["images"] <= images)).current()


def has_diverged(moments: Sequence[Moment]) -> bool:
    """Return whether many steps are skipped, or losses are a hundred times as large as they began."""
    now, first = moments[-1], moments[0]
    return now["skipped"] > SKIPPED or now.loss > EXPLODED * max(1.0, first.loss)


def has_collapsed(moments: Sequence[Moment]) -> bool:
    """Return whether samples are much alike, though G has made others, or has moved from where it began.

    A generator that has not begun to learn makes samples that are alike, too; one that begins to has few kinds of them.
    """
    first, now = moments[0], moments[-1]
    if now.identical > IDENTICAL:
        return True
    could = max(each["diversity"] for each in moments) > ONCE_DIVERSE
    has_moved = now[MEASURE] < LEFT * first[MEASURE]
    return now["diversity"] < COLLAPSED if could else now["diversity"] < ALIKE and has_moved


def discriminator_wins(moments: Sequence[Moment]) -> bool:
    """Return whether D tells every pair apart and G gets nothing from it: samples are nothing like reals and come no
    nearer, or are not all like them and its gradient has vanished.

    The first alone is healthy in many methods: an accuracy near 1 says that there is something to learn from.
    """
    now = moments[-1]
    strongest = max(each["gradient_norm_g"] for each in moments)
    has_vanished = now["gradient_norm_g"] < VANISHED * strongest
    return now["d_accuracy"] > WON and (_is_stuck(moments) or (has_vanished and now[MEASURE] > APART))


def generator_wins(moments: Sequence[Moment]) -> bool:
    """Return whether D prefers samples to reals, though they are not alike; or guesses while they are nothing alike."""
    now = moments[-1]
    if now[MEASURE] < APART:
        return False
    return now["d_accuracy"] < LOST or (now["d_accuracy"] < 0.6 and _is_stuck(moments))


def oscillates(moments: Sequence[Moment]) -> bool:
    """Return whether samples go to and fro: their distance to the reals turns again and again, by a factor of two."""
    distances = [max(each[MEASURE], APART / SWING_FACTOR) for each in moments[-OSCILLATION_MOMENTS:]]
    return num_swings(distances, SWING_FACTOR) >= SWINGS


def num_swings(values: Sequence[float], factor: float) -> int:
    """Return how often a series of positive numbers has turned and then moved by such a factor, either way."""
    low = high = values[0]
    direction, swings = 0, 0
    for value in values:
        low, high = min(low, value), max(high, value)
        if direction <= 0 and value >= low * factor:
            swings, direction, high = swings + 1, 1, value
        elif direction >= 0 and value <= high / factor:
            swings, direction, low = swings + 1, -1, value
    return swings


def _is_stuck(moments: Sequence[Moment]) -> bool:
    now, before = moments[-1], moments[-1 - min(PERSISTENCE, len(moments) - 1)]
    return now[MEASURE] > FAR and now[MEASURE] > PROGRESS * before[MEASURE]


def _means(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    names = {name for record in records for name, value in record.items() if isinstance(value, int | float)}
    return {name: fmean(record[name] for record in records if record.get(name) is not None) for name in names}


def _numbers(verdict: Verdict, mean: Moment, moments: Sequence[Moment], nearness: Sequence[float]) -> str:
    accuracy = f"D tells {mean['d_accuracy']:.0%} of pairs apart"
    distance = f"samples lie {mean[MEASURE]:.2f} from reals (0: alike, 1: nothing alike)"
    diversity = f"samples differ {mean['diversity']:.2f} times as much as reals"
    if verdict == "diverged":
        return (
            f"losses have a size of {mean.loss:.3g}, {moments[0].loss:.3g} at first; "
            f"{mean['skipped']:.1%} of steps were skipped"
        )
    if verdict == "mode collapse":
        return f"{diversity}, {mean['near_identical']:.0%} of pairs are near-identical"
    if verdict == "discriminator winning":
        strongest = max(each["gradient_norm_g"] for each in moments)
        norm = f"the norm of G's gradient is {mean['gradient_norm_g']:.2g}, {strongest:.2g} at most before"
        return f"{accuracy}, while {distance}{' and come no nearer' if _is_stuck(moments) else ''}; {norm}"
    if verdict == "generator winning":
        return f"{accuracy}, though {distance}"
    if verdict == "oscillating":
        recent = [each[MEASURE] for each in moments[-OSCILLATION_MOMENTS:]]
        return f"the distance of samples from reals goes to and fro between {min(recent):.2f} and {max(recent):.2f}"
    if verdict == "memorising":
        return f"the nearest real of a sample is {nearness[-1]:.2f} times as far as that of a real"
    return f"{accuracy}, {diversity}, {distance}"
