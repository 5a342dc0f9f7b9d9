"""The first look at a source: number, size, channels and classes of its images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gansmith.data import DataFacts, facts_of, open_source
from gansmith.errors import DataError
from tests.conftest import write_images
from tests.unit.test_decode import BROKEN_EXIF, encoded, noise


def facts(data) -> DataFacts:
    return facts_of(open_source(data))


def test_uniform_grey_images_with_classes(image_folder):
    expected = DataFacts(num_images=24, num_classes=2, size=(16, 16), one_size=True, channels=1, class_counts=(12, 12))
    assert facts(image_folder) == expected


def test_size_is_height_then_width(tmp_path):
    write_images(tmp_path, 3, size=(10, 20))
    assert facts(tmp_path).size == (10, 20)


def test_digits():
    found = facts("digits")
    assert (found.num_images, found.num_classes, found.size, found.one_size, found.channels) == (
        1438,
        10,
        (28, 28),
        True,
        1,
    )
    assert sum(found.class_counts) == 1438
    assert min(found.class_counts) > 100


def test_only_the_train_split_counts(tmp_path):
    write_images(tmp_path / "train" / "cats", 3)
    write_images(tmp_path / "test" / "cats", 5, size=(9, 9))
    assert facts(tmp_path) == DataFacts(3, 1, (16, 16), True, 1, (3,))


def test_mixed_sizes_give_the_medians(tmp_path):
    for name, size in (("a", (10, 40)), ("b", (20, 30)), ("c", (60, 20))):
        write_images(tmp_path / name, 1, size=size)
    found = facts(tmp_path)
    assert found.size == (20, 30)
    assert not found.one_size


def test_one_colour_image_among_grey_ones_means_three_channels(tmp_path):
    write_images(tmp_path / "grey", 3)
    write_images(tmp_path / "colour", 1, mode="RGB")
    found = facts(tmp_path)
    assert found.channels == 3
    assert found.one_size


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("I;16", 1), ("P", 3), ("RGB", 3), ("RGBA", 3)]
)
def test_channels_of_each_mode(tmp_path, mode, channels):
    Image.new(mode, (8, 8)).save(tmp_path / "1.png")
    assert facts(tmp_path).channels == channels


@pytest.mark.parametrize("bad", [b"", b"<html></html>"])
def test_one_bad_file_among_good_ones_is_passed_over(tmp_path, bad):
    write_images(tmp_path, 4)
    (tmp_path / "000.png").write_bytes(bad)
    assert facts(tmp_path) == DataFacts(4, 0, (16, 16), True, 1)


@pytest.mark.parametrize(("orientation", "size"), [(1, (10, 20)), (3, (10, 20)), (5, (20, 10)), (6, (20, 10))])
def test_size_is_that_of_the_image_as_it_is_to_be_seen(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("L", (20, 10)).save(tmp_path / "1.jpg", exif=exif)
    assert facts(tmp_path).size == size


@pytest.mark.parametrize("exif", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
def test_broken_exif_of_one_image_stops_nothing(tmp_path, exif):
    write_images(tmp_path, 3, size=(32, 32), mode="RGB")
    (tmp_path / "broken.jpg").write_bytes(encoded(noise(), "JPEG", exif=exif))
    assert facts(tmp_path) == DataFacts(4, 0, (32, 32), True, 3)


def test_all_bad_is_a_data_error_with_the_first_reason(tmp_path):
    for name in ("a.png", "b.png", "c.jpg"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(
        DataError, match=r"none of 3 images looked at can be read; the first: a\.png: the file is empty"
    ):
        facts(tmp_path)


def test_empty_folder_is_a_data_error_that_says_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"no images found in it \(looked for JPEG, PNG"):
        facts(tmp_path)


def test_arrays_keep_their_own_number_of_channels():
    assert facts([np.zeros((4, 6, 5), np.uint8)] * 2) == DataFacts(2, 0, (4, 6), True, 5)
    assert facts([(torch.zeros(3, 4, 6), 1)]) == DataFacts(1, 2, (4, 6), True, 3, (0, 1))


def test_large_source_is_sampled_evenly_from_its_first_to_its_last_image():
    read = []

    class Images:
        def __len__(self):
            return 10_000

        def __getitem__(self, index):
            read.append(index)
            return np.zeros((4, 4), np.uint8)

    assert facts(Images()).num_images == 10_000
    places = sorted(set(read))
    assert len(places) == 256
    assert (places[0], places[-1]) == (0, 9_999)
    assert max(np.diff(places)) <= 40


def test_kept_facts_are_read_back_and_are_looked_up_anew_when_the_source_changes(image_folder, tmp_path):
    cache = tmp_path / "facts"
    first = facts_of(open_source(image_folder), cache)
    assert facts_of(open_source(image_folder), cache) == first
    write_images(image_folder / "birds", 2, size=(8, 8))
    assert facts_of(open_source(image_folder), cache) == DataFacts(26, 3, (16, 16), False, 1, (2, 12, 12))
