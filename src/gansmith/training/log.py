"""What a run says: `metrics.jsonl` for programs, a progress display for people (plain lines where no terminal is).

A closed standard output silences the display and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

PLAIN_INTERVAL_SECONDS = 10.0
BAR_WIDTH = 60


class Metrics:
    """`metrics.jsonl`: one JSON object a line, oldest first.

    Args:
        path: of the file; made with the first record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: dict[str, Any]) -> None:
        """Add one record, whole or not at all.

        Raises:
            OSError: the disk is full, or the folder is gone or not writable.
        """
        line = (json.dumps(record) + "\n").encode()
        with self.path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if file.write(line) < len(line):  # the next record must not follow half of this one
                file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read(self) -> list[dict[str, Any]]:
        """Return every whole record; a line that a killed run left half-written is passed over."""
        records = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.exists() else []:
            with contextlib.suppress(ValueError):
                records.append(json.loads(line))
        return records

    def rewind(self, images: int) -> None:
        """Drop what was recorded after `images` images seen: training goes on from there."""
        kept = [record for record in self.read() if record["images"] <= images]
        if self.path.exists():
            partial = self.path.with_suffix(".tmp")
            partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
            partial.replace(self.path)


SHOWN = {
    "loss_d": "loss D", "loss_g": "G", "d_accuracy": "D accuracy",
    "loss": "loss", "reconstruction_error": "reconstruction error", "kl": "KL",
}  # fmt: skip
"""What steps measure, in the words it is shown in, in this order."""


@dataclass(frozen=True)
class Progress:
    """How far training is.

    Attributes:
        share: of the budget, 0 to 1.
        remaining_seconds: estimated, of training.
        record: the newest line of `metrics.jsonl`.
    """

    share: float
    remaining_seconds: float
    record: dict[str, Any]

    def line(self) -> str:
        """Return the numbers in one line."""
        record = self.record
        parts = [f"{record['images']:,} images", f"{record['images_per_second']:,.0f} img/s"]
        for key, label in SHOWN.items():
            if key in record:
                parts.append(f"{label} {record[key]:.3f}")
        if record.get("health", "healthy") != "healthy":
            parts.append(record["health"])
        parts.append(f"{clock(self.remaining_seconds)} to go")
        if record.get("memory_mb"):
            parts.append(f"{record['memory_mb']:,.0f} MB")
        return " · ".join(parts)


def clock(seconds: float) -> str:
    """Return "1:02:03" or "2:03"."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class Display:
    """Tells a person what happens: a live bar on a terminal, plain lines elsewhere, nothing if `quiet`.

    Args:
        quiet: say nothing.
        stream: where to; standard output by default.
    """

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._console = Console(
            file=cast(TextIO, ForgivingStream(stream or sys.stdout)),
            quiet=quiet,
            highlight=False,
            emoji=False,
            soft_wrap=True,
        )
        self._live: Live | None = None
        self._last_plain = 0.0

    def say(self, text: str) -> None:
        """Print one message."""
        self._console.print(text, markup=False)

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table whose first column is text and whose others are numbers."""
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for index, title in enumerate(titles):
            table.add_column(title, justify="right" if index else "left", no_wrap=index > 0)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(table, soft_wrap=False)

    def decoding(self, done: int, count: int) -> None:
        """Show how many images are decoded."""
        self._show(done / count, f"decoding {done:,} of {count:,} images", done >= count)

    def training(self, progress: Progress) -> None:
        """Show how far training is."""
        self._show(progress.share, progress.line(), False)

    def working(self, share: float, text: str) -> None:
        """Show how far anything else is."""
        self._show(share, text, False)

    def _show(self, share: float, text: str, is_last: bool) -> None:
        if not self._console.is_terminal:
            if is_last or time.monotonic() - self._last_plain >= PLAIN_INTERVAL_SECONDS:
                self._last_plain = time.monotonic()
                self._console.print(f"{share:4.0%}  {text}", markup=False)
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        lines = Table.grid()
        lines.add_row(ProgressBar(total=1.0, completed=share, width=BAR_WIDTH))
        lines.add_row(Text(f"{share:4.0%}  {text}", overflow="fold"))
        self._live.update(lines, refresh=True)
        if is_last:
            self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class ForgivingStream:
    """A text stream that turns silent when nobody reads it any more (`| head -1`, a closed terminal).

    Args:
        stream: to write to; None is silent from the start.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or do nothing once the stream is gone."""
        if self._stream is not None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
            except (OSError, ValueError):
                self._silence()
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing once the stream is gone."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._silence()

    def isatty(self) -> bool:
        """Return whether a person's terminal is at the other end."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    @property
    def encoding(self) -> str:
        """The stream's text encoding."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def _silence(self) -> None:
        # What is still buffered must not fail again when Python flushes at exit.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            descriptor = self._stream.fileno()  # type: ignore[union-attr]
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)
        self._stream = None
