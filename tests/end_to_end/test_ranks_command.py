"""`gansmith train --ranks N`, and the same processes started by torchrun itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gansmith.checkpoint import read_newest
from gansmith.training.folder import CONFIG, RunConfig
from gansmith.training.log import Metrics
from tests.end_to_end.processes import environment, gansmith
from tests.end_to_end.ranks import TINY, TWO
from tests.faults.command import gansmith as warm_gansmith

IMAGES = 1280


def check_run(folder: Path) -> None:
    assert Metrics(folder / "run" / "metrics.jsonl").read()[-1]["images"] == IMAGES
    assert len(list((folder / "run" / "samples").iterdir())) == 2
    checkpoint, _ = read_newest(folder / "run" / "checkpoints")
    assert checkpoint is not None
    assert (checkpoint.about["images_seen"], checkpoint.about["machine"]["ranks"]) == (IMAGES, 2)


def test_two_ranks_train_one_run_and_speak_with_one_voice(tmp_path: Path) -> None:
    result = gansmith(*TINY, *TWO, "--images", str(IMAGES), "--sync-batch", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("on cpu by 2 ranks, seed 0") == 1
    assert result.stdout.count(f"done: {IMAGES:,} images") == 1
    assert RunConfig.load(tmp_path / "run" / CONFIG).sync_batch
    check_run(tmp_path)


@pytest.mark.slow
def test_ranks_that_torchrun_starts_train_one_run(tmp_path: Path) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    result = subprocess.run(
        [*torchrun, "-m", "gansmith", *TINY, "--images", str(IMAGES), "--device", "cpu"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(f"done: {IMAGES:,} images") == 1
    check_run(tmp_path)


@pytest.mark.slow
def test_a_script_that_torchrun_starts_trains_one_run_and_gets_it_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import os, gansmith\n"
        "run = gansmith.train('digits', 'mlp', size=(8, 8), images=1280, out='run', device='cpu')\n"
        "os.write(1, f'{os.environ[\"RANK\"]} {run.folder} {run.images_seen}\\n'.encode())\n"  # in one piece
        "os._exit(0)\n"  # as docs/ranks.md says
    )
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    result = subprocess.run(
        [*torchrun, "script.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert sorted(re.findall(r"([01]) run 1280\n", result.stdout)) == ["0", "1"], result.stdout
    check_run(tmp_path)


@pytest.mark.slow
def test_a_batch_that_ranks_cannot_share_is_refused_once_before_training(tmp_path: Path) -> None:
    result = gansmith(*TINY, "--ranks", "3", "--device", "cpu", "--images", "640", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(
        "gansmith: batch_size 64 cannot be divided evenly among 3 ranks; --set batch_size=63"
    )
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--ranks 0", "--ranks 0: '0' is not a count; write a whole number above 0 such as 5000, 200k or 1.5m"),
        ("--ranks 2 --images -1", "--images -1: '-1' is not a count"),
        ("--ranks 2 --dry-run", "--dry-run: tries a step in one process; leave --ranks out"),
        ("--ranks 2 --device cuda", "--device cuda: this machine has "),
    ],
)
def test_mistakes_are_told_once_before_ranks_are_started(arguments: str, said: str, tmp_path: Path) -> None:
    result = warm_gansmith(f"train digits {arguments} --out run", tmp_path, CUDA_VISIBLE_DEVICES="")
    assert result.code == 2
    assert result.errors.startswith(f"gansmith: {said}")
    assert result.errors.count("\n") == 1
    assert not (tmp_path / "run").exists()
