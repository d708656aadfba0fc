"""What the temperature has done to a cell's probabilities: ECE and Brier score before and after."""

from dataclasses import dataclass

import numpy as np

from sweep.comparison.comparison import Row
from sweep.records.predictions import Predictions
from sweep.train.metrics import score

_ERRORS = ("ece", "brier")


@dataclass(frozen=True)
class CalibrationEffect:
    """Means over the confirmations of a cell, on its test split.

    Attributes:
        temperatures: the least and the largest.
        before, after: ``ece`` and ``brier``; less is better.
    """

    row: Row
    temperatures: tuple[float, float]
    before: dict[str, float]
    after: dict[str, float]


def calibration_effect(row: Row) -> CalibrationEffect | None:
    """Return what a cell's temperatures have done; None if it has none."""
    before = row.cell.uncalibrated()
    chosen = [record.facts.get("temperature") for record in row.cell.confirmations]
    values = [float(value) for value in chosen if value is not None]
    if before is None or not values:
        return None
    ends = min(values), max(values)
    return CalibrationEffect(row, ends, _errors(before), _errors(row.cell.predictions()))


def _errors(predictions: list[Predictions]) -> dict[str, float]:
    scores = [score(item.labels_N, item.probabilities_NC, item.target) for item in predictions]
    return {name: float(np.mean([own[name] for own in scores])) for name in _ERRORS}
