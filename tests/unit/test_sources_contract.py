"""What every source keeps to, whatever the images come in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gansmith.data import facts_of, open_data, open_source
from gansmith.data.sources import EMBEDDED, PREFIXES
from tests.source_files import pixels, png, write_cifar, write_hub, write_idx, write_zip

LABELS = [0, 1, 2, 0, 1, 2, 0, 1]


def make_folder(path: Path, seed: int) -> Path:
    for row, image in enumerate(pixels(8, seed=seed)):
        (path / f"{LABELS[row]}").mkdir(parents=True, exist_ok=True)
        (path / f"{LABELS[row]}" / f"{row}.png").write_bytes(png(image))
    return path


def make_zip(path: Path, seed: int) -> Path:
    path.mkdir(exist_ok=True)
    return write_zip(
        path / "a.zip", {f"{LABELS[row]}/{row}.png": png(image) for row, image in enumerate(pixels(8, seed=seed))}
    )


def make_idx(path: Path, seed: int) -> Path:
    write_idx(path, pixels(4, seed=seed + 1), LABELS[:4], "t10k")
    return write_idx(path, pixels(8, seed=seed), LABELS)


def make_idx_gz(path: Path, seed: int) -> Path:
    return write_idx(path, pixels(8, seed=seed), LABELS, gz=True)


def make_npz(path: Path, seed: int) -> Path:
    path.mkdir(exist_ok=True)
    np.savez_compressed(path / "a.npz", images=pixels(8, (6, 5, 3), seed), labels=np.array(LABELS))
    return path / "a.npz"


def make_npy(path: Path, seed: int) -> Path:
    path.mkdir(exist_ok=True)
    np.save(path / "a.npy", pixels(8, seed=seed).astype(np.float32) / 255)
    return path / "a.npy"


def make_cifar(path: Path, seed: int) -> Path:
    write_cifar(path, seed=seed)
    return path


def make_hub(path: Path, seed: int) -> Path:
    write_hub(path, pixels(4, seed=seed + 1), LABELS[:4], "test")
    return write_hub(path, pixels(8, seed=seed), LABELS)


def make_stacked(path: Path, seed: int) -> str:
    return f"stacked:{make_idx(path, seed)}"


FILES: dict[str, Callable[[Path, int], Any]] = {
    "folder": make_folder, "zip": make_zip, "idx": make_idx, "idx-gz": make_idx_gz, "npz": make_npz, "npy": make_npy,
    "cifar": make_cifar, "hub": make_hub, "stacked": make_stacked,
}  # fmt: skip
NAMES = [*EMBEDDED, "ring:3", "grid:3", "stacked:digits"]


@pytest.fixture(params=[*FILES, *NAMES])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return FILES[request.param](tmp_path / "data", 0) if request.param in FILES else request.param


def test_every_prefix_is_tried_here_or_with_the_hub():
    assert set(PREFIXES) == {"ring", "grid", "stacked", "hub", "stream"}


def test_items_decode_to_the_size_and_channels_that_the_facts_say(data):
    source = open_source(data)
    facts = facts_of(source)
    decoded = open_data(source, facts.size, facts.channels)
    assert decoded.images.shape == (facts.num_images, facts.channels, *facts.size)
    assert decoded.images.dtype == np.uint8
    assert decoded.skipped == ()
    assert decoded.num_refitted == 0
    assert len(decoded.class_names) == facts.num_classes


def test_labels_are_64_bit_numbers_of_the_class_names(data):
    source = open_source(data)
    for split in ("train", "test"):
        listing = source.listing(split)
        assert (listing.labels is None) == (listing.class_names == ())
        if listing.labels is not None:
            assert listing.labels.dtype == np.int64
            assert listing.labels.shape == (len(listing.names),)
            assert 0 <= listing.labels.min() <= listing.labels.max() < len(listing.class_names)
    train, test = (source.listing(split).class_names for split in ("train", "test"))
    assert test in (train, ())


def test_entries_are_distinct_and_the_splits_have_none_in_common(data):
    source = open_source(data)
    names = [*source.listing("train").names, *source.listing("test").names]
    assert len(set(names)) == len(names) > 0


def test_opened_again_it_is_the_same(data):
    first, second = open_source(data), open_source(data)
    assert (first.name, first.stamp) == (second.name, second.stamp)
    assert list(first.listing("train").names) == list(second.listing("train").names)
    name = first.listing("train").names[3]
    assert np.array_equal(as_array(first.read(name)), as_array(first.read(name)))
    assert np.array_equal(as_array(first.read(name)), as_array(second.read(name)))


def as_array(item: Any) -> np.ndarray:
    return np.frombuffer(item, np.uint8) if isinstance(item, bytes) else np.asarray(item)


@pytest.mark.parametrize("kind", FILES)
def test_stamp_and_pixels_change_with_the_content(kind, tmp_path):
    data = FILES[kind](tmp_path / "data", 0)
    before = open_source(data)
    facts = facts_of(before)
    old = open_data(before, facts.size, facts.channels)
    assert FILES[kind](tmp_path / "data", 7) == data
    for file in (tmp_path / "data").rglob("*"):
        os.utime(file, ns=(1, 1 + file.stat().st_mtime_ns))  # a clock that is too coarse to tell
    after = open_source(data)
    assert after.stamp != before.stamp
    assert open_data(after, facts.size, facts.channels).fingerprint != old.fingerprint


@pytest.mark.parametrize("kind", FILES)
def test_other_folder_has_another_stamp(kind, tmp_path):
    first, second = (open_source(FILES[kind](tmp_path / name, 0)) for name in ("a", "b"))
    assert first.stamp != second.stamp


def test_equal_pixels_have_equal_fingerprints_whatever_they_came_in(tmp_path):
    images = pixels(6, (32, 32))
    labels = [0, 1, 2, 2, 1, 0]
    write_idx(tmp_path / "idx", images, labels)
    write_idx(tmp_path / "gz", images, labels, gz=True)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=np.array(labels)[:, None])
    colour = np.repeat(images[:, None], 3, axis=1)
    records = [bytes([label]) + image.tobytes() for label, image in zip(labels, colour, strict=True)]
    (tmp_path / "data_batch_1.bin").write_bytes(b"".join(records))
    write_hub(tmp_path / "hub", images, labels)
    items = [(Image.fromarray(image), label) for image, label in zip(images, labels, strict=True)]
    every = [tmp_path / name for name in ("idx", "gz", "a.npz", "data_batch_1.bin", "hub")]
    assert len({open_data(data, (32, 32), 3).fingerprint for data in [*every, items]}) == 1
