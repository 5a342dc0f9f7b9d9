"""Rows 17, 20, 21, 23, 24 and 27 of docs/faults.md: data that cannot be had, or is not what its name says."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gansmith.data import facts_of, open_data, open_source
from gansmith.errors import DataError, UsageError
from tests.conftest import write_images
from tests.end_to_end.processes import environment, gansmith
from tests.source_files import (
    cifar_bytes,
    idx_bytes,
    pixels,
    png,
    write_cifar,
    write_hub,
    write_idx,
    write_parquet,
    write_zip,
)  # fmt: skip

pytestmark = pytest.mark.faults

PNG = png(pixels(1)[0])
EXECUTED = "executed"


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / EXECUTED)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.path,)


def refusal(data: Any) -> str:
    """Return the one line that refuses to train on this; the command exits 3 with it."""
    with pytest.raises(DataError) as caught:
        facts_of(open_source(data))
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    return str(caught.value)


# 17: nothing there, or not what was meant


def misspelt(folder: Path) -> Path:
    write_images(folder / "photos", 1)
    return folder / "photo"


def missing_parent(folder: Path) -> Path:
    write_images(folder / "photos", 1)
    return folder / "phots" / "cats"


def parent_of_zips(folder: Path) -> Path:
    for name in ("mnist.zip", "faces.zip"):
        write_zip(folder / name, {"a.png": PNG})
    return folder


def parent_of_idx(folder: Path) -> Path:
    write_idx(folder / "mnist", pixels(2), [0, 1])
    return folder


def parent_of_splits(folder: Path) -> Path:
    for name in ("pets", "cars"):
        for split in ("train", "test"):
            write_images(folder / name / split / "a", 1)
    return folder


def parent_of_hub_folders(folder: Path) -> Path:
    for name in ("mnist", "pets"):
        write_hub(folder / name, pixels(3), [0, 1, 2])
    return folder


def other_files(folder: Path) -> Path:
    for name in ("a.heic", "b.HEIC", "c.heic", "notes.txt"):
        (folder / name).write_bytes(b"x")
    return folder


def hidden_only(folder: Path) -> Path:
    (folder / ".a.png").write_bytes(PNG)
    return folder


def empty_below(folder: Path) -> Path:
    (folder / "cats" / "small").mkdir(parents=True)
    return folder


def tarball(folder: Path) -> Path:
    (folder / "cifar-10-binary.tar.gz").write_bytes(gzip.compress(b"x"))
    return folder / "cifar-10-binary.tar.gz"


def one_parquet(folder: Path) -> Path:
    (folder / "train.parquet").write_bytes(b"PAR1")
    return folder / "train.parquet"


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        pytest.param(lambda folder: folder, ["no images found in it", "looked for JPEG", "it is empty"], id="17-empty"),
        pytest.param(empty_below, ["its folders are empty"], id="17-empty-folders"),
        pytest.param(misspelt, ["photo: no such folder or zip", "did you mean 'photos'?"], id="17-misspelt"),
        pytest.param(missing_parent, ["phots is not there", "did you mean 'photos'?"], id="17-missing-parent"),
        pytest.param(parent_of_zips, ["found 2 .zip files; give one of faces.zip, mnist.zip"], id="17-zips"),
        pytest.param(parent_of_idx, ["found 2 suffixless files; give one of mnist"], id="17-parent-of-idx"),
        pytest.param(parent_of_hub_folders, ["found 2 .parquet files; give one of mnist, pets"], id="17-parent-of-hub"),
        pytest.param(parent_of_splits, ["several data sets", "give one of cars, pets"], id="17-parent-of-splits"),
        pytest.param(other_files, ["found 3 .heic files, 1 .txt file"], id="17-heic"),
        pytest.param(hidden_only, ["found hidden files alone"], id="17-hidden-only"),
        pytest.param(tarball, ["another archive; unpack it and give the folder"], id="17-tarball"),
        pytest.param(one_parquet, ["hub's layout; give the folder"], id="17-one-parquet"),
        pytest.param(lambda _: "x" * 300, ["cannot be opened", "too long"], id="17-name-too-long"),
        pytest.param(lambda _: "https://x.org/a.zip", ["it is an address, download it first"], id="17-address"),
        pytest.param(lambda _: "~nobody-here/a", ["~nobody-here is not there"], id="17-no-such-home"),
        pytest.param(lambda _: "minst", ["did you mean 'mnist'?", "from the hub: mnist"], id="17-misspelt-name"),
    ],
)
def test_wrong_place_says_what_was_looked_for_and_what_is_there(make, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal(make(tmp_path))
    assert [part for part in parts if part not in message] == [], message


def test_17_command_exits_3_with_one_line(tmp_path):
    (tmp_path / "photos").mkdir()
    result = gansmith("train", "photos", cwd=tmp_path)
    assert result.returncode == 3
    assert result.stderr.startswith("gansmith: photos: no images found in it")
    assert len(result.stderr.splitlines()) == 1


# 20: zips


def damaged_entry(folder: Path) -> Path:
    path = write_zip(folder / "a.zip", {"bad.png": PNG, "good.png": PNG})
    content = bytearray(path.read_bytes())
    content[content.index(PNG[-30:-20]) if PNG[-30:-20] in content else 60] ^= 0xFF
    path.write_bytes(content)
    return path


def with_flags(folder: Path, names: tuple[str, ...]) -> Path:
    """A zip that says that these entries are encrypted."""
    path = write_zip(folder / "a.zip", {"a.png": PNG, "b.png": PNG})
    content = bytearray(path.read_bytes())
    for name in names:
        for mark, flags, place in ((b"PK\x03\x04", 6, 30), (b"PK\x01\x02", 8, 46)):
            start = -1
            while (start := content.find(mark, start + 1)) >= 0:
                if content[start + place :].startswith(name.encode()):
                    content[start + flags] |= 1
    path.write_bytes(content)
    return path


def link_zip(folder: Path) -> Path:
    path = write_zip(folder / "a.zip", {"good.png": PNG})
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link.png")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    return path


def twice(folder: Path) -> Path:
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for _ in range(2):
            archive.writestr("good.png", PNG)
    return folder / "a.zip"


def understated_bomb(folder: Path) -> Path:
    """An entry of 300 MB of zeros that claims 100 bytes."""
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.png", PNG)
        with archive.open("bomb.png", "w") as entry:
            for _ in range(300):
                entry.write(bytes(2**20))
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 100)
    path.write_bytes(content)
    return path


def entries(*names: str) -> Callable[[Path], Path]:
    return lambda folder: write_zip(folder / "a.zip", dict.fromkeys([*names, "good.png"], PNG))


@pytest.mark.parametrize(
    ("make", "used", "skipped"),
    [
        pytest.param(entries("../x.png"), 1, {}, id="20-climbs-out"),
        pytest.param(entries("/etc/x.png"), 2, {}, id="20-absolute-name"),
        pytest.param(entries("C:\\x.png"), 2, {}, id="20-drive-name"),
        pytest.param(entries("__MACOSX/._a.png", ".hidden.png", "inner.zip"), 1, {}, id="20-macosx-hidden-nested"),
        pytest.param(link_zip, 1, {}, id="20-link"),
        pytest.param(twice, 1, {}, id="20-duplicate-names"),
        pytest.param(lambda folder: with_flags(folder, ("a.png",)), 1, {"a.png": "encrypted"}, id="20-one-encrypted"),
        pytest.param(damaged_entry, 1, {"bad.png": ""}, id="20-damaged-entry"),
        pytest.param(understated_bomb, 1, {"bomb.png": "CRC"}, id="20-bomb-that-lies"),
    ],
)
def test_zip_is_read_in_place_and_bad_entries_are_skipped(make, used, skipped, tmp_path):
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    data = open_data(path, (6, 5), 1)
    assert len(data) == used
    assert sorted(name for name, _ in data.skipped) == sorted(skipped)
    assert all(skipped[name] in reason for name, reason in data.skipped)
    assert sorted(tmp_path.rglob("*")) == before


def truncated_zip(folder: Path) -> Path:
    path = entries("b.png", "c.png")(folder)
    path.write_bytes(path.read_bytes()[:-40])
    return path


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        pytest.param(truncated_zip, ["not a readable zip", "downloaded whole?"], id="20-truncated"),
        pytest.param(
            lambda folder: write_zip(folder / "a.zip", {"inner.zip": b"x", "b.txt": b"x"}),
            ["no images found in it", "found 1 .zip file, 1 .txt file; unpack the zip inside it"],
            id="20-nested-alone",
        ),
        pytest.param(lambda folder: write_zip(folder / "a.zip", {}), ["it is empty"], id="20-empty"),
        pytest.param(
            lambda folder: with_flags(folder, ("a.png", "b.png")),
            ["its images are encrypted; unpack it with the password"],
            id="20-encrypted",
        ),
    ],
)
def test_zip_without_a_usable_image_is_refused(make, parts, tmp_path):
    message = refusal(make(tmp_path))
    assert [part for part in ["a.zip", *parts] if part not in message] == [], message


# 21: names, links, and files that change


def test_21_names_of_all_kinds_are_trained_on(tmp_path):
    names = ["mein hund 🐶/ä ö.JPG", "кот/" + "x" * 251 + ".png", "кот/new\nline.PNG", "кот/.hidden.png"]
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(PNG)
    (tmp_path / "data" / "кот" / "loop").symlink_to(tmp_path / "data", target_is_directory=True)
    (tmp_path / "data" / "кот" / "self.png").symlink_to("self.png")
    data = open_data(tmp_path / "data", (6, 5), 1)
    assert len(data) == 3
    assert data.class_names == ("mein hund 🐶", "кот")
    assert [name for name, _ in data.skipped] == ["кот/self.png"]


def test_21_validation_folder_stays_unused(tmp_path):
    for name in ("train", "val", "valid", "validation"):
        write_images(tmp_path / name / "a", 2, seed=len(name))
    assert len(open_data(tmp_path, (16, 16), 1)) == 2


@pytest.mark.parametrize("change", ["21-deleted", "21-emptied", "21-overwritten", "21-replaced-by-a-pipe"])
def test_file_that_changes_after_the_listing_is_counted_as_skipped(change, tmp_path):
    source = open_source(write_images(tmp_path / "data", 5))
    file = tmp_path / "data" / "003.png"
    match change:
        case "21-deleted":
            file.unlink()
        case "21-emptied":
            file.write_bytes(b"")
        case "21-overwritten":
            file.write_bytes(b"<html>")
        case "21-replaced-by-a-pipe":
            file.unlink()
            os.mkfifo(file)
    data = open_data(source, (16, 16), 1)
    assert (len(data), [name for name, _ in data.skipped]) == (4, ["003.png"])


def test_21_zip_cut_short_after_the_listing_gives_skipped_images(tmp_path):
    path = write_zip(tmp_path / "a.zip", {f"{row}.png": png(image) for row, image in enumerate(pixels(20))})
    source = open_source(path)
    source.listing("train")
    os.truncate(path, path.stat().st_size // 3)
    data = open_data(source, (6, 5), 1, allow_bad=True)
    assert 0 < len(data) < 20
    assert len(data) + len(data.skipped) == 20


@pytest.mark.parametrize("name", ["21-idx-deleted", "21-npz-deleted", "21-cifar-deleted"])
def test_array_file_that_is_deleted_before_the_listing_is_refused(name, tmp_path):
    make = {"21-idx-deleted": idx(IMAGES), "21-npz-deleted": npz(images=pixels(4)), "21-cifar-deleted": cifar([(1,)])}
    source = open_source(make[name](tmp_path))
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(DataError, match="No such file"):
        source.listing("train")


# 23: IDX, npz, CIFAR

IMAGES = idx_bytes(pixels(4))


def idx(content: bytes, labels: bytes = b"", name: str = "train-images-idx3-ubyte") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        if labels:
            (folder / "train-labels-idx1-ubyte").write_bytes(labels)
        return folder

    return make


def idx_gz(content: bytes) -> Callable[[Path], Path]:
    return idx(content, name="train-images-idx3-ubyte.gz")


def npz(**arrays: np.ndarray) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.savez_compressed(folder / "a.npz", **arrays)
        return folder / "a.npz"

    return make


def npy(content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "a.npy").write_bytes(content)
        return folder / "a.npy"

    return make


def npy_bytes(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def damaged_npz(cut: int = 0, flip: bool = False) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = npz(images=pixels(40))(folder)
        content = bytearray(path.read_bytes())
        if flip:
            content[len(content) // 2] ^= 0xFF
        path.write_bytes(content[: len(content) - cut])
        return path

    return make


def object_npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", images=np.array([Bomb(folder)], object), allow_pickle=True)
    return folder / "a.npz"


def object_npy(folder: Path) -> Path:
    np.save(folder / "a.npy", np.array([Bomb(folder)], object), allow_pickle=True)
    return folder / "a.npy"


def cifar_pickles(*names: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        inner = folder / ("cifar-10-batches-py" if "batches.meta" in names else "cifar-100-python")
        inner.mkdir()
        for name in names:
            (inner / name).write_bytes(pickle.dumps(Bomb(folder)))
        return folder

    return make


def one_pickle(folder: Path) -> Path:
    (folder / "data_batch_1").write_bytes(pickle.dumps(Bomb(folder)))
    return folder / "data_batch_1"


def cifar(labels: list[tuple[int, ...]], extra: bytes = b"", name: str = "data_batch_1.bin") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(cifar_bytes(labels, pixels(len(labels), (3, 32, 32))) + extra)
        return folder

    return make


def short_names(folder: Path) -> Path:
    write_cifar(folder)
    (folder / "batches.meta.txt").write_text("airplane\n")
    return folder


def only_t10k(folder: Path) -> Path:
    return write_idx(folder, pixels(2), [0, 1], "t10k")


def two_sets(folder: Path) -> Path:
    write_idx(folder, pixels(2), [0, 1], "emnist-letters-train")
    return write_idx(folder, pixels(2), [0, 1], "emnist-digits-train")


GIANT = struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        pytest.param(idx(b"<htm" + IMAGES[4:]), ["begins with 3c 68 74 6d, expected 00 00 08 03"], id="23-idx-magic"),
        pytest.param(idx(b""), ["begins with nothing, expected 00 00 08 03"], id="23-idx-empty"),
        pytest.param(idx(IMAGES[:10]), ["ends inside its header, after 10 bytes"], id="23-idx-header-cut"),
        pytest.param(
            idx(IMAGES[:-7]),
            ["129 bytes, but its header (4 x 6 x 5) asks for 136; was it downloaded whole?"],
            id="23-idx-short",
        ),
        pytest.param(idx(IMAGES + b"\0\0"), ["138 bytes, but its header (4 x 6 x 5) asks"], id="23-idx-trailing"),
        pytest.param(
            idx(idx_bytes(pixels(4).astype(">f4"), 0x0D)),
            ["values are float32 (0d), expected unsigned bytes (08)"],
            id="23-idx-floats",
        ),
        pytest.param(idx(idx_bytes(pixels(4, (6,)))), ["has 2 dimensions, expected 3"], id="23-idx-dimensions"),
        pytest.param(idx(idx_bytes(pixels(0))), ["(0 x 6 x 5) says that it is empty"], id="23-idx-no-images"),
        pytest.param(idx(GIANT), ["16 bytes, but its header (4294967295 x 4294967295"], id="23-idx-giant"),
        pytest.param(idx_gz(gzip.compress(GIANT)), ["more than it can hold"], id="23-idx-gz-giant"),
        pytest.param(idx_gz(gzip.compress(IMAGES)[:-30]), ["truncated or damaged gzip"], id="23-idx-gz-truncated"),
        pytest.param(idx_gz(gzip.compress(IMAGES)[:12]), ["truncated or damaged gzip"], id="23-idx-gz-stub"),
        pytest.param(
            idx_gz(gzip.compress(IMAGES)[:-8] + bytes(8)), ["truncated or damaged gzip (CRC"], id="23-idx-gz-checksum"
        ),
        pytest.param(idx_gz(gzip.compress(IMAGES[:-7])), ["113 bytes of values, expected 120"], id="23-idx-gz-short"),
        pytest.param(idx_gz(gzip.compress(IMAGES + b"\0")), ["over 120 bytes of values"], id="23-idx-gz-trailing"),
        pytest.param(
            idx(IMAGES, idx_bytes(np.array([1, 2, 3], np.uint8))),
            ["train-images-idx3-ubyte and", "4 images but 3 labels"],
            id="23-idx-counts",
        ),
        pytest.param(idx(IMAGES, IMAGES), ["labels-idx1-ubyte: has 3 dimensions, expected 1"], id="23-idx-3d-labels"),
        pytest.param(
            lambda folder: idx(IMAGES, idx_bytes(np.zeros(4, np.uint8)))(folder) / "train-labels-idx1-ubyte",
            ["these are labels; give the images file"],
            id="23-idx-labels-given",
        ),
        pytest.param(only_t10k, ["has t10k-images-idx3-ubyte but no train images"], id="23-idx-no-train"),
        pytest.param(two_sets, ["several IDX files could be the train images", "emnist-digits"], id="23-idx-several"),
        pytest.param(object_npz, ["images holds Python objects", "never opened"], id="23-npz-objects"),
        pytest.param(object_npy, ["a.npy: images holds Python objects", "never opened"], id="23-npy-objects"),
        pytest.param(
            npz(pictures=pixels(4), y=np.zeros(4, int)),
            ["pictures uint8 (4, 6, 5), y int64 (4,)", "images must be called images or x or x_train"],
            id="23-npz-names",
        ),
        pytest.param(npz(), ["holds no array"], id="23-npz-empty"),
        pytest.param(npz(images=pixels(4), x=pixels(4)), ["images and x could each be the array"], id="23-npz-several"),
        pytest.param(npz(images=pixels(4).astype(int)), ["int64 (4, 6, 5); expected uint8"], id="23-npz-int"),
        pytest.param(npz(images=pixels(4)[0]), ["(6, 5); expected (N, H, W)"], id="23-npz-one-image"),
        pytest.param(
            npz(images=pixels(4, (3, 32, 32))), ["move the channels to the end"], id="23-npz-channels-first"
        ),
        pytest.param(npz(images=pixels(0)), ["it is empty"], id="23-npz-no-images"),
        pytest.param(
            npz(images=pixels(4), labels=np.zeros((4, 10), int)),
            ["labels is int64 (4, 10); expected (4,) integers"],
            id="23-npz-one-hot",
        ),
        pytest.param(npz(images=pixels(4), labels=np.zeros(3, int)), ["(3,); expected (4,)"], id="23-npz-counts"),
        pytest.param(
            npz(images=pixels(2), labels=np.array([0, -1])), ["labels go from -1 to 0"], id="23-npz-negative-label"
        ),
        pytest.param(
            npz(images=pixels(2), labels=np.array([0, 2**40])), ["labels go from 0 to 10995"], id="23-npz-huge-label"
        ),
        pytest.param(npz(images=np.full((4, 6, 5), 7.0)), ["float64 values are neither"], id="23-npz-float-range"),
        pytest.param(npz(images=np.asfortranarray(pixels(4))), ["Fortran order"], id="23-npz-fortran"),
        pytest.param(damaged_npz(cut=30), ["not a readable npz", "copied whole?"], id="23-npz-truncated"),
        pytest.param(damaged_npz(flip=True), ["images cannot be read"], id="23-npz-damaged"),
        pytest.param(npy(npy_bytes(pixels(4))[:-1]), ["its header uint8 (4, 6, 5) asks for"], id="23-npy-short"),
        pytest.param(npy(b"\x93NUMPY\x01\x00"), ["a.npy: images cannot be read"], id="23-npy-header-cut"),
        pytest.param(
            npy(npy_bytes(pixels(4)).replace(b"(4, 6, 5), }      ", b"(4, 6, 5000000), }")),
            ["its header uint8 (4, 6, 5000000) asks for 120,000,128"],
            id="23-npy-giant",
        ),
        pytest.param(cifar([(1,), (2,)], b"x"), ["6,147 bytes, expected a multiple of 3,073"], id="23-cifar-size"),
        pytest.param(cifar([], name="data_batch_1.bin"), ["0 bytes, expected a multiple"], id="23-cifar-empty"),
        pytest.param(cifar([(1,), (10,)]), ["record 1 has label 10, expected 0 to 9"], id="23-cifar-label"),
        pytest.param(cifar([(1, 100)], name="train.bin"), ["label 100, expected 0 to 99"], id="23-cifar-100"),
        pytest.param(cifar([(1,)], name="test_batch.bin"), ["has no data_batch_1.bin"], id="23-cifar-no-train"),
        pytest.param(short_names, ["1 class names, expected 10"], id="23-cifar-names"),
        pytest.param(
            cifar_pickles("data_batch_1", "batches.meta"),
            ["batches.meta: CIFAR's Python version is pickles, which are never opened", "cifar-10-binary.tar.gz"],
            id="23-cifar-pickles",
        ),
        pytest.param(
            cifar_pickles("train", "test", "meta"),
            ["train: CIFAR's Python version is pickles", "cifar-100-binary.tar.gz"],
            id="23-cifar-100-pickles",
        ),
        pytest.param(one_pickle, ["a Python pickle, which is never opened"], id="23-one-pickle"),
    ],
)  # fmt: skip
def test_array_file_that_is_not_what_it_says_is_refused(make, parts, tmp_path):
    message = refusal(make(tmp_path))
    assert str(tmp_path) in message or tmp_path.name in message or "a: none of" in message
    assert [part for part in parts if part not in message] == [], message
    assert not (tmp_path / EXECUTED).exists()


def test_23_giant_headers_take_no_memory(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    places = [idx(GIANT)(tmp_path / "a"), idx_gz(gzip.compress(GIANT))(tmp_path / "b")]
    program = (
        "import resource, sys\nfrom gansmith.data import open_source\nfrom gansmith.errors import DataError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    try: open_source(path).listing('train'); sys.exit('accepted')\n"
        "    except DataError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, places)],
        env=environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert int(result.stdout) < 8_000  # kilobytes


def test_23_pickles_given_to_the_command_exit_3(tmp_path):
    cifar_pickles("data_batch_1", "batches.meta")(tmp_path)
    result = gansmith("train", ".", cwd=tmp_path)
    assert (result.returncode, len(result.stderr.splitlines())) == (3, 1)
    assert "never opened" in result.stderr
    assert not (tmp_path / EXECUTED).exists()


# 24: the hub


def parquet(columns: dict[str, list], kinds: dict[str, str], split: str = "train") -> Callable[[Path], Path]:
    """Kinds are "image", "class" or the name of a type of values."""

    def make(folder: Path) -> Path:
        import datasets

        made = {"image": datasets.Image(), "class": datasets.ClassLabel(names=["a", "b"])}
        features = {name: made.get(kind) or datasets.Value(kind) for name, kind in kinds.items()}
        write_parquet(folder / "data" / f"{split}-00000-of-00001.parquet", columns, features)
        return folder

    return make


def damaged_parquet(folder: Path) -> Path:
    write_hub(folder, pixels(3), [0, 1, 2])
    (file,) = (folder / "data").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    return folder


def two_configurations(folder: Path) -> Path:
    for name in ("small", "large"):
        write_hub(folder, pixels(3), [0, 1, 2]).joinpath("data").rename(folder / name)
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in ("small", "large"))
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return folder


def bad_readme(folder: Path) -> Path:
    write_hub(folder, pixels(3), [0, 1, 2])
    (folder / "README.md").write_text("---\nconfigs: [}\n---\n")
    return folder


def named_beside_a_folder(folder: Path) -> str:
    (folder / "fashion-mnist").mkdir()
    return "fashion-mnist"


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        pytest.param(
            lambda _: "hub:nobody/nothing",
            ["hub:nobody/nothing: the hub cannot be reached and it is not in its cache here; go online, or copy"],
            id="24-offline",
        ),
        pytest.param(
            named_beside_a_folder,
            ["fashion-mnist (zalando-datasets/fashion_mnist): the hub", "for the folder here write ./fashion-mnist"],
            id="24-offline-name-of-a-folder",
        ),
        pytest.param(lambda _: "hub:./nowhere", ["no such folder, and not a name on the hub"], id="24-no-such-folder"),
        pytest.param(lambda _: "hub:", ["not a name on the hub; expected hub:owner/name"], id="24-nothing-named"),
        pytest.param(lambda folder: f"hub:{folder}", ["no parquet files in it"], id="24-no-parquet"),
        pytest.param(
            parquet({"text": ["a"], "label": [0]}, {"text": "string", "label": "class"}),
            ["no image column; it has text (string), label (ClassLabel)"],
            id="24-no-image-column",
        ),
        pytest.param(
            parquet({"photo": [PNG], "mask": [PNG]}, {"photo": "image", "mask": "image"}),
            ["several image columns; it has photo (Image), mask (Image); choose one, such as 'hub:", "#photo'"],
            id="24-several-image-columns",
        ),
        pytest.param(
            lambda folder: f"hub:{parquet({'a': [PNG], 'b': [1]}, {'a': 'image', 'b': 'int64'})(folder)}#b",
            ["'b' is no image column; it has a (Image), b (int64)"],
            id="24-column-is-no-image",
        ),
        pytest.param(
            parquet({"image": [PNG]}, {"image": "image"}, "test"), ["no train split; its splits are"], id="24-no-train"
        ),
        pytest.param(
            parquet({"image": [PNG] * 2, "label": [0, -1]}, {"image": "image", "label": "class"}),
            ["some rows have no label"],
            id="24-half-labelled",
        ),
        pytest.param(
            parquet({"image": [PNG], "label": [-3]}, {"image": "image", "label": "int64"}),
            ["labels go from -3 to -3"],
            id="24-negative-label",
        ),
        pytest.param(damaged_parquet, ["cannot be read (", "expected whole parquet"], id="24-damaged-parquet"),
        pytest.param(two_configurations, ["configurations large, small; choose one, such as"], id="24-configurations"),
        pytest.param(
            lambda folder: f"hub:{two_configurations(folder)}@medium", ["configurations large"], id="24-configuration"
        ),
        pytest.param(bad_readme, ["cannot be read ("], id="24-bad-readme"),
    ],
)  # fmt: skip
def test_hub_data_that_cannot_be_used_is_refused_with_a_hint(make, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal(make(tmp_path))
    assert [part for part in parts if part not in message] == [], message


def test_24_corrupt_row_is_skipped_and_nothing_else(tmp_path):
    import datasets

    images = [png(image) for image in pixels(20)]
    images[4], images[7], images[9] = images[4][:30], b"<html>", None
    write_parquet(
        tmp_path / "train.parquet",
        {"image": images, "label": list(range(20))},
        {"image": datasets.Image(), "label": datasets.Value("int64")},
    )
    data = open_data(tmp_path, (6, 5), 1, allow_bad=True)
    assert [name for name, _ in data.skipped] == ["train/4", "train/7", "train/9"]
    assert data.skipped[2][1] == "the row holds no image"
    assert data.labels.tolist() == [row for row in range(20) if row not in (4, 7, 9)]


def test_24_path_in_a_row_is_not_followed(tmp_path):
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "secret.png").write_bytes(PNG)
    cells = [{"bytes": None, "path": str(tmp_path / "secret.png")}, {"bytes": PNG, "path": None}]
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    note = b'{"info": {"features": {"image": {"_type": "Image"}}}}'
    table = pyarrow.table({"image": pyarrow.array(cells, kind)}).replace_schema_metadata({b"huggingface": note})
    (tmp_path / "set").mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "set" / "train.parquet")
    data = open_data(tmp_path / "set", (6, 5), 1)
    assert data.skipped == (("train/0", "the row holds no image"),)


# 27: the extra


@pytest.mark.parametrize(
    ("library", "data"), [("huggingface_hub", "mnist"), ("datasets", "local")], ids=["27-hub-by-name", "27-hub-folder"]
)
def test_missing_extra_says_how_to_install_it(library, data, tmp_path, monkeypatch):
    write_hub(tmp_path / "local", pixels(3), [0, 1, 2])
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match=rf"{library} is not installed; .*pip install 'gansmith\[hub\]'") as caught:
        facts_of(open_source(data if data == "mnist" else tmp_path / data))
    assert caught.value.exit_code == 2


def test_27_command_without_the_extra_exits_2(tmp_path):
    program = (
        "import sys; sys.modules['huggingface_hub'] = None; from gansmith.cli import main; main(['train', 'mnist'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "pip install 'gansmith[hub]'" in result.stderr
