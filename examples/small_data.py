"""A hundred to a thousand images: what a GAN makes of them, and how to see whether it only copies.

    python examples/small_data.py few && gansmith train few --minutes 5 && gansmith evaluate runs/few-auto-1

Takes 200 of a set's training images, as many of each class, into class folders: few/train/7/0012.png. As many others,
which are not to be trained on, go to few/test/: by them an evaluation judges what counts as a copy. The data are those
of `--data`; by default mnist.zip in $GANSMITH_DATA or ../shared/data, and where neither is there the embedded digits.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import gansmith
from gansmith.images import to_float
from gansmith.training.classify import open_labelled

COUNT = 200
MNIST = Path(os.environ.get("GANSMITH_DATA", "../shared/data")) / "mnist.zip"

parser = argparse.ArgumentParser(description="Take a few images of a set, to train on little data.")
parser.add_argument("folder", type=Path)
parser.add_argument("--data", default=str(MNIST) if MNIST.exists() else "digits")
parser.add_argument("--count", type=int, default=COUNT)
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()

train = open_labelled(arguments.data).train
labels, names = np.asarray(train.labels), train.class_names
order = np.random.default_rng(arguments.seed).permutation(len(train))
for label, name in enumerate(names):
    of_class = order[labels[order] == label]
    count = arguments.count // len(names) + (label < arguments.count % len(names))
    for split, chosen in (("train", of_class[:count]), ("test", of_class[count : 2 * count])):
        gansmith.save_images(to_float(train.batch(np.sort(chosen)).images), arguments.folder / split / name)

print(f"{arguments.folder}: {arguments.count} images of {train.name} to train on, and about as many to judge by")
print(f"now try:  gansmith train {arguments.folder} --minutes 5")
