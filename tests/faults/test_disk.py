"""Rows 5 and 6: a disk that is full, and a run folder that is read-only, gone, a file, or in use."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image

from gansmith.checkpoint import checkpoint_folders, read_newest
from gansmith.training.log import Metrics
from tests.faults.command import gansmith, start
from tests.faults.limits import as_nobody_special, files_up_to_30_kb, fill, small_disk
from tests.faults.runs import RUN_IMAGES, TINY, checkpoints
from tests.faults.test_checkpoints import GO_ON, refused

pytestmark = pytest.mark.faults
LONG = TINY.replace("--save-every 256", "--save-every 2560") + " --images 50m"


def partial_files(folder: Path) -> list[Path]:
    return [
        path for path in folder.rglob("*") if path.name.startswith((".writing-", ".replaced-")) or path.suffix == ".tmp"
    ]


def test_05_disk_full_while_saving_keeps_the_previous_checkpoint_and_exits_6_at_the_end(small_run: Path) -> None:
    with small_disk(small_run / "disk", "1m") as disk:
        shutil.move(small_run / "run", disk / "run")
        kept = checkpoint_folders(disk / "run" / "checkpoints")
        filler = fill(disk)
        refused(gansmith(GO_ON, small_run, within_disk), 6, "run: cannot be written to (No space left on device)")
        filler.write_bytes(b"\0" * (filler.stat().st_size - 20_000))  # enough to begin, not to save
        result = gansmith(GO_ON, small_run, within_disk)
        refused(
            result, 6, "could not save (No space left on device); earlier checkpoints are kept; training goes on",
            "run: the end of the training could not be saved", "make room, then the same command goes on",
        )  # fmt: skip
        assert checkpoint_folders(disk / "run" / "checkpoints") == kept
        assert not partial_files(disk)
        filler.unlink()
        assert gansmith(GO_ON, small_run, within_disk).code == 0
        assert int(checkpoint_folders(disk / "run" / "checkpoints")[0].name) == RUN_IMAGES + 256


def test_05_disk_full_while_training_goes_on_and_saves_once_there_is_room(tmp_path: Path) -> None:
    """Records, pictures and checkpoints are tried again; what is there is whole."""
    with small_disk(tmp_path / "disk", "4m") as disk, start(LONG, tmp_path, within_disk) as running:
        running.wait_until(lambda: bool(checkpoints(disk)))
        filler = fill(disk)
        running.wait_until(lambda: "could not save (No space left on device)" in running.errors)
        at_first = int(checkpoints(disk)[0].name)
        filler.unlink()
        running.wait_until(lambda: int(checkpoints(disk)[0].name) > at_first)
        running.send(signal.SIGTERM)
        result = running.wait()
        assert result.code == 143, result.errors
        assert not partial_files(disk)
        lines = (disk / "run" / "metrics.jsonl").read_text().splitlines()
        assert len(Metrics(disk / "run" / "metrics.jsonl").read()) == len(lines)
        assert read_newest(disk / "run" / "checkpoints")[1] == []


def within_disk() -> None:
    """Run on the small disk, and print elsewhere."""
    os.chdir("disk")


def test_05_save_that_hits_a_limit_warns_tries_again_and_ends_well(tmp_path: Path) -> None:
    """A limit on the size of files fails a write as a full disk does, and needs no rights; it is raised in mid-run."""
    with start(LONG, tmp_path, files_up_to_30_kb) as running:
        running.wait_until(lambda: running.errors.count("could not save (File too large)") >= 2)
        assert not checkpoints(tmp_path)
        assert "training goes on, and tries again later" in running.errors
        assert running.process.pid is not None
        hard = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        running.wait_until(lambda: bool(checkpoints(tmp_path)))
        running.send(signal.SIGTERM)
        assert running.wait().code == 143
    assert not partial_files(tmp_path)
    assert read_newest(tmp_path / "run" / "checkpoints")[1] == []


def test_05_samples_that_do_not_fit_on_the_disk_exit_6(small_run: Path) -> None:
    result = gansmith("sample run -n 2000 --out many.npz", small_run, files_up_to_30_kb)
    refused(result, 6, "--out many.npz: cannot be written (File too large)")


def test_06_read_only_run_folder_is_a_clear_error(small_run: Path) -> None:
    folders = [small_run / "run", small_run / "run" / "samples", small_run / "run" / "checkpoints"]
    for folder in folders:
        folder.chmod(0o555)
    refused(gansmith(GO_ON, small_run, as_nobody_special), 6, "run: cannot be written to (Permission denied)")
    for folder in folders:
        folder.chmod(0o755)


def test_06_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    result = gansmith(f"{TINY.replace('--out run', '--out locked/run')} --images 64", tmp_path, as_nobody_special)
    refused(result, 6, "locked/run: cannot be written to (Permission denied)")


def test_06_run_folder_removed_in_mid_run_is_a_clear_error(tmp_path: Path) -> None:
    with start(LONG, tmp_path) as running:
        running.wait_until(lambda: bool(checkpoints(tmp_path)))
        (tmp_path / "run").rename(tmp_path / "away")
        refused(running.wait(), 6, "run: the run folder was removed while training")


def test_06_out_that_is_a_file_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("my notes")
    refused(gansmith(f"{TINY} --images 64", tmp_path), 2, "--out run: exists and is not a run folder; choose another")
    assert (tmp_path / "run").read_text() == "my notes"


def test_06_out_with_other_things_in_it_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "run" / "holiday.png")
    refused(gansmith(f"{TINY} --images 64", tmp_path), 2, "exists and is not a run folder")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["holiday.png"]


def test_06_lock_of_a_live_training_is_respected_and_that_of_a_killed_one_is_stale(tmp_path: Path) -> None:
    with start(LONG, tmp_path) as first:
        first.wait_until(lambda: bool(checkpoints(tmp_path)))
        refused(gansmith(LONG, tmp_path), 6, "run: another process is training in this run; choose another --out")
        first.send(signal.SIGKILL)
        assert first.wait().code == -signal.SIGKILL
    assert (tmp_path / "run" / ".lock").exists()
    reached = int(checkpoints(tmp_path)[0].name)
    result = gansmith(LONG.replace("50m", str(reached + 64)), tmp_path)
    assert result.code == 0, result.errors
    assert f"run: going on from {reached:,} images" in result.output
