"""Real processes for end-to-end tests: the command itself, and trainings that can be killed at a chosen moment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def gansmith(*arguments: str, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the command and return what it printed; its exit code is the test's to check."""
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


@contextmanager
def start(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the command and return at once; should it still run at the end of the `with`, it is killed."""
    with subprocess.Popen(
        command(*arguments), cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gansmith", *arguments]


def environment() -> dict[str, str]:
    """This process's, with the cache folders that the test session chose after import."""
    return ENVIRONMENT | {name: os.environ[name] for name in ("GANSMITH_CACHE", "HF_HOME", "HF_HUB_OFFLINE")}
