"""Trained generators: loaded from a run, a checkpoint or a saved folder, and saved."""

from __future__ import annotations

import json
import logging
import pickle
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
import torch

from gansmith import sampling
from gansmith.checkpoint import save_checkpoint
from gansmith.errors import CheckpointError, UsageError
from gansmith.facts import Classes
from gansmith.models import interpolate, load, sample, save_pretrained
from gansmith.recipes import RECIPES
from gansmith.sampling import labels_of, latents_of
from gansmith.training.objectives import OBJECTIVES
from tests.unit.test_checkpoint import Bomb, train_one_step

generate = partial(sampling.generate, precision="float32")


@pytest.fixture(scope="module")
def state():
    recipe = RECIPES["dcgan-32"](size=(8, 8), channels=1).shrunk()
    state = OBJECTIVES["adversarial"].initialise(recipe, 0, torch.device("cpu"))
    train_one_step(state)
    # The average as it is after longer training: not the weights of the last step.
    with torch.no_grad():
        for parameter in state.ema["generator"].parameters():
            parameter.mul_(0.5)
    return state


@pytest.fixture
def run(state, tmp_path) -> Path:
    """A run folder with two checkpoints of the same weights."""
    for images in (8, 16):
        state.counters["images"] = images
        save_checkpoint(state, tmp_path / "run" / "checkpoints", 1.0, "")
    return tmp_path / "run"


@pytest.fixture
def saved(run, tmp_path) -> Path:
    return save_pretrained(load(run), tmp_path / "deep" / "saved")


class TestLoad:
    def test_run_checkpoint_and_saved_folder_give_the_same_samples(self, run, saved):
        found = [sample(path, 5, seed=1) for path in (run, run / "checkpoints" / "000000000016", str(saved))]
        assert found[0].shape == (5, 1, 8, 8)
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])

    def test_samples_are_those_of_the_averaged_generator(self, run, state):
        model = load(run)
        for key, value in state.ema["generator"].state_dict().items():
            assert torch.equal(model.generator.state_dict()[key], value)

    def test_raw_gives_the_weights_as_trained(self, run, state):
        model = load(run, raw=True)
        for key, value in state.modules["generator"].state_dict().items():
            assert torch.equal(model.generator.state_dict()[key], value)
        assert not torch.equal(sample(model, 4), sample(run, 4))

    def test_loaded_generator_is_in_eval_mode_and_asks_for_no_gradients(self, run):
        generator = load(run).generator
        assert not any(module.training for module in generator.modules())
        assert not any(parameter.requires_grad for parameter in generator.parameters())

    def test_model_knows_its_recipe_and_images_seen(self, run, saved, state):
        for path in (run, saved):
            model = load(path)
            assert model.recipe == state.recipe
            assert model.images_seen == 16

    def test_loading_leaves_the_random_state_alone(self, run):
        torch.manual_seed(5)
        before = torch.get_rng_state()
        sample(run, 2)
        assert torch.equal(torch.get_rng_state(), before)

    def test_interpolation_of_a_path_is_that_of_its_model(self, run):
        frames = interpolate(run, count=2, num_frames=6, num_stops=2)
        assert len(frames) == 6
        assert all(torch.equal(a, b) for a, b in zip(frames, interpolate(load(run), 2, 6, 2), strict=True))

    def test_damaged_newest_checkpoint_of_a_run_is_logged_and_the_previous_used(self, run, caplog):
        (run / "checkpoints" / "000000000016" / "ema.safetensors").write_bytes(b"")
        with caplog.at_level(logging.WARNING, "gansmith"):
            assert load(run).images_seen == 8
        assert "000000000016/ema.safetensors: damaged" in caplog.text
        assert "using an earlier one" in caplog.text


class TestSave:
    def test_saving_and_loading_keeps_every_tensor(self, run, saved):
        before, after = load(run).generator.state_dict(), load(saved).generator.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)

    def test_saved_folder_holds_two_files(self, saved):
        assert sorted(file.name for file in saved.iterdir()) == ["config.json", "model.safetensors"]

    def test_saving_again_replaces(self, run, saved):
        save_pretrained(load(run, raw=True), saved)
        assert torch.equal(sample(saved, 3), sample(load(run, raw=True), 3))


