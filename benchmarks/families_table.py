"""The results of `families.py`: a line of its file, the tables made of them, and the bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from busy import MOST_OTHERS
from trainings import ratio_of

METHODS = ("mlp", "dcgan-28", "dcgan-32", "dense-conv", "resnet", "vae", "r3gan-small", "auto")
BASE = ("mlp", "dcgan-28", "dcgan-32", "dense-conv", "resnet")
QUICK_METHODS = ("dcgan-28", "resnet", "auto")
JUDGED, TEXTBOOK = "auto", "dcgan-28"
MOST_OF_TEXTBOOK, MOST_OF_BEST = 0.2, 0.6
LEAST_SURE, CLASS_SHARES = 0.85, (0.05, 0.15)


@dataclass(frozen=True)
class Result:
    """One line of the file: a training and how good its samples are.

    Attributes:
        data: its fingerprint.
        fd_classifier: Fréchet distance of classifier features; lower is better.
        interval: 95 %, of the samples and reals alone, not of the seed.
        held_out: fd_classifier of as many held-out real images, where there are as many.
        precision_classifier, recall_classifier: shares of samples among the reals, and of reals among the samples.
        sure: share of samples that the classifier is sure of (> 0.9).
        class_shares: share of samples it reads as each class.
        extractor: checksum of that classifier.
        weights: which are judged.
        precision: that training computes in.
        others_share: processor time of other programs while it trained, in shares of one core; None: not known.
    """

    method: str
    seed: int
    minutes: float
    recipe_id: str
    data: str
    num_samples: int
    fd_classifier: float
    interval: tuple[float, float] | None
    held_out: float | None
    precision_classifier: float
    recall_classifier: float
    sure: float
    class_shares: tuple[float, ...]
    extractor: str
    weights: str
    precision: str
    images_seen: int
    training_seconds: float
    gansmith: str
    machine: dict[str, Any]
    others_share: float | None

    @property
    def key(self) -> tuple[Any, ...]:
        """What it is looked up by, beside its seed."""
        return (self.method, self.minutes, self.recipe_id, self.data, self.num_samples, self.processor)

    @property
    def processor(self) -> str:
        """What it was trained on: equal minutes are comparable on equal processors alone."""
        return processor_of(self.machine)

    @property
    def is_disturbed(self) -> bool:
        """Whether other programs took time from the training: more than a tenth of a core."""
        return self.others_share is not None and self.others_share > MOST_OTHERS


def processor_of(machine: dict[str, Any]) -> str:
    """Return "a processor, 2 threads", of what `gansmith.runtime.machine_facts` returns."""
    return f"{machine['cpu']}, {machine['threads']} threads"


def newest(results: Iterable[Result], minutes: float, num_samples: int) -> list[Result]:
    """Return the newest result of each method and seed, in the order of `METHODS`, of the processor used last.

    Args:
        results: newest first.
        minutes: of training; only those of so many.
        num_samples: only those of so many.
    """
    found: dict[tuple[str, int], Result] = {}
    fitting = [each for each in results if (each.minutes, each.num_samples) == (minutes, num_samples)]
    for each in fitting:
        if each.processor == fitting[0].processor:
            found.setdefault((each.method, each.seed), each)
    return [found[key] for key in sorted(found, key=lambda key: (METHODS.index(key[0]), key[1]))]


def by_method(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return the results of each method."""
    methods = dict.fromkeys(each.method for each in results)
    return {method: [each for each in results if each.method == method] for method in methods}


def mean_distance(results: Sequence[Result]) -> float:
    """Return the mean fd_classifier."""
    return fmean(each.fd_classifier for each in results)


def best_base(results: Sequence[Result]) -> str | None:
    """Return the base system with the least mean distance; None where there is none."""
    rows = {method: mean_distance(each) for method, each in by_method(results).items() if method in BASE}
    return min(rows, key=rows.__getitem__) if rows else None


def ratios(results: Sequence[Result]) -> list[tuple[str, float, str, float]]:
    """Return (what, ratio, its spread, at most) of `auto` to the textbook DCGAN and to the best base system, where
    they share a seed.
    """
    values = {(each.method, each.seed): each.fd_classifier for each in results}
    best = best_base(results)
    pairs = [(TEXTBOOK, f"`{TEXTBOOK}`", MOST_OF_TEXTBOOK)]
    if best is not None:
        absent = [method for method in BASE if method not in by_method(results)]
        without = f", without {', '.join(f'`{method}`' for method in absent)}" if absent else ""
        pairs.append((best, f"`{best}`, the best base system{without}", MOST_OF_BEST))
    found = []
    for other, name, most in pairs:
        if any((JUDGED, seed) in values and (other, seed) in values for _, seed in values):
            value, interval = ratio_of(values, JUDGED, other)
            spread = f"95 % {interval[0]:.3f} to {interval[1]:.3f}" if interval else "fewer than three seeds"
            found.append((f"`{JUDGED}` / {name}", value, spread, most))
    return found


