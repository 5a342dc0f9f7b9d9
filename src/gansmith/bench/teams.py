"""Processes that train one recipe together, and wait asleep while it is another team's turn."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gansmith.errors import ResourceError
from gansmith.recipe import Recipe

LONGEST_END = 30.0
"""Seconds that processes have to end by themselves."""
HOST = "127.0.0.1"


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_port() -> int:
    """Return a port of this machine that nobody listens on, now at least."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


class Team:
    """Ranks that train a recipe, a process each, started with the `with`.

    Args:
        num_ranks: how many; with one there is nothing to agree on.
        num_threads: of each.
        recipe: in the precision to train in; its batch is that of all ranks together.
        images: file of an array (N, C, H, W) uint8.

    Attributes:
        idle_share: the largest share of a core that one of them has used between turns.
    """

    def __init__(self, num_ranks: int, num_threads: int, recipe: Recipe, images: Path) -> None:
        self._num_ranks, self._num_threads = num_ranks, num_threads
        self._given = {"recipe": recipe.model_dump(mode="json"), "images": str(images)}
        self._folder = images.parent
        self._members: list[subprocess.Popen[str]] = []
        self.idle_share = 0.0

    def __enter__(self) -> Self:
        """Start them; return when each has taken its first steps.

        Raises:
            ResourceError: one of them failed.
        """
        self._port = free_port()
        with contextlib.ExitStack() as stack:
            stack.push(self.__exit__)
            self._members = [self._started(rank) for rank in range(self._num_ranks)]
            self._ask(json.dumps(self._given))
            self._ask("join")  # only now: who waits for one that never comes waits long
            stack.pop_all()
        return self

    def rate(self, seconds: float) -> float:
        """Return images per second over a turn; the first step is as in `interleaving.Contender`.

        Raises:
            ResourceError: one of them failed.
        """
        answers = self._ask(str(seconds))
        self.idle_share = max(self.idle_share, *(float(answer["idle_share"]) for answer in answers))
        return float(answers[0]["rate"])

    def _started(self, rank: int) -> subprocess.Popen[str]:
        place = {
            "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self._num_ranks, "MASTER_ADDR": HOST,
            "MASTER_PORT": self._port, "OMP_NUM_THREADS": self._num_threads,
        }  # fmt: skip
        with self._errors(rank).open("w") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "gansmith.bench.member"], text=True, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, env=os.environ | {name: str(at) for name, at in place.items()},
            )  # fmt: skip

    def _errors(self, rank: int) -> Path:
        return self._folder / f"errors-{rank}-of-{self._num_ranks}"

    def _ask(self, line: str) -> list[dict[str, Any]]:
        """Return what each of them answers."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, and does not answer
            for member in self._members:
                assert member.stdin is not None
                member.stdin.write(line + "\n")
                member.stdin.flush()
        answers = []
        for member in self._members:
            assert member.stdout is not None
            if not (answer := member.stdout.readline()):
                raise ResourceError(f"bench: a process of {self._num_ranks} that train together ended ({self._why()})")
            answers.append(json.loads(answer))
        return answers

    def _why(self) -> str:
        """Return the last line that each of them said; all have ended then."""
        self._end()
        whys = []
        for rank, member in enumerate(self._members):
            lines = self._errors(rank).read_text().strip().splitlines()
            whys.append(f"rank {rank}: {lines[-1] if lines else f'exit code {member.returncode}'}")
        return "; ".join(whys)

    def _end(self) -> None:
        for member in self._members:
            with contextlib.suppress(BrokenPipeError):
                if member.stdin is not None:
                    member.stdin.close()
        for member in self._members:
            try:
                member.wait(LONGEST_END)
            except subprocess.TimeoutExpired:
                member.kill()
                member.wait()
            if member.stdout is not None:
                member.stdout.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them: by themselves, or after a mistake at once."""
        if error is not None:
            for member in self._members:
                member.kill()
        self._end()
