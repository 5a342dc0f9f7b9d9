"""Evaluation from end to end, in Python: plans, scores, reports, and what cannot be measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gansmith
from gansmith.errors import CheckpointError, UsageError
from gansmith.evaluation.evaluator import Evaluation, evaluate
from gansmith.evaluation.opening import plan_of
from gansmith.evaluation.scores import SCORES
from gansmith.report import DEFAULT_SCORES, INCEPTION_SCORES, REQUESTED_SCORES, Report, load_report
from tests.conftest import write_images

NUM = 400


def digits(split: str = "train") -> list[np.ndarray]:
    data = gansmith.open_data("digits", (8, 8), 1, split)
    return [image[0] for image in np.asarray(data.images)]


@pytest.fixture(scope="module")
def of_reals() -> Evaluation:
    """Held-out digits as if they were samples, through random features."""
    return evaluate(digits("test"), "digits", extractor="random", seed=1)


@pytest.fixture(scope="module")
def of_copies() -> Evaluation:
    return evaluate(digits()[:NUM], "digits", extractor="random")


def values(evaluation: Evaluation) -> dict[str, float | None]:
    return {score.name: score.value for score in evaluation.report.scores}


def test_table_is_what_the_command_line_knows() -> None:
    assert tuple(SCORES) == (*DEFAULT_SCORES, *REQUESTED_SCORES)
    assert set(INCEPTION_SCORES.values()) <= SCORES.keys()


def test_real_images_score_as_the_held_out_ones_do(of_reals: Evaluation) -> None:
    measured = [score for score in of_reals.report.scores if score.value is not None]
    assert len(measured) > 7
    for score in measured:
        assert score.value == pytest.approx(score.held_out, rel=1e-6, abs=1e-7), score.name


def test_noise_scores_worse_than_reals_in_everything(of_reals: Evaluation) -> None:
    noise = [np.random.default_rng(n).integers(0, 256, (8, 8), dtype=np.uint8) for n in range(NUM)]
    of_noise = values(evaluate(noise, "digits", extractor="random"))
    for score in of_reals.report.scores:
        value, best = of_noise[score.name], score.value
        if score.name in ("memorisation", "classes_hit", "reverse_kl") or best is None:
            continue
        assert value is not None
        assert value < best if score.better == "higher" else value > best, score.name


def test_copies_are_flagged_and_held_out_images_pass(of_reals: Evaluation, of_copies: Evaluation) -> None:
    copied, real = (one.report.score("memorisation") for one in (of_copies, of_reals))
    assert copied is not None
    assert real is not None
    assert copied.value == 1.0
    assert copied.verdict is not None
    assert copied.verdict.startswith("flagged: ")
    assert real.verdict is not None
    assert real.verdict.startswith("passes: ")
    assert copied.details["pairs"][0]["distance"] == 0


def test_report_says_how_each_number_was_measured(of_copies: Evaluation) -> None:
    report = of_copies.report
    assert report.subject.num_samples == NUM
    assert report.reference.name == "digits"
    assert report.extractor.name == "random"
    assert report.command.startswith("gansmith evaluate ")
    for score in report.scores:
        assert score.protocol
        assert score.reason or score.value is not None
    distance = report.score("fd_random")
    assert distance is not None
    assert distance.interval is not None
    assert distance.interval.low < distance.value < distance.interval.high  # type: ignore[operator]
    assert len(distance.replicates) == 20
    assert f"{NUM} samples against" in distance.protocol
    assert any("only 400 samples" in warning for warning in distance.warnings)


def test_same_evaluation_gives_the_same_numbers(of_copies: Evaluation) -> None:
    again = evaluate(digits()[:NUM], "digits", extractor="random")
    strip = [score.model_copy(update={"seconds": 0}) for score in again.report.scores]
    assert strip == [score.model_copy(update={"seconds": 0}) for score in of_copies.report.scores]


def test_report_survives_its_file(of_copies: Evaluation, tmp_path: Path) -> None:
    folder = of_copies.save(tmp_path / "out")
    assert load_report(folder / "report.json") == of_copies.report
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1, "gansmith": "0"}', "\x00"])
def test_damaged_report_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"report\.json: not a readable report"):
        load_report(tmp_path / "report.json")


def test_report_of_a_newer_version_says_which(of_copies: Evaluation, tmp_path: Path) -> None:
    newer: Report = of_copies.report.model_copy(update={"format": 99, "gansmith": "9.1"})
    (tmp_path / "report.json").write_text(newer.to_json())
    with pytest.raises(CheckpointError, match=r"written by gansmith 9\.1; upgrade"):
        load_report(tmp_path / "report.json")


class Flat(nn.Module):
    """The user's own extractor: eight means of rows."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 3))


