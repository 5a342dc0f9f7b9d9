"""Comparing reports: what is refused, what is one method, what differs by more than chance, in numbers and words."""

from __future__ import annotations

import base64
import json
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy import stats

from gansmith import compare
from gansmith.errors import UsageError
from gansmith.evaluation.comparison_page import comparison_page
from gansmith.evaluation.entries import (
    Asked,
    Measurement,
    can_replace,
    measured_scores,
    measurement_of,
    recipe_differences,
)
from gansmith.evaluation.exhibit import Exhibit
from gansmith.report import DEFAULT_SCORES, Score
from tests import reports


def of(name: str, value: float, seed: int = 0, noise: float = 0.9, better: str = "lower", **changes):
    """A report with one distance."""
    score = reports.distance("fd", "Fréchet distance", value, noise, 0.3, seed, better)
    return reports.report(name, 1.0, seed, scores=(score,), **changes)


class TestRefusals:
    @pytest.mark.parametrize(("change", "what", "values"), [
        ({"checksum": "b" * 16}, "extractor checksums", ("9f2c3a4b5d6e7f80", "b" * 16)),
        ({"preparation": "bilinear to 299x299"}, "preparation of images", ("none (28x28)", "bilinear to 299x299")),
        ({"split": "test"}, "reference splits", ("train", "test")),
        ({"num_samples": 5000}, "sample counts", ("10,000", "5,000")),
    ])  # fmt: skip
    def test_numbers_that_do_not_mean_the_same_are_refused_with_both_values_and_a_way_out(self, change, what, values):
        with pytest.raises(UsageError, match="evaluate both") as caught:
            compare([of("a", 1.0), of("b", 2.0, **change)])
        assert f"a and b cannot be compared: their {what} are {values[0]}" in str(caught.value)
        assert values[1] in str(caught.value)

    def test_other_real_images_are_refused(self):
        other = of("b", 2.0)
        reference = other.reference.model_copy(update={"fingerprint": "d" * 16, "name": "fashion"})
        with pytest.raises(UsageError, match=r"reference data are c0ffee5949357318 \(mnist\) and d{16} \(fashion\)"):
            compare([of("a", 1.0), other.model_copy(update={"reference": reference})])

    def test_one_report_is_no_comparison(self):
        with pytest.raises(UsageError, match="at least 2 reports, not 1"):
            compare([of("a", 1.0)])

    def test_all_differences_are_named_at_once(self):
        with pytest.raises(UsageError) as caught:
            compare([of("a", 1.0), of("b", 2.0, num_samples=5000, split="test"), of("c", 3.0, checksum="b" * 16)])
        assert len(caught.value.problems) == 3


class TestSingleRuns:
    def test_value_and_interval_are_the_reports_own(self):
        report = of("a", 12.0)
        cell = compare([report, of("b", 20.0)]).scores[0].cells[0]
        interval = report.scores[0].interval
        assert (cell.value, cell.interval) == (12.0, (interval.low, interval.high))
        assert cell.of == "one generator, jackknife over 20 groups, t(19)"

    def test_p_is_that_of_the_paired_jackknife(self):
        one, other = of("a", 12.0, 1), of("b", 12.1, 2)
        found = compare([one, other]).scores[0].differences[0]
        differences = np.subtract(one.scores[0].replicates, other.scores[0].replicates)
        error = np.sqrt(19 / 20 * ((differences - differences.mean()) ** 2).sum())
        assert found.p == pytest.approx(2 * stats.t.sf(0.1 / error, 19))
        assert found.test == "paired jackknife, t(19)"

    def test_difference_smaller_than_either_interval_can_be_significant_since_the_reals_are_shared(self):
        one, other = of("a", 12.0, 1), of("b", 12.3, 2)
        intervals = [report.scores[0].interval for report in (one, other)]
        assert intervals[0].high > intervals[1].low  # they overlap
        assert compare([one, other]).scores[0].differences[0].is_significant

    def test_shares_are_compared_by_a_z_test(self):
        shares = [reports.share("copies", "Copies", value, 0, 0.1) for value in (0.01, 0.02)]
        several = [reports.report(name, scores=(score,)) for name, score in zip("ab", shares, strict=True)]
        found = compare(several).scores[0].differences[0]
        table = [[100, 9900], [200, 9800]]
        assert found.p == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue, rel=1e-6)
        assert found.test == "two-proportion z"

    def test_score_that_nothing_is_known_of_has_no_test_and_says_so(self):
        scores = [Score(name="hit", title="Hit", value=v, better="higher", protocol="p") for v in (9, 10)]
        compared = compare([reports.report(n, scores=(s,)) for n, s in zip("ab", scores, strict=True)]).scores[0]
        assert compared.differences[0].p is None
        assert compared.best == (1,)
        assert compared.sentence == "no test: the score has neither replicates nor a count"


