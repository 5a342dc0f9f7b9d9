"""What all commands share."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from gansmith.errors import near_matches


@dataclass
class Command(ABC):
    """A command of the command line; its fields are its arguments."""

    debug: bool = dataclasses.field(default=False, kw_only=True)
    """Show the whole traceback of an error."""
    arguments: tuple[str, ...] = dataclasses.field(default=(), init=False)
    """As they were typed."""

    @abstractmethod
    def run(self, unknown: Sequence[str]) -> None:
        """Do it.

        Args:
            unknown: one message per argument that the command does not have.

        Raises:
            UsageError: the arguments are wrong, with all the mistakes at once.
        """


def unknown_arguments(command: Command, unknown: Sequence[str]) -> list[str]:
    """Return one message for each argument that the command does not have, with near matches."""
    options = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(command) if field.init]
    messages = []
    for index, text in enumerate(unknown):
        if text.startswith("-"):
            messages.append(f"{text}: there is no such option{near_matches(text.split('=')[0], options)}")
        elif index == 0 or not unknown[index - 1].startswith("-"):
            messages.append(f"{text}: one argument too many")
    return messages
