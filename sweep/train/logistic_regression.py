"""Logistic regression on cached features: all strengths of its L2 penalty solved in one batch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sweep.train.class_weights import class_weights
from sweep.train.estimator import BatchedEstimator
from sweep.train.lbfgs import minimise
from sweep.train.learner import Task, Trial
from sweep.train.losses.base import loss_of
from sweep.train.standardize import Standardizer

# In the unit of the curvature: half the square of the gradient's length is what the objective is
# above its minimum.
_TOLERANCE = 1e-7


class LogisticRegression(BatchedEstimator):
    """scikit-learn's multinomial LogisticRegression behind a StandardScaler, by L-BFGS.

    Features are standardised by the training split; the penalty is on the weights of standardised
    features, not on the bias. Balanced class weights are scikit-learn's.

    Of several labels a sample it is a regression of each, as scikit-learn's OneVsRestClassifier.

    L-BFGS works on the principal components of the standardised features, each in the unit of its
    own curvature, where the weak penalties converge as fast as the strong ones; a rotation leaves
    an L2 penalty as it is.
    """

    SEARCHED = frozenset({"C", "class_weights"})

    def __init__(self, task: Task, features: dict[str, Tensor], trials: list[Trial]) -> None:
        super().__init__(task, features, trials)
        self._standardizer = Standardizer.fit(self._features["train"])

    def fit(self) -> list[float]:
        """Solve every member's problem; return its mean loss."""
        # The optimum of a weak penalty is beyond the rounding of float32.
        inputs_ND = self._standardizer.transform(self._features["train"].double())
        count, classes = len(inputs_ND), self._task.classes
        several = self._labels.ndim == 2
        one_hot = self._labels if several else nn.functional.one_hot(self._labels, classes)
        targets_NC = one_hot.double()
        # Two classes have one vector of weights in scikit-learn; split in two halves, its penalty
        # would be half as large.
        share = (2 if classes == 2 and not several else 1) / count
        strengths = [share / float(trial.params["C"]) for trial in self._trials]
        penalty_K = inputs_ND.new_tensor(strengths)
        components_DR, variance_R = _principal_components(inputs_ND)
        # Of the cross-entropy's curvature p (1 - p) that of equal classes.
        curvature = 1 / 4 if several else (1 - 1 / classes) / classes
        unit_KR = (curvature * variance_R + penalty_K[:, None]).rsqrt()
        unit_KE = nn.functional.pad(unit_KR, (0, 1), value=curvature**-0.5)
        rotated_NR = inputs_ND @ components_DR
        weights_KN = self._sample_weights(self._trials)
        given = (rotated_NR, targets_NC, weights_KN, penalty_K, unit_KE)
        objective = _PenalisedLoss(*given, several)
        start_KP = inputs_ND.new_zeros(len(self._trials), unit_KE.shape[1] * classes)
        found = minimise(objective, start_KP, _TOLERANCE)
        self.flops = 4.0 * rotated_NR.numel() * classes * float(found.evaluations_K.sum())
        solved_KEC = found.parameters_KP.view(*unit_KE.shape, classes) * unit_KE[:, :, None]
        weights_KDC = components_DR @ solved_KEC[:, :-1]
        self._fitted_K["weights"] = torch.cat([weights_KDC, solved_KEC[:, -1:]], dim=1)
        logits_KNC = self.logits(self._features["train"])
        loss = loss_of("cross_entropy")
        return [float(loss.mean(logits_NC, self._labels)) for logits_NC in logits_KNC]

    def logits(self, features_ND: Tensor) -> Tensor:
        """Return the logits (K, N, C) of raw features."""
        return _affine(
            self._standardizer.transform(features_ND.double()), self._fitted_K["weights"]
        )

    def head(self) -> nn.Linear:
        """Return the first member as a linear layer on raw features: the scaling is folded in."""
        weights_EC = self._fitted_K["weights"][0]
        return self._standardizer.folded(weights_EC[:-1].T, weights_EC[-1]).cpu()

    def _sample_weights(self, trials: list[Trial]) -> Tensor:
        """Return what each training sample weighs for each member (K, N)."""
        if self._labels.ndim == 2:  # labels have no weights of classes
            return torch.ones(len(trials), len(self._labels), device=self._labels.device).double()
        recipe, classes = self._task.recipe, self._task.classes
        own = [recipe.with_params(trial.params).class_weights for trial in trials]
        rows = [class_weights(self._labels, classes, how)[self._labels] for how in own]
        return torch.stack(rows).double()


