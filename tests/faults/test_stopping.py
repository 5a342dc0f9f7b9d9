"""Rows 10 and 29: signals outside the training itself, and terminals that are closed, poor or not there.

Signals while training: `tests/end_to_end/test_signals.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gansmith.checkpoint import read_newest
from tests.conftest import write_images
from tests.end_to_end.processes import command, environment
from tests.faults.command import gansmith, start
from tests.faults.runs import TINY, checkpoints

pytestmark = pytest.mark.faults
ALLOWED_SECONDS = 10


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["10-interrupt-while-decoding", "10-terminate-while-decoding"],
)  # fmt: skip
def test_signal_before_training_ends_it_and_leaves_nothing_half_decoded(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    photos = write_images(tmp_path / "photos", 4, (900, 900), mode="RGB")
    for copy in range(500):
        shutil.copytree(photos, tmp_path / "many" / str(copy), copy_function=os.link)
    cache = tmp_path / "cache"
    with start(
        "train many --recipe mlp --size 28 --images 64 --out run", tmp_path, GANSMITH_CACHE=str(cache)
    ) as running:
        running.wait_until(lambda: "decoding" in running.output)
        sent = time.monotonic()
        running.send(number)
        result = running.wait()
    assert time.monotonic() - sent < ALLOWED_SECONDS
    assert result.code == code, result.errors
    assert "Traceback" not in result.errors
    assert not list(cache.rglob("*.npy"))
    assert not (tmp_path / "run").exists()


def test_10_signal_while_saving_finishes_that_save(tmp_path: Path) -> None:
    with start(TINY.replace("--save-every 256", "--save-every 64") + " --images 50m", tmp_path) as running:
        folder = tmp_path / "run" / "checkpoints"
        running.wait_until(
            lambda: folder.is_dir() and any(path.name.startswith(".writing-") for path in folder.iterdir())
        )
        running.send(signal.SIGTERM)
        result = running.wait()
    assert result.code == 143, result.errors
    assert "stopped and saved at" in result.errors
    assert not list(folder.glob(".*"))
    newest, passed_over = read_newest(folder)
    assert newest is not None
    assert not passed_over


def close_errors() -> None:
    os.close(2)


def close_both() -> None:
    os.close(1)
    os.close(2)


@pytest.mark.parametrize("closed", [close_errors, close_both], ids=["29-errors-closed", "29-both-closed"])
def test_closed_outputs_do_not_stop_training_and_the_exit_code_stays(
    closed: Callable[[], None], tmp_path: Path
) -> None:
    assert gansmith(f"{TINY} --images 256", tmp_path, closed).code == 0
    assert checkpoints(tmp_path)
    assert gansmith("train nowhere", tmp_path, closed).code == 3
    assert gansmith("train digits --images -1", tmp_path, closed).code == 2


@pytest.mark.parametrize(
    "variables", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {}], ids=["29-dumb", "29-no-colour", "29-file"]
)
def test_output_without_a_terminal_is_plain(variables: dict[str, str], tmp_path: Path) -> None:
    result = gansmith(f"{TINY} --images 256", tmp_path, **variables)
    assert result.code == 0
    assert "\x1b" not in result.output + result.errors
    assert "done: 256 images" in result.output


def test_29_names_that_the_terminal_cannot_write_are_shown_as_far_as_it_can(tmp_path: Path) -> None:
    """LANG=C, and Python told to write ASCII: real start-up, for the encoding is chosen there."""
    write_images(tmp_path / "Bücher 😀", 12)
    (tmp_path / "Bücher 😀" / "größe.png").write_bytes(b"no image")
    result = subprocess.run(
        command("train", "Bücher 😀", "--recipe", "mlp", "--images", "128", "--allow-bad", "--out", "läuft"),
        cwd=tmp_path, capture_output=True, check=False,
        env={**environment(), "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert b"done: 128 images" in result.stdout
    assert b"skipped gr????e.png: " in result.stdout  # a mark for each byte
    assert (tmp_path / "läuft" / "config.yaml").exists()
