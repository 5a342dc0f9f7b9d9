"""One draw of an augmentation: what is done to each of N images. It is linear in each of them, up to a constant."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from gansmith.augment.warp import warp
from gansmith.runtime import at_least_float32, full_precision


@dataclass(frozen=True)
class Transformation:
    """What is done to N images, in this order; None is nothing, for all of them.

    An image that no operation was drawn for comes out as it went in, bit for bit.

    Attributes:
        own: (N,), what a value is multiplied by.
        offset: (N,), what is added to it.
        mixing: (N, C, C), what is added of the channels of the same pixel.
        image_mean: (N,), what share of the image's mean is added.
        affine: (N, 2, 3), see `warp`.
        is_moved: (N,) bool, whether `affine` is to be applied.
        fine: see `warp`.
        hole: (N, 3): x and y of the centre and half the side of a square of zeros, in shares of a side.
    """

    own: Tensor | None = None
    offset: Tensor | None = None
    mixing: Tensor | None = None
    image_mean: Tensor | None = None
    affine: Tensor | None = None
    is_moved: Tensor | None = None
    fine: tuple[Tensor, Tensor] | None = None
    hole: Tensor | None = None

    def part(self, start: int, stop: int) -> Self:
        """Return what is done to the images from `start` to before `stop`."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        cut = {name: value[start:stop] for name, value in values.items() if isinstance(value, Tensor)}
        if all(len(part) == len(values[name]) for name, part in cut.items()):
            return self  # the usual case, a batch whole
        return type(self)(**{**values, **cut})

    def __call__(self, images: Tensor) -> Tensor:
        """Return the transformed images.

        Args:
            images: (N, C, H, W); gradients of any order pass. Computed in float32 at least.
        """
        if self is UNCHANGED:
            return images
        with full_precision(images.device):
            return self._with_hole(self._moved(self._recoloured(at_least_float32(images))))

    def _recoloured(self, images: Tensor) -> Tensor:
        if self.own is None or self.offset is None:
            return images
        result = torch.addcmul(_of_image(self.offset, images), _of_image(self.own, images), images)
        if self.mixing is not None:
            result = result + (self.mixing.to(images.dtype) @ images.flatten(2)).view_as(result)
        if self.image_mean is not None:
            result = result + _of_image(self.image_mean, images) * images.mean((1, 2, 3), keepdim=True)
        return result

    def _moved(self, images: Tensor) -> Tensor:
        if self.affine is None or self.is_moved is None:
            return images
        return torch.where(_of_image(self.is_moved), warp(images, self.affine, self.fine), images)

    def _with_hole(self, images: Tensor) -> Tensor:
        if self.hole is None:
            return images
        height, width = images.shape[2:]
        x, y, half = self.hole.unbind(1)
        is_beside = _distances(width, x)[:, None, :] >= half[:, None, None]
        is_above = _distances(height, y)[:, :, None] >= half[:, None, None]
        return images * (is_beside | is_above)[:, None]


UNCHANGED = Transformation()
"""Images as they are: nothing is computed."""


def _of_image(values: Tensor, like: Tensor | None = None) -> Tensor:
    """Return (N,) values as (N, 1, 1, 1), in the type of `like`."""
    values = values.view(-1, 1, 1, 1)
    return values if like is None else values.to(like.dtype)


def _distances(length: int, centres: Tensor) -> Tensor:
    """Return (N, length): how far each pixel of a side lies from the image's own centre (N,), in shares of the side."""
    places = (torch.arange(length, dtype=centres.dtype, device=centres.device) + 0.5) / length
    return (places - centres[:, None]).abs()