class TestErrors:
    def test_missing_path_is_named(self, tmp_path):
        with pytest.raises(CheckpointError, match="nowhere: no such run folder, checkpoint or saved model"):
            load(tmp_path / "nowhere")

    def test_run_without_a_checkpoint_says_so(self, tmp_path):
        (tmp_path / "checkpoints").mkdir()
        with pytest.raises(CheckpointError, match="has no checkpoint yet"):
            load(tmp_path)

    def test_folder_of_something_else_is_no_checkpoint(self, tmp_path):
        (tmp_path / "notes.txt").write_text("hello")
        with pytest.raises(CheckpointError, match="neither a run folder nor a checkpoint"):
            load(tmp_path)

    def test_pickle_is_refused_unopened(self, tmp_path):
        path = tmp_path / "model.pt"
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "marker")))
        with pytest.raises(CheckpointError, match="never unpickles"):
            load(path)
        assert not (tmp_path / "marker").exists()

    def test_saved_model_has_no_raw_weights(self, saved):
        with pytest.raises(CheckpointError, match="averaged weights only"):
            load(saved, raw=True)

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
    def test_truncated_saved_model_is_named(self, saved, share):
        file = saved / "model.safetensors"
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
            load(saved)

    def test_flipped_byte_of_a_saved_model_is_noticed(self, saved):
        file = saved / "model.safetensors"
        content = bytearray(file.read_bytes())
        content[-5] ^= 1
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
            load(saved)

    def test_saved_model_without_its_weights_is_refused(self, saved):
        (saved / "model.safetensors").unlink()
        with pytest.raises(CheckpointError, match="not a readable saved model"):
            load(saved)

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', "null"])
    def test_saved_model_with_a_damaged_config_is_refused(self, saved, content):
        (saved / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match="not a readable saved model"):
            load(saved)

    def test_saved_model_of_a_newer_format_names_its_version(self, saved):
        config = json.loads((saved / "config.json").read_text())
        (saved / "config.json").write_text(json.dumps({**config, "format": 99, "version": "9.8.7"}))
        with pytest.raises(CheckpointError, match=r"gansmith 9\.8\.7; upgrade"):
            load(saved)

    def test_weights_that_do_not_fit_the_recipe_are_named(self, run, tmp_path):
        model = load(run)
        other = RECIPES["dcgan-32"](size=(16, 16), channels=1).shrunk()
        path = save_pretrained(type(model)(model.generator, other, 1), tmp_path / "other")
        keys = set(safetensors.torch.load((path / "model.safetensors").read_bytes()))
        with pytest.raises(CheckpointError, match=r"does not fit the recipe: .*expected") as raised:
            load(path)
        assert any(key in str(raised.value) for key in keys)


CLASSES = Classes(("cat", "dog", "1", "0"), (6, 3, 1, 2))


@pytest.fixture(scope="module")
def conditional(tmp_path_factory) -> Path:
    """A run of a conditional generator whose classes look different."""
    recipe = RECIPES["resnet"](size=(8, 8), channels=1, num_classes=4).shrunk()
    objective = OBJECTIVES["adversarial"]
    state = objective.initialise(recipe, 0, torch.device("cpu"))
    state.classes = CLASSES
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in state.ema["generator"].parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    objective.settle(state)
    folder = tmp_path_factory.mktemp("runs") / "run"
    save_checkpoint(state, folder / "checkpoints", 1.0, "")
    return folder


