"""Rows 10 and 29: a signal saves within 10 s, a second leaves at once; closed outputs are survived."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gansmith.checkpoint import checkpoint_folders, read_newest
from gansmith.training.log import Metrics
from tests.end_to_end.processes import environment, gansmith, start

RUN = ("train", "digits", "--recipe", "mlp", "--images", "50m", "--out", "run")
TRAIN = f"{sys.executable} -m gansmith train digits --recipe mlp --out run"
ALLOWED_SECONDS = 10


def bash(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )


def wait_for_first_record(folder: Path, since: float = 0.0) -> None:
    """Wait for a record that was made after the time `since`."""
    deadline, metrics = time.monotonic() + 60, Metrics(folder / "metrics.jsonl")
    while not any(record["time"] > since for record in metrics.read()):
        assert time.monotonic() < deadline, "training did not start"
        time.sleep(0.05)


@pytest.mark.faults
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_10_one_signal_saves_and_the_same_command_goes_on(
    number: signal.Signals, exit_code: int, tmp_path: Path
) -> None:
    for attempt in range(2):
        began = time.time()
        with start(*RUN, cwd=tmp_path) as process:
            wait_for_first_record(tmp_path / "run", since=began)
            time.sleep(0.5)
            sent = time.monotonic()
            process.send_signal(number)
            output, _ = process.communicate(timeout=60)
        assert time.monotonic() - sent < ALLOWED_SECONDS
        assert process.returncode == exit_code, output
        assert "the same command goes on from there" in output
        assert "Traceback" not in output
        assert ("going on from" in output) == (attempt == 1)
        checkpoint, passed_over = read_newest(tmp_path / "run" / "checkpoints")
        assert checkpoint is not None
        assert not passed_over
        assert f"{checkpoint.about['images_seen']:,} images" in output


@pytest.mark.faults
@pytest.mark.slow
def test_10_stop_of_a_network_that_is_slow_to_settle_is_still_fast(tmp_path: Path) -> None:
    """At 64x64, settling dcgan-32 takes longer than a stop may on one core; the state is saved without it. Of a small
    batch, or the step itself would take that long where there is no bfloat16.
    """
    with start(
        "train", "digits", "--recipe", "dcgan-32", "--size", "64", "--set", "batch_size=8", "--images", "50m",
        "--out", "run", cwd=tmp_path,
    ) as process:  # fmt: skip
        wait_for_first_record(tmp_path / "run")
        sent = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)
    assert time.monotonic() - sent < ALLOWED_SECONDS
    assert process.returncode == 143, output
    assert checkpoint_folders(tmp_path / "run" / "checkpoints")


@pytest.mark.faults
def test_10_second_signal_leaves_at_once(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killable.py")
    with subprocess.Popen(
        [sys.executable, str(script), "run", "800000", "40", "1"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("writing .writing-"):  # a save takes six seconds there
                process.send_signal(signal.SIGTERM)
                time.sleep(0.5)
                sent = time.monotonic()
                process.send_signal(signal.SIGTERM)
                break
        process.wait(timeout=30)
        assert time.monotonic() - sent < 0.6
    assert process.returncode == 143


@pytest.mark.faults
def test_10_signals_that_come_together_are_one_request_to_save(tmp_path: Path) -> None:
    """As from GNU `timeout`, which sends its own to the process and then to the group that it is in."""
    with start(*RUN, cwd=tmp_path) as process:
        wait_for_first_record(tmp_path / "run")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)  # the first is handled by now; together they would be one to the system too
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "the same command goes on from there" in output
    assert checkpoint_folders(tmp_path / "run" / "checkpoints")


@pytest.mark.faults
def test_29_closed_pipe_does_not_stop_training(tmp_path: Path) -> None:
    result = bash(f"{TRAIN} --images 20k | head -n 1; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert result.stdout.splitlines()[-1] == "0"
    assert result.stderr == ""
    assert Metrics(tmp_path / "run" / "metrics.jsonl").read()[-1]["images"] >= 20_000


@pytest.mark.faults
def test_29_help_into_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    result = bash(f"{sys.executable} -m gansmith train --help | head -n 1; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert (result.stdout.splitlines()[-1], result.stderr) == ("0", "")


@pytest.mark.faults
def test_29_no_standard_output_at_all_does_not_stop_training(tmp_path: Path) -> None:
    result = bash(f"{TRAIN} --images 2k >&-", tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert checkpoint_folders(tmp_path / "run" / "checkpoints")


@pytest.mark.faults
def test_29_output_that_is_no_terminal_is_plain_lines(tmp_path: Path) -> None:
    result = gansmith("train", "digits", "--recipe", "mlp", "--images", "2k", "--out", "run", cwd=tmp_path)
    assert result.returncode == 0
    assert "\x1b" not in result.stdout
    assert "done: 2,048 images" in result.stdout


@pytest.mark.faults
def test_29_terminal_without_colour_gets_none(tmp_path: Path) -> None:
    """In a real pseudo-terminal, with NO_COLOR set, no colour codes come (cursor movement may)."""
    result = subprocess.run(
        ["script", "-qec", f"{TRAIN} --images 100k", "/dev/null"],
        cwd=tmp_path,
        env={**environment(), "NO_COLOR": "1", "TERM": "xterm"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "img/s" in result.stdout
    assert not any(f"\x1b[{code}" in result.stdout for code in ("3", "9", "1;3", "38"))
