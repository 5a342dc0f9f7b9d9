"""Small data sets on disk, in each format, written byte by byte and not by the code under test."""

from __future__ import annotations

import gzip
import io
import itertools
import struct
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(count: int, shape: tuple[int, ...] = (6, 5), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def idx_bytes(values: np.ndarray, code: int = 8) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, code, values.ndim, *values.shape) + values.tobytes()


def write_idx(
    folder: Path, images: np.ndarray, labels: list[int] | None, split: str = "train", gz: bool = False
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"images-idx3": images}
    if labels is not None:
        arrays["labels-idx1"] = np.array(labels, np.uint8)
    for kind, values in arrays.items():
        content = idx_bytes(values)
        name = f"{split}-{kind}-ubyte" + ".gz" * gz
        (folder / name).write_bytes(gzip.compress(content) if gz else content)
    return folder


def cifar_bytes(labels: list[tuple[int, ...]], images: np.ndarray) -> bytes:
    """Images are (N, 3, 32, 32)."""
    return b"".join(bytes(label) + image.tobytes() for label, image in zip(labels, images, strict=True))


def write_cifar(folder: Path, count: int = 8, seed: int = 0) -> np.ndarray:
    """Write data_batch_1.bin and data_batch_2.bin of `count` records together; return (N, 3, 32, 32)."""
    folder.mkdir(parents=True, exist_ok=True)
    images, half = pixels(count, (3, 32, 32), seed), count // 2
    for number, part in enumerate((slice(0, half), slice(half, count)), 1):
        labels = [(row % 10,) for row in range(count)[part]]
        (folder / f"data_batch_{number}.bin").write_bytes(cifar_bytes(labels, images[part]))
    return images


def write_parquet(
    path: Path, columns: dict[str, list], features: dict[str, object], rows_per_group: int | None = None
) -> Path:
    """Write one part of a hub data set; an image is its encoded bytes, or None."""
    import json

    import datasets
    import pyarrow
    import pyarrow.parquet

    kinds = datasets.Features(features)
    cells = {
        name: [value if value is None else {"bytes": value, "path": None} for value in values]
        if isinstance(features[name], datasets.Image)
        else values
        for name, values in columns.items()
    }
    table = pyarrow.Table.from_pydict(cells, schema=kinds.arrow_schema)
    note = json.dumps({"info": {"features": kinds.to_dict()}})
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(
        table.replace_schema_metadata({"huggingface": note}), path, row_group_size=rows_per_group
    )
    return path


def write_hub(folder: Path, images: np.ndarray, labels: list[int], split: str = "train") -> Path:
    """Write a hub-layout folder with columns `image` and `label` of three classes."""
    import datasets

    write_parquet(
        folder / "data" / f"{split}-00000-of-00001.parquet",
        {"image": [png(image) for image in images], "label": labels},
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee", "cat"])},
    )
    return folder


def write_parts(
    folder: Path, images: list[bytes | None], labels: list[int], num_files: int, rows_per_group: int
) -> Path:
    """Write a hub-layout folder of several files of several row groups, with three classes."""
    import datasets

    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee", "cat"])}
    bounds = np.linspace(0, len(images), num_files + 1).round().astype(int)
    for part, (start, stop) in enumerate(itertools.pairwise(bounds)):
        path = folder / "data" / f"train-{part:05d}-of-{num_files:05d}.parquet"
        write_parquet(path, {"image": images[start:stop], "label": labels[start:stop]}, kinds, rows_per_group)
    return folder


def write_zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path
