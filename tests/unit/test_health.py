"""Verdicts on training from records made by hand, what they advise, and what they are measured from."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch

from gansmith.data import Batch
from gansmith.overrides import apply_overrides
from gansmith.recipe import Recipe
from gansmith.recipes import RECIPES
from gansmith.report import Health, Verdict
from gansmith.training import measures, step
from gansmith.training.advice import advice
from gansmith.training.checkup import Checkup, Nearness
from gansmith.training.descent import gradient_norm
from gansmith.training.health import PERSISTENCE, Monitor, health_of, num_swings
from gansmith.training.log import Progress
from gansmith.training.measures import measured_of_logits, measured_of_samples
from gansmith.training.objectives import OBJECTIVES
from tests.conftest import write_images

RECIPE = RECIPES["dcgan-small"]()
IMAGES = 3_200
"""Of a record: 100 steps of 32."""
GOOD = {
    "d_accuracy": 0.8, "energy_distance": 0.03, "diversity": 1.0, "near_identical": 0.001,
    "near_identical_reals": 0.001, "saturation": 0.0, "loss_d": 1.2, "loss_g": 0.7, "margin": 1.0,
    "relative_margin": 1.5, "gradient_norm_d": 3.0, "gradient_norm_g": 1.5,
}  # fmt: skip
UNTRAINED = {**GOOD, "energy_distance": 0.69, "diversity": 0.13, "near_identical": 0.01}
WON = {**UNTRAINED, "d_accuracy": 1.0, "relative_margin": 11.0}
COLLAPSED = {**GOOD, "energy_distance": 0.4, "diversity": 0.05, "near_identical": 0.9, "d_accuracy": 0.95}
FOOLED = {**GOOD, "energy_distance": 0.3, "d_accuracy": 0.1}
GUESSING = {**UNTRAINED, "d_accuracy": 0.5}
VANISHING = [{"energy_distance": 0.69 * 0.94**number, "gradient_norm_g": 0.01} for number in range(9)]
EXPLODED = {**GOOD, "loss_d": 500.0, "energy_distance": 0.2}
NEAR, FAR = {**GOOD, "energy_distance": 0.1}, {**GOOD, "energy_distance": 0.3}


def records(*values: dict[str, float]) -> list[dict[str, Any]]:
    """Records one after the other, of 100 steps each."""
    return [
        {"images": IMAGES * number, "steps": 100 * number, "seconds": float(number), "time": 1.0e9 + number, **each}
        for number, each in enumerate(values, 1)
    ]


def said(*values: dict[str, float], recipe: Recipe = RECIPE) -> list[Health]:
    monitor = Monitor(recipe)
    return [health for record in records(*values) if (health := monitor.take(record))]


def verdicts(*values: dict[str, float]) -> list[str]:
    return [health.verdict for health in said(*values)]


class TestVerdicts:
    @pytest.mark.parametrize(
        ("verdict", "values"),
        [
            ("healthy", [GOOD] * 10),
            ("discriminator winning", [WON] * 10),
            ("mode collapse", [GOOD, *[COLLAPSED] * 9]),
            ("mode collapse", [GOOD, *[{**COLLAPSED, "near_identical": 0.1, "d_accuracy": 1.0}] * 9]),
            ("mode collapse", [UNTRAINED, *[COLLAPSED | {"near_identical": 0.1}] * 9]),
            ("discriminator winning", [WON, *[WON | VANISHING[number] for number in range(9)]]),
            ("generator winning", [FOOLED] * 10),
            ("generator winning", [GUESSING | {"diversity": 0.5}] * 10),
            ("diverged", [GOOD, *[EXPLODED] * 9]),
            ("diverged", [GOOD, *[GOOD | {"num_skipped": 3}] * 9]),
            ("oscillating", [NEAR, NEAR, FAR, FAR] * 5),
            ("memorising", [GOOD | {"nearest_real": 0.2}] * 10),
        ],
    )  # fmt: skip
    def test_each_is_said_of_what_it_means(self, verdict, values):
        assert verdicts(*values)[-1] == verdict

    @pytest.mark.parametrize(
        "values",
        [
            pytest.param([GOOD | {"d_accuracy": 1.0}] * 20, id="accuracy of 1 with samples near the reals"),
            pytest.param(
                [WON | {"energy_distance": 0.7 * 0.95**number} for number in range(40)],
                id="accuracy of 1 with slow progress",
            ),
            pytest.param([WON | {"d_accuracy": 0.97, "diversity": 0.5}] * 20, id="far away and undecided"),
            pytest.param(
                [UNTRAINED | {"energy_distance": 0.6 * 0.97**number, "diversity": 0.19} for number in range(30)],
                id="of few kinds, and never of more",
            ),
            pytest.param([GOOD | {"diversity": 0.4}] * 20, id="half as diverse"),
            pytest.param([COLLAPSED | {"near_identical_reals": 0.8, "diversity": 0.9}] * 20, id="reals are alike too"),
            pytest.param([GOOD | {"d_accuracy": 0.35}] * 20, id="D is behind"),
            pytest.param([GOOD | {"energy_distance": 0.05 + 0.02 * (number % 2)} for number in range(40)], id="noise"),
            pytest.param([GOOD, *[GOOD | {"loss_d": 50.0}] * 20], id="losses of 50"),
            pytest.param([GOOD | {"nearest_real": 0.6}] * 20, id="near to the reals"),
            pytest.param([GOOD | {"nearest_real": 0.2 + 0.5 * (number % 2)} for number in range(20)], id="near once"),
        ],
    )  # fmt: skip
    def test_near_misses_are_healthy(self, values):
        assert verdicts(*values) in (["healthy"], [])
        assert verdicts(*values, *[GOOD] * 20) == ["healthy"]

    def test_whoever_never_learned_to_draw_has_not_collapsed(self):
        assert verdicts(*[WON] * 10) == ["discriminator winning"]
        assert verdicts(GOOD, *[WON] * 10)[-1] == "mode collapse"

    def test_a_wasserstein_logit_whose_zero_drifts_is_no_divergence(self):
        drifting = [GOOD | {"loss_d": -2.0, "loss_g": 50.0 * number} for number in range(20)]
        recipe = RECIPES["wgan-gp"]()
        assert [health.verdict for health in said(*drifting, recipe=recipe)] == ["healthy"]
        assert [health.verdict for health in said(GOOD, *[EXPLODED] * 9, recipe=recipe)][-1] == "diverged"

    def test_says_its_evidence_and_over_how_many_images(self):
        (health,) = said(*[WON] * 8)
        assert health.images == IMAGES * (PERSISTENCE + 1)
        assert "100% of pairs" in health.evidence
        assert "0.69 from reals" in health.evidence
        assert f"over {IMAGES * PERSISTENCE:,} images" in health.evidence
        assert health.lines()[1].startswith("  start anew (--out) with ")

    def test_waits_until_steps_are_many_whatever_the_images(self):
        large = [
            {**record, "images": 40 * record["images"], "steps": record["steps"] // 10}
            for record in records(*[WON] * 30)
        ]
        monitor = Monitor(RECIPE)
        heard = [monitor.take(record) for record in large]
        assert len(monitor.moments) == 3
        assert heard == [None] * 30

    def test_judges_nothing_without_measures(self):
        monitor = Monitor(RECIPE)
        assert not any(monitor.take(record) for record in records(*[{"loss": 3.0, "kl": 1.0}] * 50))
        assert monitor.health is None


class TestPersistence:
    def test_one_bad_moment_is_not_said(self):
        assert verdicts(*[GOOD] * 8, *[COLLAPSED] * (PERSISTENCE - 1), *[GOOD] * 8) == ["healthy"]

    def test_is_said_once_when_it_changes_and_again_when_it_heals(self):
        assert verdicts(*[GOOD] * 8, *[COLLAPSED] * 20, *[GOOD] * 20) == ["healthy", "mode collapse", "healthy"]

    def test_a_failure_that_shows_now_this_way_and_now_another_is_said_once(self):
        turns = [COLLAPSED, GOOD | {"loss_d": 1e4}] * 10
        said = verdicts(*[GOOD] * 8, *turns)
        assert len(said) == 2
        assert said[1] in ("mode collapse", "diverged")

    def test_a_skipped_step_now_and_then_is_no_divergence(self):
        assert verdicts(*[GOOD, GOOD | {"num_skipped": 1}] * 20) == ["healthy"]

    def test_many_skipped_steps_are(self):
        assert verdicts(*[GOOD] * 8, *[GOOD | {"num_skipped": 20}] * 8) == ["healthy", "diverged"]

    def test_moments_are_longer_later_in_a_run(self):
        monitor = Monitor(RECIPE, records(*[GOOD] * 400))
        lengths = [
            after.images - before.images for before, after in zip(monitor.moments, monitor.moments[1:], strict=False)
        ]
        assert min(lengths) == IMAGES
        assert lengths[-1] >= 0.02 * monitor.moments[-2].images

    def test_a_run_that_goes_on_says_what_it_would_have_said(self):
        values = records(*[GOOD] * 8, *[COLLAPSED] * 3, *[COLLAPSED] * 20, *[WON] * 5)
        whole = Monitor(RECIPE)
        heard = [whole.take(record) for record in values]
        for stop in (0, 5, 10, 11, 25):
            resumed = Monitor(RECIPE, values[:stop])
            assert [resumed.take(record) for record in values[stop:]] == heard[stop:]
            assert resumed.health == whole.health

    def test_what_was_recorded_later_than_a_checkpoint_is_left_out(self):
        values = records(*[GOOD] * 8, *[COLLAPSED] * 20)
        assert health_of(RECIPE, values).verdict == "mode collapse"
        assert health_of(RECIPE, values, images=8 * IMAGES).verdict == "healthy"
        assert health_of(RECIPE, []) is None

    @pytest.mark.parametrize(
        ("values", "count"),
        [
            ([1, 1, 1], 0),
            ([8, 4, 2, 1], 1),
            ([1, 3, 1, 3], 3),
            ([1, 1.9, 1, 1.9], 0),
            ([1, 1.5, 2.2, 1.2, 1.0, 2.0], 3),
        ],
    )
    def test_swings_are_turns_by_the_factor(self, values, count):
        assert num_swings(values, 2.0) == count


RECIPES_TO_ADVISE = {
    **{name: make() for name, make in RECIPES.items()},
    "minimax": RECIPES["dcgan-28"]().replace(loss="minimax"),
    "clipped": apply_overrides(RECIPES["dcgan-28"](), ["loss=wasserstein", "regularisation.weight_clipping=1.0"]),
    "clipped and normalised": apply_overrides(
        RECIPES["dcgan-32"](), ["loss=wasserstein", "regularisation.weight_clipping=0.01"]
    ),
    "penalised": apply_overrides(RECIPES["mlp"](), ["penalties.r1.weight=0.1"]),
    "slow G": apply_overrides(RECIPES["mlp"](), ["generator_optimizer.learning_rate=1e-9"]),
    "slow D": apply_overrides(RECIPES["mlp"](), ["discriminator_optimizer.learning_rate=1e-9"]),
}


LOWER_RATES = ("generator_optimizer.learning_rate=2e-05", "discriminator_optimizer.learning_rate=2e-05")


class TestAdvice:
    @pytest.mark.parametrize("verdict", get_args(Verdict))
    @pytest.mark.parametrize("name", RECIPES_TO_ADVISE)
    def test_fits_the_recipe_and_changes_it(self, name, verdict):
        recipe = RECIPES_TO_ADVISE[name]
        text, overrides = advice(verdict, recipe)
        assert bool(text) == (verdict != "healthy")
        if overrides and recipe.objective == "adversarial":
            assert apply_overrides(recipe, overrides).id != recipe.id

    @pytest.mark.parametrize(
        ("verdict", "name", "overrides"),
        [
            ("discriminator winning", "minimax", ("loss=non_saturating",)),
            ("discriminator winning", "slow G", ("generator_optimizer.learning_rate=0.0002",)),
            ("discriminator winning", "resnet", ("discriminator_steps=1",)),
            ("discriminator winning", "dcgan-small", ("discriminator_optimizer.learning_rate=0.001",)),
            ("discriminator winning", "dcgan-32", ("discriminator.normalisation=spectral",)),
            ("generator winning", "slow D", ("discriminator_optimizer.learning_rate=0.0002",)),
            ("mode collapse", "clipped", ("regularisation.weight_clipping=0.01",)),
            ("mode collapse", "clipped and normalised",
             ("discriminator.normalisation=spectral", "regularisation.weight_clipping=null")),
            ("mode collapse", "mlp", ("penalties.r1.weight=0.00122",)),
            ("diverged", "mlp", LOWER_RATES),
            ("memorising", "mlp", ("augmentation.policy=diffaugment",)),
            ("memorising", "dcgan-28", ("augmentation.policy=diffaugment",)),
            ("memorising", "vae", ()),
        ],
    )  # fmt: skip
    def test_names_what_is_wrong_with_it(self, verdict, name, overrides):
        assert advice(verdict, RECIPES_TO_ADVISE[name])[1] == overrides


class TestMeasures:
    SHAPE = (32, 3, 16, 24)

    def images(self, seed: int) -> torch.Tensor:
        return torch.rand(self.SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1

    def test_one_picture_for_all_has_no_diversity(self):
        found = measured_of_samples(self.images(0), self.images(1)[:1].expand(self.SHAPE))
        assert found["diversity"] == 0
        assert found["near_identical"] == 1
        assert found["near_identical_reals"] == 0

    def test_samples_like_the_reals_differ_as_these_do(self):
        found = measured_of_samples(self.images(0), self.images(1))
        assert found["diversity"] == pytest.approx(1, abs=0.05)
        assert found["energy_distance"] < 0.02
        assert found["near_identical"] == 0

    def test_energy_distance_of_two_constant_pictures_is_1(self):
        found = measured_of_samples(torch.full(self.SHAPE, 0.5), torch.full(self.SHAPE, -0.5))
        assert found["energy_distance"] == 1
        assert found["diversity"] == 1  # the reals are all alike

    def test_two_points_by_hand(self):
        """Fakes 0.4 apart, reals 0.8, all on a line: 0 and 0.4, -0.4 and 0.4; an even value of 0 beside it."""
        reals = torch.tensor([[-0.4, 0.0], [0.4, 0.0]]).view(2, 2, 1, 1)
        fakes = torch.tensor([[0.0, 0.0], [0.4, 0.0]]).view(2, 2, 1, 1)
        found = measured_of_samples(reals, fakes)
        assert found["diversity"] == pytest.approx(0.5)
        # Pairs of two different places: 0 with 0.4, and 0.4 with -0.4.
        between = (0.4 + 0.8) / 2
        assert found["energy_distance"] == pytest.approx(1 - (0.4 + 0.8) / (2 * between), abs=1e-6)

    def test_collapse_of_each_class_is_seen_through_the_classes(self):
        labels = torch.arange(32) % 4
        centres = self.images(3)[:4]
        fakes = centres[labels]
        assert measured_of_samples(self.images(0), fakes)["diversity"] > 0.5
        within = measured_of_samples(self.images(0), fakes, labels)
        assert within["diversity"] == pytest.approx(0, abs=1e-4)
        assert within["near_identical"] == pytest.approx(1, abs=1e-4)

    def test_classes_without_a_pair_count_all_pairs(self):
        found = measured_of_samples(self.images(0), self.images(1), torch.arange(32))
        assert found["diversity"] == pytest.approx(1, abs=0.05)

    def test_saturation_is_what_lies_beyond_the_reals(self):
        reals = torch.zeros(self.SHAPE)
        reals[:, :, :4] = 1.0
        fakes = torch.full(self.SHAPE, -1.0)
        assert measured_of_samples(reals, fakes)["saturation"] == pytest.approx(0.75)

    def test_a_batch_of_one_has_nothing_to_compare(self):
        assert measured_of_samples(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)) == {}

    def test_margin_is_over_the_spread_of_both_sides(self):
        found = measured_of_logits(torch.tensor([2.0, 4.0]), torch.tensor([-1.0, 1.0]))
        assert found["margin"] == 3
        assert found["relative_margin"] == pytest.approx(3.0)

    def test_gradient_norm_is_of_all_values_together(self):
        parameters = [
            torch.nn.Parameter(torch.zeros(2)),
            torch.nn.Parameter(torch.zeros(1)),
            torch.nn.Parameter(torch.ones(1)),
        ]
        parameters[0].grad, parameters[1].grad = torch.tensor([2.0, 3.0]), torch.tensor([6.0])
        assert gradient_norm(parameters) == 7
        parameters[1].grad = torch.tensor([math.nan])
        assert not gradient_norm(parameters).isfinite()

    @pytest.mark.parametrize(("batch", "steps", "every"), [(32, 1, 32), (128, 1, 32), (64, 5, 12), (4096, 1, 1)])
    def test_steps_with_many_images_are_measured_more_often(self, batch, steps, every):
        recipe = RECIPES["mlp"]().replace(batch_size=batch, discriminator_steps=steps)
        state = OBJECTIVES["adversarial"].initialise(recipe.shrunk(), 0, torch.device("cpu"))
        state = replace(state, recipe=recipe)
        found = []
        for number in range(100):
            state.counters["steps"] = number
            found.append(measures.is_measured(state))
        assert found == [number % every == 0 for number in range(100)]


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_health_changes_no_weight(monkeypatch, update):
    recipe = RECIPES["mlp"]().replace(update=update).shrunk()
    digests = []
    for is_measured in (lambda state: True, lambda state: False):
        monkeypatch.setattr(step, "is_measured", is_measured)
        objective = OBJECTIVES["adversarial"]
        state = objective.initialise(recipe, 3, torch.device("cpu"))
        batch = Batch(torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1)
        for _ in range(3):
            measured = objective.step(state, {"real_d": batch})
        digests.append(state.digest())
        assert ("diversity" in measured) == is_measured(state)
        assert measured["gradient_norm_g"] > 0
    assert digests[0] == digests[1]


class TestNearness:
    @pytest.fixture
    def data(self, tmp_path):
        from gansmith.data import open_data

        return open_data(write_images(tmp_path / "few", 24), (16, 16), 1)

    def test_of_copies_is_0_and_of_other_images_about_1(self, data):
        nearness = Nearness(data)
        copies = torch.from_numpy(data.images.copy()).float() / 127.5 - 1
        assert nearness.of(copies) == 0
        others = torch.rand(24, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
        assert nearness.of(others) == pytest.approx(1, abs=0.1)

    def test_is_not_looked_for_in_points_or_before_training(self, data):
        checkup = Checkup(RECIPE, data)
        checkup.look(torch.zeros(4, 1, 16, 16), images=0)
        record = {"images": 1, "steps": 1}
        assert checkup.judge(record) == []
        assert record == {"images": 1, "steps": 1}
        checkup.look(torch.zeros(4, 1, 16, 16), images=1)
        checkup.judge(record)
        assert record["nearest_real"] > 0


class TestCheckup:
    def test_puts_the_word_into_records_and_says_changes_alone(self):
        checkup, heard = Checkup(RECIPE, None), []
        values = records(*[GOOD] * 8, *[COLLAPSED] * 8)
        for record in values:
            heard += checkup.judge(record)
        assert "health" not in values[0]
        assert values[7]["health"] == "healthy"
        assert values[-1]["health"] == "mode collapse"
        assert len(heard) == 2
        assert heard[0].startswith("health: mode collapse at ")
        verdict, action = checkup.summary()  # with the numbers of the end
        assert verdict.startswith(f"health: mode collapse at {values[-1]['images']:,} images")
        assert action == heard[1]

    def test_the_line_of_progress_names_what_is_wrong(self):
        record = {"images": 5, "images_per_second": 1.0}
        assert "mode collapse" in Progress(0.5, 1.0, record | {"health": "mode collapse"}).line()
        assert "healthy" not in Progress(0.5, 1.0, record | {"health": "healthy"}).line()
