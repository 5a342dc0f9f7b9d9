"""Extractors: what all of them keep, and what each one says of itself and of mistakes."""

from __future__ import annotations

import hashlib
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import torch
from filelock import FileLock
from PIL import Image
from torch import nn

from gansmith.classifiers import load_classifier
from gansmith.data import DataSet, open_data
from gansmith.errors import CheckpointError, DataError, ResourceError, UsageError
from gansmith.evaluation.extractor import Extractor
from gansmith.evaluation.extractors import EXTRACTORS, choose_extractor, dinov2, inception
from gansmith.evaluation.extractors.preparation import checksum_of, resized, size_within, to_rgb
from gansmith.evaluation.extractors.random import RandomNetwork
from gansmith.images import to_float
from gansmith.report import EXTRACTOR_NAMES
from gansmith.training import classify
from tests.inception_weights import write_random_weights

CPU = torch.device("cpu")


def make_data(num: int = 40, shape=(1, 8, 8), num_classes: int = 2, seed: int = 0, name: str = "made") -> DataSet:
    """Noise whose brightness is the class; no labels where there are no classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(num, dtype=np.int64) % max(num_classes, 1)
    noise = random.integers(0, 40, (num, *shape))
    images = (noise + (labels * 200 // max(num_classes - 1, 1))[:, None, None, None]).astype(np.uint8)
    fingerprint = hashlib.sha256(images.tobytes()).hexdigest()[:16]
    names = tuple(f"c{number}" for number in range(num_classes))
    return DataSet(name, images, labels if names else None, names, fingerprint, (), 0)


def noise(num: int, shape=(1, 8, 8), seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num, *shape), generator=random, dtype=torch.uint8)


class Means(nn.Module):
    """A user's module: the mean of each quarter times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 2).flatten(1) * self.weight


@pytest.fixture(autouse=True)
def private(tmp_path, monkeypatch) -> None:
    """A cache of each test's own, short training, no network."""
    monkeypatch.setenv("GANSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(classify, "FEWEST_DEFAULT_IMAGES", 10 * classify.BATCH)


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory) -> Path:
    return write_random_weights(tmp_path_factory.mktemp("weights") / "inception.pth")


@pytest.fixture(scope="session")
def dino_weights(tmp_path_factory) -> Path:
    return write_dino(tmp_path_factory.mktemp("weights") / "dino", seed=0)


def write_dino(folder: Path, seed: int) -> Path:
    """A DINOv2 of 2 layers and 16 features."""
    from transformers import Dinov2Config, Dinov2Model
    from transformers.utils import logging

    torch.manual_seed(seed)
    logging.disable_progress_bar()
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=56)
    Dinov2Model(config).save_pretrained(folder)
    return folder


SLOW = {"inception": [pytest.mark.slow], "dinov2": [pytest.mark.slow]}  # importing transformers takes seconds
WEIGHTS = {"inception": "inception_weights", "dinov2": "dino_weights"}
made: dict[str, Extractor] = {}


@pytest.fixture(params=[pytest.param(name, marks=SLOW.get(name, [])) for name in (*EXTRACTORS, "module")])
def extractor(request) -> Extractor:
    """Each of the table, and a user's; made once."""
    name = request.param
    if name not in made:
        weights = request.getfixturevalue(WEIGHTS[name]) if name in WEIGHTS else None
        chosen = Means() if name == "module" else name
        made[name] = choose_extractor(chosen, make_data(), device=CPU, weights=weights)
    return made[name]


