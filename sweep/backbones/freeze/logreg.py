"""`logreg`: logistic regression on the outputs of the trunk as it is, solved to its optimum."""

from collections.abc import Mapping

from sweep.backbones.freeze.frozen import Frozen
from sweep.space.domains import Categorical, Range
from sweep.space.registries import FREEZE_MODES


class LogReg(Frozen):
    """A linear probe without a learning rate: L-BFGS, and an L2 penalty that is searched.

    ``C`` is scikit-learn's: the inverse of the penalty's strength.
    """

    trains = "the head alone, as logistic regression with a tuned L2 penalty"
    head = "logistic_regression"
    domains: Mapping[str, Range | Categorical] = {"C": Range(low=1e-6, high=1e3)}
    epochs = 1


FREEZE_MODES.register("logreg", LogReg())
