"""Training the small classifier that judges generated images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from gansmith import runtime
from gansmith.data import DataSet, Order
from gansmith.errors import DataError
from gansmith.images import to_float
from gansmith.networks.classifier import ClassifierNetwork

BATCH, LEARNING_RATE, LONGEST_SHIFT = 64, 1e-3, 2
JUDGED_AT_ONCE = 500


@dataclass(frozen=True)
class Classifier:
    """A trained classifier and how good it is.

    Attributes:
        network: images (N, C, H, W) in [-1, 1] -> (N, num_classes) logits, in eval mode.
        class_names: by number.
        accuracy: share of held-out images read right, 0 to 1.
        num_held_out: how many images that was measured on.
    """

    network: nn.Module
    class_names: tuple[str, ...]
    accuracy: float
    num_held_out: int

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Return (N, num_classes) float32 probabilities for images (N, C, H, W) in [-1, 1]."""
        return torch.cat([self.network(part).softmax(1) for part in torch.split(images, JUDGED_AT_ONCE)])


def train_classifier(train: DataSet, held_out: DataSet, num_steps: int = 1500, seed: int = 0) -> Classifier:
    """Return a classifier trained with Adam on randomly shifted batches of 64, and its held-out accuracy.

    Args:
        train: with labels.
        held_out: with the same classes; never trained on.
        num_steps: of the optimiser.
        seed: of weights, order and shifts.

    Raises:
        DataError: there are no labels, fewer than two classes, or the two splits have different classes.
    """
    if train.labels is None or held_out.labels is None or len(train.class_names) < 2:
        raise DataError(f"{train.name}: a classifier needs labelled images of two classes or more (sub-folders)")
    if train.class_names != held_out.class_names:
        raise DataError(f"{train.name}: the splits have different classes: {train.class_names}, {held_out.class_names}")
    _, channels, height, width = train.images.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(runtime.seed_of(seed, "classifier"))
        network = ClassifierNetwork((height, width), channels, len(train.class_names))
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        order = Order(seed, len(train), "classifier")
        for step in range(num_steps):
            batch = train.batch(order.indices(step * BATCH, BATCH))
            assert batch.labels is not None
            loss = cross_entropy(network(_shifted(to_float(batch.images))), batch.labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    network.eval()
    classifier = Classifier(network, train.class_names, 0.0, len(held_out))
    predicted = classifier.probabilities(to_float(torch.from_numpy(np.array(held_out.images)))).argmax(1)
    accuracy = float((predicted == torch.from_numpy(held_out.labels)).float().mean())
    return Classifier(network, train.class_names, accuracy, len(held_out))


def _shifted(images: Tensor) -> Tensor:
    """Return the batch moved by up to 2 pixels in each direction; the edge takes the background value -1."""
    down, right = torch.randint(0, 2 * LONGEST_SHIFT + 1, (2,)).tolist()
    height, width = images.shape[2:]
    return pad(images, [LONGEST_SHIFT] * 4, value=-1.0)[:, :, down : down + height, right : right + width]