class TestContract:
    def test_table_is_the_names_of_the_command_line(self):
        assert tuple(EXTRACTORS) == EXTRACTOR_NAMES

    def test_features_are_finite_float32_on_the_cpu_and_do_not_depend_on_the_batch(self, extractor):
        images = noise(6)
        features, probabilities = extractor.read(images)
        assert features.shape == (6, extractor.facts.dim)
        assert features.dtype == torch.float32
        assert features.isfinite().all()
        parts = [extractor.read(images[place]) for place in (slice(0, 1), slice(1, 6))]
        torch.testing.assert_close(torch.cat([part[0] for part in parts]), features, rtol=1e-4, atol=1e-5)
        if probabilities is None:
            assert all(part[1] is None for part in parts)
        else:
            torch.testing.assert_close(probabilities.sum(1), torch.ones(6))
            assert probabilities.dtype == torch.float32
            torch.testing.assert_close(torch.cat([part[1] for part in parts]), probabilities, rtol=1e-4, atol=1e-6)

    def test_different_images_have_different_features(self, extractor):
        features, _ = extractor.read(torch.cat([noise(1), noise(1, seed=1), noise(1)]))
        torch.testing.assert_close(features[0], features[2], rtol=1e-4, atol=1e-5)
        assert (features[0] - features[1]).abs().max() > 1e-3 * features.abs().max()

    def test_nothing_is_changed_by_reading(self, extractor):
        images, state = noise(2), torch.get_rng_state()
        before = images.clone()
        extractor.read(images)
        assert torch.equal(images, before)
        assert torch.equal(torch.get_rng_state(), state)

    def test_checksum_is_16_hex_digits(self, extractor):
        assert len(extractor.facts.checksum) == 16
        assert int(extractor.facts.checksum, 16) >= 0


class TestChoice:
    def test_offline_default_is_a_classifier_where_there_are_classes_else_random_convolutions(self):
        def default(data: DataSet) -> str:
            return choose_extractor(None, data, device=CPU).facts.name

        assert default(make_data()) == "classifier"
        assert default(make_data(num_classes=0)) == "random"
        assert default(make_data(num_classes=1)) == "random"
        assert default(make_data(shape=(2, 1, 1))) == "random"
        assert default(make_data(shape=(1, 3, 9))) == "random"

    def test_unknown_name_lists_near_matches(self):
        with pytest.raises(UsageError, match=r"'incepton'.*did you mean 'inception'.*classifier, random, inception"):
            choose_extractor("incepton", make_data(), device=CPU)

    @pytest.mark.parametrize("name", ["classifier", "random", Means()], ids=["classifier", "random", "module"])
    def test_weights_are_refused_where_they_have_no_use(self, name):
        with pytest.raises(UsageError, match="weights"):
            choose_extractor(name, make_data(), device=CPU, weights=Path("w.pth"))


