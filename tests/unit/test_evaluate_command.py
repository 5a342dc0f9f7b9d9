"""`gansmith evaluate`: where its report goes and how its table reads. What it measures: tests/end_to_end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from gansmith.cli.evaluate import default_folder, show
from gansmith.report import Interval, Report, Score
from gansmith.training.log import Display
from tests import reports


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(folder: Path, fingerprint: str) -> None:
    folder.mkdir()
    (folder / "report.json").write_text(reports.report(fingerprint=fingerprint).to_json())


@pytest.mark.parametrize(("subject", "folder"), [
    ("runs/a", "runs/a"), ("runs/a/best", "a-best-evaluation"),
    ("runs/a/checkpoints/000000205952", "a-205952-evaluation"), ("saved", "saved-evaluation"),
    ("2024", "2024-evaluation"), ("my photos", "my_photos-evaluation"),
])  # fmt: skip
def test_reports_of_a_run_and_of_what_lies_in_it_have_folders_of_their_own(subject, folder):
    reports.run_folder(Path("runs/a"))
    Path(subject).mkdir(parents=True, exist_ok=True)
    assert default_folder(Path(subject), "a" * 16) == Path(folder)


def test_file_of_images_gives_its_name_without_the_suffix():
    Path("theirs.zip").touch()
    assert default_folder(Path("./theirs.zip"), "a" * 16) == Path("theirs-evaluation")


def test_folder_with_the_report_of_another_subject_is_left_to_it():
    Path("theirs").mkdir()
    write(Path("theirs-evaluation"), "a" * 16)
    assert default_folder(Path("theirs"), "a" * 16) == Path("theirs-evaluation")
    assert default_folder(Path("theirs"), "b" * 16) == Path("theirs-evaluation-2")
    write(Path("theirs-evaluation-2"), "b" * 16)
    assert default_folder(Path("theirs"), "b" * 16) == Path("theirs-evaluation-2")
    Path("theirs-evaluation-2/report.json").write_text("{")  # whose nobody knows
    assert default_folder(Path("theirs"), "b" * 16) == Path("theirs-evaluation-3")


def shown(report: Report) -> list[str]:
    stream = io.StringIO()
    show(report, Display(stream=stream))
    return [" ".join(line.split()) for line in stream.getvalue().splitlines()]


def test_table_has_the_digits_that_the_interval_decides_as_the_page_has():
    scores = (
        Score(name="fd", title="FD", value=12.3456, held_out=0.31234, protocol="p",
              interval=Interval(low=11.9, high=12.8, method="m")),
        Score(name="is", title="IS", value=8.76543, better="higher", protocol="p"),
        Score(name="told", title="Told", value=0.75, better="none", held_out=0.5, protocol="p"),
        Score(name="kd", title="KD", value=None, reason="only 3 samples", protocol="p"),
    )  # fmt: skip
    lines = shown(reports.report(scores=scores))
    for line in (
        "fd 12.35 11.90 to 12.80 0.31 lower", "is 8.765 none - higher", "told 0.7500 none 0.5000", "kd - - lower",
        "kd: only 3 samples",
    ):  # fmt: skip
        assert line in lines, (line, lines)
