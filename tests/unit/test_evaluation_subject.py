"""What is evaluated and what it is compared with: runs, images, splits, and the mistakes people make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import gansmith
from gansmith.errors import DataError, UsageError
from gansmith.evaluation.reference import open_real
from gansmith.evaluation.subject import draw, open_subject, weights_fingerprint
from tests.conftest import write_images


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subject") / "run"
    tiny = ["generator.hidden=[16]", "discriminator.hidden=[16]", "batch_size=64"]
    gansmith.train("digits", "mlp", overrides=tiny, size=(8, 8), images=256, out=folder, quiet=True)
    return folder


def test_samples_of_a_run_are_those_that_sample_gives_rounded(run: Path) -> None:
    found = open_subject(run, 20, seed=3)
    samples = gansmith.sample(str(run), 20, seed=3)
    assert torch.equal(found.images, gansmith.images.to_uint8(samples))
    assert found.facts.kind == "generator"
    assert found.facts.images_seen == 256
    assert found.facts.training_seed == 0
    assert found.run == run


def test_more_samples_begin_with_the_fewer_ones(run: Path) -> None:
    model = gansmith.load(run)
    assert torch.equal(draw(model, 1030, 0)[:5], draw(model, 5, 0))


def test_fingerprint_follows_the_weights(run: Path) -> None:
    model = gansmith.load(run)
    before = weights_fingerprint(model)
    assert weights_fingerprint(gansmith.load(run)) == before
    next(model.generator.parameters()).data[0, 0] += 1e-3
    assert weights_fingerprint(model) != before


def test_checkpoint_of_a_run_knows_its_run(run: Path) -> None:
    checkpoint = next((run / "checkpoints").iterdir())
    assert open_subject(checkpoint, 4).config == open_subject(run, 4).config


def test_images_of_a_folder_are_read_as_they_are(image_folder: Path) -> None:
    found = open_subject(image_folder, 1000)
    assert found.facts.kind == "images"
    assert found.images.shape == (24, 1, 16, 16)
    assert found.class_names == ("cats", "dogs")
    assert found.labels is not None
    assert found.labels.bincount().tolist() == [12, 12]


def test_of_a_larger_collection_some_are_chosen_by_the_seed(image_folder: Path) -> None:
    first, same, other = (open_subject(image_folder, 8, seed).images for seed in (0, 0, 1))
    assert len(first) == 8
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_images_of_mixed_sizes_are_refused_with_the_reason(tmp_path: Path) -> None:
    write_images(tmp_path / "mixed", 3, (16, 16))
    write_images(tmp_path / "mixed" / "more", 3, (20, 12))
    with pytest.raises(DataError, match=r"mixed sizes .* bring them to one size"):
        open_subject(tmp_path / "mixed", 10)


def test_points_of_the_plane_have_no_such_scores() -> None:
    with pytest.raises(DataError, match="points of the plane"):
        open_subject("ring", 10)
    with pytest.raises(DataError, match="points of the plane"):
        open_real("ring", (8, 8), 1)


def test_reference_knows_its_splits() -> None:
    real = open_real("digits", (8, 8), 1)
    assert real.compared is real.train
    assert real.test is not None
    assert real.facts.num_held_out == len(real.test) > 0
    of_test = open_real("digits", (8, 8), 1, "test")
    assert of_test.compared is of_test.test
    assert of_test.facts.fingerprint != real.facts.fingerprint


def test_reference_without_a_test_split_says_so(image_folder: Path) -> None:
    real = open_real(image_folder, (16, 16), 1)
    assert real.test is None
    assert real.facts.num_held_out == 0
    assert sum(map(len, real.for_a_classifier())) == 24
    with pytest.raises(UsageError, match=r"--split test: .* has no test split"):
        open_real(image_folder, (16, 16), 1, "test")


def test_one_image_cannot_be_compared_with(tmp_path: Path) -> None:
    write_images(tmp_path / "one", 1)
    with pytest.raises(DataError, match="1 image in its train split"):
        open_real(tmp_path / "one", (16, 16), 1)


def test_gray_samples_bring_colour_reals_to_grey() -> None:
    colour = [np.full((8, 8, 3), value, np.uint8) for value in range(4)]
    assert open_real(colour, (8, 8), 1).train.images.shape == (4, 1, 8, 8)