class TestClassifier:
    def test_it_is_trained_once_and_says_how_good_it_is(self):
        said: list[str] = []
        data, held_out = make_data(), make_data(20, seed=1)
        first = choose_extractor("classifier", data, held_out, device=CPU, say=said.append)
        assert "training the classifier that reads made, once: 1,280 images shown, on one thread" in said[0]
        assert first.facts.checksum in said[1]
        assert first.facts.note == "100.00% (83.89% to 100.00%) of 20 held-out images read right"
        said.clear()
        second = choose_extractor("classifier", data, held_out, device=CPU, say=said.append)
        assert second.facts == first.facts
        assert [line.split(":")[0] for line in said] == [f"classifier {first.facts.checksum}"]
        assert torch.equal(first.read(noise(3))[0], second.read(noise(3))[0])

    def test_probabilities_are_of_the_data_s_classes_in_their_order(self):
        data = make_data(60, num_classes=3)
        extractor = choose_extractor("classifier", data, data, device=CPU)
        features, probabilities = extractor.read(torch.from_numpy(data.images))
        assert probabilities is not None
        assert (probabilities.argmax(1).numpy() == data.labels).mean() > 0.9
        kept = load_classifier(extractor.folder)
        torch.testing.assert_close(features, kept.features(torch.from_numpy(data.images)))
        torch.testing.assert_close(probabilities, kept.probabilities(torch.from_numpy(data.images)))

    def test_trained_anew_it_has_the_same_checksum_whatever_the_threads(self, monkeypatch, tmp_path):
        threads = torch.get_num_threads()
        found = []
        for cache, data in (("a", make_data()), ("b", make_data()), ("c", make_data(seed=5))):
            monkeypatch.setenv("GANSMITH_CACHE", str(tmp_path / cache))
            torch.set_num_threads(2 if cache == "b" else 1)
            try:
                found.append(choose_extractor("classifier", data, make_data(20), device=CPU).facts.checksum)
                assert torch.get_num_threads() == (2 if cache == "b" else 1)
            finally:
                torch.set_num_threads(threads)
        assert found[0] == found[1] != found[2]

    def test_damaged_one_is_trained_again_and_said(self, tmp_path):
        said: list[str] = []
        first = choose_extractor("classifier", make_data(), device=CPU)
        weights = first.folder / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-5] ^= 1
        weights.write_bytes(content)
        second = choose_extractor("classifier", make_data(), device=CPU, say=said.append)
        assert "damaged" in said[0]
        assert "training it again" in said[0]
        assert second.facts == first.facts
        load_classifier(first.folder)

    def test_a_second_process_waits_for_the_first(self):
        first, said = choose_extractor("classifier", make_data(), device=CPU), Queue()
        with ThreadPoolExecutor(1) as pool, FileLock(first.folder.with_name(f"{first.folder.name}.lock")):
            second = pool.submit(choose_extractor, "classifier", make_data(), device=CPU, say=said.put)
            assert "another process is training" in said.get(timeout=60)
            assert not second.done()
            shutil.rmtree(first.folder)
        assert second.result().facts == first.facts
        assert "once: 1,280 images shown" in said.get(timeout=1)

    def test_without_held_out_images_a_fifth_is_held_out(self):
        facts = choose_extractor("classifier", make_data(40), device=CPU).facts
        assert "of 8 held-out images" in facts.note

    def test_a_part_of_the_data_has_a_classifier_of_its_own(self):
        data = make_data(40)
        folders = [choose_extractor("classifier", data, held, device=CPU).folder for held in (None, data)]
        assert folders[0] != folders[1]

    def test_large_images_are_read_smaller(self, monkeypatch):
        monkeypatch.setattr(classify, "FEWEST_DEFAULT_IMAGES", classify.BATCH)
        data = make_data(10, shape=(1, 80, 160))
        extractor = choose_extractor("classifier", data, data, device=CPU)
        assert extractor.facts.preparation == "bilinear with antialiasing to 32x64"
        assert extractor.read(noise(2, (1, 80, 160)))[0].shape == (2, 128)

    def test_poor_one_is_said_to_be_poor(self):
        data = make_data(40)
        mixed = DataSet(**{**data.__dict__, "labels": np.random.default_rng(0).permutation(data.labels)})
        note = choose_extractor("classifier", mixed, mixed, device=CPU).facts.note
        assert "reads these data poorly" in note

    @pytest.mark.parametrize(
        ("data", "error", "message"),
        [
            (make_data(num_classes=0), DataError, r"made: a classifier needs images of two classes.*use random"),
            (make_data(shape=(1, 3, 3)), UsageError, "at least 4x4"),
        ],
        ids=["no classes", "too small"],
    )
    def test_data_it_cannot_be_trained_on(self, data, error, message):
        with pytest.raises(error, match=message):
            choose_extractor("classifier", data, device=CPU)

    def test_images_of_another_shape_are_refused(self):
        extractor = choose_extractor("classifier", make_data(), device=CPU)
        with pytest.raises(DataError, match="images are 1 x 9 x 8; the extractor classifier was made for 1 x 8 x 8"):
            extractor.read(noise(2, (1, 9, 8)))

    def test_cache_that_cannot_be_written_to(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("GANSMITH_CACHE", str(tmp_path / "file"))
        with pytest.raises(ResourceError, match="GANSMITH_CACHE"):
            choose_extractor("classifier", make_data(), device=CPU)


class TestRandom:
    @pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (3, 28, 28), (4, 5, 31), (7, 100, 90)])
    def test_any_shape_gives_256_features(self, shape):
        data = make_data(4, shape, num_classes=0)
        extractor = choose_extractor("random", data, device=CPU)
        assert extractor.read(noise(3, shape))[0].shape == (3, 256) == (3, extractor.facts.dim)

    def test_weights_are_the_same_on_every_platform(self):
        state = RandomNetwork(1).state_dict()
        assert checksum_of(state, "") == "c6b8315e8e6bc4c4"
        limit = (3 * 2 / 1.04 / 9) ** 0.5
        weight = state["stages.0.weight"]
        assert weight.abs().max() <= limit
        assert weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.1)

    def test_checksum_depends_on_channels_and_size(self):
        shapes = [(1, 8, 8), (3, 8, 8), (1, 9, 8), (1, 8, 8)]
        found = [choose_extractor("random", make_data(2, shape), device=CPU).facts.checksum for shape in shapes]
        assert len(set(found)) == 3
        assert found[0] == found[3]

    def test_it_ranks_digits_noise_is_far_blurred_nearer_the_other_half_nearest(self, private_cache, monkeypatch):
        monkeypatch.setenv("GANSMITH_CACHE", str(private_cache))
        data = open_data("digits", (28, 28), 1)
        real, other = torch.from_numpy(data.images.copy()).split(720)[:2]
        blurred = resized(resized(other, (20, 20)), (28, 28))
        extractor = choose_extractor("random", data, device=CPU)
        features = [extractor.read(images)[0] for images in (real, other, blurred, noise(len(other), (1, 28, 28)))]
        half, blur, far = (frechet(features[0], fake) for fake in features[1:])
        assert blur > 3 * half
        assert far > 20 * blur


