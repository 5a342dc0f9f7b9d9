"""The command line: `gansmith COMMAND ...`. One file a command: parse, call the library, print.

Nothing here imports torch before a command runs, so that help and mistakes answer at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Annotated

import tyro

from gansmith.cli.bench import BenchCommand
from gansmith.cli.classify import ACTIONS, ClassifyCommand
from gansmith.cli.command import Command, unknown_arguments
from gansmith.cli.compare import CompareCommand
from gansmith.cli.data import DataCommand
from gansmith.cli.evaluate import EvaluateCommand
from gansmith.cli.interpolate import InterpolateCommand
from gansmith.cli.recipes import RecipesCommand
from gansmith.cli.sample import SampleCommand
from gansmith.cli.show import ShowCommand
from gansmith.cli.sweep import SweepCommand
from gansmith.cli.train import TrainCommand
from gansmith.errors import AlreadyTold, GansmithError, UsageError, near_matches

COMMANDS = (
    "train",
    "data",
    "sample",
    "interpolate",
    "evaluate",
    "compare",
    "sweep",
    "classify",
    "show",
    "recipes",
    "bench",
)
DESCRIPTION = (
    "Train, sample, measure and look into generative adversarial networks. `gansmith COMMAND --help` says more."
)

AnyCommand = (
    Annotated[TrainCommand, tyro.conf.subcommand("train")]
    | Annotated[DataCommand, tyro.conf.subcommand("data")]
    | Annotated[SampleCommand, tyro.conf.subcommand("sample")]
    | Annotated[InterpolateCommand, tyro.conf.subcommand("interpolate")]
    | Annotated[EvaluateCommand, tyro.conf.subcommand("evaluate")]
    | Annotated[CompareCommand, tyro.conf.subcommand("compare")]
    | Annotated[SweepCommand, tyro.conf.subcommand("sweep")]
    | Annotated[ClassifyCommand, tyro.conf.subcommand("classify")]
    | Annotated[ShowCommand, tyro.conf.subcommand("show")]
    | Annotated[RecipesCommand, tyro.conf.subcommand("recipes")]
    | Annotated[BenchCommand, tyro.conf.subcommand("bench")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 usage, 3 data, 4 checkpoint, 5 diverged, 6 resources, 130 / 143 interrupted.

    Args:
        arguments: without the program's name; by default those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    logging.basicConfig(format="gansmith: %(message)s", level=logging.WARNING)
    _leave_in_order_on_sigterm()
    try:
        command, unknown = parse(arguments)
        command.arguments = tuple(arguments)
        command.run(unknown)
    except AlreadyTold as error:
        sys.exit(error.exit_code)
    except GansmithError as error:
        if debug:
            raise
        _complain(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # of help text; everything else is printed through `ForgivingStream`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        if debug:
            raise
        sys.exit(130)


def parse(arguments: Sequence[str]) -> tuple[Command, list[str]]:
    """Return the command with its arguments, and those that it does not know.

    Raises:
        UsageError: there is no such command.
        SystemExit: help was asked for (0), or a required argument is missing (2); already printed.
    """
    first = arguments[0] if arguments else ""
    if first == "--version":
        from gansmith.version import __version__

        print(f"gansmith {__version__}")  # noqa: T201
        sys.exit(0)
    if first and not first.startswith("-") and first not in COMMANDS:
        raise UsageError(
            f"{first}: there is no such command{near_matches(first, COMMANDS)}; there are {', '.join(COMMANDS)}"
        )
    if first == "classify" and len(arguments) > 1 and not (arguments[1].startswith("-") or arguments[1] in ACTIONS):
        hint = near_matches(arguments[1], ACTIONS)
        raise UsageError(f"classify {arguments[1]}: there is no such command{hint}; there are {', '.join(ACTIONS)}")
    chosen, unknown = tyro.cli(
        AnyCommand,
        prog="gansmith",
        description=DESCRIPTION,
        args=arguments or ["--help"],
        return_unknown_args=True,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.UseAppendAction),
    )
    command: Command = chosen.action if isinstance(chosen, ClassifyCommand) else chosen
    return command, unknown_arguments(command, unknown)


def _leave_in_order_on_sigterm() -> None:
    """Until training takes over (`training/stop.py`): what is half written, such as decoded images, is removed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def _complain(error: GansmithError) -> None:
    problems = error.problems if isinstance(error, UsageError) else [str(error)]
    head, indent = ("gansmith: ", "") if len(problems) == 1 else (f"gansmith: {len(problems)} mistakes\n", "  ")
    try:
        print(head + "\n".join(indent + problem for problem in problems), file=sys.stderr)  # noqa: T201
    except OSError:  # nobody reads it any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
