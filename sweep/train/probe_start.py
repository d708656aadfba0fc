"""The head that fine-tuning begins with: the best of several logistic regressions."""

from torch import Tensor, nn

from sweep.train.learner import Task, Trial, chosen
from sweep.train.logistic_regression import LogisticRegression

_STRENGTHS = tuple(10.0**power for power in range(-6, 4))


def probe_head(task: Task, features: dict[str, Tensor]) -> nn.Linear:
    """Return the head of the logistic regression that the validation split chooses.

    Args:
        features: per split, the outputs (N, D) of the trunk as it is.
    """
    trials = [Trial(number, {"C": strength}) for number, strength in enumerate(_STRENGTHS)]
    probes = LogisticRegression(task, features, trials)
    probes.train_epoch()
    best = chosen(probes)
    probes.drop([number for number in probes.active if number != (best or 0)])
    return probes.head()