class TestClasses:
    def test_classes_come_with_the_model_and_survive_saving(self, conditional, tmp_path):
        model = load(conditional)
        saved = load(save_pretrained(model, tmp_path / "saved"))
        assert model.classes == saved.classes == CLASSES
        chosen = ["dog", "cat"]
        assert torch.equal(sample(saved, 5, 1, classes=chosen), sample(model, 5, 1, classes=chosen))
        assert torch.equal(sample(saved, 5, 1), sample(conditional, 5, 1))

    def test_classes_not_asked_for_are_drawn_by_frequency(self, conditional):
        model = load(conditional)
        latents, labels = latents_of(3, 20, model.generator.latent_dim), labels_of(3, 20, CLASSES)
        expected = generate(model.generator, latents, labels)
        assert torch.equal(sample(model, 20, 3), expected)

    @pytest.mark.parametrize(
        ("chosen", "labels"),
        [
            (["dog"], [1, 1, 1, 1, 1]),
            (["dog", 2], [1, 2, 1, 2, 1]),
            (["3", "cat", 1], [3, 0, 1, 3, 0]),
            (["1"], [2, 2, 2, 2, 2]),  # a name goes before a number
            (["0"], [3, 3, 3, 3, 3]),
            ([0], [0, 0, 0, 0, 0]),
        ],
    )
    def test_classes_are_chosen_by_name_or_number_and_taken_in_turn(self, conditional, chosen, labels):
        model = load(conditional)
        assert model.labels_of(chosen, 5, 0).tolist() == labels
        latents = latents_of(0, 5, model.generator.latent_dim)
        assert torch.equal(sample(model, 5, classes=chosen), generate(model.generator, latents, torch.tensor(labels)))

    def test_the_class_changes_the_sample(self, conditional):
        model = load(conditional)
        samples = [sample(model, 3, classes=[name]) for name in CLASSES.names]
        assert all(not torch.allclose(samples[0], other, atol=1e-3) for other in samples[1:])

    @pytest.mark.parametrize(
        ("wrong", "parts"),
        [
            ("dgo", ("class 'dgo': there is no such class", "did you mean 'dog'", "there are cat, dog, 1, 0")),
            (4, ("class '4'",)),
            (-1, ("class '-1'",)),
            ("²", ("class '²'",)),
            ("", ("class ''",)),
        ],
    )
    def test_an_unknown_class_is_a_usage_error_with_near_matches(self, conditional, wrong, parts):
        for ask in (sample, interpolate):
            with pytest.raises(UsageError) as raised:
                ask(conditional, count=2, classes=["cat", wrong])
            assert all(part in str(raised.value) for part in parts)

    def test_no_class_at_all_is_a_usage_error(self, conditional):
        with pytest.raises(UsageError, match="classes is empty"):
            sample(conditional, 2, classes=[])

    def test_asking_an_unconditional_model_for_a_class_is_a_usage_error(self, run):
        for ask in (sample, interpolate):
            with pytest.raises(UsageError, match="this generator knows no classes; train with --conditional"):
                ask(run, count=2, classes=["cat"])

    def test_a_walk_keeps_its_class(self, conditional):
        model = load(conditional)
        frames = interpolate(model, count=3, num_frames=4, num_stops=2, classes=["dog", "cat"])
        latents = latents_of(0, 6, model.generator.latent_dim)
        torch.testing.assert_close(frames[0], generate(model.generator, latents[:3], torch.tensor([1, 0, 1])))
        torch.testing.assert_close(frames[2], generate(model.generator, latents[3:], torch.tensor([1, 0, 1])))

    @pytest.mark.parametrize("truncation", [0.0, -1.0, float("nan")])
    def test_a_truncation_that_is_not_above_0_is_a_usage_error(self, conditional, truncation):
        with pytest.raises(UsageError, match="must be above 0"):
            sample(conditional, 2, truncation=truncation)

    def test_a_checkpoint_saved_in_a_hurry_is_settled_with_the_classes(self, conditional, tmp_path):
        """What loading measures is what settling before the save would have measured."""
        recipe = load(conditional).recipe
        objective = OBJECTIVES["adversarial"]
        state = objective.initialise(recipe, 0, torch.device("cpu"))
        state.classes = CLASSES
        save_checkpoint(state, tmp_path / "run" / "checkpoints", 1.0, "", is_settled=False)
        objective.settle(state)
        found = load(tmp_path / "run").generator.state_dict()
        assert all(torch.equal(found[key], value) for key, value in state.ema["generator"].state_dict().items())
