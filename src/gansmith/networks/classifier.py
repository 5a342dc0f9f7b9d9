"""A small convolutional classifier: convolution, max-pooling, dense. It tells what generated images look like."""

from __future__ import annotations

from torch import Tensor, nn

from gansmith.sizes import Size

FIRST_WIDTH, SECOND_WIDTH, DENSE_WIDTH = 32, 64, 128
DROPOUT = 0.4


class ClassifierNetwork(nn.Module):
    """Images -> one logit per class.

    Args:
        size: (height, width) of the images, at least 4x4.
        channels: of the images.
        num_classes: at least 2.
    """

    def __init__(self, size: Size, channels: int, num_classes: int) -> None:
        super().__init__()
        flat = SECOND_WIDTH * (size[0] // 4) * (size[1] // 4)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, FIRST_WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(FIRST_WIDTH, SECOND_WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(flat, DENSE_WIDTH),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(DENSE_WIDTH, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, num_classes) logits for images (N, C, H, W) in [-1, 1]."""
        logits: Tensor = self.layers(images)
        return logits
