"""Ranges of hyper-parameters: positive, logarithmic, and what lies beyond their ends."""

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
End = Literal["lower", "upper"]

IN_WORDS = {
    "learning_rate": "learning rate",
    "backbone_scale": "share of the backbone's rate",
    "weight_decay": "weight decay",
}
_EDGE = 0.1  # of a logarithmic range, at either end


class Part(BaseModel):
    """A part of the space file: no unknown keys, no change once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(Part):
    """A log-uniform domain."""

    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _upright(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}; swap the two")
        return self


def end_of(domain: Range, value: float) -> End | None:
    """Return at which end of a range a value lies; None in its middle, or if it is one value."""
    if domain.low == domain.high:
        return None
    place = math.log(value / domain.low) / math.log(domain.high / domain.low)
    return "lower" if place < _EDGE else "upper" if place > 1 - _EDGE else None


def extend_range(domain: Range, end: End | None) -> Range:
    """Return the power of ten beyond an end of a range; the range itself for none."""
    if end is None:
        return Range(low=domain.low, high=domain.high)
    if end == "lower":
        return Range(low=domain.low / 10, high=domain.low)
    return Range(low=domain.high, high=domain.high * 10)


class LearningRate(Range):
    """The domain of the head's rate and, if asked, of the backbone's share of it."""

    backbone_scale: Range | None = None
