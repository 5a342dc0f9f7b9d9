"""What was found out about data and machine before a method is chosen: plain numbers, no torch.

Measured by `data/inspection.py` and `runtime.py`; used by requests and by `recipes/auto.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gansmith.settings import Precision
from gansmith.sizes import Size

FEW_IMAGES = 1_000
"""Below so many training images a GAN is warned about: its discriminator sees each of them hundreds of times."""


@dataclass(frozen=True)
class DataFacts:
    """What a recipe needs to know of the data.

    Attributes:
        num_images: of the train split.
        num_classes: 0 where there are no labels.
        size: (height, width) in pixels: the common one, or the medians.
        one_size: whether every image looked at has `size`.
        channels: 1 where every image looked at is grey, else 3; of arrays, their own number.
        class_counts: images of each class in the train split; empty where there are no labels, or of a stream, whose
            labels are not counted for this.
    """

    num_images: int
    num_classes: int
    size: Size
    one_size: bool
    channels: int
    class_counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class MachineFacts:
    """What a recipe needs to know of the machine.

    Attributes:
        device: for people, such as "2 CPU threads" or the name of a GPU.
        precision: the best it computes in hardware.
        gflops: 1e9 floating-point operations a second of a convolution in that precision, measured.
        memory_bytes: that may still be used.
    """

    device: str
    precision: Precision
    gflops: float
    memory_bytes: int


@dataclass(frozen=True)
class Classes:
    """The classes a conditional generator was trained on: what is needed to draw labels and to name them.

    Attributes:
        names: by label.
        counts: images of each in the train split.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