def failures(results: Sequence[Result], seeds: Sequence[int]) -> list[str]:
    """Return a line for each reason not to pass; none while trainings are missing, for then nothing is judged.

    Args:
        results: as `newest` returns them.
        seeds: that every method of `METHODS` must have.
    """
    if not is_complete(results, seeds):
        return []
    problems = []
    for method, rows in by_method(results).items():
        if len({each.recipe_id for each in rows}) > 1:
            problems.append(f"not to be compared: {method} has results of several recipes; run it again")
    if len({each.extractor for each in results}) > 1:
        problems.append("not to be compared: judged by different classifiers; --again all")
    if disturbed := [f"{each.method} {each.seed}" for each in results if each.is_disturbed]:
        problems.append(f"not to be believed: other programs ran beside {', '.join(disturbed)}; --again disturbed")
    problems += [
        f"above the bar: {what} is {value:.3f}, must be at most {most:g}"
        for what, value, _, most in ratios(results)
        if not value <= most
    ]
    rows = by_method(results)[JUDGED]
    if not fmean(each.sure for each in rows) >= LEAST_SURE:
        problems.append(f"below the bar: {JUDGED} has {fmean(each.sure for each in rows):.3f} sure, must be at least "
                        f"{LEAST_SURE:g}")  # fmt: skip
    low, high = CLASS_SHARES
    for each in rows:
        if not (low <= min(each.class_shares) and max(each.class_shares) <= high):
            problems.append(f"outside the bar: classes of {JUDGED}, seed {each.seed}, are {classes_text([each])}, must "
                            f"be {low:.0%} to {high:.0%}")  # fmt: skip
    return problems


def is_complete(results: Sequence[Result], seeds: Sequence[int]) -> bool:
    """Return whether every method has every seed."""
    there = {(each.method, each.seed) for each in results}
    return {(method, seed) for method in METHODS for seed in seeds} <= there


def classes_text(rows: Sequence[Result]) -> str:
    """Return "8.1 to 12.0 %": the rarest and the most frequent class of any of them."""
    shares = [share for each in rows for share in each.class_shares]
    return f"{100 * min(shares):.1f} to {100 * max(shares):.1f} %"


def table(results: Sequence[Result]) -> str:
    """Return the results for a person."""
    if not results:
        return "no results yet"
    first = results[0]
    lines = [
        f"\n{first.num_samples:,} samples after {60 * first.minutes:.0f} s of training (data {first.data})",
        f"{'':13}{'recipe':>10}{'images':>12}{'fd_classifier':>15}{'sure':>7}{'precision':>11}{'recall':>8}"
        f"   {'classes':16}over seeds",
    ]
    for method, rows in by_method(results).items():
        recipes = ",".join(sorted({each.recipe_id for each in rows}))
        means = [
            fmean(getattr(each, name) for each in rows)
            for name in ("sure", "precision_classifier", "recall_classifier")
        ]
        lines.append(
            f"{method:13}{recipes:>10}{fmean(each.images_seen for each in rows):12,.0f}{mean_distance(rows):15.2f}"
            f"{means[0]:7.3f}{means[1]:11.3f}{means[2]:8.3f}   {classes_text(rows):16}"
            + ", ".join(f"{each.fd_classifier:.2f}{'*' if each.is_disturbed else ''}" for each in rows)
        )
    if any(each.is_disturbed for each in results):
        lines.append("* other programs took more than a tenth of a core meanwhile")
    for what, value, spread, most in ratios(results):
        lines.append(f"{what.replace('`', '')}: {value:.3f} ({spread}), at most {most:g}")
    return "\n".join(lines)


def markdown(results: Sequence[Result]) -> str:
    """Return the README's table, with what it is of below; "" where there are no results."""
    if not results:
        return ""
    lines = [
        "| | `fd_classifier` (least to greatest) | sure | rarest to commonest class | precision | recall | images |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, rows in by_method(results).items():
        distances = [each.fd_classifier for each in rows]
        spread = f" ({min(distances):.0f} to {max(distances):.0f})" if len(rows) > 1 else ""
        lines.append(
            f"| `{method}` | {fmean(distances):.0f}{spread} | {fmean(each.sure for each in rows):.3f} "
            f"| {classes_text(rows)} | {fmean(each.precision_classifier for each in rows):.2f} "
            f"| {fmean(each.recall_classifier for each in rows):.2f} "
            f"| {fmean(each.images_seen for each in rows):,.0f} |"
        )
    return "\n".join([*lines, "", f"*{caption(results)}*"])


def seeds_text(results: Sequence[Result]) -> str:
    """Return "seeds 0, 1, 2", and which methods still have fewer."""
    seeds = {method: [each.seed for each in rows] for method, rows in by_method(results).items()}
    most = max(seeds.values(), key=len)
    fewer = [f"`{method}` {', '.join(map(str, found))}" for method, found in seeds.items() if found != most]
    return f"seeds {', '.join(map(str, most))}" + (f" (so far of {', of '.join(fewer)})" if fewer else "")


def caption(results: Sequence[Result]) -> str:
    """Return what the results are of: data, minutes, seeds, machine; and the ratios that are judged."""
    first = results[0]
    ideal = [each.held_out for each in results if each.held_out is not None]
    parts = [
        f"MNIST, {first.minutes:g} minutes of training each, mean of {seeds_text(results)}; "
        f"{first.num_samples:,} samples, read by a classifier of the same data"
        + (f" (held-out real images: {ideal[0]:.1f})" if ideal else ""),
        "sure: share of samples that it gives a class with more than 0.9",
        "`resnet` is at width 32",
        f"{first.processor}, {' and '.join(sorted({each.precision for each in results}))}",
        *(f"{what}: {value:.2f} ({spread})" for what, value, spread, _ in ratios(results)),
    ]
    if disturbed := sum(each.is_disturbed for each in results):
        parts.append(f"Other programs ran beside {disturbed} of the {len(results)} trainings")
    return ". ".join(parts) + "."
