"""Texts of the command line to values; every function raises ValueError with what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gansmith.errors import near_matches

Value = TypeVar("Value")


def parsed(problems: list[str], option: str, text: str | None, parse: Callable[[str], Value]) -> Value | None:
    """Return the value of an option, or None where it was not given or is wrong, which is then added to `problems`."""
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        problems.append(f"{option} {text}: {error}")
        return None


def positive(text: str) -> float:
    """Return a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < 1e9:
        raise ValueError(f"{text!r} is not a number above 0")
    return number


def natural(text: str) -> int:
    """Return a whole number from 0, small enough for a seed."""
    if not text.isascii() or not text.isdigit() or int(text) >= 2**63:
        raise ValueError(f"{text!r} is not a whole number from 0 to 2^63 - 1")
    return int(text)


def channel_count(text: str) -> int:
    """Return 1, 3 or 4."""
    if text not in ("1", "3", "4"):
        raise ValueError(f"{text!r} is not 1 (grey), 3 (RGB) or 4 (RGBA)")
    return int(text)


def one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    """Return the parser of a word out of `choices`; the error names the near matches."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be {' or '.join(choices)}{near_matches(text, choices)}")
        return text

    return parse


def at_least(smallest: int, parse: Callable[[str], int]) -> Callable[[str], int]:
    """Return the parser of a count from `smallest` on."""

    def parse_from(text: str) -> int:
        count = parse(text)
        if count < smallest:
            raise ValueError(f"must be at least {smallest}")
        return count

    return parse_from
