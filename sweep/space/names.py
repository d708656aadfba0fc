"""What may stand in one place of a space file: names, counts, patterns; each checked at once."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from sweep.space.freeze import freeze_mode
from sweep.space.registries import LAYOUTS, LOSSES, METRICS, TRACKERS

_LONGEST_NAME = 100


def check_name(name: str) -> str:
    """Return a name of a sweep, a dataset or a backbone; raises ValueError if it cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"{name!r} may hold only letters, digits, '.', '_' and '-'")
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"{name[:20]!r}... is longer than {_LONGEST_NAME} characters")
    return name


def _check_freeze(mode: str) -> str:
    freeze_mode(mode)
    return mode


def is_frozen(mode: str) -> bool:
    """Tell whether a freeze mode trains no parameter of any trunk."""
    return bool(freeze_mode(mode)[0].trunk_is_frozen)


def _check_objective(name: str) -> str:
    if METRICS.get(name).lower_is_better:
        raise ValueError(
            f"{name!r} is an error; trials are chosen by a metric of which more is better"
        )
    return name


def _check_group(pattern: str) -> str:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    if compiled.groups > 1:
        raise ValueError(f"{pattern!r} has {compiled.groups} groups; mark the group id with one")
    return pattern


def _check_layout(name: str) -> str:
    if name not in LAYOUTS:
        LAYOUTS.get(name)  # this raises an error with the nearest name
    return name


def _check_loss(name: str) -> str:
    if name not in LOSSES:
        LOSSES.get(name)  # this raises an error with the nearest name
    return name


def _check_tracker(name: str) -> str:
    if name not in TRACKERS:
        TRACKERS.get(name)  # this raises an error with the nearest name
    return name


Options = tuple[tuple[str, Any], ...]
TrackerName = Annotated[str, AfterValidator(_check_tracker)]
Loss = Annotated[str, AfterValidator(_check_loss)]
Layout = Annotated[str, AfterValidator(_check_layout)]
Name = Annotated[str, AfterValidator(check_name)]
Freeze = Annotated[str, AfterValidator(_check_freeze)]
GroupPattern = Annotated[str, AfterValidator(_check_group)]
Objective = Annotated[str, AfterValidator(_check_objective)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
# Treatment of training images that are test images or share a group with one.
Leaks = Literal["drop", "error", "allow"]
# An augmentation by the kind of image; see train/augment.py.
AugmentationName = Literal["light", "xray", "fundus", "dermoscopy", "mri", "no_flip"]
