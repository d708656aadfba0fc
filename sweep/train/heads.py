"""What may be trained on the outputs of a frozen trunk, by the name that a freeze mode gives."""

from sweep.space.freeze import freeze_mode
from sweep.train.estimator import BatchedEstimator
from sweep.train.logistic_regression import LogisticRegression
from sweep.train.neighbors import NearestNeighbors, Prototypes
from sweep.train.probe import BatchedLinearProbe

HEADS: dict[str, type[BatchedLinearProbe] | type[BatchedEstimator]] = {
    "linear": BatchedLinearProbe,
    "logistic_regression": LogisticRegression,
    "nearest_neighbors": NearestNeighbors,
    "prototypes": Prototypes,
}


def head_of(mode: str) -> type[BatchedLinearProbe] | type[BatchedEstimator]:
    """Return the learner of a freeze mode's head."""
    return HEADS[freeze_mode(mode)[0].head]
