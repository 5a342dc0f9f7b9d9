"""`gansmith compare`: what is read, what is measured again and why, what is printed and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gansmith.cli import main
from gansmith.evaluation import evaluator
from gansmith.evaluation.evaluator import Evaluation
from gansmith.evaluation.exhibit import Exhibit
from gansmith.report import Report
from tests import reports


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def evaluated(monkeypatch) -> list[dict]:
    """What was evaluated, with which arguments; the report is made up."""
    calls = []

    def evaluate(path, data=None, **options):
        calls.append({"path": path, "data": data, **options})
        return Evaluation(made(path.name, num_samples=options["num_samples"]), Exhibit())

    monkeypatch.setattr(evaluator, "evaluate", evaluate)
    return calls


def made(name: str, **changes) -> Report:
    return reports.report(name, 1.0 if name == "good" else 2.0, len(name), **changes)


def run(name: str, report: Report | None = None, trained: int = 205_952) -> Path:
    folder = reports.run_folder(Path(name))
    (folder / "checkpoints" / f"{trained:012d}").mkdir(parents=True)
    if report:
        (folder / "report.json").write_text(report.to_json())
    return folder


def fails(*arguments: str, capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["compare", *arguments])
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_reports_are_compared_printed_and_written(capsys, evaluated):
    for name in ("good", "poor"):
        run(name, made(name))
    main(["compare", "good", "poor"])
    said = capsys.readouterr().out
    assert "Fréchet distance (classifier features), lower is better\n* good  12.34  " in said
    assert "good is better than poor (p < 0.001)" in said
    assert "good  205,952 images seen in 4 min 0 s" in said
    assert "page: comparison-1/comparison.html   numbers: comparison-1/comparison.json" in said
    assert evaluated == []
    values = json.loads(Path("comparison-1/comparison.json").read_text())
    assert [entry["name"] for entry in values["entries"]] == ["good", "poor"]
    page = Path("comparison-1/comparison.html").read_text()
    assert page.count("<img ") == 2
    assert "gansmith compare good poor" in page


def test_every_comparison_has_a_folder_of_its_own(capsys):
    for name in ("good", "poor"):
        run(name, made(name))
    main(["compare", "good", "poor", "--quiet"])
    main(["compare", "good", "poor/report.json", "--quiet"])
    main(["compare", "good", "poor", "--quiet", "--out", "there"])
    assert capsys.readouterr().out == ""
    assert {path.parent.name for path in Path().glob("*/comparison.html")} == {"comparison-1", "comparison-2", "there"}


def test_run_without_a_report_is_measured_on_as_many_samples_as_the_others(capsys, evaluated):
    run("good", made("good", num_samples=7_000))
    run("poor")
    main(["compare", "good", "poor"])
    assert [(call["path"], call["num_samples"]) for call in evaluated] == [(Path("poor"), 7_000)]
    assert "poor: it has no report; measuring" in capsys.readouterr().out
    assert json.loads(Path("poor/report.json").read_text())["subject"]["name"] == "poor"


@pytest.mark.parametrize(("arguments", "reason"), [
    (["--samples", "5k"], "its report is of 10,000 samples, asked for are 5,000"),
    (["--data", "fashion.zip"], "its report is against ../shared/data/mnist.zip, asked for is fashion.zip"),
    (["--scores", "fd,kd"], "its report has the scores by default, asked for are fd,kd"),
])  # fmt: skip
def test_report_that_is_not_what_is_asked_for_is_measured_again(capsys, evaluated, arguments, reason):
    for name in ("good", "poor"):
        run(name, made(name))
    main(["compare", "good", "poor", *arguments])
    assert f"good: {reason}; measuring" in capsys.readouterr().out
    assert [call["path"].name for call in evaluated] == ["good", "poor"]
    assert evaluated[0]["scores"] == (("fd", "kd") if "--scores" in arguments else None)
    assert evaluated[0]["data"] == ("fashion.zip" if "--data" in arguments else None)


def test_report_with_the_scores_asked_for_is_not_measured_again(evaluated):
    for name in ("good", "poor"):
        run(name, made(name, command=f"gansmith evaluate {name} --scores fd,kd"))
    main(["compare", "good", "poor", "--scores", "fd,kd", "--quiet"])
    assert evaluated == []


def test_run_that_has_trained_on_since_its_report_is_measured_again(capsys, evaluated):
    run("good", made("good"), trained=300_000)
    run("poor", made("poor"))
    main(["compare", "good", "poor"])
    said = capsys.readouterr().out
    assert "good: its report is of 205,952 images seen, it has trained on to 300,000; measuring" in said
    assert [call["path"].name for call in evaluated] == ["good"]


def test_report_alone_cannot_be_measured_again(capsys, evaluated):
    for name in ("good", "poor"):
        Path(name).mkdir()
        (Path(name) / "report.json").write_text(made(name).to_json())
    said = fails("good", "poor", "--samples", "5k", capsys=capsys)
    assert "good: its report is of 10,000 samples, asked for are 5,000, and a report alone" in said
    assert evaluated == []


@pytest.mark.parametrize(("arguments", "said"), [
    (["good"], "a comparison needs at least two runs, only good was given; name another"),
    (["good", "nowhere"], "nowhere: no such run, report or images"),
    (["good", "good", "--samples", "1"], "--samples 1: must be at least 2"),
    (["good", "good", "--scores", "fda"], "score 'fda' is unknown (did you mean 'fd'"),
    (["good", "good", "--sample", "5"], "--sample: there is no such option (did you mean '--samples'"),
])  # fmt: skip
def test_mistakes_are_named(capsys, arguments, said):
    run("good", made("good"))
    assert said in fails(*arguments, capsys=capsys)


def test_reports_that_cannot_be_compared_are_refused(capsys):
    run("good", made("good"))
    run("poor", made("poor", checksum="b" * 16))
    assert "their extractor checksums are 9f2c3a4b5d6e7f80 (classifier) and bbbb" in fails(
        "good", "poor", capsys=capsys
    )


def test_folder_that_cannot_be_written_is_named(capsys):
    for name in ("good", "poor"):
        run(name, made(name))
    Path("file").write_text("")
    with pytest.raises(SystemExit) as caught:
        main(["compare", "good", "poor", "--out", "file/x"])
    assert caught.value.code == 6
    assert "--out file/x: cannot be written" in capsys.readouterr().err
