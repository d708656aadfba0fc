"""What a probe and a fine-tuning have in common: epochs, scores, the best epoch, a state."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sweep.backbones.backbone import Backbone
from sweep.base.identity import canonical_hash
from sweep.space.recipe import Recipe
from sweep.train.losses.base import loss_of
from sweep.train.metrics import pool, score_each
from sweep.train.probabilities import as_array

State = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One choice of hyper-parameters in a cell.

    Attributes:
        number: in the study of the cell.
        params: the choice, by name: ``learning_rate``, and whatever else is searched.
    """

    number: int
    params: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash((self.number, self.identity))

    @property
    def learning_rate(self) -> float:
        """The learning rate of what has no other one."""
        return float(self.params["learning_rate"])

    @property
    def identity(self) -> str:
        """The hash of all that was chosen: two choices are the same if this is."""
        return canonical_hash({"backbone_learning_rate": None, **self.params})

    def value(self, name: str, fixed: float) -> float:
        """Return a hyper-parameter, the fixed one of the recipe where it was not searched."""
        chosen = self.params.get(name)
        return fixed if chosen is None else float(chosen)


@dataclass(frozen=True, eq=False)
class Task:
    """What the members of a wave learn, and how.

    Attributes:
        labels: per split, class indices (N,), int64; of several labels 0 and 1, shape (N, C).
        objective: the metric that chooses.
        seed: of the initial weights and of the order of the samples.
        units: which unit of scoring each validation sample belongs to, where they are pooled.
        target: what the labels are; see `sweep.space.specs.Target`.
    """

    backbone: Backbone
    labels: dict[str, Tensor]
    classes: int
    recipe: Recipe
    epochs: int
    objective: str
    seed: int
    device: torch.device
    units: NDArray[np.int64] | None = None
    target: str = "multiclass"


@dataclass(frozen=True)
class EpochScore:
    """One member after one epoch.

    Attributes:
        metrics: val/loss, val/auroc and the other validation metrics, train/loss if there is one.
        diverged: the loss was not finite; the member learns no more.
    """

    number: int
    epoch: int
    metrics: dict[str, float]
    diverged: bool = False


@dataclass
class BestEpoch:
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

    @property
    def flops(self) -> float:
        """Floating-point operations of what takes no epochs, for all members."""

    @property
    def best(self) -> Mapping[int, BestEpoch]:
        """The best epoch so far of each member."""

    @property
    def backbone(self) -> Backbone:
        """The backbone whose features or weights are trained."""

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


class Head(Learner, Protocol):
    """A learner of heads on cached features."""

    def refitted(self) -> "Head":
        """Return the first member, trained on the training and validation samples together.

        It takes the epochs that the validation split has chosen, and has no validation scores of
        its own.
        """


def with_validation(task: Task, features: dict[str, Tensor]) -> tuple[Task, dict[str, Tensor]]:
    """Return a task and features whose training split holds the validation samples, too."""
    labels, inputs = (
        {**of, "train": torch.cat([of["train"], of["val"]])} for of in (task.labels, features)
    )
    return replace(task, labels=labels), inputs


def chosen(learner: Learner) -> int | None:
    """Return the number of the member with the best validation score of those that still learn.

    Of equals the one with the lower loss, then the lower number; None if none has a score.
    """
    scored = [number for number in sorted(learner.active) if learner.best[number].epoch]

    def goodness(number: int) -> tuple[float, float]:
        return learner.best[number].value, -learner.best[number].loss

    return max(scored, key=goodness, default=None)


def validation(
    task: Task,
    logits_KNC: Tensor,
    train_losses: list[float] | None,
    numbers: list[int],
    epoch: int,
) -> list[EpochScore]:
    """Score each member's logits on the validation split.

    A loss that is not finite, in training or here, marks a member as diverged. Where predictions
    are pooled the loss is the samples' all the same.

    Args:
        train_losses, numbers: of each member; None where there is no training loss.
    """
    labels_N = task.labels["val"]
    logits_KNC = logits_KNC.double()
    loss, members = loss_of(task.recipe.loss), len(logits_KNC)
    labels = labels_N.repeat(members, *[1] * (labels_N.ndim - 1))
    of_each = loss.of_each(logits_KNC.flatten(0, 1), labels)
    losses = of_each.view(len(logits_KNC), len(labels_N)).mean(dim=1).tolist()
    losses_K = zip(losses, train_losses or losses, strict=True)
    sound = [math.isfinite(own) and math.isfinite(train) for own, train in losses_K]
    probabilities_KNC = as_array(logits_KNC[sound], task.target)
    metrics = score_each(*pool(labels_N.numpy(), probabilities_KNC, task.units), task.target)
    columns = iter(np.stack(list(metrics.values()), axis=1).tolist())
    scores = []
    for index, number in enumerate(numbers):
        if not sound[index]:
            scores.append(EpochScore(number, epoch, {}, diverged=True))
            continue
        own = {"train/loss": train_losses[index]} if train_losses else {}
        own["val/loss"] = losses[index]
        named = {f"val/{name}": value for name, value in zip(metrics, next(columns), strict=True)}
        scores.append(EpochScore(number, epoch, {**own, **named}))
    return scores
