"""A sweep's folder: what was asked for, whether the same is asked for again, and the runs in it.

plan.json  runs/loss=hinge,gamma=0.05,seed=0/ (a run folder with report.json)  sweep.json  sweep.html
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gansmith.checkpoint import write_synced
from gansmith.errors import UsageError
from gansmith.recipe import Recipe
from gansmith.request import Request
from gansmith.sweeps.grid import Axis, Setting, combinations, folder_name, name_of, overrides_of, recipes_of
from gansmith.version import __version__

SWEEPS, PLAN, RUNS, DIVERGED = Path("sweeps"), "plan.json", "runs", "diverged.json"


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep is.

    Attributes:
        data: as it was given; for a Python object, its name.
        request: what all runs share.
        base: the recipe that it came to, once for all runs.
        fingerprint: of the decoded data.
        axes: what is swept.
        images: real images that each run sees.
        seeds: runs of each setting, of seeds 0, 1, ...
    """

    data: str
    request: Request
    base: Recipe
    fingerprint: str
    axes: tuple[Axis, ...]
    images: int
    seeds: int

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for one sweep to go on with another's runs."""
        fields = [axis.field for axis in self.axes]
        return {**self.request.as_dict(), "data fingerprint": self.fingerprint, "images": self.images, "over": fields}

    def differences(self, stored: SweepPlan) -> list[str]:
        """Return one line for each thing in which a stored plan differs so that its runs are not part of this one."""
        ours, theirs = self.identity(), stored.identity()
        found = [
            f"{key}: the sweep has {theirs[key]}, asked for {ours[key]}" for key in ours if ours[key] != theirs[key]
        ]
        if found:
            return found
        for axis, before in zip(self.axes, stored.axes, strict=True):
            if lacking := [value for value in before.values if value not in axis.values]:
                found.append(f"{axis.field}: the sweep has {', '.join(lacking)} too; give all its values, and new ones")
        if self.seeds < stored.seeds:
            found.append(f"seeds: the sweep has {stored.seeds}, asked for {self.seeds}")
        return found

    def trials(self, folder: Path) -> tuple[Trial, ...]:
        """Return the runs, those of the first seed first.

        Raises:
            UsageError: an override does not fit the recipe.
        """
        settings, common = combinations(self.axes), self.request.overrides
        recipes = recipes_of(self.base, common, settings)
        return tuple(
            Trial(
                setting, seed, recipe, (*common, *overrides_of(setting, self.base, common)),
                folder / RUNS / folder_name(setting, seed),
            )
            for seed in range(self.seeds)
            for setting, recipe in zip(settings, recipes, strict=True)
        )  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write plan.json, whole or not at all."""
        values = {
            "gansmith": __version__,
            "data": self.data,
            "data_fingerprint": self.fingerprint,
            "request": self.request.as_dict(),
            "recipe": self.base.model_dump(mode="json"),
            "over": {axis.field: list(axis.values) for axis in self.axes},
            "images": self.images,
            "seeds": self.seeds,
        }
        partial = (folder / PLAN).with_suffix(".tmp")
        write_synced(partial, json.dumps(values, indent=1, ensure_ascii=False).encode())
        partial.replace(folder / PLAN)

    @staticmethod
    def load(folder: Path) -> SweepPlan:
        """Return the plan in a folder.

        Raises:
            UsageError: it is not readable.
        """
        try:
            values = json.loads((folder / PLAN).read_bytes())
            return SweepPlan(
                values["data"],
                Request.from_dict(values["request"]),
                Recipe.model_validate(values["recipe"]),
                values["data_fingerprint"],
                tuple(Axis(field, tuple(found)) for field, found in values["over"].items()),
                values["images"],
                values["seeds"],
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ValidationError) as error:
            raise UsageError(f"{folder / PLAN}: not the plan of a sweep ({type(error).__name__}: {error})") from error


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        setting: the combination.
        seed: of everything random.
        recipe: the whole method.
        overrides: that make it of the recipe asked for.
        folder: of the run.
    """

    setting: Setting
    seed: int
    recipe: Recipe
    overrides: tuple[str, ...]
    folder: Path

    @property
    def name(self) -> str:
        """For people."""
        return f"{name_of(self.setting)} seed={self.seed}"


def find_sweep(asked: SweepPlan, out: Path | None) -> tuple[Path, SweepPlan | None]:
    """Return the folder of a sweep, and the stored plan where it holds one whose runs are part of this sweep.

    Without `out`: the newest such folder in sweeps/, else a new one there.

    Raises:
        UsageError: `out` holds another sweep (with the differences), or something else.
    """
    if out is None:
        return _newest(asked)
    if (out / PLAN).exists():
        stored = SweepPlan.load(out)
        if different := asked.differences(stored):
            raise UsageError(
                [f"{out} holds another sweep:", *(f"  {line}" for line in different), "choose another --out"]
            )
        return out, stored
    if out.is_file() or (out.is_dir() and any(entry.name != ".lock" for entry in out.iterdir())):
        raise UsageError(f"--out {out}: exists and is not the folder of a sweep; choose another")
    return out, None


def _newest(asked: SweepPlan) -> tuple[Path, SweepPlan | None]:
    stem = Path(asked.data).resolve().stem if Path(asked.data).exists() else asked.data
    name = re.sub(r"[^\w.-]+", "_", stem) or "data"
    prefix = f"{name}-{asked.request.name}"
    pattern = re.compile(rf"{re.escape(prefix)}-(\d+)")
    folders = SWEEPS.iterdir() if SWEEPS.is_dir() else ()
    numbers = sorted((int(match[1]) for folder in folders if (match := pattern.fullmatch(folder.name))), reverse=True)
    for number in numbers:
        folder = SWEEPS / f"{prefix}-{number}"
        if (folder / PLAN).exists() and not asked.differences(stored := SweepPlan.load(folder)):
            return folder, stored
    return SWEEPS / f"{prefix}-{max(numbers, default=0) + 1}", None
