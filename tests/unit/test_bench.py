"""`gansmith bench`: the ratio, its interval, the groups of operations, what a row says, and mistakes."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from gansmith import ranks, runtime
from gansmith.bench import contenders, fresh, measure, roof
from gansmith.bench.contenders import OurTraining, data_set, fastest_plain_loop, noise, plain_hashes
from gansmith.bench.interleaving import Contender, interleave, interval_of_median
from gansmith.bench.measure import Result, measure_sampling, measure_training
from gansmith.bench.member import contender_of
from gansmith.bench.profile import GROUPS, group_of, shares_of_time
from gansmith.bench.roof import Roof
from gansmith.bench.rows import DEFAULT_ROWS, ROW_NAMES, Row, is_done_plainly, row_of, row_problems
from gansmith.bench.table import HEAD, lines_of
from gansmith.bench.teams import Team
from gansmith.cli import main
from gansmith.errors import ResourceError, UsageError
from gansmith.recipes import RECIPES
from gansmith.training.objectives import OBJECTIVES
from gansmith.training.step import initial_state

TINY = RECIPES["dcgan-28"](size=(8, 8)).shrunk()
CPU = torch.device("cpu")


class Clock:
    """Time that passes only when a contender works."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def contender(self, step_seconds, images=1, log=None, name=""):
        steps = itertools.cycle(step_seconds)

        def step():
            self.now += next(steps)

        return Contender(step, images, lambda: None if log is None else log.append(name))


class TestInterleaving:
    def test_rate_is_images_of_whole_steps_over_their_time(self, monkeypatch):
        clock = Clock(monkeypatch)
        assert clock.contender([0.1], images=8).rate(1.0) == pytest.approx(80)

    def test_a_slow_first_step_is_not_counted_and_a_step_as_long_as_the_stretch_is(self, monkeypatch):
        clock = Clock(monkeypatch)
        steps = [0.4, *[0.1] * 99]
        assert clock.contender(steps, images=1).rate(1.0) == pytest.approx(10, rel=0.01)
        assert clock.contender([3.0, 99.0], images=6).rate(1.0) == pytest.approx(2)

    def test_a_stretch_is_over_when_it_is_agreed_to_be_and_not_before(self, monkeypatch):
        clock, asked = Clock(monkeypatch), []
        contender = clock.contender([1.0], images=1)

        def agree(is_over):
            asked.append(is_over)
            return len(asked) == 5

        assert Contender(contender.step, 2, agree=agree).rate(1.5) == pytest.approx(2)
        assert asked == [True, False, False, True, True]  # the first is for the step that is taken before
        assert clock.now == 1 + 3

    def test_ratio_is_the_median_of_the_pairs_and_not_of_the_rates(self, monkeypatch):
        clock = Clock(monkeypatch)
        # Both twice as slow in half of the pairs: the ratio does not see it.
        first = clock.contender([1.0, 1.0, 2.0, 1.0, 2.0, 2.0])
        second = clock.contender([3.0, 3.0, 6.0, 3.0, 6.0, 6.0])
        found = interleave(first, second, seconds=0.5, pairs=6)
        assert (found.ratio, found.low, found.high) == pytest.approx((3, 3, 3))
        assert found.first == pytest.approx(3 * found.second)

    def test_who_begins_alternates_and_something_may_be_done_between(self, monkeypatch):
        clock, log = Clock(monkeypatch), []
        pair = [clock.contender([1.0], log=log, name=name) for name in "ab"]
        interleave(*pair, seconds=0.5, pairs=4, between=lambda: log.append("|"))
        assert "".join(log) == "|ab|ba|ab|ba"

    @pytest.mark.parametrize(("count", "skipped"), [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (12, 2), (15, 3)])
    def test_interval_is_of_order_statistics(self, count, skipped):
        """The table of binomial(n, 1/2): at 9, lowest and highest but one leave out 2 (1 + 9) / 512 = 3.9 %."""
        values = [float(value) for value in range(count)][::-1]
        assert interval_of_median(values) == (skipped, count - 1 - skipped)

    def test_interval_holds_the_median_as_often_as_it_says(self):
        random = np.random.default_rng(0)
        hits = [low <= 1.0 <= high for low, high in map(interval_of_median, np.exp(random.normal(size=(4000, 6))))]
        assert np.mean(hits) == pytest.approx(1 - 2 / 2**6, abs=0.012)


