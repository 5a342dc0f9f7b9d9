"""Draws transformations with a probability that lives on the device, and raises or lowers it where it is adaptive.

Everything drawn is 0 where an operation is not applied to an image, and 0 changes nothing. So a draw is one comparison
and one product for all operations together, and the probability may be any tensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gansmith import ranks
from gansmith.augment.transformation import Transformation
from gansmith.augment.warp import refinement
from gansmith.settings import COLOUR_OPERATIONS, GEOMETRY_OPERATIONS, Augmentation
from gansmith.sizes import Size

ROTATE = "rotate"
SIGN_HALF_LIFE_IMAGES = 256
"""Of the average of the signs that the probability follows; Karras et al. 2020 take the mean over 4 batches of 64."""
Values = dict[str, Tensor]


@dataclass(frozen=True)
class _Drawn:
    """A number that is drawn for each image: uniform between two bounds, or normal with a standard deviation.

    Attributes:
        operation: whose it is.
        low: smallest value.
        high: largest value.
        std: None where it is uniform.
        gate: which of an operation's draws of whether to apply it.
    """

    operation: str
    low: float = 0.0
    high: float = 1.0
    std: float | None = None
    gate: int = 0

    @property
    def range(self) -> float:
        """What a uniform number in [0, 1), or a value of the inverse error function, is multiplied by."""
        return self.high - self.low if self.std is None else math.sqrt(2) * self.std


HOLE = {"hole_x": _Drawn("cutout"), "hole_y": _Drawn("cutout"), "hole": _Drawn("cutout", 0.25, 0.25)}
PIPE: dict[str, _Drawn] = {
    "flip": _Drawn("flip"),
    "quarter_turns": _Drawn("quarter_turn"),
    "shift_x": _Drawn("shift", -0.125, 0.125),
    "shift_y": _Drawn("shift", -0.125, 0.125),
    "turn_before": _Drawn(ROTATE, -math.pi, math.pi),
    "turn_after": _Drawn(ROTATE, -math.pi, math.pi, gate=1),
    "luma_flip": _Drawn("luma_flip"),
    "hue": _Drawn("hue", -math.pi, math.pi),
    **HOLE,
    "scale": _Drawn("scale", std=0.2),
    "stretch": _Drawn("stretch", std=0.2),
    "fraction_x": _Drawn("fractional_shift", std=0.125),
    "fraction_y": _Drawn("fractional_shift", std=0.125),
    "brightness": _Drawn("brightness", std=0.2),
    "contrast": _Drawn("contrast", std=0.5),
    "saturation": _Drawn("saturation", std=1.0),
}
"""Karras et al. 2020, appendix B and table 5. Shifts in shares of the side, scales as powers of two, angles in radians,
a brightness of 1 is half the range of the values. Uniform ones come first.
"""
DIFFAUGMENT: dict[str, _Drawn] = {
    "brightness": _Drawn("colour", -0.5, 0.5),
    "saturation": _Drawn("colour", -1.0, 1.0),
    "contrast": _Drawn("colour", -0.5, 0.5),
    "shift_x": _Drawn("translation", -0.125, 0.125),
    "shift_y": _Drawn("translation", -0.125, 0.125),
    **HOLE,
}
"""Zhao et al. 2020, section 3.1: of factors the difference to 1 is drawn."""


class Augmenter(nn.Module):
    """Draws what is done to images. It has no parameters; its buffers are saved with a run and equal on all ranks.

    Args:
        settings: what is done, and how often.
        size: (height, width) of the images.
        channels: of the images. With other than 3, the pipe's luma flip, hue and saturation are left out; with 1,
            DiffAugment's saturation changes nothing.

    Attributes:
        probability: 0-d float32 in [0, 1], of each operation for each image.
        overfitting: 0-d float32 in [-1, 1], the average sign that an adaptive probability follows.
        signs: 0-d float32, the sum of this step's; 0 between steps.
    """

    probability: Tensor
    overfitting: Tensor
    signs: Tensor
    _used: Tensor
    _rotates: Tensor
    _gate_of: Tensor
    _low: Tensor
    _range: Tensor
    _rows: Tensor
    _columns: Tensor
    _around_grey: Tensor
    _aspect: Tensor

    def __init__(self, settings: Augmentation, size: Size, channels: int) -> None:
        super().__init__()
        self._settings, self._size, self._channels = settings, size, channels
        operations = settings.operations_for(channels)
        table = PIPE if settings.policy == "pipe" else DIFFAUGMENT
        self._names = list(table)
        self._num_uniform = sum(each.std is None for each in table.values())
        # Geometry first, so that it is one slice.
        gates = sorted(
            {(each.operation not in GEOMETRY_OPERATIONS, each.operation, each.gate) for each in table.values()}
        )
        self._num_geometric = sum(not is_other for is_other, _, _ in gates)
        places = [(operation, gate) for _, operation, gate in gates]
        self._moves, self._recolours, self._cuts = (
            any(name in operations for name in group) for group in (GEOMETRY_OPERATIONS, COLOUR_OPERATIONS, {"cutout"})
        )
        self.register_buffer("probability", torch.tensor(settings.probability, dtype=torch.float32))
        if settings.adaptive is not None:
            self.register_buffer("overfitting", torch.zeros(()))
        constants = {
            "signs": torch.zeros(()),
            "_used": torch.tensor([float(operation in operations) for operation, _ in places]),
            "_rotates": torch.tensor([float(operation == ROTATE) for operation, _ in places]),
            "_gate_of": torch.tensor([places.index((each.operation, each.gate)) for each in table.values()]),
            "_low": torch.tensor([0.0 if each.std else each.low for each in table.values()]),
            "_range": torch.tensor([each.range for each in table.values()]),
            "_rows": refinement(size[0]),
            "_columns": refinement(size[1]),
            # From turned pixels to coordinates that run from -1 to 1 along both axes.
            "_aspect": torch.tensor([[1.0, size[0] / size[1]], [size[1] / size[0], 1.0]]),
            "_around_grey": torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3),
        }  # fmt: skip
        for name, constant in constants.items():
            self.register_buffer(name, constant, persistent=False)

    @property
    def is_adaptive(self) -> bool:
        """Whether the probability follows the signs."""
        return self._settings.adaptive is not None

    @torch.no_grad()
    def draw(self, count: int, rng: torch.Generator, batches: int = 1) -> Transformation:
        """Return what is done to images: this rank's part of what is drawn for those of all ranks.

        Args:
            count: images of this rank.
            rng: drawn from; on the device.
            batches: that the images are, one behind the other; a rank has a share of each.
        """
        num_gates, width = len(self._used), len(self._used) + len(self._names)
        draws = [ranks.rand(count // batches * width, rng, self.probability.device) for _ in range(batches)]
        p = self.probability
        uniform = torch.cat(draws).view(count, width).to(p.dtype)
        is_on = uniform[:, :num_gates] < self._used * torch.lerp(
            p.expand_as(self._used), 1 - (1 - p).sqrt(), self._rotates
        )
        values = uniform[:, num_gates:].clone()
        values[:, self._num_uniform :].mul_(2).sub_(1).clamp_min_(-1 + 2**-23).erfinv_()
        drawn = torch.addcmul(self._low, values, self._range) * is_on[:, self._gate_of]
        return self._transformation(dict(zip(self._names, drawn.unbind(1), strict=True)), is_on)

    def _transformation(self, values: Values, is_on: Tensor) -> Transformation:
        is_pipe = self._settings.policy == "pipe"
        affine = is_moved = own = offset = mixing = image_mean = hole = None
        if self._moves:
            affine = self._pipe_affine(values) if is_pipe else self._shift_affine(values)
            is_moved = is_on[:, : self._num_geometric].any(1)
        if self._recolours and is_pipe:
            own, offset, mixing = self._pipe_colour(values)
        elif self._recolours:
            own, offset, mixing, image_mean = self._diffaugment_colour(values)
        if self._cuts:
            hole = torch.stack([values["hole_x"], values["hole_y"], values["hole"]], 1)
        fine = (self._rows, self._columns) if is_pipe and self._moves else None
        return Transformation(own, offset, mixing, image_mean, affine, is_moved, fine, hole)

    def _pipe_affine(self, values: Values) -> Tensor:
        """Return (N, 2, 3): flip, turn, squeeze, turn and a shift after it, then one before all by whole pixels.

        The order is the paper's: what is composed here leads from the result back to the image.
        """
        height, width = self._size
        sides = 4 if height == width else 2
        quarters = (values["quarter_turns"] * sides).floor() * (math.pi * 2 / sides)
        angles = torch.stack([values["turn_before"] + quarters, values["turn_after"]], 1)
        cosine, sine = angles.cos(), angles.sin()
        first, second = torch.stack([cosine, -sine, sine, cosine], 2).view(-1, 2, 2, 2).unbind(1)
        squeeze = torch.stack([values["scale"] + values["stretch"], values["scale"] - values["stretch"]], 1).exp2()
        matrix = (first * squeeze[:, None]) @ second * self._aspect
        matrix[:, 0] *= 1 - 2 * (values["flip"] >= 0.5).float()[:, None]
        fraction = 2 * torch.stack([values["fraction_x"], values["fraction_y"]], 1)[:, :, None]
        return torch.cat([matrix, matrix @ fraction + self._whole_shift(values)], 2)

    def _shift_affine(self, values: Values) -> Tensor:
        """Return (N, 2, 3) of shifts by whole pixels."""
        shift = self._whole_shift(values)
        unmoved = torch.eye(2, device=shift.device).expand(len(shift), 2, 2)
        return torch.cat([unmoved, shift], 2)

    def _whole_shift(self, values: Values) -> Tensor:
        """Return (N, 2, 1): shifts along x and y, rounded to pixels, in [-1, 1] of half a side."""
        height, width = self._size
        return torch.stack([(values["shift_x"] * width).round() * (2 / width),
                            (values["shift_y"] * height).round() * (2 / height)], 1)[:, :, None]  # fmt: skip

    def _pipe_colour(self, values: Values) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return `own`, `offset` and `mixing` of: brightness, contrast, then for RGB luma flip, hue and saturation.

        The last three leave the grey axis and the plane across it to themselves: along the axis values are multiplied
        by +-1, in the plane they are turned by the hue's angle and multiplied by the saturation.
        """
        contrast = values["contrast"].exp2()
        if self._channels != 3:
            return contrast, contrast * values["brightness"], None
        along = contrast * (1 - 2 * (values["luma_flip"] >= 0.5).float())
        across = contrast * values["saturation"].exp2()
        own, turned = across * values["hue"].cos(), across * values["hue"].sin()
        mixing = ((along - own) / 3)[:, None, None] + turned[:, None, None] * self._around_grey
        return own, along * values["brightness"], mixing

    def _diffaugment_colour(self, values: Values) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Return `own`, `offset`, `mixing` and `image_mean` of: brightness, saturation around the mean of a pixel's
        channels, contrast around the image's mean.
        """
        contrast, saturation = 1 + values["contrast"], 1 + values["saturation"]
        if self._channels == 1:  # nothing but grey
            return contrast, values["brightness"], None, -values["contrast"]
        own = contrast * saturation
        mixing = ((contrast - own) / self._channels)[:, None, None].expand(-1, self._channels, self._channels)
        return own, values["brightness"], mixing, -values["contrast"]

    def note(self, real_logits: Tensor, fake_logits: Tensor, anchor: float | None) -> None:
        """Add signs of overfitting to this step's: where D is surer of reals than it should be (Karras et al. 2020,
        section 3.1, r_t).

        Args:
            real_logits: (n,) of augmented reals.
            fake_logits: (n,) of augmented fakes.
            anchor: the logit at which D is undecided; None where only differences of logits mean something: then
                reals are compared with fakes.
        """
        reference = fake_logits.detach() if anchor is None else anchor
        difference = real_logits.detach() - reference
        # Not `sign`, which would pass a NaN on for good.
        self.signs += ((difference > 0).float() - (difference < 0).float()).sum()

    @torch.no_grad()
    def adapt(self, num_images: int) -> None:
        """Move an adaptive probability towards less overfitting by this step's signs, summed over all ranks.

        Args:
            num_images: that signs were noted of, on all ranks.
        """
        adaptive = self._settings.adaptive
        if adaptive is None or adaptive.target is None:
            return
        share = 1 - 0.5 ** (num_images / SIGN_HALF_LIFE_IMAGES)
        self.overfitting.lerp_(self.signs / num_images, share)
        step = num_images / adaptive.images_to_certainty
        self.probability.add_((self.overfitting - adaptive.target).sign() * step).clamp_(0, 1)
        self.signs.zero_()
