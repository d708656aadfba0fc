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
        solve = self._solve_labels if several else self._solve_classes
        solved_KEC = solve(inputs_ND @ components_DR, penalty_K, unit_KE)
        weights_KDC = components_DR @ solved_KEC[:, :-1]
        self._fitted_K["weights"] = torch.cat([weights_KDC, solved_KEC[:, -1:]], dim=1)
        logits_KNC = self.logits(self._features["train"])
        loss = loss_of("cross_entropy")
        return [float(loss.mean(logits_NC, self._labels)) for logits_NC in logits_KNC]

    def _solve_classes(self, inputs_NR: Tensor, penalty_K: Tensor, unit_KE: Tensor) -> Tensor:
        """Return the parameters (K, E, C) on the components, by the softmax of all classes."""
        classes = self._task.classes
        targets_NC = nn.functional.one_hot(self._labels, classes).double()
        weights_KN = self._sample_weights(self._trials)
        objective = _PenalisedLoss(inputs_NR, targets_NC, weights_KN, penalty_K, unit_KE)
        start_KP = inputs_NR.new_zeros(len(self._trials), unit_KE.shape[1] * classes)
        found = minimise(objective, start_KP, _TOLERANCE)
        self.flops = 4.0 * inputs_NR.numel() * classes * float(found.evaluations_K.sum())
        return found.parameters_KP.view(*unit_KE.shape, classes) * unit_KE[:, :, None]

    def _solve_labels(self, inputs_NR: Tensor, penalty_K: Tensor, unit_KE: Tensor) -> Tensor:
        """Return the parameters (K, E, C) on the components, each label's by itself."""
        members, labels = len(self._trials), self._labels.shape[1]
        targets_MN = self._labels.T.double().repeat(members, 1)
        unit_ME = unit_KE.repeat_interleave(labels, dim=0)
        penalty_M = penalty_K.repeat_interleave(labels)
        objective = _BinaryLoss(inputs_NR, targets_MN, penalty_M, unit_ME)
        found = minimise(objective, torch.zeros_like(unit_ME), _TOLERANCE)
        self.flops = 4.0 * inputs_NR.numel() * float(found.evaluations_K.sum())
        return (found.parameters_KP * unit_ME).view(members, labels, -1).transpose(1, 2)

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
        recipe, classes = self._task.recipe, self._task.classes
        own = [recipe.with_params(trial.params).class_weights for trial in trials]
        rows = [class_weights(self._labels, classes, how)[self._labels] for how in own]
        return torch.stack(rows).double()


def _principal_components(inputs_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Return the directions (D, R) in which the inputs vary, and their mean squares (R,)."""
    count, features = inputs_ND.shape
    if 2 * count < features:  # then there are so many directions at most
        _, length_R, components_RD = torch.linalg.svd(inputs_ND, full_matrices=False)
        square_R, components_DR = length_R.square() / count, components_RD.T
    else:
        square_R, components_DR = torch.linalg.eigh(inputs_ND.T @ inputs_ND / count)
    varies_R = square_R > 1e-12 * square_R.max()
    return components_DR[:, varies_R], square_R[varies_R]


@dataclass(frozen=True)
class _PenalisedLoss:
    """The mean cross-entropy of each member, and its L2 penalty on all weights but the bias.

    R components of the inputs; E = R + 1, the last row is the bias.

    Attributes:
        weights_KN: what each sample weighs for each member.
        penalty_K: of each member.
        unit_KE: by what the parameters are multiplied, before all else.
    """

    inputs_NR: Tensor
    targets_NC: Tensor
    weights_KN: Tensor
    penalty_K: Tensor
    unit_KE: Tensor

    def __call__(self, parameters_KP: Tensor, which_K: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (K,) and gradients (K, P) of the members `which_K`."""
        (count, classes), members = self.targets_NC.shape, len(which_K)
        weights_KN = self.weights_KN[which_K] / count
        penalty_K11 = self.penalty_K[which_K, None, None]
        unit_KE1 = self.unit_KE[which_K, :, None]
        scaled_KEC = parameters_KP.view(members, -1, classes) * unit_KE1
        matrix_KRC = scaled_KEC[:, :-1]
        log_KNC = _affine(self.inputs_NR, scaled_KEC).log_softmax(dim=2)
        losses_KN = -(log_KNC * self.targets_NC).sum(dim=2)
        value_K = (losses_KN * weights_KN).sum(dim=1)
        value_K += 0.5 * (penalty_K11 * matrix_KRC.square()).sum(dim=(1, 2))
        error_KNC = (log_KNC.exp() - self.targets_NC) * weights_KN[:, :, None]
        error_NP = error_KNC.transpose(0, 1).reshape(count, -1)
        gradient_RKC = (self.inputs_NR.T @ error_NP).view(-1, members, classes)
        gradient_KEC = torch.empty_like(scaled_KEC)
        gradient_KEC[:, :-1] = gradient_RKC.transpose(0, 1) + penalty_K11 * matrix_KRC
        gradient_KEC[:, -1] = error_KNC.sum(dim=1)
        return value_K, (gradient_KEC * unit_KE1).view(members, -1)


@dataclass(frozen=True)
class _BinaryLoss:
    """The mean binary cross-entropy of M problems, each of one label, and its L2 penalty.

    Attributes:
        targets_MN: 1 for the samples that have the label, else 0.
        penalty_M, unit_ME: as of `_PenalisedLoss`.
    """

    inputs_NR: Tensor
    targets_MN: Tensor
    penalty_M: Tensor
    unit_ME: Tensor

    def __call__(self, parameters_ME: Tensor, which_M: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (M,) and gradients (M, E) of the problems `which_M`."""
        unit_ME, penalty_M1 = self.unit_ME[which_M], self.penalty_M[which_M, None]
        scaled_ME, targets_MN = parameters_ME * unit_ME, self.targets_MN[which_M]
        weights_MR = scaled_ME[:, :-1]
        logits_MN = weights_MR @ self.inputs_NR.T + scaled_ME[:, -1:]
        losses_MN = nn.functional.softplus(logits_MN) - logits_MN * targets_MN
        value_M = losses_MN.mean(dim=1) + 0.5 * (penalty_M1 * weights_MR.square()).sum(dim=1)
        error_MN = (logits_MN.sigmoid() - targets_MN) / targets_MN.shape[1]
        gradient_MR = error_MN @ self.inputs_NR + penalty_M1 * weights_MR
        gradient_ME = torch.cat([gradient_MR, error_MN.sum(dim=1, keepdim=True)], dim=1)
        return value_M, gradient_ME * unit_ME


def _affine(inputs_ND: Tensor, parameters_KEC: Tensor) -> Tensor:
    """Return the logits (K, N, C), from one matrix product whatever K is."""
    members, rows, classes = parameters_KEC.shape
    matrix_DP = parameters_KEC[:, :-1].permute(1, 0, 2).reshape(rows - 1, members * classes)
    logits_NKC = (inputs_ND @ matrix_DP).view(len(inputs_ND), members, classes)
    return logits_NKC.transpose(0, 1) + parameters_KEC[:, -1:]
