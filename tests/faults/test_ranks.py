"""Rows 9 to 11 with several ranks: signals to the launcher, a rank that is killed or raises, another number of them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from gansmith.checkpoint import checkpoint_folders, read_newest
from gansmith.training.log import Metrics
from tests.end_to_end.processes import gansmith
from tests.end_to_end.ranks import TINY, TWO, Group, is_alive

pytestmark = [pytest.mark.faults, pytest.mark.skipif(sys.platform != "linux", reason="ranks are found in /proc")]
ALLOWED_SECONDS, ALLOWED_SECONDS_AFTER_ERROR = 10, 60
LONG = (*TINY, *TWO, "--images", "500m")


def newest_images(folder: Path) -> int:
    checkpoint, passed_over = read_newest(folder / "run" / "checkpoints")
    assert checkpoint is not None
    assert not passed_over
    return int(checkpoint.about["images_seen"])


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
    ids=["terminated", "interrupted"],
)
def test_11_ranks_save_once_and_leave_after_a_signal_to_the_launcher(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    with Group(*LONG, cwd=tmp_path) as group:
        group.wait_for_record()
        pids = group.ranks()
        assert pids.keys() == {0, 1}
        sent = time.monotonic()
        group.process.send_signal(number)
        result, output, errors = group.end()
        assert time.monotonic() - sent < ALLOWED_SECONDS
        assert not any(is_alive(pid) for pid in pids.values())
    assert result == code, (output, errors)
    assert errors.count("stopping: ") == 1
    said = (
        f"gansmith: stopped and saved at {newest_images(tmp_path):,} images in run; the same command goes on from there"
    )
    assert errors.strip().splitlines()[-1] == said
    assert errors.count("gansmith: ") == 1
    assert "Traceback" not in errors


@pytest.mark.slow
def test_10_ranks_leave_at_once_after_a_second_signal(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(
        "import os, time\n"
        "if os.environ.get('RANK') == '0':\n"
        "    from pathlib import Path\n"
        "    from gansmith.training import saver\n"
        "    def save(*arguments, **settings):\n"
        "        Path('saving').touch()\n"
        "        time.sleep(600)\n"
        "    assert saver.write_checkpoint\n"
        "    saver.write_checkpoint = save\n"
    )
    with Group(*LONG, cwd=tmp_path, PYTHONPATH=os.pathsep.join([str(slow), *sys.path])) as group:
        group.wait_for_record()
        pids = group.ranks()
        group.process.send_signal(signal.SIGTERM)
        group.wait_until((tmp_path / "saving").exists)
        time.sleep(0.5)  # no longer the same request
        sent = time.monotonic()
        group.process.send_signal(signal.SIGTERM)
        result, output, errors = group.end()
        assert time.monotonic() - sent < ALLOWED_SECONDS
        assert not any(is_alive(pid) for pid in pids.values())
    assert result == 143, (output, errors)
    assert "Traceback" not in errors
    assert not checkpoint_folders(tmp_path / "run" / "checkpoints")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_11_ranks_start_again_and_finish_after_one_was_killed(rank: int, tmp_path: Path) -> None:
    images = 30_080
    with Group(*TINY, *TWO, "--images", str(images), "--save-every", "2560", cwd=tmp_path) as group:
        group.wait_for_checkpoint()
        before = group.ranks()
        os.kill(before[rank], signal.SIGKILL)
        result, output, errors = group.end()
        assert not any(is_alive(pid) for pid in before.values())
    assert result == 0, (output, errors)
    assert "a rank was killed: all have been started again (1 of at most 3 times)" in output
    assert "run: going on from " in output
    assert output.count("done: 30,080 images") == 1
    assert errors == ""
    assert newest_images(tmp_path) == images
    seen = [record["images"] for record in Metrics(tmp_path / "run" / "metrics.jsonl").read()]
    assert seen == sorted(set(seen))


BROKEN = """
import os
if os.environ.get("RANK") == "{rank}":
    from gansmith.errors import DataError
    from gansmith.training.adversarial import Adversarial
    step = Adversarial.step
    def broken(self, state, batches):
        if state.counters["steps"] == 20:
            raise {error}
        return step(self, state, batches)
    Adversarial.step = broken
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("DataError('the disk of this rank is gone')", 3, "gansmith: the disk of this rank is gone\n"),
        ("ValueError('a bug of ours')", 1, "ValueError: a bug of ours\n"),
    ],
    ids=["told", "bug"],
)
def test_11_ranks_all_stop_where_one_raises_and_the_first_error_is_shown_once(
    error: str, code: int, said: str, rank: int, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(BROKEN.format(rank=rank, error=error))
    started = time.monotonic()
    with Group(*LONG, cwd=tmp_path, PYTHONPATH=os.pathsep.join([str(broken), *sys.path])) as group:
        group.wait_until(lambda: bool(group.ranks()))
        result, output, errors = group.end()
        assert not any(is_alive(pid) for pid in group.ranks().values())
    assert time.monotonic() - started < ALLOWED_SECONDS_AFTER_ERROR
    assert result == code, (output, errors)
    assert errors.endswith(said)
    assert errors.count(said) == 1
    assert errors.count("Traceback") == (code == 1)
    assert "started again" not in output


@pytest.mark.slow
def test_11_ranks_save_and_leave_where_their_launcher_was_killed(tmp_path: Path) -> None:
    with Group(*LONG, cwd=tmp_path) as group:
        group.wait_for_record()
        pids = group.ranks()
        group.process.kill()
        deadline = time.monotonic() + ALLOWED_SECONDS
        while any(is_alive(pid) for pid in pids.values()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert newest_images(tmp_path) > 0


@pytest.mark.slow
def test_09_ranks_may_be_another_number_when_a_run_goes_on(tmp_path: Path) -> None:
    for ranks, images, said in (
        (TWO, "640", ""), ((), "1280", "  ranks was 2, is 1: the rest will not be bit for bit the same"),
        (TWO, "1920", "  ranks was 1, is 2: the rest will not be bit for bit the same"),
    ):  # fmt: skip
        result = gansmith(*TINY, *ranks, "--images", images, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert said in result.stdout
        assert ("going on" in result.stdout) == bool(said)
    assert newest_images(tmp_path) == 1920
