"""The command in real processes that start at once: forked from a server process that has imported torch already.

Each has its own standard output and error (files), folder, limits and end, as if it had been typed; only the second or
two of importing torch is saved. `python -m gansmith` itself is run by `tests/end_to_end/processes.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.warm"])
LONGEST_SECONDS = 120


@dataclass(frozen=True)
class Result:
    """How a command ended.

    Attributes:
        code: of exit; minus the number of the signal that ended it.
        output, errors: what it printed.
        seconds: it took.
    """

    code: int
    output: str
    errors: str
    seconds: float


class Running:
    """A command at work; waited for at the end of the `with`, and killed if that takes too long."""

    def __init__(
        self, arguments: str, folder: Path, prepare: Callable[[], Any] | None, environment: dict[str, str]
    ) -> None:
        self._files = folder / f".output-{time.monotonic_ns()}", folder / f".errors-{time.monotonic_ns()}"
        everything = {"GANSMITH_CACHE": os.environ["GANSMITH_CACHE"], **environment}
        self._started = time.monotonic()
        self.process = CONTEXT.Process(
            target=_child, args=(shlex.split(arguments), folder, self._files, everything, prepare), daemon=True
        )
        self.process.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.is_alive():
            self.process.kill()
        self.process.join()

    @property
    def output(self) -> str:
        return self._text(0)

    @property
    def errors(self) -> str:
        return self._text(1)

    def _text(self, number: int) -> str:
        path = self._files[number]
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that the command is to do, while it runs."""
        deadline = time.monotonic() + LONGEST_SECONDS
        while not is_so():
            assert self.process.is_alive(), f"ended with {self.process.exitcode}: {self.output}{self.errors}"
            assert time.monotonic() < deadline, f"waited in vain: {self.output}{self.errors}"
            time.sleep(0.02)

    def wait(self) -> Result:
        """Return how it ended."""
        self.process.join(LONGEST_SECONDS)
        assert self.process.exitcode is not None, f"still running: {self.output}{self.errors}"
        output, errors = self.output, self.errors
        for path in self._files:
            path.unlink(missing_ok=True)
        return Result(self.process.exitcode, output, errors, time.monotonic() - self._started)


def start(arguments: str, folder: Path, prepare: Callable[[], Any] | None = None, **environment: str) -> Running:
    """Start `gansmith ARGUMENTS` in a folder.

    Args:
        arguments: as typed.
        folder: to run in; two hidden files for what is printed lie there until the end is waited for.
        prepare: called in the process first, to limit it; importable.
        environment: variables beside the usual ones.
    """
    return Running(arguments, folder, prepare, environment)


def gansmith(arguments: str, folder: Path, prepare: Callable[[], Any] | None = None, **environment: str) -> Result:
    """Run `gansmith ARGUMENTS` in a folder and return how it ended; see `start`."""
    with start(arguments, folder, prepare, **environment) as running:
        return running.wait()


def _child(
    arguments: list[str],
    folder: Path,
    files: tuple[Path, Path],
    environment: dict[str, str],
    prepare: Callable[[], Any] | None,
) -> None:
    for path, descriptor in zip(files, (1, 2), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.environ.update(environment)
    os.chdir(folder)
    if prepare is not None:
        prepare()
    from gansmith.cli import main

    main(arguments)
