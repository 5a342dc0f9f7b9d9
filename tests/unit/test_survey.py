"""The survey: what it finds in a source, what it says is done to it, and the command that prints it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gansmith.cli import main
from gansmith.data import open_data, open_source, survey
from gansmith.errors import DataError
from tests.conftest import write_images
from tests.unit.test_decode import encoded, noise


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GANSMITH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class TestFindings:
    def test_counts_sizes_modes_formats_and_classes(self, image_folder):
        Image.new("RGB", (30, 10)).save(image_folder / "dogs" / "wide.bmp")
        found = survey(image_folder)
        assert found.num_images == {"train": 25, "test": 0}
        assert list(found.sizes.items()) == [((16, 16), 24), ((10, 30), 1)]
        assert list(found.modes.items()) == [("L", 24), ("RGB", 1)]
        assert list(found.formats.items()) == [("PNG", 24), ("BMP", 1)]
        assert found.class_counts == {"train": (12, 13)}
        assert (found.bad, found.duplicates, found.empty_classes) == ((), (), ())
        assert found.num_usable == 25

    def test_nothing_is_written_to_the_cache(self, image_folder, cache):
        survey(image_folder)
        assert not cache.exists()

    def test_both_splits_are_looked_at_and_bad_images_leave_their_class(self, tmp_path):
        for split, count in (("train", 5), ("test", 3)):
            for name in ("cats", "dogs"):
                write_images(tmp_path / "pets" / split / name, count, seed=count + len(name[0]))
        (tmp_path / "pets" / "test" / "dogs" / "001.png").write_bytes(b"")
        (tmp_path / "pets" / "train" / "cats" / "001.png").write_bytes(b"")
        found = survey(tmp_path / "pets")
        assert found.num_images == {"train": 10, "test": 6}
        assert found.class_counts == {"train": (4, 5), "test": (3, 2)}
        assert [name for name, _ in found.bad] == ["train/cats/001.png", "test/dogs/001.png"]

    def test_duplicates_are_equal_pixels_whatever_the_file(self, tmp_path):
        write_images(tmp_path, 4)
        shutil.copy(tmp_path / "001.png", tmp_path / "copy.png")
        with Image.open(tmp_path / "001.png") as image:
            image.save(tmp_path / "same.bmp")
        assert survey(tmp_path).duplicates == (("001.png", "copy.png", "same.bmp"),)

    def test_plain_images_of_other_sizes_are_no_duplicates(self, tmp_path):
        for side in (8, 16, 24):
            Image.new("L", (side, side), 7).save(tmp_path / f"{side}.png")
        assert survey(tmp_path).duplicates == ()

    @pytest.mark.parametrize(
        ("image", "file_format", "channels", "done"),
        [
            (Image.new("CMYK", (16, 16)), "JPEG", 3, "CMYK, converted to RGB"),
            (Image.new("CMYK", (16, 16)), "TIFF", 1, "CMYK, converted to grey"),
            (Image.new("I;16", (16, 16)), "PNG", 1, "16-bit, scaled to 8"),
            (Image.new("I", (16, 16)), "TIFF", 1, "32-bit, scaled to 8"),
            (Image.new("F", (16, 16)), "TIFF", 1, "floating point, scaled to 8 bits"),
            (Image.new("RGBA", (16, 16)), "PNG", 3, "transparent, laid on white"),
            (Image.new("RGBA", (16, 16)), "PNG", 4, None),
            (Image.new("L", (16, 16)), "PNG", 3, "grey, made RGB"),
            (Image.new("L", (16, 16)), "PNG", 1, None),
            (Image.new("P", (16, 16)), "GIF", 3, None),
        ],
    )
    def test_what_is_done_to_an_odd_image_is_named(self, image, file_format, channels, done, tmp_path):
        (tmp_path / f"odd.{file_format.lower()}").write_bytes(encoded(image, file_format))
        treatments = list(survey(tmp_path, (16, 16), channels).treatments)
        assert (done in treatments) if done else not treatments

    @pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP"])
    def test_turned_image_is_named_and_its_size_is_the_upright_one(self, file_format, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        (tmp_path / f"a.{file_format.lower()}").write_bytes(encoded(Image.new("RGB", (20, 10)), file_format, exif=exif))
        found = survey(tmp_path)
        assert list(found.sizes) == [(20, 10)]
        assert "turned by its EXIF orientation" in found.treatments
        assert found.facts.size == (20, 10)

    @pytest.mark.parametrize(
        ("fit", "done"),
        [
            ("crop", {"cropped to the middle and resized to 16x16": 1, "resized to 16x16, enlarged": 1}),
            ("pad", {"resized, with bars, to 16x16": 1, "resized to 16x16, enlarged": 1}),
            ("stretch", {"stretched to 16x16": 1, "resized to 16x16, enlarged": 1}),
        ],
    )
    def test_what_is_done_to_sizes_depends_on_fit(self, fit, done, tmp_path):
        Image.new("L", (90, 30)).save(tmp_path / "wide.png")
        Image.new("L", (8, 8)).save(tmp_path / "small.png")
        found = survey(tmp_path, (16, 16), fit=fit)
        assert found.resizing == done
        named = [names for text, names in found.treatments.items() if "over half" in text]
        assert named == ([("wide.png",)] if fit == "crop" else [])

    def test_cells_are_what_training_sees(self, tmp_path):
        write_images(tmp_path, 70, (20, 30), mode="RGB")
        found = survey(tmp_path, (16, 16))
        data = open_data(tmp_path, (16, 16), 3)
        assert found.cells.shape == (64, 3, 16, 16)
        for cell, place in ((0, 0), (63, 69)):
            np.testing.assert_array_equal(found.cells[cell], data.images[place])

    def test_cells_have_a_row_per_class_and_bad_ones_are_empty_at_its_end(self, image_folder):
        (image_folder / "cats" / "000.png").write_bytes(b"")
        found = survey(image_folder)
        assert (found.columns, len(found.cells)) == (8, 16)
        assert (found.cells[7] == 255).all()
        assert not (found.cells[8:] == 255).all((1, 2, 3)).any()

    def test_every_kind_of_source_can_be_surveyed(self):
        assert survey("digits").facts.num_classes == 10
        items = [(np.full((4, 6, 5), place, np.uint8), place % 2) for place in range(6)]
        found = survey(items, (4, 6))
        assert (found.form.channels, found.modes, found.class_counts["train"]) == (5, {"array": 6}, (3, 3))
        assert survey([torch.zeros(3, 4, 6)], (4, 6)).num_usable == 1
        assert survey(open_source([noise()])).formats == {"object": 1}

    def test_nothing_usable_is_a_data_error_with_a_reason(self, tmp_path):
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / name).write_bytes(encoded(noise(), "JPEG")[:700])
        with pytest.raises(DataError, match=r"none of its 2 images can be read; a\.jpg: .*truncated"):
            survey(tmp_path)


class TestFit:
    def test_fit_is_part_of_the_cache_key_and_no_part_of_the_fingerprint(self, tmp_path):
        write_images(tmp_path / "same", 3)
        write_images(tmp_path / "other", 3, (20, 30))
        for folder, count in (("same", 1), ("other", 3)):
            found = {
                open_data(tmp_path / folder, (16, 16), 1, fit=fit).fingerprint for fit in ("crop", "pad", "stretch")
            }
            assert len(found) == count

    def test_padding_keeps_the_whole_image_between_bars_of_the_colour_of_its_edges(self):
        rows = np.repeat(np.array([[10, 20, 30, 40]], np.uint8), 2, 0)
        (image,) = open_data([rows], (4, 4), 1, fit="pad").images[:, 0]
        assert image.tolist() == [[25] * 4, [10, 20, 30, 40], [10, 20, 30, 40], [25] * 4]
        (turned,) = open_data([rows.T.copy()], (4, 5), 1, fit="pad").images[:, 0]
        assert turned.T.tolist() == [[25] * 4, [10, 20, 30, 40], [10, 20, 30, 40], [25] * 4, [25] * 4]

    def test_stretching_uses_the_whole_image_and_nothing_else(self):
        image = np.repeat(np.array([[0], [255]], np.uint8), 8, 1)
        (pixels,) = open_data([image], (2, 2), 1, fit="stretch").images[:, 0]
        assert pixels.tolist() == [[0, 0], [255, 255]]


class TestCommand:
    def printed(self, capsys, *arguments: str) -> str:
        main(["data", *arguments])
        return capsys.readouterr().out

    def test_contact_sheet_is_written_where_it_says(self, image_folder, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert "contact sheet: sheets/a.png" in self.printed(capsys, str(image_folder), "--out", "sheets/a.png")
        with Image.open(tmp_path / "sheets" / "a.png") as sheet:
            assert sheet.width > sheet.height  # two rows of eight

    def test_quiet_prints_nothing_and_writes_the_sheet(self, image_folder, tmp_path, capsys):
        assert self.printed(capsys, str(image_folder), "--quiet", "--out", str(tmp_path / "a.png")) == ""
        assert (tmp_path / "a.png").exists()

    def test_names_are_cut_short_unless_all_are_asked_for(self, tmp_path, capsys):
        folder = write_images(tmp_path / "photos", 3)
        for number in range(9):
            (folder / f"bad{number}.png").write_bytes(b"")
        out = ("--out", str(tmp_path / "a.png"))
        short, long = (self.printed(capsys, str(folder), *more, *out) for more in ((), ("--all",)))
        assert "bad4.png: the file is empty" in short
        assert "bad5.png" not in short
        assert "and 4 more (--all shows them)" in short
        assert "training refuses them without --allow-bad" in short
        assert "bad8.png: the file is empty" in long

    def test_speed_and_memory_are_measured(self, image_folder, tmp_path, capsys):
        options = ("--recipe", "mlp", "--out", str(tmp_path / "a.png"))
        printed = self.printed(capsys, str(image_folder), *options)
        assert "mlp would train at about" in printed
        assert "MB of memory" in printed

    def test_mistakes_are_reported_together_before_torch_is_imported(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "gansmith.data", None)  # importing it would fail
        with pytest.raises(SystemExit) as exit_:
            main(
                ["data", "x", "--fit", "strech", "--size", "a", "--channels", "2", "--recipe", "mpl", "--out", "a.txt"]
            )
        assert exit_.value.code == 2
        errors = capsys.readouterr().err
        for text in ("5 mistakes", "'stretch'", "--size a", "--channels 2", "'mlp'", "--out a.txt"):
            assert text in errors

    def test_nothing_usable_exits_3(self, tmp_path, capsys):
        (tmp_path / "a.png").write_bytes(b"")
        with pytest.raises(SystemExit) as exit_:
            main(["data", str(tmp_path)])
        assert exit_.value.code == 3
        assert "the file is empty" in capsys.readouterr().err
