"""What groups of settings have in common: names, ranges, and a frozen model that refuses what it does not know."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

ObjectiveName = Literal["adversarial", "autoencoder"]
AdversarialLossName = Literal["minimax", "non_saturating", "least_squares", "wasserstein", "hinge", "relativistic"]
LossName = Literal[AdversarialLossName, "elbo"]
PenaltyName = Literal["r1", "r2", "gradient_penalty", "consistency", "balanced_consistency"]
Precision = Literal["float32", "bfloat16"]
UpdateName = Literal["alternating", "simultaneous"]
Normalisation = Literal["batch", "spectral"]
PipeOperation = Literal[
    "flip", "quarter_turn", "shift", "scale", "rotate", "stretch", "fractional_shift", "brightness", "contrast",
    "luma_flip", "hue", "saturation", "cutout",
]  # fmt: skip
DiffAugmentOperation = Literal["colour", "translation", "cutout"]
AugmentationPolicy = Literal["pipe", "diffaugment"]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Width = Annotated[int, Field(gt=0, le=2**20)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1)]
GroupedWidth = Annotated[int, Field(gt=0, le=2**20, multiple_of=8)]


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown keys, infinities and NaN.

    Attributes:
        ADDED: fields that came later. They are left out of the JSON where they have their default, which says what was
            done before, so that ids of recipes of before stand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    ADDED: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_added(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        left_out = {
            name for name in self.ADDED if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }
        return {name: value for name, value in handler(self).items() if name not in left_out}