class TestProfile:
    @pytest.mark.parametrize(
        ("operation", "group"),
        [
            ("aten::convolution_backward", "convolution"),
            ("aten::mkldnn_convolution", "convolution"),
            ("aten::native_batch_norm_backward", "batch norm"),
            ("aten::leaky_relu_backward", "activation"),
            ("aten::random_", "dropout and noise"),
            ("aten::_fused_adam_", "optimiser"),
            ("Optimizer.step#Adam.step", "optimiser"),
            ("aten::mv", "spectral norm"),
            ("aten::addmm", "dense"),
            ("aten::mm", "dense"),
            ("aten::bmm", "dense"),
            ("autograd::engine::evaluate_function: AddmmBackward0", "dense"),
            ("aten::copy_", "copies and casts"),
            ("aten::sum", "other"),
        ],
    )
    def test_operations_are_grouped(self, operation, group):
        assert group_of(operation) == group

    def test_shares_sum_to_one_and_name_what_a_step_of_ours_does(self, capfd):
        ours = OurTraining(TINY, noise(TINY, 50))
        shares = shares_of_time(ours.read, ours.train, 2)
        assert sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert {"convolution", "batch norm", "optimiser", "data", "dropout and noise"} <= set(shares)
        assert set(shares) <= {group for group, _ in GROUPS} | {"data", "other"}
        assert "".join(capfd.readouterr()) == ""

    def test_reading_is_data_alone(self):
        shares = shares_of_time(lambda: torch.ones(300, 300) @ torch.ones(300, 300), lambda batch: None, 3)
        assert shares == {"data": 1.0}


class TestRows:
    def test_every_row_is_a_recipe_the_plain_loop_does(self):
        for name in ROW_NAMES:
            plain = contenders.plain_module()
            plain.refuse_what_is_not_done(row_of(name).recipe.model_dump(mode="json"))
        assert set(DEFAULT_ROWS) <= set(ROW_NAMES)
        assert {name for name in RECIPES if is_done_plainly(RECIPES[name]())} <= set(ROW_NAMES)

    def test_resnet_b32_takes_one_step_of_each_player_with_32_images(self):
        recipe = row_of("resnet-b32", "bfloat16").recipe
        assert (recipe.discriminator_steps, recipe.batch_size, recipe.size_of_generator_batch) == (1, 32, 32)
        assert recipe.precision == "bfloat16" and recipe.discriminator.width == 128

    def test_unknown_rows_are_named_with_near_matches(self):
        assert row_problems(("mlp", "sampling")) == []
        assert "did you mean 'dcgan-28'" in row_problems(("dcgan28",))[0]
        assert "depends on data" in row_problems(("auto",))[0]
        with pytest.raises(UsageError, match="nonsense: there is no such row"):
            row_of("nonsense")


class TestContenders:
    def test_ours_is_training_bit_for_bit(self):
        data, recipe = noise(TINY, 50), TINY
        ours = OurTraining(recipe, data, seed=5)
        for _ in range(3):
            ours.step()
        assert ours.state.counters == {**ours.state.counters, "steps": 3, "images": 3 * recipe.batch_size}
        again = OurTraining(recipe, data_set("the same", data.images), seed=5)
        again.train(again.read())
        again.step(), again.step()
        for mine, other in zip(*(s.state.modules["generator"].parameters() for s in (ours, again)), strict=True):
            assert torch.equal(mine, other)
        assert not torch.equal(
            next(initial_state(recipe, 5, CPU, ()).modules["generator"].parameters()),
            next(ours.state.modules["generator"].parameters()),
        )

    def test_the_number_of_workers_is_the_fastest_of_0_1_2(self, monkeypatch):
        clock, loops = Clock(monkeypatch), {}

        class Loop:
            def __init__(self, workers):
                self.seconds = {0: 0.3, 1: 0.1, 2: 0.2}[workers]

            def step(self):
                clock.now += self.seconds

        monkeypatch.setattr(contenders, "plain_loop", lambda recipe, images, w: loops.setdefault(w, Loop(w)))
        loop, workers = fastest_plain_loop(TINY, np.empty(0, np.uint8), seconds=1.0)
        assert workers == 1 and loop is loops[1] and set(loops) == {0, 1, 2}

    def test_the_plain_loop_is_found_and_its_hash_is_that_of_its_files(self):
        hashes = plain_hashes()
        assert set(hashes) == {"plain.py", "plain_models.py", "plain_r3gan.py"}
        for name, digest in hashes.items():
            told = subprocess.run(["sha256sum", contenders.plain_folder() / name], capture_output=True, text=True)
            assert told.stdout[:12] == digest

    def test_where_it_is_missing_the_message_says_where_it_was_looked_for(self, monkeypatch, tmp_path):
        monkeypatch.setattr(contenders, "__file__", str(tmp_path / "a" / "b" / "c" / "contenders.py"))
        monkeypatch.setattr(contenders.sysconfig, "get_path", lambda name: str(tmp_path / "prefix"))
        with pytest.raises(UsageError, match=r"plain\.py, .* neither in .*benchmarks nor in .*prefix.*source checkout"):
            plain_hashes()
        copy = tmp_path / "prefix" / "share" / "gansmith" / "benchmarks"
        copy.mkdir(parents=True)
        for name in contenders.PLAIN_FILES:
            (copy / name).write_text("")
        assert contenders.plain_folder() == copy

    def test_a_recipe_that_the_plain_loop_does_not_do_is_a_usage_error(self):
        with pytest.raises(UsageError, match="the plain loop does no penalties"):
            contenders.plain_loop(
                RECIPES["mlp"]().replace(penalties={"gradient_penalty": {"weight": 1.0}}), np.empty(0, np.uint8), 0
            )

    def test_allocations_are_switched_and_switched_back(self):
        for switch in (runtime.keep_large_allocations, runtime.use_default_allocations, runtime.keep_large_allocations):
            switch()
            assert float(torch.ones(4_000_000).sum()) == 4_000_000


