"""Domains of hyper-parameters: ranges and choices, and what lies beyond the ends of a range."""

import math
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
    model_validator,
)

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
End = Literal["lower", "upper"]
Value = str | int | float

_IN_WORDS = {"backbone_scale": "share of the backbone's rate"}
_EDGE = 0.1  # share of a range, at either end


def in_words(name: str) -> str:
    """Return a hyper-parameter's name as people write it."""
    return _IN_WORDS.get(name, name.replace("_", " "))


class Part(BaseModel):
    """A part of the space file: no unknown keys, no change once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(Part):
    """A range of numbers, drawn from uniformly on a logarithmic scale, or with ``log: false``."""

    low: NotNegative
    high: Positive
    log: bool = Field(default=True, exclude_if=lambda log: log)

    @model_validator(mode="after")
    def _upright(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}; swap the two")
        if self.log and not self.low:
            raise ValueError("low is 0, which a logarithmic range does not reach; write log: false")
        return self

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at the lower end, 1 at the upper, on the range's scale."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def at(self, place: float) -> float:
        """Return the value at a place."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            value = math.exp(low + (high - low) * place)
        else:
            value = self.low + (self.high - self.low) * place
        return min(max(value, self.low), self.high)


class Categorical(RootModel[Annotated[tuple[Value, ...], Field(min_length=1)]]):
    """Values of which each is tried."""

    model_config = ConfigDict(frozen=True)


def _kind(domain: object) -> str:
    return "[values]" if isinstance(domain, list | tuple | Categorical) else "[range]"


Domain = Range | Categorical
# In a space file a list is a list of values, anything else a range. The tags have brackets,
# by which error messages tell them from the user's keys.
ReadDomain = Annotated[
    Annotated[Range, Tag("[range]")] | Annotated[Categorical, Tag("[values]")],
    Discriminator(_kind),
]


def end_of(domain: Range, value: float) -> End | None:
    """Return at which end of a range a value lies; None in its middle, or if it is one value.

    Nothing is below 0, so that a range from 0 has no lower end to search beyond.
    """
    if domain.low == domain.high:
        return None
    place = domain.place(value)
    if place > 1 - _EDGE:
        return "upper"
    return "lower" if place < _EDGE and domain.low else None


def extend_range(domain: Range, end: End | None) -> Range:
    """Return the power of ten beyond an end of a range; the range itself for none.

    Of a range that is not logarithmic as much again, at the lower end not below 0.
    """
    low, high, log = domain.low, domain.high, domain.log
    if end == "lower":
        return Range(low=low / 10 if log else max(0.0, 2 * low - high), high=low, log=log)
    if end == "upper":
        return Range(low=high, high=high * 10 if log else 2 * high - low, log=log)
    return Range(low=low, high=high, log=log)


class LearningRate(Range):
    """The domain of the head's rate and, if asked, of the backbone's share of it."""

    backbone_scale: Range | None = None
