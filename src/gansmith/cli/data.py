"""`gansmith data`: what is in a source, and what training would make of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro

from gansmith import sizes
from gansmith.budget import Budget
from gansmith.cli.command import Command
from gansmith.cli.parsing import channel_count, one_of, parsed
from gansmith.errors import DataError, UsageError
from gansmith.recipes import DEFAULT_RECIPE
from gansmith.request import Request
from gansmith.sizes import size_text

if TYPE_CHECKING:
    from gansmith.data import Survey

SHEET_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
MOST_NAMES, MOST_CLASSES, MOST_KINDS = 5, 20, 5
BAR_WIDTH = 30


@dataclass
class DataCommand(Command):
    """Look at images before training on them: sizes, classes, bad files, duplicates, and what is done to odd ones."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Whatever `gansmith train` takes: a folder, zip, IDX, npz, CIFAR or parquet, or a name."""
    size: Annotated[str | None, tyro.conf.arg(metavar="SIZE", help_behavior_hint="")] = None
    """Image size to train at, 64 or 40x48 (height x width); by default what training would choose."""
    channels: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """1 grey, 3 RGB, 4 RGBA; by default the data's own."""
    fit: Annotated[str, tyro.conf.arg(metavar="FIT")] = "crop"
    """How images of another size are made to fit: crop (the middle), pad (bars) or stretch."""
    recipe: Annotated[str, tyro.conf.arg(metavar="NAME")] = DEFAULT_RECIPE
    """The recipe to be trained; it limits the sizes."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("contact.png")
    """The contact sheet: up to 64 images as training will see them."""
    all: bool = False
    """Name every image, not the first few of each kind."""
    quiet: bool = False
    """Print nothing; the contact sheet is written."""

    def run(self, unknown: Sequence[str]) -> None:
        """Check the arguments, look at every image, and print what was found."""
        size, channels = self._checked(list(unknown))
        from gansmith.data import survey
        from gansmith.training.log import Display

        display = Display(self.quiet)
        try:
            found = survey(self.data, size, channels, self.fit, self.recipe, display.decoding)  # type: ignore[arg-type]
        finally:
            display.close()
        sheet = self._write_sheet(found)
        for line in self._lines(found):
            display.say(line)
        display.say(_cost_line(self.recipe, found))
        display.say(f"contact sheet: {sheet}")

    def _checked(self, problems: list[str]) -> tuple[Any, Any]:
        size = parsed(problems, "--size", self.size, sizes.parse_size)
        channels = parsed(problems, "--channels", self.channels, channel_count)
        parsed(problems, "--fit", self.fit, one_of(get_args(sizes.Fit)))
        problems += Request(self.recipe, size=size, channels=channels).problems()
        if self.out.suffix.lower() not in SHEET_SUFFIXES:
            problems.append(f"--out {self.out}: the contact sheet is a picture; end it in {', '.join(SHEET_SUFFIXES)}")
        if problems:
            raise UsageError(problems)
        return size, channels

    def _write_sheet(self, found: Survey) -> Path:
        import torch

        from gansmith.images import save_images, to_float

        try:
            return save_images(to_float(torch.from_numpy(found.cells)), self.out, found.columns)
        except (ValueError, OSError) as error:
            raise UsageError(f"--out {self.out}: {error}") from error

    def _lines(self, found: Survey) -> list[str]:
        most = None if self.all else MOST_NAMES
        return [
            *_contents(found),
            *_classes(found),
            *_bad(found, most),
            *_duplicates(found, most),
            *_treatments(found, most),
            *self._training(found),
        ]

    def _training(self, found: Survey) -> list[str]:
        from gansmith.training.description import few_images_lines

        form, facts = found.form, found.facts
        if self.size:
            why = "as asked for"
        elif form.size == facts.size and facts.one_size:
            why = "the size of all images looked at"
        else:
            theirs = (
                f"all {size_text(facts.size)}" if facts.one_size else f"of mixed sizes around {size_text(facts.size)}"
            )
            why = f"images are {theirs}; {self.recipe} makes this one, --size changes it"
        colour = "as asked for" if self.channels else "the data's own"
        megabytes = found.bytes_decoded / 1e6
        rate = sum(found.num_images.values()) / max(found.seconds, 1e-9)
        seconds = found.num_images["train"] / rate
        time = f"about {seconds:,.0f} s" if seconds >= 1 else "less than a second"
        return [
            f"training would use {size_text(form.size)} ({why}) with {_count(form.channels, 'channel')} ({colour})",
            f"decoded once, in {time} here ({rate:,.0f} images a second), and kept: {megabytes:,.1f} MB on disk, mapped"
            " into memory as it is read",
            *few_images_lines(found.num_images["train"]),
        ]


def _contents(found: Survey) -> list[str]:
    splits = ", ".join(f"{count:,} {split}" for split, count in found.num_images.items() if count)
    lines = [f"{found.name}: {_count(sum(found.num_images.values()), 'image')} ({splits}), {found.num_usable:,} usable"]
    lines.append(f"sizes: {_kinds((size_text(size), count) for size, count in found.sizes.items())}")
    if len(found.sizes) > 1:
        by_area = sorted(found.sizes, key=lambda size: (size[0] * size[1], size))
        lines[-1] += f"; smallest {size_text(by_area[0])}, largest {size_text(by_area[-1])} (height x width)"
    lines.append(f"formats: {_kinds(found.formats.items())}; modes: {_kinds(found.modes.items())}")
    return lines


def _classes(found: Survey) -> list[str]:
    lines = [f"the folder {name} holds no images: it is no class" for name in found.empty_classes]
    if not found.class_names:
        return [*lines, "no classes (no sub-folders or labels)"]
    counts = found.class_counts.get("train", ())
    total, largest = sum(counts), max(counts, default=0)
    if len(found.class_names) == 1:
        return [*lines, f"one class only ({found.class_names[0]}): nothing to tell apart, as good as none"]
    smallest = min(count for count in counts if count)
    lines.append(f"{len(counts)} classes; the largest has {largest / smallest:,.1f} times the images of the smallest")
    order = sorted(range(len(counts)), key=lambda label: -counts[label])
    shown = order if len(order) <= MOST_CLASSES else [*order[: MOST_CLASSES - 1], order[-1]]
    width = max(len(found.class_names[label]) for label in shown)
    for label in shown:
        bar = "#" * round(BAR_WIDTH * counts[label] / largest)
        lines.append(f"  {found.class_names[label]:<{width}}  {counts[label]:>9,}  {counts[label] / total:6.1%}  {bar}")
    if len(order) > len(shown):
        lines.append(f"  and {len(order) - len(shown):,} classes between the last two")
    missing = [found.class_names[label] for label in order if not counts[label]]
    if missing:
        lines.append(f"no usable train images of {_names(missing, MOST_NAMES)}: such a class cannot be learnt")
    return lines


def _bad(found: Survey, most: int | None) -> list[str]:
    if not found.bad:
        return ["every image can be used"]
    lines = [f"{_count(len(found.bad), 'image')} cannot be used and will be skipped:"]
    lines += [f"  {name}: {reason}" for name, reason in found.bad[:most]]
    lines += _more(len(found.bad), most)
    from gansmith.data import check_bad

    try:
        check_bad(found.name, found.bad, sum(found.num_images.values()))
    except DataError:
        lines.append("  too many (over 5 %): training refuses them without --allow-bad")
    return lines


def _duplicates(found: Survey, most: int | None) -> list[str]:
    if not found.duplicates:
        return ["no duplicates"]
    extra = sum(len(names) - 1 for names in found.duplicates)
    lines = [f"{_count(extra, 'exact duplicate')} (same size and, as trained on, same pixels), kept:"]
    lines += [f"  {' = '.join(names[:most])}{' = ...' if names[most:] else ''}" for names in found.duplicates[:most]]
    return [*lines, *_more(len(found.duplicates), most, "groups")]


def _treatments(found: Survey, most: int | None) -> list[str]:
    lines, alone = [], dict[str, list[str]]()
    for done, names in found.treatments.items():
        if len(names) == 1:
            alone.setdefault(names[0], []).append(done)
        else:
            lines.append(f"  {len(names):,} images: {done} ({_names(names, most)})")
    lines += [f"  {name}: {'; '.join(done)}" for name, done in alone.items()]
    lines += [f"  {_count(count, 'image')}: {done}" for done, count in found.resizing.items()]
    return ["what is done to them:", *lines] if lines else ["nothing needs to be done to them"]


def _cost_line(name: str, found: Survey) -> str:
    """Return what training takes, found by trying some steps."""
    import torch

    from gansmith import runtime
    from gansmith.training.estimate import estimate
    from gansmith.training.log import clock
    from gansmith.training.memory import step_bytes
    from gansmith.training.objectives import OBJECTIVES

    runtime.keep_large_allocations()
    device = runtime.choose_device("auto")
    request = Request(name, size=found.form.size, channels=found.form.channels)
    recipe = request.resolve(found.facts, runtime.measure_machine(device), Budget.of()).recipe
    objective = OBJECTIVES[recipe.objective]
    taken, libraries = step_bytes(recipe, objective), runtime.memory_in_use(torch.device("cpu")) or 0
    megabytes = (taken.fixed + (taken.held + taken.kept) * recipe.batch_size + libraries) / 1e6
    tried = estimate(recipe, objective, device)
    rate = tried.images / tried.seconds
    seconds = found.num_images["train"] / rate
    once = f"{clock(seconds)} minutes" if seconds >= 1 else "less than a second"
    return (
        f"{name} would train at about {rate:,.0f} images a second on {device}, each image once in {once}, "
        f"and take about {megabytes:,.0f} MB of memory"
    )


def _kinds(counts: Iterable[tuple[str, int]]) -> str:
    items = list(counts)
    text = ", ".join(f"{name} ({count:,})" for name, count in items[:MOST_KINDS])
    return text if len(items) <= MOST_KINDS else f"{text} and {len(items) - MOST_KINDS:,} more"


def _names(names: Sequence[str], most: int | None) -> str:
    text = ", ".join(names[:most])
    return text if most is None or len(names) <= most else f"{text} and {len(names) - most:,} more"


def _more(count: int, most: int | None, what: str = "") -> list[str]:
    return (
        []
        if most is None or count <= most
        else [f"  and {count - most:,} more {what}".rstrip() + " (--all shows them)"]
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