def test_users_own_module_is_an_extractor() -> None:
    found = evaluate(digits("test"), "digits", extractor=Flat(), scores=["fd", "kd"])
    assert [score.name for score in found.report.scores] == ["fd_Flat", "kd_Flat"]
    assert found.report.extractor.dim == 8


class Broken(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.full((len(images), 4), torch.nan)


class Constant(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.ones(len(images), 4)


@pytest.mark.faults
def test_14_nan_features_give_no_number_and_the_reason() -> None:
    found = evaluate(digits()[:NUM], "digits", extractor=Broken(), scores=["fd", "fd-infinity", "kd", "precision"])
    for score in found.report.scores:
        assert score.value is None
        assert score.reason is not None
        assert "features of the samples" in score.reason


@pytest.mark.faults
def test_14_constant_features_are_at_distance_zero() -> None:
    found = values(evaluate(digits()[:NUM], "digits", extractor=Constant(), scores=["fd", "kd"]))
    assert found["fd_Constant"] == pytest.approx(0, abs=1e-12)
    assert found["kd_Constant"] == pytest.approx(0, abs=1e-6)


@pytest.mark.faults
def test_14_fewer_samples_than_features_have_a_kernel_distance_only() -> None:
    found = evaluate(digits("test")[:40], "digits", extractor="random", scores=["fd", "fd-infinity", "kd"])
    distance, infinity, kernel = found.report.scores
    assert distance.value is None
    assert infinity.value is None
    assert distance.reason is not None
    assert "40 samples" in distance.reason
    assert kernel.value is not None


@pytest.mark.faults
def test_14_one_sample_is_refused() -> None:
    with pytest.raises(UsageError, match=r"num_samples=1, .* at least 2 images"):
        evaluate(digits(), "digits", num_samples=1)


@pytest.mark.parametrize(
    ("scores", "extractor", "words"),
    [
        (["fdd"], None, r"score 'fdd' is unknown \(did you mean 'fd'"),
        ([], None, "no score is asked for"),
        (["fid"], "random", "fid: are of Inception features, not of random; ask for fd instead"),
        (["kid"], Flat(), "not of Flat"),
    ],
)
def test_impossible_plans_are_refused(scores: list[str], extractor: str | nn.Module | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan_of(scores, extractor)


def test_names_of_papers_mean_inception() -> None:
    plan = plan_of(["fid", "fd", "kid", "memorisation"], None)
    assert plan.extractor == "inception"
    assert plan.scores == ("fd", "kd", "memorisation")


def test_somebodys_images_need_real_ones() -> None:
    with pytest.raises(UsageError, match="say which real images to compare with: --data"):
        evaluate(digits()[:NUM])


def test_data_without_classes_have_no_class_scores() -> None:
    found = evaluate(digits()[:60], digits()[100:300], scores=["classes", "intra-fd", "worth", "is"])
    assert found.report.extractor.name == "random"
    for score in found.report.scores:
        assert score.value is None
        assert score.reason is not None
        assert "no classes" in score.reason


def test_exhibit_of_images_has_grids_and_pairs(of_copies: Evaluation) -> None:
    titles = [picture.title for picture in of_copies.exhibit.pictures]
    assert titles[:2] == ["Real images", "The images"]
    assert "The worst pairs" in titles
    assert all(picture.png.startswith(b"\x89PNG") for picture in of_copies.exhibit.pictures)
    assert dataclasses.replace(of_copies.exhibit, pictures=()).frames == ()


def test_held_out_images_of_another_count_give_no_value_that_depends_on_it(of_copies: Evaluation) -> None:
    held_out = {score.name: score.held_out for score in of_copies.report.scores}  # 359 beside 400 samples
    assert held_out["fd_random"] is held_out["precision_random"] is held_out["reverse_kl"] is None
    assert held_out["kd_random"] is not None
    assert held_out["memorisation"] is not None


class Scaled(nn.Module):
    """A module whose code is the same and whose features are not."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        return self.factor * images.flatten(1)[:, :8]


def test_nothing_is_kept_of_the_users_own_module() -> None:
    one, ten = (evaluate(digits()[:200], "digits", extractor=Scaled(k), scores=["kd"]) for k in (1.0, 10.0))
    assert one.report.scores[0].held_out != ten.report.scores[0].held_out


def test_interval_of_no_width_is_not_given() -> None:
    black = [np.zeros((8, 8), np.uint8)] * 60
    score = evaluate(black, "digits", extractor="random", scores=["precision"]).report.scores[0]
    assert score.value == 0
    assert score.interval is None
    assert any(warning.startswith("no interval") for warning in score.warnings)


@pytest.mark.parametrize("count", [2, 3, 9, 30])
def test_few_images_give_what_can_be_given(count: int) -> None:
    scores = [*DEFAULT_SCORES, "is", "adversarial"]
    found = evaluate(digits()[:count], digits()[100 : 100 + count], scores=scores, extractor="random")
    for score in found.report.scores:
        assert score.value is not None or score.reason, score.name
    evaluate(digits()[:8], "digits", scores=["is"])
    memorisation = found.report.score("memorisation")
    assert memorisation is not None
    assert memorisation.reason is not None
    assert "are needed to know how near is too near" in memorisation.reason


def test_one_score_that_cannot_be_had_leaves_the_others() -> None:
    found = evaluate(digits()[:60], digits()[100:110], extractor="random", scores=["kd", "modes", "adversarial"])
    kernel, modes, adversarial = found.report.scores
    assert kernel.value is not None
    assert modes.reason is not None
    assert "is not stacked" in modes.reason
    assert adversarial.reason is not None
    assert "at least 20 of each" in adversarial.reason


def test_one_class_is_not_called_none(tmp_path: Path) -> None:
    write_images(tmp_path / "pets" / "train" / "cats", 30, (8, 8))
    write_images(tmp_path / "pets" / "test" / "cats", 30, (8, 8), seed=1)
    reason = evaluate(digits()[:30], tmp_path / "pets", scores=["classes"]).report.scores[0].reason
    assert reason is not None
    assert "pets has 1 class, and 2 are needed" in reason


def test_what_real_images_were_is_in_the_report(tmp_path: Path) -> None:
    write_images(tmp_path / "colour", 40, (16, 12), mode="RGB")
    report = evaluate(digits()[:30], tmp_path / "colour", scores=["kd"]).report
    assert report.reference.original == "16x12 of 3 channels"
    same = evaluate(digits()[:30], digits()[30:60], scores=["kd"]).report
    assert same.reference.original == ""


def test_no_extractor_is_trained_where_no_score_needs_one() -> None:
    assert evaluate(digits()[:60], "digits", scores=["memorisation"]).report.extractor.name == "random"


def test_inception_score_does_not_depend_on_the_order_of_the_images() -> None:
    data = gansmith.open_data("digits", (28, 28), 1)
    assert data.labels is not None
    values = []
    for order in (np.argsort(data.labels, kind="stable"), np.arange(len(data))):
        images = [data.images[place][0] for place in order]
        values.append(evaluate(images, "digits", scores=["is"]).report.scores[0].value)
    assert values[0] == pytest.approx(values[1], rel=0.02)
    assert values[0] > 8
