"""The decoded cache: what a data set holds, when it is decoded anew, what becomes of broken images."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gansmith.data import open_data
from gansmith.errors import DataError
from tests.conftest import write_images


class Count:
    """Counts the images that are decoded."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, done: int, count: int) -> None:
        self.calls.append((done, count))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("GANSMITH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def zip_of(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, str(file.relative_to(folder)))
    return path


def pixels_of(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file)) for file in sorted(folder.rglob("*.png"))])[:, None]


class TestContent:
    def test_grey_folder_gives_its_pixels_and_labels(self, image_folder):
        data = open_data(image_folder, (16, 16), 1)
        np.testing.assert_array_equal(data.images, pixels_of(image_folder))
        assert data.images.dtype == np.uint8
        assert data.labels.dtype == np.int64
        assert data.labels.tolist() == [0] * 12 + [1] * 12
        assert data.class_names == ("cats", "dogs")
        assert (data.name, len(data), data.skipped, data.num_refitted) == ("pets", 24, (), 0)

    def test_folder_without_classes_has_no_labels(self, tmp_path):
        data = open_data(write_images(tmp_path / "flat", 3), (16, 16), 1)
        assert data.labels is None
        assert data.class_names == ()
        assert data.batch(np.array([0, 1])).labels is None

    def test_images_are_fitted_to_the_size_and_channels_asked_for(self, tmp_path):
        write_images(tmp_path / "mixed", 3)
        write_images(tmp_path / "mixed", 1, size=(8, 12), mode="RGB")
        data = open_data(tmp_path / "mixed", (8, 12), 3)
        assert data.images.shape == (3, 3, 8, 12)
        assert data.num_refitted == 2

    def test_images_are_memory_mapped_and_read_only(self, image_folder):
        data = open_data(image_folder, (16, 16), 1)
        assert isinstance(data.images, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            data.images[0] = 0

    def test_batch_holds_the_images_and_labels_asked_for_in_that_order(self, image_folder):
        data = open_data(image_folder, (16, 16), 1)
        places = np.array([23, 0, 5, 5])
        batch = data.batch(places)
        assert batch.images.dtype == torch.uint8
        assert batch.labels.dtype == torch.int64
        np.testing.assert_array_equal(batch.images.numpy(), data.images[places])
        np.testing.assert_array_equal(batch.labels.numpy(), [1, 0, 0, 0])

    def test_batch_can_be_changed_without_changing_the_data(self, image_folder):
        data = open_data(image_folder, (16, 16), 1)
        before = data.images[:2].copy()
        data.batch(np.array([0, 1])).images.zero_()
        np.testing.assert_array_equal(data.images[:2], before)

    def test_test_split_is_another_data_set(self):
        train, test = (open_data("digits", (28, 28), 1, split) for split in ("train", "test"))
        assert (len(train), len(test)) == (1438, 359)
        assert train.fingerprint != test.fingerprint

    def test_data_without_a_test_split_says_so(self, image_folder):
        with pytest.raises(DataError, match="pets: no images found in its test split"):
            open_data(image_folder, (16, 16), 1, "test")

    def test_folder_with_a_name_of_255_bytes_is_decoded(self, tmp_path):
        assert len(open_data(write_images(tmp_path / ("x" * 255), 2), (16, 16), 1)) == 2


class TestReuse:
    def test_second_opening_decodes_nothing(self, image_folder):
        first, second = Count(), Count()
        before = open_data(image_folder, (16, 16), 1, on_progress=first)
        after = open_data(image_folder, (16, 16), 1, on_progress=second)
        assert first.calls[-1] == (24, 24)
        assert second.calls == []
        assert after.fingerprint == before.fingerprint
        np.testing.assert_array_equal(after.images, before.images)
        np.testing.assert_array_equal(after.labels, before.labels)

    @pytest.mark.parametrize("change", [{"size": (8, 8)}, {"channels": 3}])
    def test_another_size_or_channel_number_is_decoded_apart(self, image_folder, change):
        wanted = {"size": (16, 16), "channels": 1}
        open_data(image_folder, **wanted)
        count = Count()
        assert open_data(image_folder, **{**wanted, **change}, on_progress=count).images.shape[2:] == (
            change.get("size", (16, 16))
        )
        assert count.calls
        count = Count()
        assert open_data(image_folder, **wanted, on_progress=count).images.shape == (24, 1, 16, 16)
        assert not count.calls

    def test_changed_file_is_decoded_anew(self, image_folder):
        before = open_data(image_folder, (16, 16), 1)
        file = image_folder / "cats" / "000.png"
        Image.new("L", (16, 16), 99).save(file)
        os.utime(file, ns=(1, 1))
        after = open_data(image_folder, (16, 16), 1)
        assert (after.images[0] == 99).all()
        assert after.fingerprint != before.fingerprint
        np.testing.assert_array_equal(after.images[1:], before.images[1:])

    def test_touched_file_is_decoded_anew_and_has_the_same_fingerprint(self, image_folder):
        before = open_data(image_folder, (16, 16), 1)
        os.utime(image_folder / "cats" / "000.png", ns=(1, 1))
        count = Count()
        assert open_data(image_folder, (16, 16), 1, on_progress=count).fingerprint == before.fingerprint
        assert count.calls

    def test_folder_and_zip_of_the_same_images_are_the_same_data(self, image_folder):
        folder, archive = (open_data(path, (16, 16), 1) for path in (image_folder, zip_of(image_folder)))
        assert folder.fingerprint == archive.fingerprint
        np.testing.assert_array_equal(folder.images, archive.images)
        np.testing.assert_array_equal(folder.labels, archive.labels)
        assert folder.class_names == archive.class_names

    def test_fingerprint_depends_on_pixels_and_labels(self):
        image, other = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
        items = ([image, other], [other, image], [(image, 0), (other, 1)], [(image, 1), (other, 0)], [image, image])
        assert len({open_data(list(these), (4, 4), 1).fingerprint for these in items}) == len(items)

    def test_object_is_decoded_each_time_into_the_same_data(self):
        items = [(np.full((4, 4), place, np.uint8), place % 2) for place in range(5)]
        counts = Count(), Count()
        first, second = (open_data(items, (4, 4), 1, on_progress=count) for count in counts)
        assert counts[0].calls == counts[1].calls == [(5, 5)]
        assert first.fingerprint == second.fingerprint
        np.testing.assert_array_equal(second.images[:, 0, 0, 0], range(5))

    def test_changed_object_is_seen_to_be_changed(self):
        items = [np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)]
        before = open_data(items, (4, 4), 1)
        items[1][:] = 7
        after = open_data(items, (4, 4), 1)
        assert after.fingerprint != before.fingerprint
        assert (after.images[1] == 7).all()
        assert (before.images[1] == 1).all()

    def test_objects_with_the_same_pixels_keep_their_own_class_names(self):
        def pets(names):
            class Pets(list):
                classes = names

            return Pets([(np.zeros((4, 4), np.uint8), 0), (np.ones((4, 4), np.uint8), 1)])

        assert open_data(pets(("cat", "dog")), (4, 4), 1).class_names == ("cat", "dog")
        assert open_data(pets(("bird", "fish")), (4, 4), 1).class_names == ("bird", "fish")

    def test_decoding_with_many_threads_gives_the_same_pixels_as_with_one(self, tmp_path, monkeypatch):
        folder = tmp_path / "many"
        folder.mkdir()
        for place in range(600):  # more than two chunks
            Image.new("L", (4, 4), place % 256).save(folder / f"{place:04d}.bmp")
        found = {}
        for cores in (1, 4):
            monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
            monkeypatch.setenv("GANSMITH_CACHE", str(tmp_path / f"cache{cores}"))
            count = Count()
            found[cores] = open_data(folder, (4, 4), 1, on_progress=count)
            assert count.calls[-1] == (600, 600)
            assert [done for done, _ in count.calls] == sorted(done for done, _ in count.calls)
        np.testing.assert_array_equal(found[1].images, found[4].images)
        np.testing.assert_array_equal(found[4].images[:, 0, 0, 0], [place % 256 for place in range(600)])
        assert found[1].fingerprint == found[4].fingerprint


