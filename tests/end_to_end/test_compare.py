"""`gansmith compare` from trained runs to its page, nothing made up."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

import gansmith
from gansmith.cli import main
from gansmith.evaluation.exhibit import samples_picture
from gansmith.evaluation.subject import open_subject
from gansmith.report import load_report
from tests.conftest import write_images

TRAIN = ("--recipe", "mlp", "--images", "256", "--set", "batch_size=16")


@pytest.mark.slow
def test_runs_without_reports_are_measured_and_compared_by_seeds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = str(write_images(tmp_path / "noise", 300))
    for seed in ("0", "1"):
        main(["train", data, *TRAIN, "--seed", seed, "--out", f"run-{seed}"])
    main(["train", data, *TRAIN, "--set", "loss=hinge", "--out", "hinge"])
    main(["compare", "run-0", "run-1", "hinge", "--samples", "300", "--scores", "fd,kd,precision"])
    said = capsys.readouterr().out
    assert "run-0: it has no report; measuring" in said
    assert "comparison-1/comparison.html" in said
    comparison = json.loads(Path("comparison-1/comparison.json").read_text())
    assert [entry["name"] for entry in comparison["entries"]] == ["mlp (2 seeds)", "hinge"]
    reports = [json.loads(Path(name, "report.json").read_text()) for name in ("run-0", "run-1", "hinge")]
    fd = [report["scores"][0]["value"] for report in reports]
    cells = comparison["scores"][0]["cells"]
    assert [cell["value"] for cell in cells] == pytest.approx([(fd[0] + fd[1]) / 2, fd[2]])
    main(["compare", "run-0", "run-1", "hinge", "--samples", "300"])
    assert "measuring" not in capsys.readouterr().out  # the reports are there now


def test_known_and_new_are_measured_alike_and_shown_by_samples_drawn_anew(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    gansmith.train("digits", "vae", overrides=["generator.width=4", "batch_size=16"], size=(16, 16), images=32,
                   out="runs/vae", quiet=True)  # fmt: skip
    gansmith.save_images(gansmith.sample("runs/vae", 80, seed=1), "theirs")
    main(["evaluate", "runs/vae", "--samples", "80", "--scores", "kd", "--extractor", "random", "--quiet"])
    for arguments in ((), ("--samples", "80", "--data", "digits", "--scores", "kd")):  # the second finds every report
        main(["compare", "runs/vae", "theirs", *arguments])
    assert capsys.readouterr().out.count("; measuring") == 1
    samples = open_subject("runs/vae", 64, 0)
    drawn = base64.b64encode(samples_picture(samples.facts, samples.images).png).decode()
    for number in (1, 2):
        page = Path(f"comparison-{number}/comparison.html").read_text()
        assert page.count(drawn) == 1
        assert page.count("<img ") == 2
        for frame in Path("runs/vae/samples").glob("*.png"):  # half of them reconstructions
            assert base64.b64encode(frame.read_bytes()).decode() not in page
    reports = [load_report(path) for path in (Path("runs/vae/report.json"), Path("theirs-evaluation/report.json"))]
    assert [report.extractor.name for report in reports] == ["random", "random"]
