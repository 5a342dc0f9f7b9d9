"""What belongs to one request to stop."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from gansmith.training.stop import SAME_REQUEST_SECONDS, StopSignal


@pytest.fixture
def passed_on():
    """The signals that reach what handled them before."""
    found: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: found.append(number))
    yield found
    signal.signal(signal.SIGTERM, before)


def send() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_rest_of_a_request_reaches_nobody_where_the_first_signal_was_met_at_once(passed_on: list[int]) -> None:
    rest = threading.Timer(SAME_REQUEST_SECONDS / 2, send)
    with StopSignal() as stop:
        send()
        rest.start()
    rest.join()
    assert stop.received == signal.SIGTERM
    assert passed_on == []
    send()
    assert passed_on == [signal.SIGTERM]