def frechet(a: torch.Tensor, b: torch.Tensor) -> float:
    """Between two sets of features, by the definition (Dowson & Landau 1982)."""
    a, b = a.double(), b.double()
    values, vectors = torch.linalg.eigh(a.T.cov())
    root = vectors * values.clamp(min=0).sqrt()
    cross = torch.linalg.eigvalsh(root.T @ b.T.cov() @ root).clamp(min=0).sqrt().sum()
    means = (a.mean(0) - b.mean(0)).square().sum()
    return float(means + a.T.cov().trace() + b.T.cov().trace() - 2 * cross)


class TestModule:
    def test_it_reads_images_in_minus_one_to_one_in_eval_mode_and_stays_as_it_was(self):
        class Watched(Means):
            def forward(self, images):
                assert not self.training
                assert images.dtype == torch.float32
                assert -1 <= images.min() <= images.max() <= 1
                return super().forward(images)

        module = Watched().train()
        extractor = choose_extractor(module, make_data(), device=CPU)
        assert extractor.facts.name == "Watched"
        assert extractor.facts.dim == 4
        images = noise(300)
        torch.testing.assert_close(extractor.read(images)[0], Means()(to_float(images)).detach())
        assert module.training

    def test_checksum_is_of_weights_and_class(self):
        def checksum(module: nn.Module) -> str:
            return choose_extractor(module, make_data(), device=CPU).facts.checksum

        other = Means()
        with torch.no_grad():
            other.weight[0] = 2
        assert checksum(Means()) == checksum(Means()) != checksum(other)
        assert checksum(nn.Flatten()) != checksum(nn.Sequential(nn.Flatten()))

    @pytest.mark.parametrize(
        ("module", "came"),
        [
            (nn.Identity(), r"\(2, 1, 8, 8\) torch.float32"),
            (nn.Flatten(0), r"\(128,\)"),
            (nn.Flatten(0, 1), r"\(2, 8, 8\)"),
            (nn.RNN(8, 3, batch_first=True), "a tuple|expected"),
        ],
    )
    def test_what_are_no_features_is_described(self, module, came):
        if isinstance(module, nn.RNN):
            module = nn.Sequential(nn.Flatten(1, 2), module)
        with pytest.raises(UsageError, match=came):
            choose_extractor(module, make_data(), device=CPU)


class TestPreparation:
    def test_grey_is_repeated_and_transparent_is_white(self):
        grey = noise(2)
        assert torch.equal(to_rgb(grey, "it"), grey.float().repeat(1, 3, 1, 1))
        pixels = torch.tensor([[10, 20, 30, 0], [10, 20, 30, 255], [0, 100, 255, 51]], dtype=torch.uint8)
        found = to_rgb(pixels[:, :, None, None], "it")[:, :, 0, 0]
        assert found.tolist() == [[255, 255, 255], [10, 20, 30], [204, 224, 255]]

    def test_other_channels_are_refused(self):
        with pytest.raises(DataError, match=r"images have 2 channels; inception reads 1 \(grey\), 3"):
            to_rgb(noise(1, (2, 8, 8)), "inception")

    def test_size_keeps_its_proportion(self):
        assert size_within((28, 28), 64) == (28, 28)
        assert size_within((256, 128), 64) == (64, 32)
        assert size_within((1000, 1), 64) == (64, 1)

    def test_smaller_is_the_mean_where_everything_is_equal(self):
        flat = torch.full((1, 3, 100, 90), 77, dtype=torch.uint8)
        assert torch.equal(resized(flat, (13, 17)), torch.full((1, 3, 13, 17), 77, dtype=torch.uint8))


