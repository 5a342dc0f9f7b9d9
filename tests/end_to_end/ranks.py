"""Trainings by two ranks, as they are typed; what they do is seen from their run folder and from the processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from gansmith.checkpoint import checkpoint_folders
from gansmith.training.log import Metrics
from tests.end_to_end.processes import command, environment

TINY = (
    "train", "digits", "--recipe", "mlp", "--size", "8", "--set", "generator.hidden=[16]",
    "--set", "discriminator.hidden=[16]", "--set", "batch_size=64", "--out", "run",
)  # fmt: skip
TWO = ("--ranks", "2", "--device", "cpu")
LONGEST_SECONDS = 120


class Group:
    """A command and the ranks it starts; killed at the end of the `with`, should they still be there."""

    def __init__(self, *arguments: str, cwd: Path, **variables: str) -> None:
        self.folder, self._pids = cwd, dict[int, int]()
        self.process = subprocess.Popen(
            command(*arguments), cwd=cwd, env=environment() | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *error: object) -> None:
        for pid in [self.process.pid, *self._pids.values(), *self.ranks().values()]:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()

    def ranks(self) -> dict[int, int]:
        """Return rank -> process id of those that are running."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            values = dict(text.split(b"=", 1) for text in variables if b"=" in text)
            if values.get(b"GANSMITH_LAUNCHER") == str(self.process.pid).encode() and b"RANK" in values:
                found[int(values[b"RANK"])] = int(folder.name)
        self._pids |= found
        return found

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONGEST_SECONDS
        while not is_so():
            assert time.monotonic() < deadline, "waited in vain"
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}: {self.process.communicate()}")
            time.sleep(0.02)

    def wait_for_record(self, since: float = 0.0) -> None:
        """Wait for a record of training that was made after the time `since`."""
        metrics = Metrics(self.folder / "run" / "metrics.jsonl")
        self.wait_until(lambda: any(record["time"] > since for record in metrics.read()))

    def wait_for_checkpoint(self) -> None:
        self.wait_until(lambda: bool(checkpoint_folders(self.folder / "run" / "checkpoints")))

    def end(self) -> tuple[int, str, str]:
        """Return the exit code and what was printed."""
        output, errors = self.process.communicate(timeout=LONGEST_SECONDS)
        return self.process.returncode, output, errors


def is_alive(pid: int) -> bool:
    """Return whether a process is there and not just waiting to be asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