class TestWords:
    def test_who_is_better_and_who_cannot_be_told_apart(self):
        several = [of("mlp", 20.0, 1), of("vae", 20.02, 2), of("dcgan", 12.0, 3)]
        row = compare(several).score("fd")
        assert row.sentence.startswith("dcgan is better than mlp and vae (each p < 0.001); mlp and vae cannot be told")
        assert row.best == (2,)

    def test_higher_can_be_better(self):
        row = compare([of("a", 0.5, 1, 0.01, "higher"), of("b", 0.9, 2, 0.01, "higher")]).scores[0]
        assert row.sentence == "b is better than a (p < 0.001)"
        assert row.best == (1,)

    def test_where_neither_end_is_better_nothing_is_best(self):
        row = compare([of("a", 0.5, 1, 0.01, "none"), of("b", 0.9, 2, 0.01, "none")]).scores[0]
        assert row.sentence == "b is higher than a (p < 0.001)"
        assert row.best == ()

    def test_best_are_all_that_cannot_be_told_apart_from_the_best(self):
        assert compare([of("a", 12.0, 1), of("b", 12.01, 2), of("c", 30.0, 3)]).scores[0].best == (0, 1)

    def test_p_values_are_corrected_for_the_pairs_of_a_score(self):
        pair = [of("a", 12.0, 1), of("b", 12.2, 2)]
        alone = compare(pair).scores[0].differences[0].p
        among = compare([*pair, of("c", 30.0, 3), of("d", 40.0, 4)]).scores[0].differences
        assert next(d.p for d in among if {d.first, d.second} == {0, 1}) == pytest.approx(alone)  # the largest of six
        small = compare([*pair, of("c", 12.1, 5)]).scores[0].differences
        assert next(d.p for d in small if {d.first, d.second} == {0, 1}) == pytest.approx(3 * alone)

    def test_equal_names_are_told_apart(self):
        same = [of("run", 12.0, 1, path="x/run", recipe_id="1"), of("run", 13.0, 2, path="y/run", recipe_id="2")]
        assert [entry.name for entry in compare(same).entries] == ["run (x/run)", "run (y/run)"]