class TestInception:
    def test_url_is_torch_fidelity_s_and_nothing_of_it_stays_imported(self, monkeypatch):
        for name in [name for name in sys.modules if name.startswith("torch_fidelity")]:
            monkeypatch.delitem(sys.modules, name)
        assert inception._library().URL_INCEPTION_V3 == inception.URL
        assert inception.FILE_NAME.endswith(f"-{inception.PUBLISHED}.pth")
        assert not [name for name in sys.modules if name.startswith("torch_fidelity")]

    @pytest.mark.faults
    def test_27_without_the_extra_it_says_what_to_install_and_where_weights_go(self, monkeypatch, tmp_path):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.delitem(sys.modules, "torch_fidelity", raising=False)
        with pytest.raises(
            UsageError, match=r"pip install 'gansmith\[fid\]'.*--weights PATH.*" + inception.FILE_NAME
        ) as raised:
            choose_extractor("inception", make_data(), device=CPU)
        assert str(tmp_path / "torch") in str(raised.value)

    @pytest.mark.faults
    def test_27_without_network_it_says_where_weights_go(self, monkeypatch, tmp_path):
        def refuse(*args, **options):
            raise URLError("no route")

        monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
        with pytest.raises(UsageError) as raised:
            choose_extractor("inception", make_data(), device=CPU)
        for part in ("no route", "--weights PATH", inception.URL, str(tmp_path / "torch" / "hub" / "checkpoints")):
            assert part in str(raised.value)

    def test_channels_are_checked_before_weights_are_looked_for(self):
        with pytest.raises(DataError, match="2 channels"):
            choose_extractor("inception", make_data(shape=(2, 8, 8)), device=CPU)

    def test_damaged_file_of_the_hub_s_cache_is_named(self, tmp_path):
        path = tmp_path / "torch" / "hub" / "checkpoints" / inception.FILE_NAME
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half a download")
        with pytest.raises(CheckpointError, match=r"damaged \(its sha256 begins .*, not 6726825d\); delete it"):
            choose_extractor("inception", make_data(), device=CPU)

    @pytest.mark.faults
    def test_04_weights_that_do_not_fit_are_refused_and_nothing_is_executed(self, tmp_path):
        class Bomb:
            def __reduce__(self):
                return Path.touch, (tmp_path / "executed",)

        for number, (content, message) in enumerate(
            [
                (
                    {"a": torch.ones(1)},
                    r"does not fit the Inception network of 2015-12-05: .* is missing.* and \d+ more",
                ),
                ({"a": 1}, "holds no weights"),
                ([torch.ones(1)], "but a list"),
                (Bomb(), "not a readable file of weights"),
                (None, "not a readable file of weights"),
            ]
        ):
            path = tmp_path / f"{number}.pth"
            path.write_bytes(b"no zip") if content is None else torch.save(content, path)
            with pytest.raises(CheckpointError, match=message):
                choose_extractor("inception", make_data(), device=CPU, weights=path)
        assert not (tmp_path / "executed").exists()
        with pytest.raises(UsageError, match="cannot be read"):
            choose_extractor("inception", make_data(), device=CPU, weights=tmp_path / "none.pth")

    @pytest.mark.slow
    def test_other_weights_are_labelled_and_features_are_those_of_torch_fidelity(self, inception_weights):
        said: list[str] = []
        extractor = choose_extractor(
            "inception", make_data(), device=CPU, weights=inception_weights, say=said.append
        )  # fmt: skip
        assert extractor.facts.is_published is False
        assert "NOT the published weights" in extractor.facts.note
        assert "NOT the published weights" in said[0]
        images = noise(2, (3, 40, 30))
        theirs = inception._library().FeatureExtractorInceptionV3("x", inception.OUTPUTS, str(inception_weights))
        pool, logits = theirs(images)
        features, probabilities = extractor.read(images)
        torch.testing.assert_close(features, pool, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(probabilities, logits.softmax(1), rtol=1e-4, atol=1e-7)

    @pytest.mark.slow
    def test_checksum_is_of_the_weights_and_the_published_ones_are_recognised(
        self, inception_weights, tmp_path, monkeypatch
    ):
        other = write_random_weights(tmp_path / "other.pth", seed=1)
        files = (inception_weights, other)
        found = [choose_extractor("inception", make_data(), device=CPU, weights=path).facts for path in files]
        assert found[0].checksum != found[1].checksum
        monkeypatch.setattr(inception, "PUBLISHED", hashlib.sha256(other.read_bytes()).hexdigest()[:8])
        facts = choose_extractor("inception", make_data(), device=CPU, weights=other).facts
        assert facts.is_published is True
        assert facts.checksum == found[1].checksum
        assert "NOT" not in facts.note


class TestDino:
    @pytest.mark.faults
    def test_27_without_the_extra_it_says_what_to_install_and_where_weights_go(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(UsageError, match=r"pip install 'gansmith\[dino\]'.*--weights FOLDER.*facebook/dinov2-base"):
            choose_extractor("dinov2", make_data(), device=CPU)

    @pytest.mark.slow
    @pytest.mark.faults
    def test_27_without_network_it_says_where_weights_go(self):
        with pytest.raises(UsageError, match=r"cannot be downloaded .*--weights FOLDER with config.json"):
            choose_extractor("dinov2", make_data(), device=CPU)

    @pytest.mark.slow
    def test_checksum_is_of_the_weights(self, dino_weights, tmp_path):
        folders = (dino_weights, write_dino(tmp_path / "other", seed=1))
        found = [choose_extractor("dinov2", make_data(), device=CPU, weights=folder).facts for folder in folders]
        assert found[0].checksum != found[1].checksum
        assert found[0].note == f"weights of {dino_weights}"

    @pytest.mark.slow
    def test_features_are_the_class_token_after_its_norm(self, dino_weights):
        from transformers import Dinov2Model

        images = noise(2, (4, 30, 20))
        extractor = choose_extractor("dinov2", make_data(shape=(4, 30, 20)), device=CPU, weights=dino_weights)
        network = Dinov2Model.from_pretrained(dino_weights).eval()
        with torch.no_grad():
            expected = network(dinov2.prepared(images)).last_hidden_state[:, 0]
        torch.testing.assert_close(extractor.read(images)[0], expected, rtol=1e-4, atol=1e-5)

    def test_preparation_is_that_of_pillow_to_a_level(self):
        images = resized(noise(1, (3, 12, 10)), (300, 250))
        pillow = Image.fromarray(images[0].permute(1, 2, 0).numpy()).resize((224, 224), Image.Resampling.BICUBIC)
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        expected = (np.asarray(pillow) / 255 - mean) / std
        found = dinov2.prepared(images)[0].permute(1, 2, 0).numpy()
        assert np.abs(found - expected).max() <= 1.01 / 255 / std.min()
        assert np.abs(found - expected).mean() < 0.2 / 255 / std.min()

    @pytest.mark.slow
    def test_weights_that_do_not_fit_are_refused(self, dino_weights, tmp_path):
        with pytest.raises(UsageError, match=r"holds no config\.json"):
            choose_extractor("dinov2", make_data(), device=CPU, weights=tmp_path)
        (tmp_path / "config.json").write_bytes((dino_weights / "config.json").read_bytes())
        safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(CheckpointError, match="does not fit DINOv2: without embeddings"):
            choose_extractor("dinov2", make_data(), device=CPU, weights=tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"no tensors")
        with pytest.raises(CheckpointError, match="not readable weights of DINOv2"):
            choose_extractor("dinov2", make_data(), device=CPU, weights=tmp_path)
