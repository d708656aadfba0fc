"""Logistic regression on cached features: all strengths of its L2 penalty solved in one batch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sweep.train.class_weights import class_weights
from sweep.train.closed_form import ClosedFormHeads
from sweep.train.lbfgs import minimise
from sweep.train.learner import Task, Trial


class LogisticRegression(ClosedFormHeads):
    """scikit-learn's multinomial LogisticRegression behind a StandardScaler, by L-BFGS.

    Features are standardised by the training split; the penalty is on the weights of standardised
    features, not on the bias. Balanced class weights are scikit-learn's.
    """

    SEARCHED = frozenset({"C", "class_weights"})

    def __init__(self, task: Task, features: dict[str, Tensor], trials: list[Trial]) -> None:
        super().__init__(task, features, trials)
        train_ND = self._features["train"]
        self._mean_D = train_ND.mean(dim=0)
        deviation_D = train_ND.std(dim=0, correction=0)
        # A feature that is constant is left as it is, as scikit-learn leaves it.
        self._scale_D = torch.where(deviation_D > 1e-12, deviation_D, 1)
        self._weights_KEC = torch.empty(0)

    def fit(self, trials: list[Trial]) -> list[float]:
        """Solve every member's problem; return its mean loss."""
        # The optimum of a weak penalty is beyond the rounding of float32.
        inputs_ND = self._standardised(self._features["train"]).double()
        count, classes = len(inputs_ND), self._task.classes
        targets_NC = nn.functional.one_hot(self._labels, classes).double()
        # Two classes have one vector of weights in scikit-learn; split in two halves, its penalty
        # would be half as large.
        share = (2 if classes == 2 else 1) / count
        penalty_K = inputs_ND.new_tensor([share / float(trial.params["C"]) for trial in trials])
        objective = _PenalisedLoss(inputs_ND, targets_NC, self._sample_weights(trials), penalty_K)
        start_KP = inputs_ND.new_zeros(len(trials), (inputs_ND.shape[1] + 1) * classes)
        solved_KP = minimise(objective, start_KP)
        self._weights_KEC = solved_KP.view(len(trials), -1, classes).float()
        logits_KNC = self.logits(self._features["train"])
        losses_KN = -(logits_KNC.log_softmax(dim=2) * targets_NC).sum(dim=2)
        return [float(loss) for loss in losses_KN.mean(dim=1)]

    def logits(self, features_ND: Tensor) -> Tensor:
        """Return the logits (K, N, C) of raw features."""
        return _affine(self._standardised(features_ND), self._weights_KEC)

    def head(self) -> nn.Linear:
        """Return the first member as a linear layer on raw features: the scaling is folded in."""
        weights_EC = self._weights_KEC[0].double().cpu()
        mean_D, scale_D = self._mean_D.double().cpu(), self._scale_D.double().cpu()
        matrix_DC = weights_EC[:-1] / scale_D[:, None]
        head = nn.Linear(len(mean_D), self._task.classes)
        with torch.no_grad():
            head.weight.copy_(matrix_DC.T)
            head.bias.copy_(weights_EC[-1] - mean_D @ matrix_DC)
        return head

    def _standardised(self, features_ND: Tensor) -> Tensor:
        return (features_ND - self._mean_D) / self._scale_D

    def _sample_weights(self, trials: list[Trial]) -> Tensor:
        """Return what each training sample weighs for each member (K, N)."""
        recipe, classes = self._task.recipe, self._task.classes
        own = [recipe.with_params(trial.params).class_weights for trial in trials]
        rows = [class_weights(self._labels, classes, how)[self._labels] for how in own]
        return torch.stack(rows).double()


@dataclass(frozen=True)
class _PenalisedLoss:
    """The mean cross-entropy of each member, and its L2 penalty on all weights but the bias.

    Attributes:
        weights_KN: what each sample weighs for each member.
        penalty_K: of each member.
    """

    inputs_ND: Tensor
    targets_NC: Tensor
    weights_KN: Tensor
    penalty_K: Tensor

    def __call__(self, parameters_KP: Tensor, which_K: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (K,) and gradients (K, P) of the members `which_K`."""
        (count, classes), members = self.targets_NC.shape, len(which_K)
        weights_KN = self.weights_KN[which_K] / count
        penalty_K11 = self.penalty_K[which_K, None, None]
        parameters_KEC = parameters_KP.view(members, -1, classes)
        matrix_KDC = parameters_KEC[:, :-1]
        log_KNC = _affine(self.inputs_ND, parameters_KEC).log_softmax(dim=2)
        losses_KN = -(log_KNC * self.targets_NC).sum(dim=2)
        value_K = (losses_KN * weights_KN).sum(dim=1)
        value_K += 0.5 * (penalty_K11 * matrix_KDC.square()).sum(dim=(1, 2))
        error_KNC = (log_KNC.exp() - self.targets_NC) * weights_KN[:, :, None]
        error_NP = error_KNC.transpose(0, 1).reshape(count, -1)
        gradient_DKC = (self.inputs_ND.T @ error_NP).view(-1, members, classes)
        gradient_KEC = torch.empty_like(parameters_KEC)
        gradient_KEC[:, :-1] = gradient_DKC.transpose(0, 1) + penalty_K11 * matrix_KDC
        gradient_KEC[:, -1] = error_KNC.sum(dim=1)
        return value_K, gradient_KEC.view(members, -1)


def _affine(inputs_ND: Tensor, parameters_KEC: Tensor) -> Tensor:
    """Return the logits (K, N, C), from one matrix product whatever K is."""
    members, rows, classes = parameters_KEC.shape
    matrix_DP = parameters_KEC[:, :-1].permute(1, 0, 2).reshape(rows - 1, members * classes)
    logits_NKC = (inputs_ND @ matrix_DP).view(len(inputs_ND), members, classes)
    return logits_NKC.transpose(0, 1) + parameters_KEC[:, -1:]
