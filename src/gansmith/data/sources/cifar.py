"""CIFAR-10 and CIFAR-100 in their binary version (Krizhevsky 2009): records of labels and 3 x 32 x 32 bytes.

The Python version is pickles: it is recognised and refused, never opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gansmith.data.sources.base import Split, file_stamp, stamp_of
from gansmith.data.sources.rows import FileRows, Rows, RowsSource
from gansmith.errors import DataError

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
PICKLES = frozenset({"data_batch_1", "test_batch", "batches.meta"})
INNER_FOLDERS = ("", "cifar-10-batches-bin", "cifar-100-binary", "cifar-10-batches-py", "cifar-100-python")


@dataclass(frozen=True)
class _Kind:
    num_labels: int
    """Bytes before the pixels; the last is the class (CIFAR-100: coarse, then fine)."""
    num_classes: int
    names_file: str

    @property
    def record(self) -> int:
        return self.num_labels + PIXELS


CIFAR_10 = _Kind(1, 10, "batches.meta.txt")
CIFAR_100 = _Kind(2, 100, "fine_label_names.txt")
FILES: dict[Split, tuple[str, ...]] = {
    "train": (*(f"data_batch_{number}.bin" for number in range(1, 6)), "train.bin"),
    "test": ("test_batch.bin", "test.bin"),
}


class _ChannelsLast:
    """Rows as (H, W, C)."""

    def __init__(self, rows: FileRows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> NDArray[Any]:
        return self._rows[row].transpose(1, 2, 0)


class CifarSource(RowsSource):
    """CIFAR binary files: 32x32 RGB with classes.

    A folder, or the published folder inside it, holds `data_batch_1.bin` to `data_batch_5.bin` (those that are there
    are used) and `test_batch.bin`, or CIFAR-100's `train.bin` and `test.bin`, whose fine labels are taken. The path of
    one `.bin` file is a train split. Class names are read from `batches.meta.txt` or `fine_label_names.txt` beside.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._files = _files_of(path)
        train = self._files["train"]
        if not train:
            raise DataError(f"{path}: has no {FILES['train'][0]} or train.bin, only {self._files['test'][0].name}")
        self._kind = _kind_of(train[0])
        self.name = path.resolve().name if path.is_dir() else path.stem
        self.class_names = self._read_names(train[0].parent / self._kind.names_file)
        self.stamp = stamp_of(
            self.class_names,
            *(f"{file.resolve()}\0{file_stamp(file)}" for files in self._files.values() for file in files),
        )

    def open_images(self, split: Split) -> list[Rows]:
        """Return the images of each file of a split."""
        return [_ChannelsLast(self._rows(file, self._kind.num_labels, SHAPE)) for file in self._files[split]]

    def read_labels(self, split: Split) -> NDArray[np.int64] | None:
        """Return the labels of all files of a split."""
        parts = []
        for file in self._files[split]:
            labels = self._rows(file, self._kind.num_labels - 1, ()).whole().astype(np.int64)
            bad = int(labels.argmax())
            if labels[bad] >= self._kind.num_classes:
                raise DataError(
                    f"{file}: record {bad} has label {labels[bad]}, expected 0 to {self._kind.num_classes - 1}; "
                    f"is it CIFAR-{self._kind.num_classes} binary?"
                )
            parts.append(labels)
        return np.concatenate(parts) if parts else None

    def where(self, split: Split) -> str:
        """Return the files of a split."""
        return ", ".join(str(file) for file in self._files[split])

    def _rows(self, file: Path, start: int, shape: tuple[int, ...]) -> FileRows:
        size, record = file.stat().st_size, self._kind.record
        if size == 0 or size % record:
            raise DataError(f"{file}: {size:,} bytes, expected a multiple of {record:,} (one record); is it whole?")
        return FileRows(file.open("rb"), start, size // record, shape, np.dtype(np.uint8), record)

    def _read_names(self, file: Path) -> tuple[str, ...]:
        if not file.is_file():
            return tuple(str(number) for number in range(self._kind.num_classes))
        names = tuple(line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip())
        if len(names) != self._kind.num_classes:
            raise DataError(f"{file}: {len(names)} class names, expected {self._kind.num_classes}, one a line")
        return names


def is_cifar_folder(path: Path, surely: bool) -> bool:
    """Return whether a folder has files with names of CIFAR's binary version; `train.bin` alone is not sure."""
    names = [file.name for files in _files_of(path).values() for file in files]
    return any(not surely or "_batch" in name for name in names)


def refuse_pickles(path: Path) -> None:
    """Raise if a folder is CIFAR's Python version.

    Raises:
        DataError: it is; the message says what to take.
    """
    for inner in INNER_FOLDERS:
        folder = path / inner
        is_cifar_100 = all((folder / name).is_file() for name in ("train", "test", "meta"))
        found = ["train"] if is_cifar_100 else sorted(name for name in PICKLES if (folder / name).is_file())
        if found:
            raise DataError(
                f"{folder / found[0]}: CIFAR's Python version is pickles, which are never opened; "
                f"take the binary version (cifar-{'100' if is_cifar_100 else '10'}-binary.tar.gz)"
            )


def _files_of(path: Path) -> dict[Split, list[Path]]:
    if path.is_file():
        return {"train": [path], "test": []}
    for inner in INNER_FOLDERS:
        files = {split: [path / inner / name for name in names] for split, names in FILES.items()}
        there = {split: [file for file in some if file.is_file()] for split, some in files.items()}
        if any(there.values()):
            return there
    return {"train": [], "test": []}


def _kind_of(file: Path) -> _Kind:
    """Return which of the two a file is: by its name, else by its size."""
    if file.name in ("train.bin", "test.bin"):
        return CIFAR_100
    is_batch = file.name in (*FILES["train"], *FILES["test"])
    return CIFAR_100 if not is_batch and not file.stat().st_size % CIFAR_100.record else CIFAR_10
