"""Evaluation while training: when it takes place, what is kept of it, when it ends the training, what it costs."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import gansmith
from gansmith.errors import DataError
from gansmith.recipes import RECIPES
from gansmith.training import watch as watch_module
from gansmith.training.evaluations import BEST, EVALUATIONS, best_of
from gansmith.training.log import Metrics
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.stop import StopSignal
from gansmith.training.watch import Plan, Watch
from tests.unit.scorings import GivenScores

CPU = torch.device("cpu")
LONG = 1e9
"""Seconds of training beside which no evaluation takes long."""


class Training:
    """A run in `folder` that is moved by hand, watched through given scores."""

    def __init__(self, folder: Path, scores: GivenScores, every: int = 100, patience: int | None = None,
                 images: int = 0) -> None:  # fmt: skip
        folder.mkdir(exist_ok=True)
        self.objective = OBJECTIVES["adversarial"]
        self.state = self.objective.initialise(RECIPES["mlp"]().shrunk(), 0, CPU)
        self.state.counters["images"] = images
        self.said: list[str] = []
        self.tracked: list[dict[str, Any]] = []
        self.stop = StopSignal()
        tracker: Any = SimpleNamespace(record=self.tracked.append)
        plan = Plan(every, patience, lambda: scores)
        self.watch = Watch(
            folder, self.objective, self.state, plan, self.stop, self.said.append, lambda act: act(tracker)
        )

    def steps(self, *images: int, seconds: float = LONG) -> list[bool]:
        """Go to each number of images, and return what the watch answers."""
        answers = []
        for count in images:
            self.state.counters["images"] = count
            answers.append(self.watch.is_due(seconds) and self.watch.evaluate())
        return answers

    def finish(self, images: int) -> None:
        self.state.counters["images"] = images
        self.watch.finish()


def begun(folder: Path, values: list[Any], **settings: Any) -> Training:
    scores = GivenScores(values, settings.pop("cost", 0.0), settings.pop("extractor", "0123456789abcdef"))
    training = Training(folder, scores, **settings)
    training.watch.begin()
    return training


def lines(folder: Path) -> list[dict[str, Any]]:
    return Metrics(folder / EVALUATIONS).read()


def seen(folder: Path) -> list[tuple[int, float | None]]:
    return [(line["images"], line["value"]) for line in lines(folder)]


def test_first_step_at_or_past_each_multiple_and_the_end_are_evaluated(tmp_path: Path) -> None:
    training = begun(tmp_path, [5.0, 4.0, 3.0, 2.0])
    training.steps(64, 128, 192, 200, 264, 320)
    training.finish(330)
    assert seen(tmp_path) == [(128, 5.0), (200, 4.0), (320, 3.0), (330, 2.0)]
    record = lines(tmp_path)[0]
    assert record.keys() == {"images", "score", "value", "num_samples", "extractor", "seconds", "time"}
    assert training.tracked[0] == {"images": 128, "time": record["time"], "fd_given": 5.0}


def test_end_that_was_just_evaluated_is_not_evaluated_again(tmp_path: Path) -> None:
    training = begun(tmp_path, [5.0])
    training.steps(100)
    training.finish(100)
    assert seen(tmp_path) == [(100, 5.0)]


def test_best_is_the_saved_generator_of_the_lowest_score(tmp_path: Path) -> None:
    training = begun(tmp_path, [5.0, 2.0, 3.0])
    parameter = next(training.state.ema["generator"].parameters())
    wanted = None
    for number, images in enumerate((100, 200, 300)):
        with torch.no_grad():
            parameter.fill_(number)
        training.steps(images)
        if number == 1:
            wanted = gansmith.sample(gansmith.Model(training.state.ema["generator"], training.state.recipe, 200), 4)
    model = gansmith.load(tmp_path / BEST)
    assert model.images_seen == 200
    assert torch.equal(gansmith.sample(model, 4), wanted)
    record = best_of(tmp_path)
    assert record is not None
    assert (record["images"], record["value"]) == (200, 2.0)
    assert "fd_given 2 at 200 images, the best so far" in training.said
    assert "fd_given 3 at 300 images, the best is 2 at 200" in training.said
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_patience_counts_scores_since_the_best_and_says_how_to_go_on(tmp_path: Path) -> None:
    training = begun(tmp_path, [5.0, 6.0, 4.0, 4.0, 9.0, 8.0], patience=3)
    assert training.steps(100, 200, 300, 400, 500, 550, 600) == [False] * 6 + [True]
    why = training.watch.why_over
    assert why is not None
    assert "stopped early at 600 images: 3 evaluations in a row no better than fd_given 4 at 300 images" in why
    assert "a larger --patience, or without" in why


def test_without_patience_training_is_never_over(tmp_path: Path) -> None:
    training = begun(tmp_path, [1.0, 2.0, 3.0, 4.0])
    assert not any(training.steps(*range(100, 1000, 100)))


def test_stopped_run_is_still_over_when_asked_again_and_goes_on_with_more_patience_or_none(tmp_path: Path) -> None:
    begun(tmp_path, [1.0, 2.0, 3.0], patience=2).steps(100, 200, 300)
    again = Training(tmp_path, GivenScores([9.0]), patience=2, images=300)
    assert again.watch.why_over is not None
    assert Training(tmp_path, GivenScores([9.0]), patience=3, images=300).watch.why_over is None
    assert Training(tmp_path, GivenScores([9.0]), images=300).watch.why_over is None


def test_run_that_goes_on_drops_later_scores_and_remembers_best_and_patience(tmp_path: Path) -> None:
    begun(tmp_path, [5.0, 3.0, 4.0, 6.0]).steps(100, 200, 300, 400)
    training = begun(tmp_path, [4.5, 9.0], patience=2, images=310)
    assert seen(tmp_path) == [(100, 5.0), (200, 3.0), (300, 4.0)]
    assert training.steps(320, 400) == [False, True]
    assert seen(tmp_path)[3:] == [(400, 4.5)]
    assert gansmith.load(tmp_path / BEST).images_seen == 200


def test_best_from_beyond_the_checkpoint_is_kept_until_it_is_measured_again_or_beaten(tmp_path: Path) -> None:
    begun(tmp_path, [5.0, 4.0, 2.0]).steps(100, 200, 300)
    training = begun(tmp_path, [2.5, 2.0, 2.2, 2.3], patience=2, images=150)
    assert training.steps(200) == [False]
    assert gansmith.load(tmp_path / BEST).images_seen == 300
    assert training.steps(300, 400, 500) == [False, False, True]
    assert "fd_given 2 at 300 images, the best so far" in training.said


def test_scores_of_another_extractor_are_not_compared(tmp_path: Path) -> None:
    begun(tmp_path, [1.0, 2.0], patience=3).steps(100, 200)
    training = begun(tmp_path, [50.0, 60.0], patience=2, images=200, extractor="fedcba9876543210")
    assert f"{tmp_path / BEST}: chosen by another score or extractor; the next evaluation replaces it" in training.said
    assert training.steps(300, 400) == [False, False]
    assert gansmith.load(tmp_path / BEST).images_seen == 300


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(watch_module, "time", SimpleNamespace(perf_counter=lambda: self.now, time=lambda: 0.0))

    def take(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("cost", [0.5, 3.0, 20.0])
def test_evaluations_take_at_most_a_tenth_of_the_time_the_last_one_included(
    cost: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """600 s of training; as many evaluations as fit into 60 s take place, wherever it ends."""
    clock = Clock(monkeypatch)
    scores = GivenScores([1.0], cost, on_value=lambda: clock.take(cost))
    training = Training(tmp_path, scores, every=100)
    training.watch.begin()
    for second in range(1, 601):
        training.steps(20 * second, seconds=float(second))
    training.finish(12_001)
    total = sum(line["seconds"] for line in lines(tmp_path))
    assert total <= 60
    assert total >= 60 - 2 * cost
    told = [text for text in training.said if "put off" in text]
    assert len(told) == 1
    assert f"an evaluation takes {cost:.1f} s, {cost / 5:.0%} of the training time of 100 images" in told[0]
    assert training.watch.summary(600.0)[-1] == (
        f"evaluation: {len(lines(tmp_path))} times, {total:.1f} s, {total / 600:.1%} of training time, and "
        "0.0 s to make ready"
    )


def test_evaluation_that_was_put_off_comes_as_soon_as_there_is_time(tmp_path: Path) -> None:
    training = begun(tmp_path, [1.0], cost=1.0)
    training.steps(100, seconds=19.0)
    assert seen(tmp_path) == []
    training.steps(140, seconds=21.0)
    assert seen(tmp_path) == [(140, 1.0)]


def test_score_without_a_value_is_recorded_with_its_reason_and_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    error = DataError("the samples are not finite numbers")
    training = begun(tmp_path, [error, torch.OutOfMemoryError("no memory"), 3.0], patience=1)
    with caplog.at_level(logging.WARNING, "gansmith"):
        assert training.steps(100, 200, 300) == [False, False, False]
    assert seen(tmp_path) == [(100, None), (200, None), (300, 3.0)]
    assert [line.get("reason") for line in lines(tmp_path)] == [str(error), "no memory", None]
    (warning,) = caplog.messages
    assert "no fd_given at 100 images: the samples are not finite numbers; training goes on" in warning
    assert gansmith.load(tmp_path / BEST).images_seen == 300


@pytest.mark.faults
def test_05_no_room_for_best_keeps_the_old_one_whole_and_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    training = begun(tmp_path, [3.0, 2.0, 2.5, 1.0])
    training.steps(100)
    with monkeypatch.context() as patch:
        patch.setattr("gansmith.models.write_synced", full)
        with caplog.at_level(logging.WARNING, "gansmith"):
            training.steps(200, 300)
    (warning,) = caplog.messages
    assert f"{tmp_path / BEST}: could not be saved (No space left on device); training goes on" in warning
    assert gansmith.load(tmp_path / BEST).images_seen == 100
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    training.steps(400)
    assert gansmith.load(tmp_path / BEST).images_seen == 400
    assert seen(tmp_path) == [(100, 3.0), (200, 2.0), (300, 2.5), (400, 1.0)]


def test_abandoned_evaluation_leaves_nothing(tmp_path: Path) -> None:
    scores = GivenScores([1.0])
    training = Training(tmp_path, scores)
    training.watch.begin()
    scores.on_value = lambda: setattr(training.stop, "received", 15)
    assert training.steps(100) == [False]
    training.finish(150)
    assert scores.num_calls == 1
    assert seen(tmp_path) == []
    assert not (tmp_path / BEST).exists()


def test_draws_of_torch_are_left_as_they_were(tmp_path: Path) -> None:
    scores = GivenScores([1.0], on_value=lambda: torch.rand(7))
    training = Training(tmp_path, scores)
    before = torch.random.get_rng_state()
    training.watch.begin()
    training.steps(100)
    training.finish(150)
    assert scores.num_calls == 2
    assert torch.equal(torch.random.get_rng_state(), before)


def test_without_a_plan_there_is_nothing_but_scores_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    begun(tmp_path, [5.0, 4.0]).steps(100, 200)
    state = OBJECTIVES["adversarial"].initialise(RECIPES["mlp"]().shrunk(), 0, CPU)
    state.counters["images"] = 150
    watch = Watch(tmp_path, OBJECTIVES["adversarial"], state, None, StopSignal(), pytest.fail, lambda act: None)
    watch.begin()
    state.counters["images"] = 500
    assert not watch.is_due(LONG)
    watch.finish()
    assert (watch.why_over, watch.summary(1.0)) == (None, [])
    assert seen(tmp_path) == [(100, 5.0)]


def test_damaged_score_of_best_is_no_score(tmp_path: Path) -> None:
    begun(tmp_path, [5.0]).steps(100)
    for text in ("", "[]", "5", json.dumps({"value": 1.0})):
        (tmp_path / BEST / "score.json").write_text(text)
        assert best_of(tmp_path) is None
