"""`gansmith compare`: what is read, what is measured again and why, what is printed and written."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch

from gansmith.cli import main
from gansmith.errors import CheckpointError
from gansmith.evaluation import evaluator, subject
from gansmith.evaluation.entries import measured_scores
from gansmith.evaluation.evaluator import Evaluation
from gansmith.evaluation.exhibit import Exhibit
from gansmith.evaluation.subject import Samples
from gansmith.report import DEFAULT_SCORES, Report, load_report
from tests import reports


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def there(monkeypatch) -> dict[str, Report]:
    """What can be opened, by path: as its report says, with samples of one brightness; anything else cannot."""
    subjects: dict[str, Report] = {}

    def open_subject(path, num_samples, seed, device, on_progress):
        if str(path) not in subjects:
            raise CheckpointError(f"{path}: this run has no checkpoint yet")
        on_progress(num_samples, num_samples)
        images = torch.full((num_samples, 1, 8, 8), len(str(path)), dtype=torch.uint8)
        return Samples(images, None, subjects[str(path)].subject)

    monkeypatch.setattr(subject, "open_subject", open_subject)
    return subjects


@pytest.fixture
def evaluated(monkeypatch, there) -> list[dict]:
    """What was evaluated, with which arguments; the report is made up."""
    calls = []

    def evaluate(path, data=None, **options):
        calls.append({"path": path, "data": data, **options})
        facts = there[str(path)].subject.model_copy(update={"num_samples": options["num_samples"]})
        words = ["--scores", ",".join(options["scores"])] if options["scores"] else []
        report = made(path.name, checksum=CHECKSUMS.get(options["extractor"], CLASSIFIER), path_data=data,
                      command=shlex.join(["gansmith", "evaluate", str(path), *words]))  # fmt: skip
        extractor = report.extractor.model_copy(update={"name": options["extractor"] or "classifier"})
        return Evaluation(report.model_copy(update={"subject": facts, "extractor": extractor}), Exhibit())

    monkeypatch.setattr(evaluator, "evaluate", evaluate)
    return calls


CLASSIFIER = "9f2c3a4b5d6e7f80"
CHECKSUMS = {"inception": "1" * 16}


def made(name: str, path_data: str | None = None, **changes) -> Report:
    report = reports.report(name, 1.0 if name == "good" else 2.0, len(name) + ord(name[0]), **changes)
    if path_data is None:
        return report
    return report.model_copy(update={"reference": report.reference.model_copy(update={"path": path_data})})


@pytest.fixture
def run(there):
    """Makes a run folder, with a report or without."""

    def make(name: str, report: Report | None = None, trained: int = 205_952) -> Path:
        folder = reports.run_folder(Path(name))
        now = report or made(name)
        if now.subject.images_seen != trained:
            now = made(name, images_seen=trained, fingerprint="f" * 16)
        there[name] = now
        if report:
            (folder / "report.json").write_text(report.to_json())
        return folder

    return make


def scores_in(path: str) -> tuple[str, ...]:
    return measured_scores(load_report(Path(path)))


def fails(*arguments: str, capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["compare", *arguments])
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_reports_are_compared_printed_and_written(capsys, evaluated, run):
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


def test_every_comparison_has_a_folder_of_its_own(capsys, run):
    for name in ("good", "poor"):
        run(name, made(name))
    main(["compare", "good", "poor", "--quiet"])
    main(["compare", "good", "poor/report.json", "--quiet"])
    main(["compare", "good", "poor", "--quiet", "--out", "there"])
    assert capsys.readouterr().out == ""
    assert {path.parent.name for path in Path().glob("*/comparison.html")} == {"comparison-1", "comparison-2", "there"}


def test_run_without_a_report_is_measured_on_as_many_samples_as_the_others(capsys, evaluated, run):
    run("good", made("good", num_samples=7_000))
    run("poor")
    main(["compare", "good", "poor"])
    assert [(call["path"], call["num_samples"]) for call in evaluated] == [(Path("poor"), 7_000)]
    assert "poor: it has no report; measuring" in capsys.readouterr().out
    assert json.loads(Path("poor/report.json").read_text())["subject"]["name"] == "poor"


@pytest.mark.parametrize(("arguments", "reason"), [
    (["--samples", "5k"], "its report is of 10,000 samples, asked for are 5,000"),
    (["--data", "fashion.zip"], "its report is against ../shared/data/mnist.zip, asked for is fashion.zip"),
    (["--scores", "fd,worth,modes"], "its report lacks worth, modes"),
    (["--scores", "fid"], "its report is through classifier features, asked for are those of inception"),
])  # fmt: skip
def test_report_that_is_not_what_is_asked_for_is_measured_again(capsys, evaluated, arguments, reason, run):
    for name in ("good", "poor"):
        run(name, made(name))
    main(["compare", "good", "poor", *arguments])
    assert f"good: {reason}; measuring" in capsys.readouterr().out
    assert [call["path"].name for call in evaluated] == ["good", "poor"]
    assert evaluated[0]["scores"] == {"fd,worth,modes": ("fd", "worth", "modes"), "fid": ("fd",)}.get(
        arguments[1], DEFAULT_SCORES
    )
    assert evaluated[0]["data"] == ("fashion.zip" if "--data" in arguments else "../shared/data/mnist.zip")
    evaluated.clear()
    main(["compare", "good", "poor", *arguments])  # the same again: what was measured is found
    assert evaluated == []


@pytest.mark.parametrize("arguments", [
    ["--scores", "fd,kd"], ["--scores", "kd, fd"], ["--scores", ",".join(DEFAULT_SCORES)], ["--samples", "10k"],
    ["--data", "../shared/data/./mnist.zip"],
])  # fmt: skip
def test_report_that_is_what_is_asked_for_in_other_words_is_not_measured_again(evaluated, arguments, run):
    for name in ("good", "poor"):
        run(name, made(name))
    main(["compare", "good", "poor", *arguments, "--quiet"])
    main(["compare", "good", "poor", "--data", str(Path("../shared/data/mnist.zip").resolve()), "--quiet"])
    assert evaluated == []


def test_inception_report_is_what_fid_asks_for(evaluated, run):
    for name in ("good", "poor"):
        report = made(name, command=f"gansmith evaluate {name} --scores fd,kd --extractor inception")
        extractor = report.extractor.model_copy(update={"name": "inception"})
        run(name, report.model_copy(update={"extractor": extractor}))
    main(["compare", "good", "poor", "--scores", "fid", "--quiet"])
    assert evaluated == []


def test_report_with_more_scores_is_not_replaced(evaluated, run, capsys):
    for name in ("good", "poor"):
        run(name, made(name))
    main(["compare", "good", "poor", "--scores", "fd,worth"])
    assert scores_in("good/report.json") == DEFAULT_SCORES
    assert scores_in("comparison-1/good/report.json") == ("fd", "worth")
    assert Path("comparison-1/good/report.html").is_file()
    said = capsys.readouterr().out
    assert "good/report.json was measured otherwise and stays; the new one is comparison-1/good/report.json" in said


def test_what_is_measured_is_measured_as_the_first_report_was(evaluated, run):
    report = made("good", num_compared=5_000, split="test", fit="pad", num_samples=7_000,
                  command="gansmith evaluate good --scores fd,kd")  # fmt: skip
    run("poor")
    run("good", report.model_copy(update={"subject": report.subject.model_copy(update={"seed": 4})}))
    with pytest.raises(SystemExit):  # what is made up here was not measured so
        main(["compare", "poor", "good", "--quiet"])
    assert evaluated == [{
        "path": Path("poor"), "data": "../shared/data/mnist.zip", "scores": ("fd", "kd"), "num_samples": 7_000,
        "num_reals": 5_000, "seed": 4, "split": "test", "fit": "pad", "extractor": "classifier", "weights": None,
        "device": "auto", "quiet": True,
    }]  # fmt: skip


def test_reports_that_cannot_be_compared_are_refused_before_anything_is_measured(capsys, evaluated, run):
    run("good", made("good"))
    run("poor")
    run("bad", made("bad", checksum="b" * 16))
    assert "good and bad cannot be compared" in fails("good", "poor", "bad", capsys=capsys)
    assert evaluated == []


def test_report_is_not_replaced_by_one_that_cannot_be_compared_with_it(capsys, evaluated, run):
    run("good", made("good", checksum="b" * 16), trained=300_000)
    main(["compare", "good", "good", "--quiet"])
    assert load_report(Path("good/report.json")).extractor.checksum == "b" * 16
    assert load_report(Path("comparison-1/good/report.json")).extractor.checksum == CLASSIFIER


def test_extractor_of_ones_own_cannot_be_asked_of_the_command(capsys, evaluated, run):
    report = made("good")
    run("good", report.model_copy(update={"extractor": report.extractor.model_copy(update={"name": "MyNet"})}))
    run("poor")
    assert "an extractor of your own, MyNet; measure through it with gansmith.evaluate" in fails(
        "good", "poor", capsys=capsys
    )
    assert evaluated == []


def test_images_need_real_ones_before_anything_is_measured(capsys, evaluated, run, there):
    run("good")
    Path("theirs").mkdir()
    there["theirs"] = made("theirs", kind="images")
    assert "theirs: say which real images to compare with: --data DATA" in fails("good", "theirs", capsys=capsys)
    assert evaluated == []


def test_reports_of_best_checkpoints_and_images_are_found_again(evaluated, run, there):
    run("good", made("good"))
    paths = ["good/best", "good/checkpoints/000000012800", "theirs"]
    for number, path in enumerate(paths):
        Path(path).mkdir(parents=True)
        (Path(path) / "about.json").touch()
        there[path] = made("good", fingerprint=str(number) * 16)
    main(["compare", "good", *paths, "--quiet"])
    assert [str(call["path"]) for call in evaluated] == paths
    folders = {path.parent.name for path in Path().glob("*-evaluation/report.json")}
    assert folders == {"good-best-evaluation", "good-12800-evaluation", "theirs-evaluation"}
    evaluated.clear()
    main(["compare", "good", *paths, "--quiet"])
    assert evaluated == []
    there["theirs"] = made("good", fingerprint="7" * 16)  # other images now
    main(["compare", "good", *paths, "--quiet"])
    assert [str(call["path"]) for call in evaluated] == ["theirs"]
    assert load_report(Path("theirs-evaluation-2/report.json")).subject.fingerprint == "7" * 16


def test_run_whose_checkpoints_are_gone_is_compared_without_samples(capsys, evaluated, run, there):
    for name in ("good", "poor"):
        run(name, made(name))
    del there["poor"]
    main(["compare", "good", "poor"])
    assert "poor: no samples are shown (poor: this run has no checkpoint yet)" in capsys.readouterr().out
    assert Path("comparison-1/comparison.html").read_text().count("<img ") == 1


def test_report_alone_shows_samples_of_what_it_is_of_where_that_is_still_there(capsys, evaluated, there):
    for name in ("good", "poor"):
        Path(name).mkdir()
        (Path(name) / "report.json").write_text(made(name, path=f"models/{name}").to_json())
    Path("models/good").mkdir(parents=True)
    there["models/good"] = made("good")
    main(["compare", "good", "poor/report.json"])
    assert "poor: no samples are shown (models/poor is not there)" in capsys.readouterr().out
    assert Path("comparison-1/comparison.html").read_text().count("<img ") == 1


def test_run_that_has_trained_on_since_its_report_is_measured_again(capsys, evaluated, run):
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
def test_mistakes_are_named(capsys, arguments, said, run):
    run("good", made("good"))
    assert said in fails(*arguments, capsys=capsys)


def test_reports_that_cannot_be_compared_are_refused(capsys, run):
    run("good", made("good"))
    run("poor", made("poor", checksum="b" * 16))
    assert "their extractor checksums are 9f2c3a4b5d6e7f80 (classifier) and bbbb" in fails(
        "good", "poor", capsys=capsys
    )


def test_folder_that_cannot_be_written_is_named(capsys, run):
    for name in ("good", "poor"):
        run(name, made(name))
    Path("file").write_text("")
    with pytest.raises(SystemExit) as caught:
        main(["compare", "good", "poor", "--out", "file/x"])
    assert caught.value.code == 6
    assert "--out file/x: cannot be written" in capsys.readouterr().err
