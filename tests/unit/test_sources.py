"""Sources: which entries a folder, zip or Python object has, and what the errors say."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gansmith.data import open_source
from gansmith.data.sources import FolderSource, ObjectSource, ZipSource
from gansmith.errors import DataError
from tests.conftest import write_images


def write_png(path: Path, value: int = 0, size: tuple[int, int] = (4, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path, "PNG")
    return path


def make_zip(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, str(file.relative_to(folder)))
    return path


def listing_of(path: Path, split: str = "train") -> tuple[list[str], list[int] | None, tuple[str, ...]]:
    listing = open_source(path).listing(split)
    return list(listing.names), None if listing.labels is None else listing.labels.tolist(), listing.class_names


class TestFolder:
    def test_subfolders_are_classes_in_alphabetical_order(self, tmp_path):
        for name in ("dogs/b.png", "dogs/a.png", "cats/a.png"):
            write_png(tmp_path / name)
        assert listing_of(tmp_path) == (["cats/a.png", "dogs/a.png", "dogs/b.png"], [0, 1, 1], ("cats", "dogs"))

    def test_labels_are_64_bit_integers(self, image_folder):
        assert open_source(image_folder).listing("train").labels.dtype == np.int64

    def test_train_and_test_folders_are_splits_with_the_same_classes(self, tmp_path):
        for name in ("train/cats/1.png", "train/dogs/2.png", "test/cats/3.png", "test/dogs/4.png"):
            write_png(tmp_path / name)
        assert listing_of(tmp_path) == (["train/cats/1.png", "train/dogs/2.png"], [0, 1], ("cats", "dogs"))
        assert listing_of(tmp_path, "test") == (["test/cats/3.png", "test/dogs/4.png"], [0, 1], ("cats", "dogs"))

    def test_class_that_one_split_lacks_does_not_move_the_labels_of_the_other(self, tmp_path):
        for name in ("train/cats/1.png", "train/dogs/2.png", "test/dogs/4.png"):
            write_png(tmp_path / name)
        _, labels, class_names = listing_of(tmp_path, "test")
        assert [class_names[label] for label in labels] == ["dogs"]
        assert labels == [listing_of(tmp_path)[2].index("dogs")]

    def test_folder_without_a_test_folder_has_an_empty_test_split(self, image_folder):
        assert listing_of(image_folder, "test") == ([], None, ())

    def test_outer_folder_is_no_class(self, tmp_path):
        for name in ("data/photos/cats/1.png", "data/photos/dogs/2.png"):
            write_png(tmp_path / name)
        assert listing_of(tmp_path) == (["data/photos/cats/1.png", "data/photos/dogs/2.png"], [0, 1], ("cats", "dogs"))

    def test_outer_folder_around_splits_is_ignored(self, tmp_path):
        for name in ("data/train/cats/1.png", "data/test/cats/2.png"):
            write_png(tmp_path / name)
        assert listing_of(tmp_path) == (["data/train/cats/1.png"], [0], ("cats",))
        assert listing_of(tmp_path, "test") == (["data/test/cats/2.png"], [0], ("cats",))

    def test_flat_folder_has_no_classes(self, tmp_path):
        write_images(tmp_path, 2)
        assert listing_of(tmp_path) == (["000.png", "001.png"], None, ())

    def test_images_beside_folders_mean_no_classes(self, tmp_path):
        for name in ("cats/1.png", "dogs/2.png", "3.png"):
            write_png(tmp_path / name)
        assert listing_of(tmp_path) == (["3.png", "cats/1.png", "dogs/2.png"], None, ())

    def test_class_folder_without_images_is_no_class(self, tmp_path):
        write_png(tmp_path / "cats/1.png")
        write_png(tmp_path / "mice/1.png")
        (tmp_path / "dogs").mkdir()
        assert listing_of(tmp_path)[2] == ("cats", "mice")

    def test_one_folder_of_images_is_no_class(self, tmp_path):
        write_png(tmp_path / "holiday/1.png")
        assert listing_of(tmp_path) == (["holiday/1.png"], None, ())

    def test_a_class_may_be_called_train(self, tmp_path):
        for name in ("train", "plane", "car"):
            write_png(tmp_path / name / "1.png")
        assert listing_of(tmp_path)[2] == ("car", "plane", "train")

    def test_validation_folder_beside_train_is_left_alone(self, tmp_path):
        for name in ("train/a", "train/b", "val/a"):
            write_png(tmp_path / name / "1.png")
        assert listing_of(tmp_path)[0] == ["train/a/1.png", "train/b/1.png"]

    def test_hidden_files_macosx_and_other_files_are_ignored(self, tmp_path):
        for name in ("a.png", ".hidden.png", "._a.png", ".git/b.png", "__MACOSX/a.png", "notes.txt", "png", "x.svg"):
            write_png(tmp_path / name)
        assert listing_of(tmp_path) == (["a.png"], None, ())

    def test_suffix_may_be_upper_case(self, tmp_path):
        for name in ("a.JPG", "b.Jpeg", "c.PNG", "d.TIFF", "e.webp"):
            write_png(tmp_path / name)
        assert listing_of(tmp_path)[0] == ["a.JPG", "b.Jpeg", "c.PNG", "d.TIFF", "e.webp"]

    def test_names_may_hold_spaces_unicode_emoji_and_255_bytes(self, tmp_path):
        names = ["mein hund/ä ö.png", "кот/猫😀.png", "кот/" + "x" * 251 + ".png"]
        for name in names:
            write_png(tmp_path / name, 7)
        source = open_source(tmp_path)
        assert list(source.listing("train").names) == sorted(names)
        assert source.listing("train").class_names == ("mein hund", "кот")
        assert all(source.read(name).startswith(b"\x89PNG") for name in names)

    def test_name_that_is_no_valid_unicode_is_read(self, tmp_path):
        write_png(tmp_path / os.fsdecode(b"caf\xe9.png"))
        source = open_source(tmp_path)
        (name,) = source.listing("train").names
        assert source.read(name).startswith(b"\x89PNG")

    def test_link_to_a_parent_folder_is_not_followed(self, tmp_path):
        write_png(tmp_path / "cats/1.png")
        (tmp_path / "cats/loop").symlink_to(tmp_path, target_is_directory=True)
        assert listing_of(tmp_path)[0] == ["cats/1.png"]

    def test_link_to_an_image_is_an_image(self, tmp_path):
        original = write_png(tmp_path / "elsewhere/1.png")
        (tmp_path / "pets").mkdir()
        (tmp_path / "pets/linked.png").symlink_to(original)
        assert listing_of(tmp_path / "pets")[0] == ["linked.png"]

    @pytest.mark.parametrize("target", ["gone.png", "broken.png"], ids=["missing", "loop"])
    def test_link_that_leads_nowhere_stops_nothing(self, tmp_path, target):
        write_png(tmp_path / "good.png")
        (tmp_path / "broken.png").symlink_to(target)
        assert "good.png" in listing_of(tmp_path)[0]

    def test_stamp_is_the_same_while_nothing_changes(self, image_folder):
        assert open_source(image_folder).stamp == open_source(image_folder).stamp

    @pytest.mark.parametrize("change", ["content", "time", "added", "removed", "renamed"])
    def test_stamp_changes_with_the_folder(self, image_folder, change):
        before = open_source(image_folder).stamp
        file = image_folder / "cats/000.png"
        match change:
            case "content":
                file.write_bytes(file.read_bytes() + b"\0")
            case "time":
                os.utime(file, ns=(1, 1))
            case "added":
                write_png(image_folder / "cats/new.png")
            case "removed":
                file.unlink()
            case "renamed":
                file.rename(image_folder / "dogs/moved.png")
        assert open_source(image_folder).stamp != before

    def test_file_that_is_no_image_does_not_change_the_stamp(self, image_folder):
        before = open_source(image_folder).stamp
        (image_folder / "notes.txt").write_text("hello")
        assert open_source(image_folder).stamp == before

    def test_file_over_256_megabytes_is_refused_unread(self, tmp_path):
        with (tmp_path / "huge.png").open("wb") as file:
            file.truncate(256 * 2**20 + 1)
        with pytest.raises(ValueError, match="larger than 256 MB"):
            open_source(tmp_path).read("huge.png")


class TestZip:
    @pytest.mark.parametrize(
        "names",
        [
            ["cats/1.png", "dogs/2.png", "dogs/10.png"],
            ["train/cats/1.png", "test/cats/2.png"],
            ["outer/cats/1.png", "outer/dogs/2.png"],
            ["1.png", "cats/2.png"],
            [".hidden.png", "__MACOSX/cats/._1.png", "cats/ä 😀.JPG", "readme.txt"],
        ],
    )
    def test_zip_lists_what_the_folder_it_was_made_from_lists(self, tmp_path, names):
        for name in names:
            write_png(tmp_path / "data" / name)
        path = make_zip(tmp_path / "data", tmp_path / "data.zip")
        for split in ("train", "test"):
            assert listing_of(path, split) == listing_of(tmp_path / "data", split)

    def test_zip_is_read_in_place(self, tmp_path):
        write_images(tmp_path / "data" / "cats", 3)
        path = make_zip(tmp_path / "data", tmp_path / "data.zip")
        before = sorted(tmp_path.rglob("*"))
        source = open_source(path)
        assert isinstance(source, ZipSource)
        assert source.read("cats/001.png") == (tmp_path / "data/cats/001.png").read_bytes()
        assert sorted(tmp_path.rglob("*")) == before

    def test_zip_with_another_suffix_is_still_a_zip(self, tmp_path):
        write_images(tmp_path / "data", 2)
        path = make_zip(tmp_path / "data", tmp_path / "archive.dat")
        assert listing_of(path)[0] == ["000.png", "001.png"]

    def test_stamp_changes_when_the_zip_does(self, tmp_path):
        write_images(tmp_path / "data", 2)
        path = make_zip(tmp_path / "data", tmp_path / "data.zip")
        before = open_source(path).stamp
        os.utime(path, ns=(1, 1))
        assert open_source(path).stamp != before

    def test_entries_that_climb_out_are_ignored(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            for name in ("../evil.png", "a/../../evil.png", "good.png"):
                archive.writestr(name, b"x")
        assert listing_of(tmp_path / "data.zip")[0] == ["good.png"]

    def test_text_named_zip_is_a_data_error_that_names_it(self, tmp_path):
        path = tmp_path / "data.zip"
        path.write_text("<html>404</html>")
        with pytest.raises(DataError, match=r"data\.zip: not a readable zip .*downloaded whole"):
            open_source(path).listing("train")

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
    def test_truncated_zip_is_a_data_error_that_names_it(self, tmp_path, share):
        write_images(tmp_path / "data", 5)
        path = make_zip(tmp_path / "data", tmp_path / "data.zip")
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(DataError, match=r"data\.zip: not a readable zip .*downloaded whole"):
            open_source(path).listing("train")

    def test_entry_that_claims_a_huge_size_is_refused_unread(self, tmp_path):
        path = tmp_path / "bomb.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb.png", bytes(1000))
        content = bytearray(path.read_bytes())
        entry = content.index(b"PK\x01\x02")  # in the central directory
        content[entry + 24 : entry + 28] = (256 * 2**20 + 1).to_bytes(4, "little")
        path.write_bytes(content)
        with pytest.raises(ValueError, match="larger than 256 MB"):
            open_source(path).read("bomb.png")


class TestObjects:
    def test_list_of_arrays_has_no_classes(self):
        source = open_source([np.zeros((4, 4), np.uint8)] * 3)
        assert isinstance(source, ObjectSource)
        assert list(source.listing("train").names) == ["0", "1", "2"]
        assert source.listing("train").labels is None
        assert source.listing("train").class_names == ()

    def test_second_value_of_a_tuple_is_the_label(self):
        items = [(np.full((4, 4), place, np.uint8), label) for place, label in enumerate([2, 0, torch.tensor(2)])]
        listing = open_source(items).listing("train")
        assert listing.labels.tolist() == [2, 0, 2]
        assert listing.class_names == ("0", "1", "2")
        assert open_source(items).read("1")[0, 0] == 1

    def test_class_names_are_taken_from_the_object(self):
        class Pets:
            classes = ["cat", "dog"]  # noqa: RUF012

            def __len__(self):
                return 4

            def __getitem__(self, index):
                return torch.zeros(3, 8, 8), index % 2

        source = open_source(Pets())
        assert source.name == "pets"
        assert source.listing("train").class_names == ("cat", "dog")
        assert source.listing("train").labels.tolist() == [0, 1, 0, 1]

    def test_object_has_no_test_split_and_no_stamp(self):
        source = open_source([np.zeros((4, 4), np.uint8)])
        assert list(source.listing("test").names) == []
        assert source.stamp is None

    def test_label_that_is_no_integer_is_a_data_error_that_shows_it(self):
        with pytest.raises(DataError, match="'cat', not a whole number"):
            open_source([(np.zeros((4, 4), np.uint8), "cat")]).listing("train")

    def test_item_without_a_label_among_labelled_ones_is_a_data_error(self):
        image = np.zeros((4, 4), np.uint8)
        with pytest.raises(DataError, match="label"):
            open_source([(image, 0), image]).listing("train")

    @pytest.mark.parametrize("label", [2, -1])
    def test_label_outside_the_class_names_is_a_data_error(self, label):
        class Pets(list):
            classes = ("cat", "dog")

        with pytest.raises(DataError, match=str(label)):
            open_source(Pets([(np.zeros((4, 4), np.uint8), 0), (np.zeros((4, 4), np.uint8), label)])).listing("train")


class TestOpenSource:
    def test_each_kind_of_path_opens_as_its_source(self, image_folder):
        assert isinstance(open_source(image_folder), FolderSource)
        assert isinstance(open_source(str(image_folder)), FolderSource)
        assert open_source("digits").name == "digits"

    def test_wrong_path_names_near_matches(self, image_folder):
        with pytest.raises(DataError, match=r"pest: no such folder or zip \(did you mean 'pets'\?\)"):
            open_source(image_folder.with_name("pest"))

    def test_misspelt_name_names_near_matches_and_the_embedded_data(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(DataError, match=r"digit: no such .* \(did you mean 'digits'\?\); embedded data: digits"):
            open_source("digit")

    def test_path_in_a_folder_that_does_not_exist_is_a_data_error(self, tmp_path):
        with pytest.raises(DataError, match="no such folder or zip"):
            open_source(tmp_path / "no" / "such")

    def test_file_that_is_no_zip_is_a_data_error(self, tmp_path):
        with pytest.raises(DataError, match=r"1\.png: neither a folder nor a zip"):
            open_source(write_png(tmp_path / "1.png"))

    @pytest.mark.parametrize("thing", [5, None, iter([])])
    def test_object_without_length_and_items_is_a_data_error_that_names_its_type(self, thing):
        with pytest.raises(DataError, match=rf"data is a {type(thing).__name__}; give .* __getitem__"):
            open_source(thing)
