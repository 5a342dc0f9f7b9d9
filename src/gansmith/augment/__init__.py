"""What the discriminator is shown in place of the images: random transformations, differentiable as often as needed.

`augmenter.py` draws them, `transformation.py` is one draw and what it does to images, `warp.py` moves pixels. Settings
are `settings.Augmentation`; where a training step applies them is `training/augmentation.py`.
"""

from gansmith.augment.augmenter import Augmenter
from gansmith.augment.transformation import UNCHANGED, Transformation

__all__ = ["UNCHANGED", "Augmenter", "Transformation"]
