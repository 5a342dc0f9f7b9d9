"""`--ranks` of the commands that do not train: the same files as one process writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gansmith.report import load_report
from tests.end_to_end.processes import gansmith
from tests.reference.rank_cases import save_model

pytestmark = pytest.mark.slow


def test_two_ranks_write_the_samples_of_one_process(tmp_path: Path) -> None:
    save_model(tmp_path)
    for out, more in (("one.npz", []), ("two.npz", ["--ranks", "2", "--device", "cpu"])):
        done = gansmith("sample", "model", "--num", "300", "--out", out, *more, cwd=tmp_path)
        assert (done.returncode, done.stdout.count("300 samples")) == (0, 1), done.stderr
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_two_ranks_write_the_report_of_one_process(tmp_path: Path) -> None:
    save_model(tmp_path)
    common = (
        "evaluate",
        "model",
        "--data",
        "digits",
        "--samples",
        "1100",
        "--extractor",
        "random",
        "--scores",
        "fd,kd",
    )
    for out, more in (("two", ["--ranks", "2", "--device", "cpu"]), ("one", [])):
        done = gansmith(*common, "--scores", "fd,kd", "--out", out, *more, cwd=tmp_path)
        assert (done.returncode, done.stdout.count("fd_random  ")) == (0, 1), done.stderr
    one, two = (load_report(tmp_path / name / "report.json").scores for name in ("one", "two"))
    assert [score.model_copy(update={"seconds": 0}) for score in one] == [
        score.model_copy(update={"seconds": 0}) for score in two
    ]


def test_two_ranks_tell_an_error_once(tmp_path: Path) -> None:
    done = gansmith("sample", "nothing", "--ranks", "2", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.strip() == "gansmith: nothing: no such run folder, checkpoint or saved model"
