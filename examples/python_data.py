"""Any Python object with `__len__` and `__getitem__` is data: here, rings of random radius drawn with NumPy."""

import argparse

import numpy as np

import gansmith

SIDE, COUNT = 16, 2000


class Rings:
    """2,000 colour images (16, 16, 3) uint8 of a ring; the label says whether it is small or large."""

    classes = ("small", "large")

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        random = np.random.default_rng(index)
        radius, colour = random.uniform(2, 7), random.uniform(0.4, 1, 3)
        rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
        brightness = np.exp(-((np.hypot(rows, columns) - radius) ** 2))
        return np.round(255 * brightness[:, :, None] * colour).astype(np.uint8), int(radius > 4.5)


parser = argparse.ArgumentParser(description="Train on a Python object.")
parser.add_argument("--images", type=int, default=50_000)
arguments = parser.parse_args()

run = gansmith.train(Rings(), images=arguments.images)
gansmith.save_images(gansmith.sample(run.folder, 64), "rings.png")
print("rings.png")
