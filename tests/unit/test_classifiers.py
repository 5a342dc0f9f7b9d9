"""The classifier: its network at every size, training that repeats, reading in batches, accuracy, the saved folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import gansmith
from gansmith.classifiers import Accuracy, Classifier, load_classifier, save_classifier
from gansmith.data import DataSet
from gansmith.errors import CheckpointError, DataError, ResourceError, UsageError
from gansmith.evaluation.intervals import wilson_interval
from gansmith.images import to_float
from gansmith.networks.classifier import ClassifierNetwork
from gansmith.training.classify import (
    ClassifierProgress,
    default_num_steps,
    hold_out,
    open_held_out,
    open_labelled,
    shifted,
    train_classifier,
)
from tests.conftest import write_images


def make_data(num: int = 40, num_classes: int = 2, size=(8, 8), channels: int = 1, seed: int = 0) -> DataSet:
    """Noise whose brightness is the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(num, dtype=np.int64) % num_classes
    noise = random.integers(0, 40, (num, channels, *size))
    images = (noise + (labels * 200 // max(num_classes - 1, 1))[:, None, None, None]).astype(np.uint8)
    return DataSet("made", images, labels, tuple(f"c{i}" for i in range(num_classes)), "f" * 16, (), 0)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return train_classifier(make_data(), make_data(20, seed=1), num_steps=20)


class TestNetwork:
    @pytest.mark.parametrize("pooling", ["max", "average"])
    @pytest.mark.parametrize(
        ("size", "channels", "num_classes"),
        [((4, 4), 1, 2), ((5, 7), 2, 3), ((4, 64), 3, 10), ((28, 28), 1, 10), ((33, 31), 4, 100), ((100, 9), 1, 1000)],
    )
    def test_any_size_gives_logits_of_every_class_and_128_features(self, size, channels, num_classes, pooling):
        network = ClassifierNetwork(size, channels, num_classes, pooling)
        images = torch.rand(3, channels, *size)
        assert network(images).shape == (3, num_classes)
        assert network.features(images).shape == (3, 128)
        assert network.features(images).min() >= 0
        assert not any(p.grad is None for p in self.after_backward(network, images).parameters())

    @staticmethod
    def after_backward(network: nn.Module, images: torch.Tensor) -> nn.Module:
        network(images).square().sum().backward()
        return network

    def test_last_map_is_at_most_7_by_7(self):
        for side in (4, 7, 8, 28, 64, 65, 256):
            maps = ClassifierNetwork((side, side), 1, 2).eval().stages(torch.rand(1, 1, side, side))
            assert 2 <= maps.shape[2] <= 7

    def test_pooling_is_the_one_that_is_named(self):
        kinds = {p: {type(m) for m in ClassifierNetwork((28, 28), 1, 2, p).modules()} for p in ("max", "average")}
        assert nn.MaxPool2d in kinds["max"] - kinds["average"]
        assert nn.AvgPool2d in kinds["average"] - kinds["max"]

    def test_what_cannot_be_built_is_told_all_at_once(self):
        with pytest.raises(UsageError) as raised:
            ClassifierNetwork((3, 28), 0, 1, "mean")  # type: ignore[arg-type]
        assert [problem.split(":")[0] for problem in raised.value.problems] == [
            "size 3x28", "channels 0", "1 classes", "pooling 'mean'",
        ]  # fmt: skip


class TestTraining:
    def test_same_data_and_seed_give_the_same_weights_and_another_seed_others(self):
        found = [train_classifier(make_data(), make_data(20), num_steps=5, seed=seed).network for seed in (3, 3, 4)]
        states = [network.state_dict() for network in found]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        assert not torch.equal(states[0]["last.weight"], states[2]["last.weight"])

    def test_caller_s_random_state_is_left_alone(self):
        torch.manual_seed(5)
        before = torch.get_rng_state()
        train_classifier(make_data(), make_data(20), num_steps=2)
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("channels", [1, 2, 3])
    def test_brightness_is_learnt_on_the_smallest_images(self, channels):
        data = make_data(60, 3, (4, 4), channels)
        found = train_classifier(data, make_data(30, 3, (4, 4), channels, seed=1), num_steps=60)
        assert found.accuracy == 1.0
        assert found.num_held_out == 30
        assert found.images_seen == 60 * 128

    def test_many_classes_and_images_that_are_not_square(self):
        data = make_data(1000, 1000, (6, 9))
        found = train_classifier(data, data, num_steps=2, pooling="average")
        assert found.probabilities(torch.zeros(2, 1, 6, 9)).shape == (2, 1000)

    def test_a_minute_is_a_minute_of_training(self):
        told: list[ClassifierProgress] = []
        train_classifier(make_data(), make_data(20), minutes=1.2 / 60, on_progress=told.append)
        assert len(told) == 1
        assert 0.8 <= told[0].share < 1
        assert told[0].images % 128 == 0
        assert told[0].images > 0

    def test_default_is_five_passes_and_at_least_100_000_images(self):
        assert default_num_steps(60_000) == 2344
        assert default_num_steps(10) == 782

    @pytest.mark.parametrize("budget", [{"num_steps": 0}, {"minutes": 0}, {"minutes": -1}, {"num_steps": -5}])
    def test_budget_of_nothing_is_refused(self, budget):
        with pytest.raises(UsageError, match="must be above 0"):
            train_classifier(make_data(), make_data(), **budget)

    def test_one_class_no_labels_differing_classes_and_shapes_are_data_errors(self):
        good = make_data()
        unlabelled = DataSet("made", good.images, None, (), "", (), 0)
        for train, held_out, text in (
            (make_data(num_classes=1), make_data(num_classes=1), "two classes or more"),
            (unlabelled, good, "two classes or more"),
            (good, unlabelled, "two classes or more"),
            (good, make_data(num_classes=3), "different classes"),
            (good, make_data(size=(9, 9)), "different shapes"),
        ):
            with pytest.raises(DataError, match=text):
                train_classifier(train, held_out, num_steps=1)

    def test_shifts_move_each_image_by_at_most_two_pixels_and_repeat_the_edge(self):
        torch.manual_seed(0)
        image = torch.arange(32 * 32, dtype=torch.int32).view(1, 1, 32, 32)
        moved = shifted(image.expand(64, 1, 32, 32))
        padded = nn.functional.pad(image.float(), [2] * 4, mode="replicate").int()
        crops = [padded[:, :, r : r + 32, c : c + 32] for r in range(5) for c in range(5)]
        matches = [next(i for i, crop in enumerate(crops) if torch.equal(crop[0], one)) for one in moved]
        assert len(set(matches)) > 10

    def test_tiny_images_are_not_shifted(self):
        image = torch.randint(0, 256, (8, 3, 7, 40), dtype=torch.uint8)
        assert torch.equal(shifted(image), image)


class TestHoldOut:
    def test_every_fifth_image_is_held_out_and_no_other(self):
        data = make_data(23)
        train, held_out = hold_out(data)
        assert (len(train), len(held_out)) == (19, 4)
        np.testing.assert_array_equal(held_out.batch(np.arange(4)).images.numpy(), data.images[4::5])
        np.testing.assert_array_equal(held_out.labels, data.labels[4::5])
        rest = np.delete(data.images, np.s_[4::5], axis=0)
        np.testing.assert_array_equal(train.batch(np.arange(19)).images.numpy(), rest)

    def test_fewer_than_five_images_are_too_few(self):
        with pytest.raises(DataError, match="4 images are too few"):
            hold_out(make_data(4))

    def test_source_without_a_test_split_is_divided_and_one_with_is_not(self, image_folder):
        splits = open_labelled(image_folder)
        assert (len(splits.train), len(splits.held_out), splits.has_test) == (20, 4, False)
        assert splits.train.class_names == ("cats", "dogs")
        digits = open_labelled("digits")
        assert (len(digits.train), len(digits.held_out), digits.has_test) == (1438, 359, True)
        assert open_held_out("digits", (28, 28), 1)[1] is True
        only, is_own = open_held_out(image_folder, (16, 16), 1)
        np.testing.assert_array_equal(only.labels, splits.held_out.labels)
        assert is_own is False

    def test_image_that_cannot_be_read_is_named(self, image_folder):
        write_images(image_folder / "cats", 40)
        (image_folder / "cats" / "broken.png").write_bytes(b"\x89PNG not an image")
        ((name, reason),) = open_labelled(image_folder).skipped
        assert name == "cats/broken.png"
        assert reason

    @pytest.mark.parametrize(("size", "expected"), [((4, 40), (4, 40)), ((2, 3), (4, 4)), ((128, 96), (64, 48))])
    def test_size_is_the_data_s_own_between_4_and_64(self, tmp_path, size, expected):
        write_images(tmp_path / "a", 5, size)
        write_images(tmp_path / "b", 5, size, seed=1)
        train = open_labelled(tmp_path).train
        assert train.batch(np.array([0])).images.shape == (1, 1, *expected)


class TestReading:
    def test_probabilities_sum_to_one_and_do_not_depend_on_the_batch(self, classifier):
        images = torch.rand(7, 1, 8, 8) * 2 - 1
        found = classifier.probabilities(images)
        torch.testing.assert_close(found.sum(1), torch.ones(7))
        one_by_one = torch.cat([classifier.probabilities(image[None]) for image in images])
        torch.testing.assert_close(found, one_by_one)

    def test_many_images_are_read_in_parts(self, classifier, monkeypatch):
        images = torch.rand(30, 1, 8, 8)
        whole = classifier.features(images)
        monkeypatch.setattr("gansmith.classifiers.PIXELS_AT_ONCE", 4 * 64)
        largest = []
        classifier.network.register_forward_pre_hook(lambda _, args: largest.append(len(args[0])))
        torch.testing.assert_close(classifier.features(images), whole)
        classifier.probabilities(images)
        assert max(largest) == 4

    def test_uint8_and_float_images_are_read_alike(self, classifier):
        pixels = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
        for read in (classifier.probabilities, classifier.features):
            torch.testing.assert_close(read(pixels), read(to_float(pixels)))
            torch.testing.assert_close(read(pixels), read(to_float(pixels).double()))

    def test_features_are_what_the_logits_are_made_from(self, classifier):
        images = torch.rand(4, 1, 8, 8)
        logits = classifier.network.last(classifier.features(images))
        torch.testing.assert_close(logits.softmax(1), classifier.probabilities(images))

    def test_no_images_give_no_rows(self, classifier):
        assert classifier.probabilities(torch.zeros(0, 1, 8, 8)).shape == (0, 2)

    @pytest.mark.parametrize("shape", [(3, 3, 8, 8), (3, 1, 8, 9), (1, 8, 8)])
    def test_images_of_another_shape_are_refused(self, classifier, shape):
        with pytest.raises(DataError, match="this classifier takes 1 x 8 x 8"):
            classifier.probabilities(torch.zeros(shape))

    def test_data_of_other_classes_or_without_labels_are_refused(self, classifier):
        with pytest.raises(DataError, match=r"its classes are 3 .* was trained on 2"):
            classifier.test(make_data(num_classes=3))
        data = make_data()
        with pytest.raises(DataError, match="has no labels"):
            classifier.test(DataSet("made", data.images, None, (), "", (), 0))

    def test_accuracy_counts_what_was_read(self, classifier):
        data = make_data(30, seed=2)
        read = classifier.probabilities(torch.from_numpy(data.images)).argmax(1).numpy()
        found = classifier.test(data)
        assert found.num_images == 30
        assert found.share == (read == data.labels).mean()


class TestAccuracy:
    counts = Accuracy(np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]]), ("a", "b", "c"))

    def test_shares_are_those_of_the_diagonal(self):
        assert self.counts.share == 17 / 20
        assert self.counts.by_class == {"a": 0.8, "b": 0.9}

    def test_most_confused_pairs_come_first_and_never_with_none(self):
        assert self.counts.most_confused() == [("a", "b", 2), ("b", "a", 1)]
        assert self.counts.most_confused(1) == [("a", "b", 2)]
        assert self.counts.confusions.trace() == 17

    @pytest.mark.parametrize(
        ("right", "num", "low", "high"),
        # Newcombe 1998, table I, method 3; the last two follow from the closed form z^2 / (n + z^2).
        [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
         (20, 20, 0.8389, 1.0)],
    )  # fmt: skip
    def test_wilson_interval_is_the_published_one(self, right, num, low, high):
        assert wilson_interval(right, num) == pytest.approx((low, high), abs=6e-5)


