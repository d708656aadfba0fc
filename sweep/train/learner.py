"""What a probe and a fine-tuning have in common: epochs, scores, the best epoch, a state."""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sweep.train.metrics import score

State = dict[str, Any]


@dataclass(frozen=True)
class Rate:
    """The choice of a trial: its number in the study and its learning rates."""

    number: int
    learning_rate: float
    backbone_learning_rate: float | None = None


@dataclass(frozen=True)
class EpochScore:
    """One member after one epoch.

    Attributes:
        metrics: train/loss, val/loss, val/auroc and the other validation metrics.
        diverged: the loss was not finite; the member learns no more.
    """

    number: int
    epoch: int
    metrics: dict[str, float]
    diverged: bool = False


@dataclass
class Best:
    """The best epoch of one member so far: by the objective, among equals by the loss."""

    objective: str
    epoch: int = 0
    value: float = -math.inf
    loss: float = math.inf
    metrics: dict[str, float] = field(default_factory=dict)

    def offer(self, result: EpochScore) -> bool:
        """Take `result` if it is better, and tell whether it was."""
        value, loss = result.metrics[f"val/{self.objective}"], result.metrics["val/loss"]
        if result.diverged or math.isnan(value) or (value, -loss) <= (self.value, -self.loss):
            return False
        self.epoch, self.value, self.loss = result.epoch, value, loss
        self.metrics = result.metrics
        return True


class Learner(Protocol):
    """Trains one or several members of a wave, an epoch at a time."""

    epoch: int
    best: dict[int, Best]

    @property
    def active(self) -> list[int]:
        """Numbers of the members that still learn."""

    def train_epoch(self) -> list[EpochScore]:
        """Train every active member for one epoch and score it on the validation split."""

    def drop(self, numbers: list[int]) -> None:
        """Stop training these members."""

    def state(self) -> State:
        """Return all that is needed to go on from here."""

    def restore(self, state: State) -> None:
        """Go on from a state of the same wave."""

    def probabilities(self, split: str) -> NDArray[np.float64]:
        """Return the class probabilities (N, C) of the first member's best epoch."""

    def network(self) -> Any:
        """Return the first member as a network with the weights of its best epoch."""


def validation(
    labels_N: Tensor, logits_NC: Tensor, train_loss: float, number: int, epoch: int
) -> EpochScore:
    """Score logits on the validation split; a loss that is not finite marks divergence."""
    logits_NC = logits_NC.double()
    loss = float(torch.nn.functional.cross_entropy(logits_NC, labels_N))
    if not (math.isfinite(loss) and math.isfinite(train_loss)):
        return EpochScore(number, epoch, {}, diverged=True)
    values = score(labels_N.numpy(), logits_NC.softmax(dim=1).numpy())
    metrics = {f"val/{name}": float(value[0]) for name, value in values.items()}
    return EpochScore(number, epoch, {"train/loss": train_loss, "val/loss": loss, **metrics})
