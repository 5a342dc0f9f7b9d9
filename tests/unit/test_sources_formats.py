"""IDX, npz, CIFAR binary, stacked images and Gaussians, against bytes made by hand."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest
import torch
from PIL import Image

import gansmith
from gansmith.data import open_data, open_source
from gansmith.data.sources import CifarSource, FolderSource, IdxSource, NpzSource, StackedSource
from gansmith.data.sources.gaussians import grid, ring
from gansmith.errors import DataError
from tests.source_files import cifar_bytes, idx_bytes, pixels, png, write_cifar, write_idx

TWO = bytes.fromhex("00000803 00000002 00000002 00000003") + bytes(range(12))
TWO_LABELS = bytes.fromhex("00000801 00000002 0701")


class TestIdx:
    @pytest.mark.parametrize("dot", ["-", "."])
    @pytest.mark.parametrize("end", ["", ".gz"])
    def test_bytes_by_hand(self, tmp_path, dot, end):
        pack = gzip.compress if end else bytes
        (tmp_path / f"train-images{dot}idx3-ubyte{end}").write_bytes(pack(TWO))
        (tmp_path / f"train-labels{dot}idx1-ubyte{end}").write_bytes(pack(TWO_LABELS))
        source = open_source(tmp_path)
        listing = source.listing("train")
        assert isinstance(source, IdxSource)
        assert list(listing.names) == ["train/0", "train/1"]
        assert listing.labels.tolist() == [7, 1]
        assert listing.class_names == tuple("01234567")
        assert source.read("train/1").tolist() == [[6, 7, 8], [9, 10, 11]]
        assert list(source.listing("test").names) == []

    def test_t10k_is_the_test_split_and_classes_are_those_of_both(self, tmp_path):
        write_idx(tmp_path, pixels(3), [0, 1, 0])
        write_idx(tmp_path, pixels(2, seed=1), [4, 1], "t10k")
        source = open_source(tmp_path)
        assert source.listing("train").class_names == source.listing("test").class_names == tuple("01234")
        assert source.listing("test").labels.tolist() == [4, 1]
        assert np.array_equal(source.read("test/1"), pixels(2, seed=1)[1])

    def test_one_images_file_finds_its_labels(self, tmp_path):
        write_idx(tmp_path, pixels(3), [0, 1, 0])
        write_idx(tmp_path, pixels(2, seed=1), [4, 1], "t10k", gz=True)
        source = open_source(tmp_path / "t10k-images-idx3-ubyte.gz")
        assert source.listing("train").labels.tolist() == [4, 1]
        assert source.name == "t10k-images-idx3-ubyte"
        assert list(source.listing("test").names) == []

    def test_images_without_labels_have_no_classes(self, tmp_path):
        write_idx(tmp_path, pixels(3), None)
        assert open_source(tmp_path).listing("train").labels is None

    def test_file_of_another_name_is_known_by_its_content(self, tmp_path):
        (tmp_path / "a.dat").write_bytes(gzip.compress(idx_bytes(pixels(3))))
        assert np.array_equal(open_source(tmp_path / "a.dat").read("train/2"), pixels(3)[2])

    def test_gz_that_was_unpacked_but_kept_its_name_is_read(self, tmp_path):
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(TWO)
        assert len(open_source(tmp_path).listing("train").names) == 2

    def test_raw_folder_as_torchvision_leaves_it_prefers_the_unpacked(self, tmp_path):
        write_idx(tmp_path / "MNIST" / "raw", pixels(3), [0, 1, 0])
        write_idx(tmp_path / "MNIST" / "raw", pixels(5), [0] * 5, gz=True)
        assert len(open_source(tmp_path / "MNIST").listing("train").names) == 3

    def test_picture_beside_is_no_data(self, tmp_path):
        write_idx(tmp_path, pixels(3), None)
        (tmp_path / "preview.png").write_bytes(png(pixels(1)[0]))
        assert isinstance(open_source(tmp_path), IdxSource)

    def test_file_cut_after_listing_gives_skipped_rows(self, tmp_path):
        write_idx(tmp_path, pixels(8), None)
        source = open_source(tmp_path)
        source.listing("train")
        os.truncate(tmp_path / "train-images-idx3-ubyte", 16 + 5 * 30)
        data = open_data(source, (6, 5), 1, allow_bad=True)
        assert len(data) == 5
        assert data.skipped[0] == ("train/5", "the file became shorter after it was opened")


class TestNpz:
    @pytest.mark.parametrize(
        ("images", "labels"), [("images", "labels"), ("x", "y"), ("X_train", "Y_train"), ("arr_0", "arr_1")]
    )
    def test_accepted_names(self, tmp_path, images, labels):
        np.savez(tmp_path / "a.npz", **{images: pixels(3), labels: np.array([2, 0, 1], np.uint8)}, other=np.zeros(3))
        source = open_source(tmp_path / "a.npz")
        assert isinstance(source, NpzSource)
        assert source.listing("train").labels.tolist() == [2, 0, 1]
        assert np.array_equal(source.read("train/2"), pixels(3)[2])

    def test_test_split(self, tmp_path):
        arrays = {"x_train": pixels(3), "y_train": np.array([0, 1, 0]), "x_test": pixels(2, seed=1)}
        np.savez_compressed(tmp_path / "a.npz", **arrays, y_test=np.array([[4], [0]]))
        source = open_source(tmp_path / "a.npz")
        assert source.listing("test").labels.tolist() == [4, 0]
        assert len(source.listing("train").class_names) == 5
        assert np.array_equal(source.read("test/1"), pixels(2, seed=1)[1])

    @pytest.mark.parametrize("dtype", ["f2", "<f4", ">f4", "f8"])
    def test_floats_are_scaled_from_0_to_1(self, tmp_path, dtype):
        np.save(tmp_path / "a.npy", (pixels(4, (3, 3)) / 255).astype(dtype))
        data = open_data(tmp_path / "a.npy", (3, 3), 1)
        assert np.array_equal(data.images[:, 0], pixels(4, (3, 3)))

    def test_one_float_above_1_is_one_skipped_image(self, tmp_path):
        values = np.zeros((4, 3, 3), np.float32)
        values[2, 0, 0] = 1.5
        np.save(tmp_path / "a.npy", values)
        assert [name for name, _ in open_data(tmp_path / "a.npy", (3, 3), 1).skipped] == ["train/2"]

    def test_what_sample_writes_is_read_back(self, tmp_path):
        samples = torch.linspace(-1, 1, 5 * 3 * 4 * 4).reshape(5, 3, 4, 4)
        gansmith.save_images(samples, tmp_path / "x.npz")
        data = open_data(tmp_path / "x.npz", (4, 4), 3)
        assert data.labels is None
        assert np.array_equal(data.images, np.round((samples.numpy() + 1) * 127.5).astype(np.uint8))

    def test_large_member_is_unpacked_once_and_not_once_an_image(self, tmp_path, monkeypatch):
        import zipfile

        np.savez_compressed(tmp_path / "a.npz", images=pixels(50))
        source = open_source(tmp_path / "a.npz")
        source.listing("train")
        monkeypatch.setattr(zipfile, "ZipFile", None)
        assert np.array_equal(np.stack([source.read(f"train/{row}") for row in range(50)]), pixels(50))


class TestCifar:
    def test_record_is_a_label_then_three_planes(self, tmp_path):
        images = np.zeros((1, 3, 32, 32), np.uint8)
        images[0, 0, 0, 1], images[0, 2, 31, 30] = 11, 22
        (tmp_path / "data_batch_1.bin").write_bytes(cifar_bytes([(6,)], images))
        source = open_source(tmp_path)
        assert isinstance(source, CifarSource)
        assert source.listing("train").labels.tolist() == [6]
        image = source.read("train/0")
        assert image.shape == (32, 32, 3)
        assert (image[0, 1].tolist(), image[31, 30].tolist(), int(image.sum())) == ([11, 0, 0], [0, 0, 22], 33)

    @pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
    def test_batches_follow_each_other_and_names_are_read(self, tmp_path, inner):
        images = write_cifar(tmp_path / inner, 8)
        (tmp_path / inner / "test_batch.bin").write_bytes(cifar_bytes([(9,)], images[:1]))
        (tmp_path / inner / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
        source = open_source(tmp_path)
        assert source.listing("train").labels.tolist() == list(range(8))
        assert source.listing("train").class_names == tuple("abcdefghij")
        assert source.listing("test").labels.tolist() == [9]
        assert np.array_equal(open_data(source, (32, 32), 3).images, images)

    def test_cifar_100_takes_the_fine_label(self, tmp_path):
        images = pixels(2, (3, 32, 32))
        (tmp_path / "train.bin").write_bytes(cifar_bytes([(3, 99), (4, 0)], images))
        (tmp_path / "test.bin").write_bytes(cifar_bytes([(3, 50)], images[:1]))
        (tmp_path / "fine_label_names.txt").write_text("".join(f"class {number}\n" for number in range(100)))
        source = open_source(tmp_path)
        assert source.listing("train").labels.tolist() == [99, 0]
        assert source.listing("train").class_names[99] == "class 99"
        assert source.listing("test").labels.tolist() == [50]

    def test_one_file_is_a_train_split(self, tmp_path):
        write_cifar(tmp_path, 8)
        assert open_source(tmp_path / "data_batch_2.bin").listing("train").labels.tolist() == [4, 5, 6, 7]

    def test_one_file_of_another_name_is_known_by_its_size(self, tmp_path):
        (tmp_path / "mine.bin").write_bytes(cifar_bytes([(3, 99)], pixels(1, (3, 32, 32))))
        assert open_source(tmp_path / "mine.bin").listing("train").labels.tolist() == [99]

    def test_train_bin_beside_images_is_not_taken_for_cifar(self, tmp_path):
        (tmp_path / "a.png").write_bytes(png(pixels(1)[0]))
        (tmp_path / "train.bin").write_bytes(b"something else")
        assert isinstance(open_source(tmp_path), FolderSource)


class TestStacked:
    def test_label_is_the_three_digits(self):
        source, digits = open_source("stacked:digits"), open_source("digits").listing("train")
        listing = source.listing("train")
        assert len(listing.class_names) == 1000
        assert len(listing.names) == len(digits.names)
        assert listing.class_names[735] == "735"
        chosen = np.random.Generator(np.random.Philox(key=0)).integers(0, len(digits.names), (len(digits.names), 3))
        a, b, c = digits.labels[chosen].T
        assert np.array_equal(listing.labels, 100 * a + 10 * b + c)

    def test_channels_are_the_images_chosen(self):
        digits = open_source("digits")
        names = digits.listing("test").names
        chosen = np.random.Generator(np.random.Philox(key=1)).integers(0, len(names), (len(names), 3))
        stacked = open_source("stacked:digits").read("test/17")
        expected = [np.asarray(digits.read(names[place])) for place in chosen[17]]
        assert np.array_equal(stacked, np.stack(expected, axis=2))

    def test_longer_class_names_are_joined_with_a_plus(self, image_folder):
        names = open_source(f"stacked:{image_folder}").listing("train").class_names
        assert names[:3] == ("cats+cats+cats", "cats+cats+dogs", "cats+dogs+cats")
        assert len(names) == 8

    def test_bad_image_makes_the_items_that_hold_it_bad_and_names_it(self, image_folder):
        (image_folder / "cats" / "003.png").write_bytes(b"no")
        data = open_data(f"stacked:{image_folder}", (16, 16), 3)
        chosen = np.random.Generator(np.random.Philox(key=0)).integers(0, 24, (24, 3))
        assert len(data.skipped) == int((chosen == 3).any(axis=1).sum()) > 0
        assert {reason.partition(":")[0] for _, reason in data.skipped} == {"cats/003.png"}

    def test_object_without_a_stamp_has_none_stacked(self):
        inner = open_source([(np.full((4, 4), row, np.uint8), row % 2) for row in range(4)])
        stacked = StackedSource(inner)
        assert stacked.stamp is None
        assert stacked.read("train/0").shape == (4, 4, 3)

    def test_stacked_twice_has_too_many_classes(self):
        with pytest.raises(DataError, match="1000 classes; stacking needs"):
            open_source("stacked:stacked:digits").listing("train")


class TestGaussians:
    @pytest.mark.parametrize(("source", "count"), [(ring(), 8), (ring("12"), 12), (grid(), 25), (grid("7"), 49)])
    def test_modes_are_equally_likely_with_the_mean_and_deviation_they_say(self, source, count):
        listing = source.listing("train")
        points = np.stack([source.read(name)[0, 0] for name in listing.names]) / 127.5 - 1
        assert source.centres.shape == (count, 2)
        assert len(listing.class_names) == count
        frequencies = np.bincount(listing.labels, minlength=count) / len(points)
        assert np.abs(frequencies - 1 / count).max() < 5 * np.sqrt(1 / count / len(points))
        away = points - source.centres[listing.labels]
        assert np.abs(away).max() < 6 * source.std  # 20,000 normal draws stay within 5
        # The rounding, uniform over 1/127.5, adds its variance.
        assert away.std() == pytest.approx(np.hypot(source.std, 1 / 127.5 / np.sqrt(12)), rel=0.02)

    def test_ring_is_a_circle_and_grid_a_square_lattice_within_the_range(self):
        assert np.hypot(*ring("5").centres.T) == pytest.approx(np.full(5, 0.8))
        assert sorted(set(grid("3").centres.ravel().tolist())) == pytest.approx([-0.8, 0, 0.8])
        assert ring().std == pytest.approx(0.008)
        assert grid().std == pytest.approx(0.4 / 40)

    def test_point_is_an_image_of_one_pixel_and_two_channels(self):
        data = open_data(ring(), (1, 1), 2)
        assert data.images.shape == (10_000, 2, 1, 1)
        assert data.images.dtype == np.uint8
        test = open_data("ring", (1, 1), 2, split="test")
        assert test.images.shape == (2_000, 2, 1, 1)
        assert test.fingerprint != data.fingerprint
        assert open_data("ring:8", (1, 1), 2).fingerprint == data.fingerprint

    @pytest.mark.parametrize("spec", ["ring:0", "ring:-1", "ring:x", "ring:", "ring:10000000000", "grid:1", "grid:²"])
    def test_count_that_cannot_be_is_a_data_error(self, spec):
        with pytest.raises(DataError, match=f"{spec}: the count must be a whole number from"):
            open_source(spec)


class TestObjects:
    IMAGES = pixels(3)

    def test_dictionaries_as_hugging_face_has_them(self):
        items = [{"image": Image.fromarray(image), "label": row} for row, image in enumerate(self.IMAGES)]
        data = open_data(items, (6, 5), 1)
        assert data.labels.tolist() == [0, 1, 2]
        assert np.array_equal(data.images[:, 0], self.IMAGES)

    def test_encoded_bytes_in_a_dictionary(self):
        items = [{"img": {"bytes": png(image), "path": None}} for image in self.IMAGES]
        data = open_data(items, (6, 5), 1)
        assert data.labels is None
        assert np.array_equal(data.images[:, 0], self.IMAGES)

    def test_lists_of_image_and_label(self):
        data = open_data([[image, row] for row, image in enumerate(self.IMAGES)], (6, 5), 1)
        assert data.labels.tolist() == [0, 1, 2]
        assert np.array_equal(data.images[:, 0], self.IMAGES)

    def test_hugging_face_data_set_brings_its_class_names(self):
        import datasets

        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])})
        rows = {"image": [Image.fromarray(image) for image in self.IMAGES], "label": [1, 0, 1]}
        listing = open_source(datasets.Dataset.from_dict(rows, features)).listing("train")
        assert listing.class_names == ("ant", "bee")
        assert listing.labels.tolist() == [1, 0, 1]

    def test_source_that_is_open_is_taken_as_it_is(self):
        source = ring()
        assert open_source(source) is source

    @pytest.mark.parametrize(
        ("item", "shown"),
        [
            ("a.png", "item 0 is a str, its image is 'a.png'"),
            ([[0, 1], [1, 0]], "item 0 is a list, its image is list"),
            ({"pixels": 1, "label": 2}, "item 0 is a dict with the keys pixels, label, its image is NoneType"),
            (5, "item 0 is a int, its image is int"),
        ],
    )
    def test_items_that_are_no_images_are_shown_with_what_is_expected(self, item, shown):
        with pytest.raises(DataError, match=rf"{shown}; an item is an image \(Pillow, array or tensor\), \(image"):
            open_source([item]).listing("train")
