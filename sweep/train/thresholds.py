"""Operating points of two classes: thresholds that a validation split chooses.

Dimensions: N samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

_ABOVE_ALL = 1.0 + 1e-9  # a threshold that no probability reaches


@dataclass(frozen=True)
class OperatingPoint:
    """What is held at a level on the validation split: ``specificity`` or ``sensitivity``."""

    held: str
    level: float

    @property
    def name(self) -> str:
        """Its name in the facts of a record, such as ``specificity_90``."""
        return f"{self.held}_{self.level:.0%}".rstrip("%")

    @property
    def scored(self) -> str:
        """What is of interest there: the other one of the two."""
        return "sensitivity" if self.held == "specificity" else "specificity"


OPERATING_POINTS = tuple(
    OperatingPoint(held, level) for held in ("specificity", "sensitivity") for level in (0.9, 0.95)
)


def choose_thresholds(
    labels_N: NDArray[np.int64], scores_N: NDArray[np.float64]
) -> dict[str, float]:
    """Return the threshold of each operating point, by its name.

    A sample is called positive if its score is not below the threshold. Of the thresholds that
    hold a specificity the one with the highest sensitivity is taken, and the other way round.

    Args:
        labels_N: 1 for positives, 0 for negatives; both must be there.
        scores_N: probabilities of the positive class.
    """
    false_T, true_T, threshold_T = roc_curve(labels_N, scores_N, drop_intermediate=False)
    found = {}
    for point in OPERATING_POINTS:
        if point.held == "specificity":
            allowed = np.flatnonzero(1 - false_T >= point.level)
            place = allowed[np.argmax(true_T[allowed])]
        else:
            allowed = np.flatnonzero(true_T >= point.level)
            place = allowed[np.argmin(false_T[allowed])]
        found[point.name] = float(min(threshold_T[place], _ABOVE_ALL))
    return found
