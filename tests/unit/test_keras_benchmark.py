"""`benchmarks/keras_dcgan.py` without TensorFlow: two sides in turn, ratios, its file, its environment, verdicts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ID = "0" * 8
SIDE = """
import time
from stretches import serve

def step():
    time.sleep(0.001)
    print("a library talks on standard output")
    return 32

serve(step, {"precision": "none"}, 0.0)
"""


@pytest.fixture(scope="module")
def modules():
    """(stretches, keras_dcgan), imported as the programs import each other."""
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    import keras_dcgan
    import stretches

    yield stretches, keras_dcgan
    sys.path.remove(str(BENCHMARKS))
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and Path(sys.modules[name].__file__).parent == BENCHMARKS:
            del sys.modules[name]


def stretch(modules, rate: float, seconds: float = 2.0, slept: float = 2.0, idled: float = 0.0):
    return modules[0].Stretch(round(rate * seconds), seconds, 2 * seconds, slept, idled)


def test_ratio_is_the_median_of_the_pairs_with_the_least_and_the_greatest(modules):
    pairs = [(stretch(modules, ours), stretch(modules, theirs)) for ours, theirs in ((300, 100), (50, 100), (800, 400))]
    assert modules[0].ratio_of(pairs) == modules[0].Ratio(2.0, 0.5, 3.0)


def test_no_pairs_have_no_ratio(modules):
    with pytest.raises(ValueError, match="at least one pair"):
        modules[0].ratio_of([])


def test_idle_share_weighs_sleeps_by_their_length(modules):
    short = stretch(modules, 1, slept=0.001, idled=0.0005)  # half of no time
    assert modules[0].idle_share([short, stretch(modules, 1, slept=0.999, idled=0.0095)]) == pytest.approx(0.01)


def test_sides_change_who_goes_first_and_keep_their_place_in_the_pair(modules):
    order = []

    class Recorded:
        def __init__(self, name: str, rate: float) -> None:
            self.name, self.rate = name, rate

        def run(self, seconds: float):
            order.append(self.name)
            return stretch(modules, self.rate, seconds)

    timing = modules[0].alternate(Recorded("a", 20), Recorded("b", 10), 3, 1.0)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert modules[0].ratio_of(timing.pairs) == modules[0].Ratio(2.0, 2.0, 2.0)


class TestSide:
    def side(self, modules, tmp_path, script: str):
        lines = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n{script}"
        return modules[0].Side("tiny", [sys.executable, "-c", lines], tmp_path / "log")

    def test_works_when_told_and_says_what_it_did(self, modules, tmp_path):
        with self.side(modules, tmp_path, SIDE) as side:
            first, second = side.run(0.05), side.run(0.0)
        assert side.facts["precision"] == "none"
        assert side.facts["first_step_seconds"] >= 0.001
        assert first.seconds >= 0.05
        assert 1 <= first.images / 32 <= first.seconds / 0.001
        assert second.images == 0  # no seconds, no steps
        assert side._process.returncode == 0

    def test_side_that_dies_is_named_with_what_it_said(self, modules, tmp_path):
        with pytest.raises(SystemExit, match=r"the tiny side ended with exit code 3; it said last:\nno such library"):
            self.side(modules, tmp_path, "sys.stderr.write('no such library'); sys.exit(3)").__enter__()

    def test_side_that_dies_in_a_stretch_is_named_too(self, modules, tmp_path):
        dying = SIDE.replace("return 32", "return next(counts)").replace("def step", "counts = iter([32])\ndef step")
        with (
            pytest.raises(SystemExit, match=r"the tiny side ended with exit code 1.*(\n.*)*StopIteration"),
            self.side(modules, tmp_path, dying) as side,
        ):
            side.run(1.0)


def test_other_networks_are_no_comparison(modules):
    made = row(modules)
    made["facts"]["theirs"]["num_parameters"] = 8
    assert modules[1].failures(made | {"is_judged": False}) == ["not the same networks: 9 parameters beside Keras's 8"]


def row(modules, ours: float = 200, theirs: float = 100, idled: float = 0.0, others: float | None = 0.0, **changes):
    pairs = [(stretch(modules, ours), stretch(modules, theirs, idled=idled))] * 5
    facts = {
        "ours": {"precision": "bfloat16", "first_step_seconds": 0.5, "num_parameters": 9},
        "theirs": {"precision": "float32", "first_step_seconds": 1.5, "num_parameters": 9, "keras": "3", "xla": False},
    }
    made = modules[1].row_of(modules[0].Timing(pairs, others), facts, ID, {"plain": 1.0}, is_judged=True)
    return made | changes


def test_row_has_the_ratio_and_survives_its_file(modules):
    made = row(modules)
    assert (made["recipe"], made["ratio"], made["ratio_low"], made["ratio_high"]) == ("dcgan-28", 2.0, 2.0, 2.0)
    assert made["images_per_second"] == {"ours": 200.0, "theirs": 100.0}
    assert modules[1].table(json.loads(json.dumps(made))) == modules[1].table(made)
    assert "ratio 2.00 (2.00 to 2.00 over 5 pairs of 2 s), at least 1.6: ok" in modules[1].table(made)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ours": 159}, "below the bar: 1.59 times Keras, must be at least 1.6"),
        ({"idled": 0.2}, "a side took 0.10 of a core while it should sleep"),
        ({"others": 0.5}, "other programs took 0.50 of a core; run it alone"),
    ],
)
def test_what_is_too_slow_or_not_to_be_believed_fails(modules, changes, problem):
    assert modules[1].failures(row(modules, ours=160) | {}) == []
    (found,) = modules[1].failures(row(modules, **changes))
    assert problem in found
    assert modules[1].failures(row(modules, **changes) | {"is_judged": False}) == []


class TestFile:
    def test_finished_row_is_found_and_a_quick_one_is_no_full_one(self, modules, tmp_path):
        path = tmp_path / "row.json"
        assert modules[1].finished_row(path, ID, quick=False) is None
        path.write_text(json.dumps(row(modules)))
        assert modules[1].finished_row(path, ID, quick=False)["ratio"] == 2.0
        assert modules[1].finished_row(path, ID, quick=True) is None

    @pytest.mark.parametrize(
        "changes", [{"requirements": ["keras==3.0.0"]}, {"recipe_id": "1" * 8}, {"others": 0.5}, {"idled": 0.2}]
    )
    def test_row_of_another_keras_or_recipe_or_of_a_busy_machine_is_measured_again(self, modules, tmp_path, changes):
        path = tmp_path / "row.json"
        path.write_text(json.dumps(row(modules, **changes)))
        assert modules[1].finished_row(path, ID, quick=False) is None

    def test_program_prints_and_judges_what_is_in_the_file(self, modules, tmp_path, monkeypatch, capsys):
        path = tmp_path / "row.json"
        path.write_text(json.dumps(row(modules, ours=100, recipe_id=modules[1].best_recipe().id)))
        monkeypatch.setattr(sys, "argv", ["keras_dcgan.py", "--data", "digits", "--out", str(path)])
        with pytest.raises(SystemExit, match=r"below the bar: 1\.00"):
            modules[1].main()
        assert "measured already" in capsys.readouterr().out


class TestEnvironment:
    def test_one_that_has_the_requirements_is_taken_as_it_is(self, modules, tmp_path):
        (tmp_path / "requirements.txt").write_text("keras==9\n")
        assert modules[1].make_environment(tmp_path, ("keras==9",)) == tmp_path / "bin" / "python"
        assert [entry.name for entry in tmp_path.iterdir()] == ["requirements.txt"]

    def test_one_that_cannot_be_made_ends_the_program_with_the_reason(self, modules, tmp_path):
        file = tmp_path / "file"
        file.write_text("not a folder")
        with pytest.raises(SystemExit, match=r"-m venv --clear .*file: exit code 1; it said last:"):
            modules[1].make_environment(file, ("keras==9",))