class TestSeeds:
    VALUES = (12.0, 12.5, 11.8)

    def seeds(self, name="dcgan", values=VALUES, **changes):
        return [of(name, value, seed, training_seed=seed, **changes) for seed, value in enumerate(values)]

    def test_seeds_of_a_recipe_are_one_method_with_its_mean_and_t_interval(self):
        comparison = compare([*self.seeds(), of("mlp", 20.0)])
        assert [(entry.name, entry.members) for entry in comparison.entries] == [
            ("dcgan (3 seeds)", (0, 1, 2)), ("mlp", (3,)),
        ]  # fmt: skip
        cell = comparison.scores[0].cells[0]
        half = stats.t.ppf(0.975, 2) * stdev(self.VALUES) / np.sqrt(3)
        assert cell.value == pytest.approx(fmean(self.VALUES))
        assert cell.interval == pytest.approx((cell.value - half, cell.value + half))

    def test_two_methods_are_compared_by_welch(self):
        others = (13.0, 14.0, 13.2, 13.1)
        found = compare([*self.seeds(), *self.seeds("mlp", others)]).scores[0].differences[0]
        assert found.p == pytest.approx(stats.ttest_ind(self.VALUES, others, equal_var=False).pvalue)
        assert found.test == "Welch's t over seeds"

    def test_one_run_is_compared_with_the_spread_of_seeds_and_said_to_be_one(self):
        comparison = compare([*self.seeds(), of("mlp", 20.0)])
        assert comparison.scores[0].differences[0].p == pytest.approx(
            stats.ttest_ind([20.0], self.VALUES, equal_var=True).pvalue
        )
        assert any(note.startswith("mlp: one training.") for note in comparison.notes)

    def test_other_data_another_recipe_or_the_same_seed_is_no_seed_of_the_method(self):
        for changes in ({"data_fingerprint": "other"}, {"recipe_id": "other"}, {"training_seed": 0}):
            pair = [of("a", 12.0, 1, training_seed=0), of("a", 13.0, 2, **{"training_seed": 1} | changes)]
            assert [entry.members for entry in compare(pair).entries] == [(0,), (1,)]

    def test_seeds_that_do_not_differ_have_no_interval(self):
        cell = compare([*self.seeds(values=(10.0, 10.0)), of("mlp", 20.0)]).scores[0].cells[0]
        assert (cell.value, cell.interval) == (10.0, None)

    def test_seeds_that_trained_unevenly_are_noted(self):
        uneven = [of("a", 12.0, 1, training_seed=0), of("a", 13.0, 2, training_seed=1, images_seen=1_000)]
        notes = compare([*uneven, of("mlp", 20.0)]).notes
        assert any("its seeds saw 1,000 to 205,952 images" in note for note in notes)


def test_score_without_a_value_everywhere_or_measured_otherwise_is_left_out_with_its_reason():
    scores = {
        "a": (reports.distance("fd", "FD", 1.0, 0.1, None), reports.distance("kd", "KD", 1.0, 0.1, None)),
        "b": (
            Score(name="fd", title="FD", value=None, reason="too few samples", protocol="p"),
            reports.distance("kd", "KD", 1.0, 0.1, None).model_copy(update={"protocol": "k = 7"}),
        ),
    }
    comparison = compare([reports.report(name, scores=found) for name, found in scores.items()])
    assert comparison.scores == ()
    assert comparison.left_out[0] == "fd is not compared: b has no value (too few samples)"
    assert "unlike ways: “10,000 samples against 60,000 images of train” and “k = 7”" in comparison.left_out[1]


def test_same_generator_twice_is_noted():
    notes = compare([of("a", 12.0, 1), of("b", 12.0, 1)]).notes
    assert "a and b are one and the same" in notes


def test_only_of_generators_it_is_said_that_there_was_one_training():
    several = [of("a", 1.0, 1), of("theirs", 2.0, 2, kind="images")]
    assert compare(several).notes[0].startswith("a: one training. ")
    assert not any("theirs" in note for note in compare(several).notes)


def test_recipe_differences_name_fields_by_path():
    several = [
        of("a", 1.0, recipe={"loss": "hinge", "generator": {"family": "mlp", "hidden": [8]}, "batch_size": 64}),
        of("b", 2.0, recipe={"loss": "hinge", "generator": {"family": "dcgan"}, "batch_size": 128}),
    ]
    assert recipe_differences(several, compare(several).entries) == {
        "generator.family": ("mlp", "dcgan"), "generator.hidden": ("[8]", "–"), "batch_size": ("64", "128"),
    }  # fmt: skip


def test_json_holds_values_intervals_and_p():
    values = json.loads(compare([of("a", 12.0, 1), of("b", 20.0, 2)]).to_json())
    assert values["scores"][0]["cells"][0]["value"] == 12.0
    assert values["scores"][0]["differences"][0]["p"] < 0.001
    assert [entry["name"] for entry in values["entries"]] == ["a", "b"]


