"""`make systems`: its statistics against closed forms, its bars, and a quick run of the program."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.end_to_end.processes import environment

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "systems.py"


@pytest.fixture(scope="module")
def systems():
    spec = importlib.util.spec_from_file_location("systems_benchmark", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def one_hot(labels: list[int], confidence: float = 1.0, num_classes: int = 10) -> torch.Tensor:
    rest = (1 - confidence) / (num_classes - 1)
    return torch.nn.functional.one_hot(torch.tensor(labels), num_classes) * (confidence - rest) + rest


def test_benchmark_is_short_enough_to_read():
    assert len(PROGRAM.read_text().splitlines()) <= 300


class TestStatistics:
    def test_one_class_is_one_class_and_the_largest_of_1(self, systems):
        assert systems.read_statistics(one_hot([3] * 50)) == {"classes": 1, "sure": 1.0, "largest": 1.0}

    def test_even_classes_all_count(self, systems):
        found = systems.read_statistics(one_hot(list(range(10)) * 5))
        assert found == {"classes": 10, "sure": 1.0, "largest": pytest.approx(0.1)}

    def test_class_counts_from_2_percent_of_the_samples(self, systems):
        assert systems.read_statistics(one_hot([0] * 98 + [1] * 2))["classes"] == 2
        assert systems.read_statistics(one_hot([0] * 99 + [1]))["classes"] == 1

    def test_sure_is_above_nine_tenths(self, systems):
        found = systems.read_statistics(torch.cat([one_hot([1] * 30, 0.91), one_hot([1] * 70, 0.89)]))
        assert found["sure"] == pytest.approx(0.3)

    def test_mean_distance_is_that_of_all_pairs(self, systems):
        corners = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]).view(3, 1, 1, 2)
        assert systems.mean_distance(corners) == pytest.approx((3 + 4 + 5) / 3)
        assert systems.mean_distance(torch.zeros(5, 1, 4, 4)) == 0

    def test_distance_in_a_class_leaves_out_what_lies_between_classes(self, systems):
        places = torch.tensor([0.0, 2.0, 10.0, 14.0, 12.0]).view(5, 1, 1, 1)
        labels = torch.tensor([4, 4, 7, 7, 7])
        assert systems.mean_distance_in_class(places, labels) == pytest.approx((2 + (4 + 2 + 2) / 3) / 2)

    def test_mean_distance_of_normal_noise_is_root_two_d(self, systems):
        images = torch.randn(300, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        assert systems.mean_distance(images) == pytest.approx(math.sqrt(2 * 784), rel=0.01)

    def test_share_as_asked_compares_with_the_labels(self, systems):
        assert systems.share_as_asked(one_hot([0, 1, 2, 2]), torch.tensor([0, 1, 2, 3])) == 0.75


class TestBars:
    GOOD = {"classes": 9, "sure": 0.5, "spread": 0.7, "largest": 0.4, "as_asked": 0.8, "accuracy": 0.99}  # noqa: RUF012

    def row(self, systems, **changes):
        return systems.Row("mlp", "0" * 8, "28x28", "64", 1000, 10, 4.0, self.GOOD | changes)

    def test_bars_are_those_of_the_issue_and_are_reached_by_meeting_them(self, systems):
        assert self.row(systems).failures() == []

    @pytest.mark.parametrize(
        ("name", "number", "text"),
        [
            ("classes", 8, "mlp: classes 8, must be >= 9"),
            ("sure", 0.49, "mlp: sure 0.49, must be >= 0.5"),
            ("spread", 0.69, "mlp: distance 0.69, must be >= 0.7"),
            ("largest", 0.41, "mlp: largest 0.41, must be <= 0.4"),
            ("as_asked", 0.79, "mlp: as asked 0.79, must be >= 0.8"),
            ("accuracy", 0.9899, "mlp: classifier 0.9899, must be >= 0.99"),
            ("sure", math.nan, "mlp: sure nan, must be >= 0.5"),
            ("largest", math.nan, "mlp: largest nan, must be <= 0.4"),
        ],
    )
    def test_number_below_its_bar_is_named(self, systems, name, number, text):
        assert self.row(systems, **{name: number}).failures() == [text]


def test_systems_are_the_five_the_conditional_one_and_cifar(systems):
    judged = [system.name for system in systems.SYSTEMS if system.is_judged and not system.is_conditional]
    assert judged == ["mlp", "dcgan-28", "dcgan-32", "dense-conv", "resnet"]
    assert [s.recipe for s in systems.SYSTEMS if s.is_conditional] == ["dcgan-28"]
    assert [(s.file, s.times) for s in systems.SYSTEMS if not s.is_judged] == [("cifar10-jpeg.zip", 2)]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip


def test_missing_data_is_named(tmp_path):
    result = run(tmp_path, "--data", str(tmp_path), "--only", "mlp")
    assert result.returncode == 1
    assert "no mnist.zip in" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_quick_run_judges_reports_and_reuses_what_is_finished(tmp_path):
    result = run(tmp_path, "--quick", "--only", "mlp", "dcgan-28-conditional")
    assert result.returncode == 1, result.stderr
    assert "below the bar:" in result.stderr
    assert "mlp: classes" in result.stderr
    out = tmp_path / "runs" / "systems"
    report = json.loads((out / "systems.json").read_text())
    assert {row["system"] for row in report["systems"]} == {"mlp", "dcgan-28-conditional"}
    first, conditional = report["systems"]
    assert first["generator_updates"] * 128 == first["images_seen"]
    assert set(first["judged"]) == {"classes", "sure", "largest", "spread", "accuracy"}
    assert set(conditional["judged"]) == {"as_asked", "spread", "accuracy"}
    assert len(report["failures"]) == result.stderr.count(", must be ")
    assert all((out / f"{name}.png").stat().st_size > 0 for name in ("mlp", "dcgan-28-conditional", "mlp/reals"))
    again = run(tmp_path, "--quick", "--only", "mlp", "dcgan-28-conditional")
    assert again.stdout.count("finished already") == 2
    assert json.loads((out / "systems.json").read_text())["systems"] == report["systems"]
