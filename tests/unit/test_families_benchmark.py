"""`benchmarks/families.py` without training: its table, its bars, its file, what it trains again; README's table."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from gansmith import runtime
from gansmith.errors import UsageError
from gansmith.facts import MachineFacts
from tests.benchmark_modules import BENCHMARKS, benchmark

ROOT = Path(__file__).parents[2]
DISTANCES = {
    "mlp": 400.0, "dcgan-28": 500.0, "dcgan-32": 450.0, "dense-conv": 600.0, "resnet": 300.0, "vae": 700.0,
    "r3gan-small": 150.0,
}  # fmt: skip
EVEN = (0.1,) * 10


@pytest.fixture(scope="module")
def families():
    with benchmark("families") as module:
        yield module


@pytest.fixture(scope="module")
def tables(families):
    with benchmark("families_table") as module:
        yield module


def result(families, method: str, seed: int, value: float, **changes):
    made = families.Result(
        method=method, seed=seed, minutes=5.0, recipe_id="0" * 8, data="mnist", num_samples=10_000,
        fd_classifier=value, interval=(value - 1, value + 1), held_out=4.87, precision_classifier=0.6,
        recall_classifier=0.7, sure=0.9, class_shares=EVEN, extractor="e" * 8, weights="averaged",
        precision="float32", images_seen=1000, training_seconds=300.0, gansmith="0",
        machine={"cpu": "a CPU", "threads": 2}, others_share=0.0,
    )  # fmt: skip
    return replace(made, **changes)


def results(families, auto: float = 60.0, **changes):
    found = [
        result(families, method, seed, value) for method, value in DISTANCES.items() for seed in range(3)
    ]  # fmt: skip
    return found + [result(families, "auto", seed, auto, **changes) for seed in range(3)]


def test_files_are_short_enough_to_read():
    assert all(len((BENCHMARKS / f"{name}.py").read_text().splitlines()) <= 300
               for name in ("families", "families_table", "trainings", "modes"))  # fmt: skip


class TestBars:
    def test_all_met_is_no_failure(self, families):
        assert families.failures(results(families), (0, 1, 2)) == []

    def test_missing_training_means_nothing_is_judged(self, families):
        assert families.failures(results(families, auto=1e4)[1:], (0, 1, 2)) == []

    def test_a_fifth_of_the_textbook_is_enough_and_more_is_not(self, families):
        (problem,) = families.failures(results(families, auto=101.0), (0, 1, 2))
        assert problem == "above the bar: `auto` / `dcgan-28` is 0.202, must be at most 0.2"

    def test_best_base_system_counts_whichever_it_is(self, families):
        found = [replace(each, fd_classifier=80.0) if each.method == "dcgan-32" else each for each in results(families)]
        (problem,) = families.failures(found, (0, 1, 2))
        assert problem == "above the bar: `auto` / `dcgan-32`, the best base system is 0.750, must be at most 0.6"

    def test_baseline_that_is_no_base_system_is_not_the_best_of_them(self, tables, families):
        assert tables.best_base(results(families)) == "resnet"

    def test_base_system_that_is_missing_is_named(self, tables, families):
        _, (what, value, _, _) = tables.ratios([each for each in results(families) if each.method != "dcgan-32"])
        assert what == "`auto` / `resnet`, the best base system, without `dcgan-32`"
        assert value == pytest.approx(0.2)

    def test_unsure_samples_and_uneven_classes_fail(self, families):
        uneven = (0.04, 0.16, *EVEN[2:])
        problems = families.failures(results(families, sure=0.84, class_shares=uneven), (0, 1, 2))
        assert problems[0] == "below the bar: auto has 0.840 sure, must be at least 0.85"
        assert problems[1] == "outside the bar: classes of auto, seed 0, are 4.0 to 16.0 %, must be 5% to 15%"
        assert len(problems) == 4

    def test_two_classifiers_recipes_or_other_programs_are_no_comparison(self, families):
        first, second, *others = results(families)
        first, second = replace(first, extractor="other", others_share=0.5), replace(second, recipe_id="1" * 8)
        problems = families.failures([first, second, *others], (0, 1, 2))
        assert [problem.partition(":")[2].strip() for problem in problems] == [
            "mlp has results of several recipes; run it again",
            "judged by different classifiers; --again all",
            "other programs ran beside mlp 0; --again disturbed",
        ]


class TestTables:
    def test_every_method_its_mean_and_its_seeds(self, families):
        rows = results(families)
        rows[-1] = replace(rows[-1], fd_classifier=63.0, others_share=0.5)
        text = families.table(rows)
        assert "61.00  0.900      0.600   0.700   10.0 to 10.0 %  60.00, 60.00, 63.00*" in text
        assert "auto / dcgan-28: 0.122 (95 %" in text
        assert all(f"\n{method} " in text for method in DISTANCES)

    def test_markdown_has_a_row_a_method_and_says_what_it_is_of(self, families):
        rows = results(families)
        rows[-1] = replace(rows[-1], fd_classifier=63.0)
        head, rule, *lines, empty, caption = families.markdown(rows).split("\n")
        assert lines[-1] == "| `auto` | 61 (60 to 63) | 0.900 | 10.0 to 10.0 % | 0.60 | 0.70 | 1,000 |"
        assert len(lines) == len(DISTANCES) + 1
        assert head.count("|") == rule.count("|") == lines[0].count("|")
        assert empty == ""
        assert "5 minutes of training each, mean of seeds 0, 1, 2" in caption
        assert "a CPU, 2 threads" in caption
        assert "`auto` / `dcgan-28`: 0.12" in caption

    def test_one_seed_has_no_spread_and_none_no_table(self, families):
        assert "| `auto` | 60 | 0.900" in families.markdown([result(families, "auto", 0, 60.0)])
        assert "mean of seeds 0, 1, 2 (so far of `auto` 0, 1); 10,000" in families.markdown(results(families)[:-1])
        assert families.markdown([]) == ""
        assert families.table([]) == "no results yet"

    def test_newest_line_of_a_training_counts(self, families):
        new, old = result(families, "auto", 0, 1.0), result(families, "auto", 0, 2.0)
        other = result(families, "auto", 0, 3.0, minutes=1.0)
        assert families.newest([other, new, old], 5.0, 10_000) == [new]

    def test_only_the_processor_used_last_is_in_the_table(self, families):
        new, old = result(families, "auto", 0, 1.0), result(families, "auto", 0, 2.0)
        elsewhere = result(families, "mlp", 0, 3.0, machine={"cpu": "another CPU", "threads": 2})
        assert families.newest([new, elsewhere, old], 5.0, 10_000) == [new]
        assert families.newest([elsewhere, new], 5.0, 10_000) == [elsewhere]


def test_results_survive_the_file_newest_first(families, tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    kept = [result(families, "auto", seed, 1.0) for seed in range(2)]
    for each in kept:
        families.append_line(path, asdict(each))
    assert families.results_in(path) == kept[::-1]


def test_unknown_method_or_seed_is_named(families):
    assert families.names("auto, dcgan-28") == ("auto", "dcgan-28")
    with pytest.raises(ArgumentTypeError, match=r"'dcgan28' is unknown \(did you mean 'dcgan-28'"):
        families.names("dcgan28")
    with pytest.raises(ArgumentTypeError, match="'0,-1' are no seeds"):
        families.seeds("0,-1")


class TestResuming:
    """What is trained is recorded instead of being done."""

    @pytest.fixture
    def fill(self, families, tmp_path, monkeypatch):
        facts = MachineFacts("2 CPU threads", "float32", 100.0, 2**33)  # or `auto` might choose otherwise each time
        monkeypatch.setattr(runtime, "measure_machine", lambda *_: facts)

        def fill(methods=("dcgan-28", "auto"), seeds=(0, 1), again=None, others_share=0.0, minutes=5.0):
            trained = []

            def record(self, method, seed, key, is_anew):
                trained.append((method, seed, is_anew))
                machine = runtime.machine_facts(torch.device("cpu"))
                made = result(families, method, seed, 1.0, others_share=others_share, machine=machine)
                return replace(made, minutes=key[1], recipe_id=key[2], data=key[3], num_samples=key[4])

            monkeypatch.setattr(families.Benchmark, "_trained", record)
            plan = families.Plan("digits", methods, minutes, seeds)
            families.Benchmark(plan, tmp_path / "families.jsonl", tmp_path / "runs").fill(again)
            return trained

        return fill

    def test_seeds_are_outermost_and_a_second_run_trains_nothing(self, fill):
        assert fill() == [("dcgan-28", 0, False), ("auto", 0, False), ("dcgan-28", 1, False), ("auto", 1, False)]
        assert fill() == []

    def test_part_of_it_fills_the_same_file(self, fill):
        fill(("auto",), (0,))
        assert fill() == [("dcgan-28", 0, False), ("dcgan-28", 1, False), ("auto", 1, False)]

    def test_other_minutes_are_another_training(self, fill):
        fill()
        assert len(fill(minutes=4.0)) == 4

    def test_another_processor_is_another_training(self, fill, monkeypatch):
        fill()
        monkeypatch.setattr(runtime, "machine_facts", lambda _: {"cpu": "another CPU", "threads": 2})
        assert len(fill()) == 4
        assert fill() == []

    def test_disturbed_trainings_are_kept_until_they_are_to_be_repeated(self, fill):
        fill(("auto",), (0,), others_share=0.5)
        assert fill(("auto",)) == [("auto", 1, False)]
        assert fill(("auto",), again="disturbed") == [("auto", 0, True)]
        assert fill(("auto",), again="disturbed") == []
        assert fill(("auto",), again="all") == [("auto", 0, True), ("auto", 1, True)]

    def test_recipe_that_is_not_there_is_named_before_anything_is_trained(self, families, tmp_path):
        with pytest.raises(UsageError, match="recipe 'no-such-recipe' is unknown"):
            families.Benchmark(
                families.Plan("digits", ("no-such-recipe",)), tmp_path / "families.jsonl", tmp_path
            ).fill(None)  # fmt: skip


def test_readme_has_the_table_of_the_committed_results(families):
    if not families.RESULT.exists():
        pytest.skip("no committed results of families.py")
    (shown,) = re.findall(
        r"<!-- families -->\n(.*?)\n<!-- /families -->", (ROOT / "README.md").read_text(), re.DOTALL
    )  # fmt: skip
    rows = families.newest(families.results_in(families.RESULT), families.MINUTES, families.NUM_SAMPLES)
    assert shown == families.markdown(rows)
