"""What extractors share: images made to fit a network, arithmetic that repeats, checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gansmith.classifiers import LabelledData
from gansmith.errors import DataError
from gansmith.sizes import Size, size_text

CHECKSUM_LENGTH = 16
WHITE = 255.0


@dataclass(frozen=True)
class Setting:
    """What an extractor may be made from.

    Attributes:
        train: the real images; a classifier is trained on them.
        held_out: real images of the same classes that it is tested on; None: every fifth of `train` is held out.
        weights: a file or folder of weights, or None for the published ones.
        device: that images are read on.
        say: called with one line now and then.
        on_progress: called with (share done, what is being done).
    """

    train: LabelledData
    held_out: LabelledData | None
    weights: Path | None
    device: torch.device
    say: Callable[[str], None]
    on_progress: Callable[[float, str], None] | None


def checksum_of(state: Mapping[str, Tensor], preparation: str) -> str:
    """Return 16 hex digits of the sha256 of tensors, their names and types, and of what is done to an image first."""
    digest = hashlib.sha256(preparation.encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # NumPy has no bfloat16: bytes are taken as they lie.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:CHECKSUM_LENGTH]


@contextmanager
def exact_reading() -> Iterator[None]:
    """No gradients, and on a GPU full float32 convolutions that repeat: its default, TF32, has ten bits."""
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


def to_rgb(images: Tensor, reader: str) -> Tensor:
    """Return images (N, 3, H, W) float32 in [0, 255] for uint8 ones of 1, 3 or 4 channels.

    Grey is repeated; transparent pixels are put on white.

    Args:
        images: (N, C, H, W) uint8.
        reader: for the message.

    Raises:
        DataError: they have another number of channels.
    """
    channels = images.shape[1]
    if channels not in (1, 3, 4):
        raise DataError(f"images have {channels} channels; {reader} reads 1 (grey), 3 (RGB) or 4 (RGBA): use random")
    values = images.float()
    if channels == 4:
        opacity = values[:, 3:] / 255.0
        return (values[:, :3] * opacity + WHITE * (1.0 - opacity)).round_()
    return values.expand(-1, 3, -1, -1)


def size_within(size: Size, longest: int) -> Size:
    """Return a (height, width) in the same proportion whose longer side is at most `longest`."""
    scale = min(1.0, longest / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def resized(images: Tensor, size: Size) -> Tensor:
    """Return uint8 images (N, C, *size): bilinear with antialiasing, rounded; unchanged where they have it."""
    if tuple(images.shape[2:]) == size:
        return images
    smaller = interpolate(images.float(), size=size, mode="bilinear", antialias=True)
    return smaller.round_().clamp_(0, 255).to(torch.uint8)


def preparation_text(size: Size, read_at: Size) -> str:
    """Return what is done to images of `size` that are read at another."""
    text = size_text(read_at)
    return f"none ({text})" if size == read_at else f"bilinear with antialiasing to {text}"


def check_shape(images: Tensor, shape: tuple[int, ...], reader: str) -> None:
    """Raise a DataError unless images are (N, *shape)."""
    if tuple(images.shape[1:]) != shape:
        came, takes = (" x ".join(map(str, one)) for one in (images.shape[1:], shape))
        raise DataError(f"images are {came}; the extractor {reader} was made for {takes} (channels x height x width)")
