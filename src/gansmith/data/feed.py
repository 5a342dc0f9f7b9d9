"""Batches on the device that trains: read from a mapped array on the host, or from a copy that the GPU holds."""

from __future__ import annotations

import torch
from torch import Tensor

from gansmith import runtime
from gansmith.data.cache import DataSet
from gansmith.data.order import Batch, Indices, TrainingData

LARGEST_SHARE = 0.25
"""Of a GPU's free memory, that data may take."""
BATCHES_BEFORE = 16
"""Batches read from the host before the GPU's free memory is looked at: by then training has taken its own."""
ITEMS_A_COPY = 8192


class Feed:
    """Gives the items asked for, on the device that trains, without waiting for it.

    On a GPU, a data set that takes less than a quarter of the memory that training leaves free is copied there after
    the first batches, and only item numbers travel from then on. Else batches travel through page-locked memory, which
    the device copies from while the host goes on; torch reuses such memory once its copy is done. On a CPU there is
    nothing to copy.

    Args:
        data: to read from.
        device: where batches are wanted.
    """

    def __init__(self, data: TrainingData, device: torch.device) -> None:
        self._data, self._device = data, device
        self._resident: Resident | None = None
        self._num_given = 0

    def batch(self, indices: Indices) -> Batch:
        """Return those items as one batch on the device; images as uint8."""
        if self._num_given == BATCHES_BEFORE and isinstance(self._data, DataSet) and self._has_room(self._data):
            self._resident = Resident(self._data, self._device)
        self._num_given += 1
        if self._resident is not None:
            return self._resident.batch(indices)
        batch = self._data.batch(indices)
        values = batch.images, batch.labels, batch.condition
        return Batch(*(None if value is None else sent(value, self._device) for value in values))  # type: ignore[arg-type]

    def _has_room(self, data: DataSet) -> bool:
        free = runtime.available_memory(self._device) if self._device.type == "cuda" else 0
        return data.images.nbytes < LARGEST_SHARE * free


class Resident:
    """A decoded data set, held by a device as a whole.

    Args:
        data: to copy.
        device: where to.
    """

    def __init__(self, data: DataSet, device: torch.device) -> None:
        self._device = device
        self._images = torch.empty(data.images.shape, dtype=torch.uint8, device=device)
        for start in range(0, len(data), ITEMS_A_COPY):  # the mapped array never becomes one array on the host
            part = data.images[start : start + ITEMS_A_COPY].copy()
            self._images[start : start + ITEMS_A_COPY] = torch.from_numpy(part)
        self._labels = None if data.labels is None else torch.from_numpy(data.labels.copy()).to(device)

    def batch(self, indices: Indices) -> Batch:
        """Return those images (uint8) and labels as one batch."""
        places = sent(torch.from_numpy(indices), self._device)
        labels = None if self._labels is None else self._labels.index_select(0, places)
        return Batch(self._images.index_select(0, places), labels)


def sent(value: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device; the host waits for no copy to a GPU."""
    return value.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else value.to(device)
