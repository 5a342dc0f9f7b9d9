"""Ctrl-C and SIGTERM: the first asks training to save and stop, the second leaves at once.

Signals within `SAME_REQUEST_SECONDS` are one request: GNU `timeout` sends its own to the process and again to its
group, and Linux sends the one for a dead parent once for each of the parent's threads. Among several ranks a signal to
one is a signal to all, from the moment at which they agree on it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

from gansmith import ranks

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME_REQUEST_SECONDS = 0.25
SHOW_CURSOR = b"\x1b[?25h"
STOPPING = b"\nstopping: the state is being saved; once more leaves at once, without saving\n"


def _tell(text: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody may be listening
        os.write(2, text)


class StopSignal:
    """While entered, remembers the first SIGINT or SIGTERM; the second ends the process at once.

    Outside the main thread, where Python allows no handlers, it never stops anything.

    Attributes:
        received: number of the signal, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._own: int | None = None
        self._since = 0.0
        self._has_told, self._is_one_of_several = False, False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers."""
        self._is_one_of_several = ranks.current().size > 1
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._own is not None and now - self._since < SAME_REQUEST_SECONDS:
            return
        if self._own is not None:
            _tell(SHOW_CURSOR if sys.__stdout__ is not None and sys.__stdout__.isatty() else b"")
            os._exit(128 + number)
        self._own = self.received = number
        self._since = now
        if not self._is_one_of_several:
            _tell(STOPPING)

    def agree(self, more: int = 0) -> tuple[bool, int]:
        """Return whether any rank has received a signal, the same everywhere, and the largest `more` of all ranks.

        One message of a few bytes that waits for no GPU.

        Args:
            more: a number below 256; where there is a signal, what is returned need not be the largest.
        """
        number, more = divmod(ranks.largest((self.received or 0) << 8 | more), 256)
        if number and self._is_one_of_several and not self._has_told:
            self.received, self._has_told = number, True
            if ranks.current().is_first:
                _tell(STOPPING)
        return number > 0, more

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the previous handlers back, once what belongs to a request that was met quickly has come too."""
        if self._own is not None:
            time.sleep(max(0.0, self._since + SAME_REQUEST_SECONDS - time.monotonic()))
        for number, handler in self._previous.items():
            signal.signal(number, handler)
