"""`gansmith compare` from trained runs to its page, nothing made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gansmith.cli import main
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
