"""The same 300 digits as IDX, npz, CIFAR binary and a data set in the Hugging Face hub's layout.

Equal pixels give the same fingerprint and the same first batch, whatever they came in. Needs the extra `hub`.
"""

import argparse
import gzip
import hashlib
import sys
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

import gansmith
from gansmith.data import Order, open_source

COUNT, SIDE, BATCH = 300, 32, 64

parser = argparse.ArgumentParser(description="Write one data set in four formats and compare what is read back.")
parser.add_argument("folder", nargs="?", type=Path, default=Path("formats"))
folder = parser.parse_args().folder

digits = open_source("digits")
listing = digits.listing("train")
grey = np.zeros((COUNT, SIDE, SIDE), np.uint8)
grey[:, 2:30, 2:30] = np.stack([np.asarray(digits.read(name)) for name in listing.names[:COUNT]])
labels = listing.labels[:COUNT].astype(np.uint8)
colour = np.repeat(grey[..., None], 3, axis=3)  # IDX is grey alone; made RGB when opened, it is these

idx, npz, cifar, hub = (folder / name for name in ("idx", "digits.npz", "cifar", "hub"))
for path in (idx, cifar, hub / "data"):
    path.mkdir(parents=True, exist_ok=True)

for kind, values in {"images-idx3": grey, "labels-idx1": labels}.items():
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    (idx / f"train-{kind}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
np.savez_compressed(npz, images=colour, labels=labels)
records = np.concatenate([labels[:, None], colour.transpose(0, 3, 1, 2).reshape(COUNT, -1)], axis=1)
(cifar / "data_batch_1.bin").write_bytes(records.tobytes())
features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=listing.class_names)})
rows = {"image": [Image.fromarray(pixels) for pixels in colour], "label": labels.tolist()}
datasets.disable_progress_bars()
datasets.Dataset.from_dict(rows, features).to_parquet(hub / "data" / "train-00000-of-00001.parquet")

seen = set()
for path in (idx, npz, cifar, hub):
    data = gansmith.open_data(path, (SIDE, SIDE), channels=3)
    batch = data.batch(Order(0, len(data), "real_d").indices(0, BATCH))
    checksum = hashlib.sha256(batch.images.numpy().tobytes() + batch.labels.numpy().tobytes()).hexdigest()[:16]
    print(f"{path!s:<24} fingerprint {data.fingerprint}  first batch {checksum}")
    seen.add((data.fingerprint, checksum))
if len(seen) > 1:
    sys.exit("the formats differ")
for path in (idx, npz, cifar, hub):
    print(f"gansmith train {path} --channels 3 --images 2k")
