"""A "generator" that has learnt its training images by heart: perfect by most scores, and worthless.

    python examples/memoriser.py copies && gansmith evaluate copies --data ../shared/data/mnist.zip

Writes 2,000 training images, half of them with slight noise, into a folder. The data are those of `--data`; by default
mnist.zip in $GANSMITH_DATA or ../shared/data, and where neither is there the embedded digits.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch

import gansmith
from gansmith.images import to_float
from gansmith.training.classify import open_labelled

COUNT, NOISE = 2000, 4.0
MNIST = Path(os.environ.get("GANSMITH_DATA", "../shared/data")) / "mnist.zip"

parser = argparse.ArgumentParser(description="Write copies of training images, as a generator that has memorised would.")
parser.add_argument("folder", type=Path)
parser.add_argument("--data", default=str(MNIST) if MNIST.exists() else "digits")
parser.add_argument("--count", type=int, default=COUNT)
arguments = parser.parse_args()

train = open_labelled(arguments.data).train
random = np.random.default_rng(0)
rows = random.choice(len(train), arguments.count, replace=arguments.count > len(train))
pixels = train.batch(np.sort(rows)).images.numpy().astype(np.float64)
pixels[::2] += random.normal(0, NOISE, pixels[::2].shape)
copies = torch.from_numpy(pixels.round().clip(0, 255).astype(np.uint8))

gansmith.save_images(to_float(copies), arguments.folder)
print(f"{arguments.folder}: {len(copies):,} copies of training images of {train.name}, half of them with slight noise")
print(f"now try:  gansmith evaluate {arguments.folder} --data {arguments.data}")
