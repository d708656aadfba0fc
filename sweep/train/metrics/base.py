"""What a metric is, and what every metric is computed from.

Dimensions: N samples, C classes, K predictions of the same samples (the members of a wave). Labels
are class indices (N,); where a sample may have several, or none, they are a matrix (N, C) of 0 and
1, and the probabilities are those of each label alone. Their metrics are means over the labels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

ALL_TARGETS = frozenset({"multiclass", "ordinal", "multilabel"})

Result = TypeVar("Result")

_STEP = 1e-3  # step of a sample's weight for numerical differentiation
_MOST_PARTS = 500  # limit on the groups of samples whose weights are varied together


@dataclass(frozen=True, eq=False)
class WeightedPredictions:
    """Class probabilities of the same samples, with what each sample weighs.

    Attributes:
        labels_N: class indices, or a matrix of 0 and 1.
        probabilities_KNC: of each of K predictions.
        weights_N: 1 for each sample, where they are not weighted.
        computed: what several metrics need, so that it is computed once; see `computed_once`.
    """

    labels_N: Labels
    probabilities_KNC: Floats
    weights_N: Floats
    computed: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of_weight_1(cls, labels_N: Labels, probabilities_KNC: Floats) -> "WeightedPredictions":
        """Let every sample weigh 1."""
        return cls(labels_N, probabilities_KNC, np.ones(len(labels_N)))

    def weighted(self, weights_N: Floats) -> "WeightedPredictions":
        """Return the same with other weights."""
        return WeightedPredictions(self.labels_N, self.probabilities_KNC, weights_N)

    @property
    def multilabel(self) -> bool:
        """Whether a sample may have several labels."""
        return self.labels_N.ndim == 2

    @property
    def classes(self) -> int:
        """C, whether each class has samples or not."""
        return int(self.probabilities_KNC.shape[2])


def computed_once(
    compute: Callable[[WeightedPredictions], Result],
) -> Callable[[WeightedPredictions], Result]:
    """Let a function of predictions keep what it returns with them."""

    @wraps(compute)
    def known(given: WeightedPredictions) -> Result:
        name = f"{compute.__module__}.{compute.__name__}"
        if name not in given.computed:
            given.computed[name] = compute(given)
        result: Result = given.computed[name]
        return result

    return known


class Metric(ABC):
    """A number that says how good predictions are.

    Attributes:
        title: as people write it, at the head of a column.
        lower_is_better: for errors. Such a metric cannot be the objective of a space.
        low, high: the values between which it lies.
        mean_over_classes: a mean over classes, so that the rarest of them decides how well it is
            known.
        targets: kinds of target that it has a meaning for; see `sweep.space.specs.Target`.
        has_variance: whether the variance over the test groups is that of its influences. Not of
            a metric that the noise of the predictions biases.
        interval: which interval it gets: that of a share of samples (Wilson), of an area under
            the ROC curve (Newcombe), or of a mostly small error (symmetric on the logit scale).
    """

    title: str
    lower_is_better = False
    low = 0.0
    high = 1.0
    mean_over_classes = False
    targets: frozenset[str] = frozenset({"multiclass", "ordinal"})
    has_variance = True
    interval: Literal["share", "area", "error"] = "share"

    @abstractmethod
    def score(self, given: WeightedPredictions) -> Floats:
        """Return the metric of each prediction (K,), NaN where it is undefined.

        A sample of weight 2 counts like two samples; weights need not be whole.
        """

    def influences(self, given: WeightedPredictions) -> Floats:
        """Return the derivative of the metric by the weight of each sample, (N,), at weight 1.

        Of the first prediction. They sum to zero, and say how much the metric varies with the
        test samples (Hampel 1974). This is the slow way for any metric: samples are moved one by
        one, or in at most 500 parts, each for the first of its samples, which leaves the sum of
        the squares as it is on average.
        """
        one = WeightedPredictions(given.labels_N, given.probabilities_KNC[:1], given.weights_N)
        found_N = np.zeros(len(one.labels_N))
        # Neighbours often share class or patient, so a group takes samples far apart.
        parts = min(len(found_N), _MOST_PARTS)
        for part in range(parts):
            steps_N = np.zeros(len(found_N))
            steps_N[part::parts] = _STEP
            up, down = (self.score(one.weighted(one.weights_N + s * steps_N))[0] for s in (1, -1))
            found_N[part] = (up - down) / (2 * _STEP)
        return found_N

    def most(self, classes: int, multilabel: bool = False) -> float:
        """Return the largest value that the metric can have with so many classes, or labels."""
        return self.high