def test_page_shows_every_entry_score_and_reason_escaped():
    several = [reports.report("<b>a</b>", 1.0, 1), reports.report("b", 1.5, 2), reports.report("c", 1.6, 3)]
    page = comparison_page(
        compare(several), several, [reports.exhibit(2), reports.exhibit(0), Exhibit()], "gansmith compare a b c"
    )
    assert "<b>a</b>" not in page
    for part in (
        "&lt;b&gt;a&lt;/b&gt; is better than b and c", "Holm", "not told apart", "205,952", "gansmith compare a b c",
        "fid is not compared", "<b>b</b> 205,952 images seen", "no interval",
        "a claim about that trained generator alone",
    ):  # fmt: skip
        assert part in page, part
    shown = [base64.b64encode(picture.png).decode() for picture in reports.exhibit().pictures]
    assert [page.count(data) for data in shown] == [0, 2, 0, 0, 0]  # of the two that have one; no frame of training
    assert page.count("<img ") == 2


def test_page_says_where_samples_were_compared_with_a_part_of_the_real_images():
    several = [reports.report("a", 1.0, 1, num_compared=5_000), reports.report("b", 1.5, 2, num_compared=5_000)]
    page = comparison_page(compare(several), several, [Exhibit(), Exhibit()], "gansmith compare a b")
    assert "against 5,000 of the 60,000 train images of mnist" in page


class TestMeasuringAlike:
    def test_everything_is_taken_from_the_report(self):
        report = reports.report(
            split="test", num_compared=5_000, num_images=10_000, fit="pad", num_samples=7_000,
            command="gansmith evaluate runs/a --scores fid,kd --weights 'my weights.pth'",
        )  # fmt: skip
        report = report.model_copy(update={"subject": report.subject.model_copy(update={"seed": 4})})
        assert measurement_of(report) == Measurement(
            7_000, "../shared/data/mnist.zip", ("fd", "kd"), "classifier", "my weights.pth", "test", 5_000, "pad", 4
        )

    def test_all_reals_default_scores_and_the_seed_of_a_choice_of_images(self):
        report = reports.report(kind="images", command="gansmith evaluate x --seed 3")
        report = report.model_copy(update={"subject": report.subject.model_copy(update={"seed": None})})
        how = measurement_of(report)
        assert (how.num_reals, how.scores, how.seed) == (None, DEFAULT_SCORES, 3)

    def test_scores_of_a_report_through_an_extractor_of_ones_own_are_those_of_its_call(self):
        command = """in Python: gansmith.evaluate('it\'s "a"', 'mnist', extractor=..., scores=('kd', 'precision'))"""
        assert measured_scores(reports.report(command=command)) == ("kd", "precision")
        assert measured_scores(reports.report(command=command.replace(", 'precision'", ","))) == ("kd",)
        assert measurement_of(reports.report(command=command)).weights is None

    def test_what_is_asked_for_comes_first_and_weights_stay_with_their_extractor(self):
        report = reports.report(command="gansmith evaluate x --weights w.pth", seed=1)
        how = Asked(500, None, ("fd",), "inception").measurement(report, 10_000)
        assert (how.num_samples, how.data, how.scores, how.extractor, how.weights) == (
            500, "../shared/data/mnist.zip", ("fd",), "inception", None,
        )  # fmt: skip
        assert Asked().measurement(report, 10_000).weights == "w.pth"
        assert Asked().measurement(None, 300) == Measurement(300)

    @pytest.mark.parametrize(("changes", "can"), [
        ({}, True), ({"command": "gansmith evaluate x --scores fd,worth"}, False), ({"num_samples": 500}, False),
        ({"checksum": "b" * 16}, False),
    ])  # fmt: skip
    def test_report_takes_the_place_of_one_that_says_no_more(self, changes, can):
        assert can_replace(reports.report(quality=1.1), reports.report(**changes)) is can
