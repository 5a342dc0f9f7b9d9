"""The errors a user can meet. Each family maps to one exit code of the command line.

Nothing here imports the rest of the package. `cli/__init__.py` turns an error into one line and its exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GansmithError(Exception):
    """Base of every error raised on purpose; a plain one (exit code 1) is a bug of ours."""

    exit_code = 1


class UsageError(GansmithError):
    """A command line, recipe or configuration that cannot be used (exit code 2).

    Args:
        problems: one message, or all that were found; they are shown together, one a line.
    """

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(GansmithError):
    """A data source that cannot be read or holds nothing usable (exit code 3)."""

    exit_code = 3


class CheckpointError(GansmithError):
    """A checkpoint or saved model that is missing, damaged or from elsewhere (exit code 4)."""

    exit_code = 4


class DivergedError(GansmithError):
    """Training whose losses or gradients are no finite numbers, also with lower rates (exit code 5)."""

    exit_code = 5


class ResourceError(GansmithError):
    """Too little disk or memory, or a run folder that cannot be used (exit code 6)."""

    exit_code = 6


class Interrupted(GansmithError):
    """Training stopped by a signal after its state was saved (exit code 128 + signal number).

    Args:
        message: what was saved and how to go on.
        signal_number: 2 for SIGINT (exit code 130), 15 for SIGTERM (exit code 143).
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class RankLost(GansmithError):
    """Another of the processes that train together has ended, so that this one cannot go on (exit code 1)."""


class AlreadyTold(GansmithError):
    """Training ended by an error that another of its processes has told (exit code 1); not to be told again."""


def near_matches(word: str, choices: Iterable[str]) -> str:
    """Return " (did you mean 'x' or 'y'?)" for the choices that look like `word`, or "" if none does."""
    found = difflib.get_close_matches(word, list(choices), n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(repr(name) for name in found)}?)" if found else ""
