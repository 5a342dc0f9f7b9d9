"""What the evaluations of a run have found: a line each in `evaluations.jsonl`, and the best generator in `best/`.

`best/` is a saved model that `score.json` lies in; `watch.py` decides when to evaluate.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from gansmith.checkpoint import PARTIAL, clean_up, put_in_place, write_synced
from gansmith.models import Model, save_pretrained
from gansmith.training.log import Metrics

EVALUATIONS, BEST, BEST_SCORE = "evaluations.jsonl", "best", "score.json"
KIND = ("score", "num_samples", "extractor")
"""Of a record: what must be equal for its value to be comparable."""
Record = dict[str, Any]
"""`images` seen, those of KIND, `value` (None: `reason` says why), `seconds`, `time`."""


class Evaluations:
    """The history of one run, lower scores being better. Records of another kind than the newest are not compared.

    Args:
        folder: of the run.
        images: seen so far; what was recorded beyond is dropped.

    Attributes:
        records: oldest first.
        kind: of those that are compared, or None before the first.
        best: the record of `best/`, or None. It may be from beyond `images`: it is still this run's best.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, images: int) -> None:
        self.folder = folder
        self._file = Metrics(folder / EVALUATIONS)
        self._file.rewind(images)
        clean_up(folder)
        self.records: list[Record] = self._file.read()
        self.kind = kind_of(self.records[-1]) if self.records else None
        self.best = best_of(folder)

    def append(self, record: Record) -> None:
        """Add a record, to the file too.

        Raises:
            OSError: the file could not be written to; the record counts all the same.
        """
        self.records.append(record)
        self._file.append(record)

    def lowest(self) -> Record | None:
        """Return the first record of the lowest score of this kind, or None where there is none."""
        known = [*self._comparable(), *([self.best] if self.best and kind_of(self.best) == self.kind else [])]
        return min(known, key=lambda record: (record["value"], record["images"]), default=None)

    def num_since_lowest(self) -> int:
        """Return how many scores came after the lowest."""
        lowest = self.lowest()
        return 0 if lowest is None else sum(record["images"] > lowest["images"] for record in self._comparable())

    def _comparable(self) -> list[Record]:
        return [record for record in self.records if record["value"] is not None and kind_of(record) == self.kind]

    def is_new_best(self, record: Record) -> bool:
        """Return whether a score belongs into `best/`: it is below that there, or the same measured again."""
        if self.best is None or kind_of(self.best) != kind_of(record):
            return True
        return bool(record["value"] < self.best["value"] or record["images"] == self.best["images"])

    def save_best(self, model: Model, record: Record) -> None:
        """Put a generator and its record in the place of `best/`, whole or not at all.

        Raises:
            OSError: there is no room, or the folder is not writable; what was there before is kept.
        """
        partial = self.folder / f"{PARTIAL}{BEST}-{os.getpid()}"
        try:
            save_pretrained(model, partial)
            write_synced(partial / BEST_SCORE, json.dumps(record).encode())
            put_in_place(partial, self.folder / BEST)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self.best = record


def kind_of(record: Record) -> tuple[Any, ...]:
    """Return what must be equal for two scores to be comparable."""
    return tuple(record[key] for key in KIND)


def best_of(run: Path) -> Record | None:
    """Return the record of `best/` in a run, or None where there is none that can be read."""
    return score_of(run / BEST)


def score_of(saved_model: Path) -> Record | None:
    """Return the record that lies in a saved model that was a run's best, or None where there is none to be read."""
    try:
        record: Record = json.loads((saved_model / BEST_SCORE).read_bytes())
        return record if {*KIND, "images", "value"} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def scalars_of(run: Path) -> list[Record]:
    """Return the scores of a run as records for its tracker."""
    return [scalar_of(record) for record in Metrics(run / EVALUATIONS).read()]


def scalar_of(record: Record) -> Record:
    """Return a record for the tracker: a number under the name of the score."""
    return {"images": record["images"], "time": record["time"], record["score"]: record["value"]}


def score_text(record: Record) -> str:
    """Return "fd_classifier 12.34 at 400,000 images"."""
    return f"{record['score']} {short_number(record['value'])} at {record['images']:,} images"


def short_number(value: float) -> str:
    """Return a score in about four digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