class TestSaved:
    @pytest.fixture
    def saved(self, classifier, tmp_path) -> Path:
        return save_classifier(classifier, tmp_path / "deep" / "saved")

    def test_loaded_classifier_reads_the_same_and_knows_the_same(self, classifier, saved):
        loaded = load_classifier(str(saved))
        images = torch.rand(5, 1, 8, 8)
        assert torch.equal(loaded.probabilities(images), classifier.probabilities(images))
        for name in ("class_names", "accuracy", "num_held_out", "images_seen", "data_fingerprint"):
            assert getattr(loaded, name) == getattr(classifier, name)
        assert not loaded.network.training

    def test_folder_holds_two_files_and_says_what_it_is(self, saved):
        assert sorted(file.name for file in saved.iterdir()) == ["config.json", "model.safetensors"]
        config = json.loads((saved / "config.json").read_text())
        assert (config["kind"], config["size"], config["class_names"]) == ("classifier", [8, 8], ["c0", "c1"])

    def test_public_names_are_these(self, saved):
        assert gansmith.load_classifier is load_classifier
        assert gansmith.save_classifier is save_classifier
        assert gansmith.train_classifier is train_classifier

    def test_generator_loader_says_that_it_is_a_classifier(self, saved):
        with pytest.raises(CheckpointError, match="holds a classifier"):
            gansmith.load(saved)

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
    def test_truncated_weights_are_named(self, saved, share):
        file = saved / "model.safetensors"
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
        with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
            load_classifier(saved)

    @pytest.mark.parametrize("content", ["", "[]", '"x"', "null", '{"kind": "classifier"}', "\x00"])
    def test_damaged_config_is_named(self, saved, content):
        (saved / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match="not a readable saved classifier"):
            load_classifier(saved)

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"kind": "generator"}, "not a classifier"),
            ({"format": 99, "version": "9.8.7"}, r"gansmith 9\.8\.7; upgrade"),
            ({"size": [3, 8]}, "at least 4x4"),
            ({"size": [32, 32]}, r"stages\..* is missing"),
            ({"class_names": ["a"]}, "class_names"),
            ({"extra": 1}, "extra"),
        ],
    )
    def test_edited_config_is_refused(self, saved, change, text):
        config = json.loads((saved / "config.json").read_text())
        (saved / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(CheckpointError, match=text):
            load_classifier(saved)

    def test_missing_folder_says_how_to_make_one(self, tmp_path):
        with pytest.raises(CheckpointError, match="classify train"):
            load_classifier(tmp_path / "nowhere")

    def test_place_that_cannot_be_written_is_a_resource_error(self, classifier, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ResourceError, match="could not be saved"):
            save_classifier(classifier, tmp_path / "file" / "inside")

    def test_weights_are_the_network_s(self, classifier, saved):
        stored = safetensors.torch.load_file(saved / "model.safetensors")
        assert stored.keys() == classifier.network.state_dict().keys()
