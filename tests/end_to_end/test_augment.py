"""Augmentation as a person switches it on."""

from __future__ import annotations

from pathlib import Path

from gansmith.training.log import Metrics
from tests.end_to_end.processes import gansmith


def test_training_is_augmented_from_the_command_line_and_goes_on(tmp_path: Path) -> None:
    command = ["train", "digits", "--recipe", "mlp", "--set", "augmentation.policy=diffaugment", "--out", "run"]
    first = gansmith(*command, "--set", "augmentation.adaptive={}", "--images", "500", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    second = gansmith(*command, "--set", "augmentation.adaptive={}", "--images", "1000", cwd=tmp_path)
    assert "going on from" in second.stdout
    records = Metrics(tmp_path / "run" / "metrics.jsonl").read()
    assert all(0 <= record["augmentation_probability"] <= 1 for record in records)


def test_a_mistake_in_augmentation_ends_at_once_with_what_is_allowed(tmp_path: Path) -> None:
    result = gansmith("train", "digits", "--set", "augmentation.policy=ada", "--images", "500", cwd=tmp_path)
    assert result.returncode == 2
    assert "augmentation.policy: 'ada' is not one of pipe, diffaugment" in result.stderr