class TestBadImages:
    def test_broken_image_is_skipped_by_name_and_the_others_keep_their_labels(self, image_folder):
        whole = pixels_of(image_folder)
        (image_folder / "cats" / "003.png").write_bytes(b"")
        (image_folder / "dogs" / "011.png").write_bytes(b"<html></html>")
        data = open_data(image_folder, (16, 16), 1)
        assert [name for name, _ in data.skipped] == ["cats/003.png", "dogs/011.png"]
        assert data.skipped[0][1] == "the file is empty"
        np.testing.assert_array_equal(data.images, np.delete(whole, [3, 23], 0))
        assert data.labels.tolist() == [0] * 11 + [1] * 11

    def test_skipped_images_are_still_named_when_the_cache_is_read(self, image_folder):
        (image_folder / "cats" / "ä 😀.png").write_bytes(b"")
        first, second = (open_data(image_folder, (16, 16), 1) for _ in range(2))
        assert first.skipped == second.skipped == (("cats/ä 😀.png", "the file is empty"),)

    def test_bad_image_of_an_object_is_skipped(self):
        items = [np.zeros((4, 4), np.uint8), np.full((4, 4), 2.0), np.ones((4, 4), np.uint8)]
        data = open_data(items, (4, 4), 1)
        assert [name for name, _ in data.skipped] == ["1"]
        assert data.images[:, 0, 0, 0].tolist() == [0, 1]

    def test_item_of_a_labelled_object_that_cannot_be_read_is_skipped(self):
        class Pets(list):
            def __getitem__(self, index):
                if index == 1:
                    raise OSError("image file is truncated")
                return super().__getitem__(index)

        items = Pets([(np.full((4, 4), place, np.uint8), place % 2) for place in range(4)])
        data = open_data(items, (4, 4), 1)
        assert data.skipped == (("1", "image file is truncated"),)
        assert data.labels.tolist() == [0, 0, 1]

    def test_all_broken_is_a_data_error_with_a_name_and_reason(self, tmp_path, cache):
        folder = tmp_path / "broken"
        folder.mkdir()
        for name in ("a.png", "b.png"):
            (folder / name).write_bytes(b"")
        with pytest.raises(DataError, match=r"none of its 2 images can be read; a\.png: the file is empty"):
            open_data(folder, (16, 16), 1)
        assert list(cache.iterdir()) == []

    def test_encrypted_or_damaged_zip_entry_is_skipped(self, image_folder):
        path = zip_of(image_folder)
        content = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            first, second = (archive.getinfo(f"cats/00{place}.png") for place in range(2))
        content[first.header_offset + 30 + len(first.filename) + 50] ^= 255  # its CRC is wrong now
        for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # flag bit 0: encrypted
            header = content.index(second.filename.encode(), second.header_offset if offset == 6 else 0)
            header = content.rindex(magic, 0, header if offset == 6 else content.rindex(second.filename.encode()))
            content[header + offset] |= 1
        path.write_bytes(content)
        data = open_data(path, (16, 16), 1)
        assert [name for name, _ in data.skipped] == ["cats/000.png", "cats/001.png"]
        assert "CRC" in data.skipped[0][1]
        assert "encrypted" in data.skipped[1][1]
        assert len(data) == 22

    def test_interrupted_decoding_leaves_nothing_in_the_cache(self, image_folder, cache):
        def interrupt(done: int, count: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            open_data(image_folder, (16, 16), 1, on_progress=interrupt)
        assert list(cache.iterdir()) == []
        assert len(open_data(image_folder, (16, 16), 1)) == 24