def _principal_components(inputs_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Return the directions (D, R) in which the inputs vary, and their mean squares (R,)."""
    square_D, components_DD = torch.linalg.eigh(inputs_ND.T @ inputs_ND / len(inputs_ND))
    varies_D = square_D > 1e-12 * square_D.max()
    return components_DD[:, varies_D], square_D[varies_D]


@dataclass(frozen=True)
class _PenalisedLoss:
    """The mean cross-entropy of each member, and its L2 penalty on all weights but the bias.

    R components of the inputs; E = R + 1, the last row is the bias.

    Attributes:
        weights_KN: what each sample weighs for each member.
        penalty_K: of each member.
        unit_KE: by what the parameters are multiplied, before all else.
        several: the targets are labels of which a sample may have several; their losses add up.
    """

    inputs_NR: Tensor
    targets_NC: Tensor
    weights_KN: Tensor
    penalty_K: Tensor
    unit_KE: Tensor
    several: bool = False

    def __call__(self, parameters_KP: Tensor, which_K: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (K,) and gradients (K, P) of the members `which_K`."""
        (count, classes), members = self.targets_NC.shape, len(which_K)
        weights_KN = self.weights_KN[which_K] / count
        penalty_K11 = self.penalty_K[which_K, None, None]
        unit_KE1 = self.unit_KE[which_K, :, None]
        scaled_KEC = parameters_KP.view(members, -1, classes) * unit_KE1
        matrix_KRC = scaled_KEC[:, :-1]
        losses_KN, probabilities_KNC = self._losses(_affine(self.inputs_NR, scaled_KEC))
        value_K = (losses_KN * weights_KN).sum(dim=1)
        value_K += 0.5 * (penalty_K11 * matrix_KRC.square()).sum(dim=(1, 2))
        error_KNC = (probabilities_KNC - self.targets_NC) * weights_KN[:, :, None]
        error_NP = error_KNC.transpose(0, 1).reshape(count, -1)
        gradient_RKC = (self.inputs_NR.T @ error_NP).view(-1, members, classes)
        gradient_KEC = torch.empty_like(scaled_KEC)
        gradient_KEC[:, :-1] = gradient_RKC.transpose(0, 1) + penalty_K11 * matrix_KRC
        gradient_KEC[:, -1] = error_KNC.sum(dim=1)
        return value_K, (gradient_KEC * unit_KE1).view(members, -1)

    def _losses(self, logits_KNC: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of each sample (K, N), and the probabilities (K, N, C)."""
        if self.several:
            losses_KNC = nn.functional.softplus(logits_KNC) - logits_KNC * self.targets_NC
            return losses_KNC.sum(dim=2), logits_KNC.sigmoid()
        log_KNC = logits_KNC.log_softmax(dim=2)
        return -(log_KNC * self.targets_NC).sum(dim=2), log_KNC.exp()


def _affine(inputs_ND: Tensor, parameters_KEC: Tensor) -> Tensor:
    """Return the logits (K, N, C), from one matrix product whatever K is."""
    members, rows, classes = parameters_KEC.shape
    matrix_DP = parameters_KEC[:, :-1].permute(1, 0, 2).reshape(rows - 1, members * classes)
    logits_NKC = (inputs_ND @ matrix_DP).view(len(inputs_ND), members, classes)
    return logits_NKC.transpose(0, 1) + parameters_KEC[:, -1:]