class TestRanks:
    @pytest.mark.parametrize(("rank", "is_over"), [(0, True), (1, False)])
    def test_the_clock_of_the_first_rank_alone_ends_a_turn(self, monkeypatch, rank, is_over):
        monkeypatch.setattr(ranks, "current", lambda: ranks.Ranks(rank, 2, rank))
        given = []
        monkeypatch.setattr(ranks, "largest", lambda value: given.append(value) or value)
        contender = contender_of(OurTraining(TINY, noise(TINY, 50)))
        assert contender.agree(True) is is_over and contender.agree(False) is False
        assert given == [int(is_over), 0]

    def test_another_rank_that_has_ended_the_turn_ends_it_here(self, monkeypatch):
        monkeypatch.setattr(ranks, "largest", lambda value: 1)
        assert contender_of(OurTraining(TINY, noise(TINY, 50))).agree(False) is True

    def test_with_one_core_the_row_is_listed_with_the_reason(self, monkeypatch):
        monkeypatch.setattr(measure, "num_cores", lambda: 1)
        result = measure.measure(row_of("ranks"), None, 0.1, FlatRoof(1e12))
        reason = "two ranks need two cores, and this process may use 1"
        assert lines_of(result)[0].endswith(f"not run: {reason}")
        assert result.as_json()["not_run"] == reason and "ratio" not in result.as_json()

    def test_the_table_says_what_is_compared(self):
        result = Result(
            "ranks", 32, 1, (28, 28), 1, "float32", "alternating", ours=1285.4, plain=1935.2, ratio=0.66,
            ratio_low=0.56, ratio_high=0.76, idle_share=0.0162,
        )  # fmt: skip
        assert lines_of(result) == [
            "ranks            32    1,285    1,935  0.66x (0.56 to 0.76)",
            "    dcgan-small, 28x28x1, float32; not against the plain loop, both are ours:",
            "    two ranks x one thread against one process x two threads; who waits uses at most 1.6% of a core",
        ]
        assert not {"time", "gflop", "workers", "not_run"} & set(result.as_json())

    @pytest.mark.slow
    def test_two_ranks_and_one_process_take_turns_and_sleep_between_them(self):
        done = subprocess.run(
            [sys.executable, "-m", "gansmith", "bench", "ranks", "--seconds", "0.3", "--json"],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0 and done.stderr == ""
        (row,) = json.loads(done.stdout)
        assert row["recipe"] == "ranks" and 0 < row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["ours"] > 0 and row["plain"] > 0 and 0 <= row["idle_share"] < 0.25

    @pytest.mark.slow
    def test_a_rank_that_fails_or_is_killed_is_told(self, tmp_path):
        with pytest.raises(ResourceError, match=r"2 that train together ended .*FileNotFoundError.*missing\.npy"):
            Team(2, 1, TINY, tmp_path / "missing.npy").__enter__()
        np.save(tmp_path / "images.npy", noise(TINY, 50).images)
        with Team(2, 1, TINY, tmp_path / "images.npy") as team:
            assert team.rate(0.1) > 0
            team._members[1].kill()
            with pytest.raises(ResourceError, match=r"rank 0: .*another rank has ended.*; rank 1: exit code -9"):
                team.rate(0.1)


class FlatRoof:
    """A roof that is not measured."""

    precision = "float32"

    def __init__(self, flops):
        self.flops = flops

    def measure(self):
        return self.flops


class TestMeasure:
    def test_a_row_has_all_numbers_and_they_fit_together(self, monkeypatch):
        starts = fresh.FreshStart(2.5, 400_000_000), fresh.FreshStart(2.0, 300_000_000)
        monkeypatch.setattr(measure, "fresh_starts", lambda *_: starts)  # their own test below
        monkeypatch.setattr(contenders, "WORKERS", (0,))
        result = measure_training(Row("tiny", TINY), None, 0.02, FlatRoof(1e12))
        said = result.as_json()
        assert {"recipe", "ratio", "ratio_low", "ratio_high", "ours", "plain", "gflops", "share_of_roof", "time"} < set(
            said
        )
        assert result.ratio_low <= result.ratio <= result.ratio_high
        assert result.gflops == pytest.approx(result.gflop * result.ours / TINY.batch_size)
        assert result.share_of_roof == pytest.approx(result.gflops * 1e9 / 1e12)
        assert result.gflop < result.gflop_plain  # the plain loop makes fakes twice, and gradients nobody uses
        assert (said["memory_mb"], said["first_step_seconds_plain"], said["workers"]) == (400, 2.0, 0)
        json.dumps(said)
        text = lines_of(result)
        assert text[0].startswith("tiny") and len(text[0]) == len(HEAD) and "time: " in text[2]

    def test_sampling_is_measured_too(self):
        result = measure_sampling(Row("sampling", TINY, kind="sampling"), 0.01, FlatRoof(1e12), count=16)
        assert result.ratio > 0 and result.gflop_plain > 0 and math.isfinite(result.share_of_roof)
        assert "memory_mb" not in result.as_json() and len(lines_of(result)) == 3

    def test_a_step_estimated_over_3_s_is_listed_with_the_estimate(self):
        from gansmith.training.estimate import step_flops

        flops = step_flops(TINY, OBJECTIVES["adversarial"], CPU)
        result = measure_training(Row("tiny", TINY), None, 0.02, FlatRoof(flops / 2))
        assert result.estimated_seconds == pytest.approx(4.0) and result.ratio is None
        assert "not run: a step is estimated at 4.0 s" in lines_of(result)[0]
        assert "ratio" not in result.as_json() and result.as_json()["estimated_seconds"] == 4.0

    def test_the_roof_is_that_of_the_best_convolution(self, monkeypatch):
        monkeypatch.setattr(roof, "SHAPES", ((1, 1, 1), (8, 64, 16)))
        found = Roof("float32", seconds=0.01)
        assert found.shape == (8, 64, 16)  # a single value is all overhead
        assert 1e9 < found.found < 1e14 and 1e9 < found.measure() < 1e14

    def test_the_roof_counts_two_operations_for_each_tap_of_each_channel(self, monkeypatch):
        monkeypatch.setattr(roof, "SHAPES", ((2, 3, 4),))
        monkeypatch.setattr(roof, "_seconds_of", lambda maps, weight: 0.5)
        assert Roof("float32", seconds=1.0).found == 2 * 2 * 4 * 4 * 3 * 3 * 9 / 0.5


class TestCommand:
    def test_mistakes_are_all_told_before_torch_is_imported(self, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(["bench", "mpl", "--seconds", "soon", "--jsn"])
        message = capsys.readouterr().err
        assert stopped.value.code == 2
        assert "did you mean 'mlp'" in message and "--seconds soon" in message and "--jsn: there is no such" in message
        script = "import sys; import gansmith.cli.bench; print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"

    @pytest.mark.slow
    def test_json_is_one_list_with_a_row_an_object(self):
        done = subprocess.run(
            [sys.executable, "-m", "gansmith", "bench", "mlp", "resnet", "--seconds", "0.05", "--json"],
            capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0 and done.stderr == ""
        mlp, resnet = json.loads(done.stdout)
        assert mlp["recipe"] == "mlp" and mlp["batch"] == 128 and mlp["ratio_low"] <= mlp["ratio"] <= mlp["ratio_high"]
        assert mlp["memory_mb"] > 100 and 0.3 < mlp["first_step_seconds"] < 120 and mlp["workers"] in (0, 1, 2)
        assert mlp["plain_sha256"] == plain_hashes()
        assert resnet["discriminator_steps"] == 5 and ("estimated_seconds" in resnet or "ratio" in resnet)

    @pytest.mark.slow
    def test_fresh_processes_tell_their_time_and_memory(self):
        ours, plain = fresh.fresh_starts(TINY, noise(TINY, 50).images, workers=0)
        for start in (ours, plain):
            assert 0.3 < start.seconds < 120 and 5e7 < start.peak_bytes < 4e9
