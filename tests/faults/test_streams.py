"""Row 24 of docs/faults.md, of streamed sets: bad rows, damaged files, a hub that goes away while training."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import gansmith
from gansmith.checkpoint import read_newest
from gansmith.data import StreamedSet, open_for_training, open_source, streaming
from gansmith.data.sources import StreamSource
from gansmith.errors import DataError, Interrupted
from tests.source_files import pixels, png, write_parts

pytestmark = pytest.mark.faults
IMAGES = pixels(60)
SIZE = (6, 5)


def write(folder: Path, bad: dict[int, bytes | None]) -> Path:
    rows = [bad.get(row, png(image)) for row, image in enumerate(IMAGES)]
    return write_parts(folder / "pets", rows, [0] * 60, num_files=3, rows_per_group=10)


def stream_of(folder: Path, *, allow_bad: bool = False) -> StreamedSet:
    data = open_for_training(open_source(f"stream:{folder}"), SIZE, 1, allow_bad=allow_bad)
    assert isinstance(data, StreamedSet)
    return data


def test_24_bad_rows_are_replaced_by_the_next_and_said_once(tmp_path, caplog):
    data = stream_of(write(tmp_path, {13: b"no image", 14: None, 39: png(IMAGES[0])[:40]}))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            shown = data.batch(np.arange(60)).images[:, 0].numpy()
    expected = IMAGES.copy()
    expected[[13, 14, 39]] = IMAGES[[15, 15, 30]]  # after the last of its group comes the first
    assert np.array_equal(shown, expected)
    assert data.num_bad == 3
    said = [record.message for record in caplog.records]
    assert len(said) == 3
    assert "train-00000-of-00003.parquet, row group 1, row 3: not an image in a known format" in said[0]
    assert "row 4: the row holds no image; the next good row of its group is shown instead" in said[1]


def test_24_too_many_bad_rows_are_an_error_unless_allowed(tmp_path):
    folder = write(tmp_path, dict.fromkeys(range(4), b"no image"))
    with pytest.raises(DataError, match=r"4 of the 60 rows read cannot be used; mend the files, or .* --allow-bad"):
        stream_of(folder).batch(np.arange(60)[::-1].copy())
    data = stream_of(folder, allow_bad=True)
    assert np.array_equal(data.batch(np.arange(2)).images[:, 0].numpy(), IMAGES[[4, 4]])


def test_24_row_group_of_bad_rows_alone_is_an_error(tmp_path):
    data = stream_of(write(tmp_path, dict.fromkeys(range(20, 30), b"no image")), allow_bad=True)
    with pytest.raises(
        DataError, match=r"no row of a row group can be used; train-00001.*row group 0, row 0: not an image"
    ):
        data.batch(np.array([25]))


def test_24_damaged_file_is_named_at_the_start_or_when_it_is_read(tmp_path):
    folder = write(tmp_path, {})
    file = sorted((folder / "data").iterdir())[1]
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"pets: .*train-00001-of-00003.parquet cannot be read"):
        stream_of(folder)
    file.write_bytes(whole[:100] + b"\xff" * 800 + whole[900:])
    data = stream_of(folder)
    assert np.array_equal(data.batch(np.arange(3)).images[:, 0].numpy(), IMAGES[:3])
    with pytest.raises(DataError, match=r"train-00001-of-00003.parquet: row group 0 cannot be read"):
        data.batch(np.array([20]))


def test_24_file_that_changed_is_named(tmp_path):
    folder = write(tmp_path, {})
    data = stream_of(folder)
    write_parts(folder, [png(image) for image in IMAGES[:9]], [0] * 9, num_files=3, rows_per_group=3)
    with pytest.raises(
        DataError, match=r"train-00000-of-00003.parquet: row group 0 has 3 rows, had 10; has the file chang"
    ):
        data.batch(np.arange(3))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("stream:nobody/nothing", "stream:nobody/nothing: the hub cannot be reached"),
        ("stream:mnist", r"stream:mnist \(ylecun/mnist\): the hub cannot be reached"),
        ("stream:hub:./nowhere", "no such folder, and not a name on the hub"),
        ("stream:digits", "the hub cannot be reached"),
    ],
)
def test_24_stream_that_cannot_be_reached_is_a_data_error(text, parts):
    with pytest.raises(DataError, match=parts):
        open_source(text)


def test_24_folder_without_parquet_says_what_can_be_streamed(tmp_path):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "a.png").write_bytes(png(IMAGES[0]))
    with pytest.raises(
        DataError, match=r"a.png is no parquet file, and only those can be read in parts; leave out stream:"
    ):
        open_source(f"stream:{tmp_path / 'pets'}")


def test_24_training_saves_when_the_data_can_no_longer_be_read(tmp_path, monkeypatch):
    folder = write(tmp_path, {})
    monkeypatch.setattr(streaming, "WINDOW_BYTES", 10 * 30)
    whole, broken = StreamSource.rows, []

    def rows(self, number, most=None, *, with_labels=False):
        if len(broken) == 3:
            raise DataError("the connection is lost")
        if most is None:
            broken.append(number)
        return whole(self, number, most, with_labels=with_labels)

    monkeypatch.setattr(StreamSource, "rows", rows)
    changes = ["batch_size=8", "generator.hidden=[16]", "discriminator.hidden=[16]"]
    request = {"recipe": "mlp", "overrides": changes, "images": 80, "out": tmp_path / "run", "quiet": True}
    with pytest.raises(DataError, match="the connection is lost; stopped at 24 images, and the same command goes on"):
        gansmith.train(f"stream:{folder}", **request)
    checkpoint, _ = read_newest(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None and checkpoint.state.counters["images"] == 24
    monkeypatch.setattr(StreamSource, "rows", whole)
    assert gansmith.train(f"stream:{folder}", **request).images_seen == 80


def test_24_signal_while_a_lost_connection_is_waited_for_saves_at_once(tmp_path, monkeypatch):
    folder = write(tmp_path, {})
    monkeypatch.setattr(streaming, "WINDOW_BYTES", 10 * 30)
    whole, begun = StreamSource.rows, []

    def rows(self, number, most=None, *, with_labels=False):
        if most is None:
            begun.append(number)
        if len(begun) > 3:
            os.kill(os.getpid(), signal.SIGTERM)
            self._closed.wait()
        return whole(self, number, most, with_labels=with_labels)

    monkeypatch.setattr(StreamSource, "rows", rows)
    changes = ["batch_size=8", "generator.hidden=[16]", "discriminator.hidden=[16]"]
    began = time.monotonic()
    with pytest.raises(Interrupted, match=r"stopped and saved at (8|16|24) images"):
        gansmith.train(f"stream:{folder}", "mlp", overrides=changes, images=800, out=tmp_path / "run", quiet=True)
    assert time.monotonic() - began < 10
