"""`--evaluate-every` and `--patience` through the public call: the run is the same with them, and tells their cost."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import gansmith
from gansmith import ema
from gansmith.checkpoint import read_newest
from gansmith.cli import parse
from gansmith.data import open_data
from gansmith.errors import Interrupted, UsageError
from gansmith.evaluation import quick
from gansmith.recipes import RECIPES
from gansmith.training import loop as loop_module
from gansmith.training import preparation
from gansmith.training import run as run_module
from gansmith.training import watch as watch_module
from gansmith.training.evaluations import BEST, EVALUATIONS
from gansmith.training.folder import CONFIG, RunConfig
from gansmith.training.log import Metrics
from tests.end_to_end import processes
from tests.unit.scorings import GivenScores


class PlainDigits:
    """The first 400 embedded digits at 8x8, without their classes: what reads them needs no training."""

    name = "plain"

    def __init__(self) -> None:
        self._images = np.array(open_data("digits", (8, 8), 1).images[:400, 0])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Any:
        return self._images[index]


@pytest.fixture(scope="module")
def data() -> PlainDigits:
    return PlainDigits()


def train(data: Any, folder: Path, images: int, recipe: str = "mlp", **settings: Any) -> gansmith.Run:
    settings = {"save_every": 160, "quiet": True, **settings}
    return gansmith.train(data, RECIPES[recipe]().shrunk(), images=images, out=folder, **settings)


def seen(folder: Path) -> list[tuple[int, float | None]]:
    return [(record["images"], record["value"]) for record in Metrics(folder / EVALUATIONS).read()]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint, _ = read_newest(folder / "checkpoints")
    assert checkpoint is not None
    return {f"{file}/{name}": tensor for file, group in checkpoint.tensors.items() for name, tensor in group.items()}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[GivenScores], None]:
    """Make training measure given scores, whatever time they take."""
    monkeypatch.setattr(watch_module, "LARGEST_SHARE", 1e9)

    def give(scores: GivenScores) -> None:
        monkeypatch.setattr(preparation, "quick_score", lambda *arguments: scores)

    return give


@pytest.mark.faults
def test_08_weights_are_bit_equal_with_evaluation_and_without_and_after_a_stop(
    data: PlainDigits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick, "NUM_SAMPLES", 300)
    monkeypatch.setattr(watch_module, "LARGEST_SHARE", 1e9)
    monkeypatch.setattr(ema, "SETTLING_BATCHES", 1)
    train(data, tmp_path / "without", 128, "dcgan-small")
    train(data, tmp_path / "with", 128, "dcgan-small", evaluate_every=32)
    train(data, tmp_path / "resumed", 72, "dcgan-small", evaluate_every=32)
    train(data, tmp_path / "resumed", 128, "dcgan-small", evaluate_every=32)
    expected = tensors(tmp_path / "without")
    for name in ("with", "resumed"):
        found = tensors(tmp_path / name)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert [images for images, _ in seen(tmp_path / "with")] == [32, 64, 96, 128]
    assert [images for images, _ in seen(tmp_path / "resumed")] == [32, 64, 72, 96, 128]
    assert {*seen(tmp_path / "with")} < {*seen(tmp_path / "resumed")}
    assert not (tmp_path / "without" / EVALUATIONS).exists()


def test_best_can_be_sampled_and_shown(
    data: PlainDigits, tmp_path: Path, given: Callable[[GivenScores], None], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    given(GivenScores([30.0, 10.0, 20.0]))
    train(data, tmp_path / "run", 192, evaluate_every=64, quiet=False)
    said = capsys.readouterr().out
    assert "evaluation: fd_given of 5 samples every 64 images" in said
    assert f"best: fd_given 10 at 128 images, kept in {tmp_path / 'run' / BEST}" in said
    assert "evaluation: 3 times, " in said
    assert "% of training time" in said
    assert gansmith.load(tmp_path / "run" / BEST).images_seen == 128
    monkeypatch.chdir(tmp_path)
    parse(["show", "run"])[0].run([])
    shown = capsys.readouterr().out
    assert "newest score: fd_given 20 at 192 images" in shown
    assert "best score: fd_given 10 at 128 images, kept in run/best" in shown
    parse(["show", "run/best"])[0].run([])
    assert "the best of its run: fd_given 10 at 128 images" in capsys.readouterr().out
    parse(["sample", "run/best", "-n", "4", "--out", "best.png"])[0].run([])
    assert (tmp_path / "best.png").exists()


def test_training_stops_early_and_says_so_again_until_there_is_more_patience(
    data: PlainDigits, tmp_path: Path, given: Callable[[GivenScores], None], capsys: pytest.CaptureFixture[str]
) -> None:
    given(GivenScores([3.0, 4.0, 5.0, 6.0]))
    settings = {"evaluate_every": 64, "quiet": False}
    assert train(data, tmp_path, 640, patience=2, **settings).images_seen == 192
    first = capsys.readouterr().out
    assert "stopped early at 192 images: 2 evaluations in a row no better than fd_given 3 at 64 images" in first
    assert "done: 192 images" in first
    assert train(data, tmp_path, 640, patience=2, **settings).images_seen == 192
    again = capsys.readouterr().out
    assert f"{tmp_path}: stopped early at 192 images" in again
    assert "go on with a larger --patience, or without" in again
    assert train(data, tmp_path, 640, patience=3, **settings).images_seen == 256
    assert train(data, tmp_path, 320).images_seen == 320
    assert gansmith.load(tmp_path / BEST).images_seen == 64


@pytest.mark.faults
def test_10_signal_during_an_evaluation_abandons_it_saves_and_goes_on(
    data: PlainDigits, tmp_path: Path, given: Callable[[GivenScores], None]
) -> None:
    given(GivenScores([1.0], on_value=lambda: signal.raise_signal(signal.SIGTERM)))
    with pytest.raises(Interrupted, match="stopped and saved at 64 images") as raised:
        train(data, tmp_path, 320, evaluate_every=64)
    assert raised.value.exit_code == 143
    assert seen(tmp_path) == []
    given(GivenScores([1.0]))
    assert train(data, tmp_path, 320, evaluate_every=64).images_seen == 320
    assert seen(tmp_path)[0] == (64, 1.0)  # where it was abandoned


def test_what_evaluations_take_is_no_training_time(
    data: PlainDigits, tmp_path: Path, given: Callable[[GivenScores], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[bool] = []
    clock = SimpleNamespace(perf_counter=lambda: time.perf_counter() + 1000 * len(evaluated), time=time.time)
    monkeypatch.setattr(loop_module, "time", clock)
    given(GivenScores([1.0], on_value=lambda: evaluated.append(True)))
    run = train(data, tmp_path, 128, evaluate_every=32)
    assert len(evaluated) == 4
    assert run.seconds < 1000


def test_finished_run_is_evaluated_once_where_it_was_not(
    data: PlainDigits, tmp_path: Path, given: Callable[[GivenScores], None]
) -> None:
    given(GivenScores([7.0]))
    train(data, tmp_path, 64)
    for _ in range(2):
        train(data, tmp_path, 64, evaluate_every=1000)
    assert seen(tmp_path) == [(64, 7.0)]
    assert gansmith.load(tmp_path / BEST).images_seen == 64


def test_rerun_of_a_config_evaluates_as_the_run_did(tmp_path: Path, given: Callable[[GivenScores], None]) -> None:
    given(GivenScores([1.0, 2.0]))
    train("digits", tmp_path / "run", 640, evaluate_every=64, patience=1)
    config = RunConfig.load(tmp_path / "run" / CONFIG)
    assert (config.evaluate_every, config.patience) == (64, 1)
    given(GivenScores([1.0, 2.0]))
    again = run_module.rerun(tmp_path / "run" / CONFIG, tmp_path / "again", quiet=True)
    assert again.images_seen == 128
    assert seen(tmp_path / "again") == seen(tmp_path / "run")


def test_scores_are_curves_in_tensorboard(
    data: PlainDigits, tmp_path: Path, given: Callable[[GivenScores], None]
) -> None:
    pytest.importorskip("tensorboard")
    from tests.unit.test_track import curve

    given(GivenScores([4.0, 3.0, 2.0]))
    train(data, tmp_path, 64, evaluate_every=64)
    train(data, tmp_path, 192, evaluate_every=64, track=True)
    assert curve(tmp_path, "fd_given") == [(64, 4.0), (128, 3.0), (192, 2.0)]


def test_points_of_the_plane_and_patience_alone_are_mistakes_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--evaluate-every: .* holds points of the plane"):
        gansmith.train("ring", images=64, evaluate_every=64, out=tmp_path / "run", quiet=True)
    with pytest.raises(UsageError, match="--patience: counts evaluations, and there are none; give --evaluate-every"):
        gansmith.train("digits", images=64, patience=2, out=tmp_path / "run", quiet=True)
    with pytest.raises(UsageError, match="evaluate_every=0: must be a whole number above 0"):
        gansmith.train("digits", images=64, evaluate_every=0, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_mistakes_of_the_command_are_found_before_training() -> None:
    command, unknown = parse(["train", "digits", "--patience", "3"])
    with pytest.raises(UsageError, match="--patience: counts evaluations"):
        command.run(unknown)
    command, unknown = parse(["train", "digits", "--evaluate-every", "often", "--patience", "0"])
    with pytest.raises(UsageError) as raised:
        command.run(unknown)
    assert [problem.split(":")[0] for problem in raised.value.problems] == ["--evaluate-every often", "--patience 0"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_digits_are_judged_by_their_own_classifier_at_a_tenth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSMITH_CACHE", str(tmp_path / "cache"))  # in which no classifier is
    options = ("--recipe", "mlp", "--minutes", "2", "--evaluate-every", "5k", "--out", "run")
    result = processes.gansmith("train", "digits", *options, cwd=tmp_path, timeout=1100)
    assert result.returncode == 0, result.stderr
    assert "training the classifier that reads digits, once" in result.stdout
    scores = seen(tmp_path / "run")
    assert len(scores) >= 2
    values = [value for _, value in scores if value is not None]
    assert min(values) < values[0]
    share = float(result.stdout.split(" s, ")[-1].split("%")[0])
    assert share <= 12, result.stdout  # how long each takes varies
