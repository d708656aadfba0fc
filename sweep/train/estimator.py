"""Heads on cached features that are fitted at once instead of over epochs; a Learner of one epoch.

Dimensions: N samples, D features, K members, C classes.
"""

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sweep.backbones.backbone import Backbone
from sweep.train.learner import (
    BestEpoch,
    EpochScore,
    State,
    Task,
    Trial,
    validation,
    with_validation,
)
from sweep.train.probabilities import as_array

_CHUNK = 1024


class BatchedEstimator(ABC):
    """Heads that differ in their hyper-parameters, fitted on the same features.

    Args:
        features: per split, float32 (N, D) on the CPU.
        trials: the members.

    Attributes:
        flops: floating-point operations that fitting has taken.
    """

    SEARCHED: frozenset[str]

    def __init__(self, task: Task, features: dict[str, Tensor], trials: list[Trial]) -> None:
        self.epoch, self.flops = 0, 0.0
        self.best = {trial.number: BestEpoch(task.objective) for trial in trials}
        self._task = task
        self._trials = list(trials)
        self._features = {name: item.to(task.device) for name, item in features.items()}
        self._labels = task.labels["train"].to(task.device)
        # What fitting found of each member, its first dimension K.
        self._fitted_K: dict[str, Tensor] = {}

    @abstractmethod
    def fit(self) -> list[float] | None:
        """Fit the members; return the mean loss of each on the training split, if it has one."""

    @abstractmethod
    def logits(self, features_ND: Tensor) -> Tensor:
        """Return the logits (K, N, C) of the fitted members."""

    @abstractmethod
    def head(self) -> nn.Module:
        """Return the first member: raw features (B, D) to logits (B, C)."""

    @property
    def backbone(self) -> Backbone:
        """The backbone whose features or weights are trained."""
        return self._task.backbone

    @property
    def active(self) -> list[int]:
        """Numbers of the members."""
        return [trial.number for trial in self._trials]

    @torch.inference_mode()
    def train_epoch(self) -> list[EpochScore]:
        """Fit every member and score it on the validation split."""
        self.epoch += 1
        losses = self.fit()
        logits_KNC = self._chunked("val").cpu()
        results = validation(self._task, logits_KNC, losses, self.active, self.epoch)
        for result in results:
            self.best[result.number].offer(result)
        self.drop([result.number for result in results if result.diverged])
        return results

    def drop(self, numbers: list[int]) -> None:
        """Forget these members."""
        kept = [i for i, trial in enumerate(self._trials) if trial.number not in numbers]
        self._trials = [self._trials[i] for i in kept]
        self._fitted_K = {name: item_K[kept] for name, item_K in self._fitted_K.items()}

    def state(self) -> State:
        """Return all that is needed to go on from here."""
        best = {number: vars(best).copy() for number, best in self.best.items()}
        fitted = {name: item_K.cpu() for name, item_K in self._fitted_K.items()}
        return {
            "epoch": self.epoch,
            "numbers": self.active,
            "best": best,
            "fitted": fitted,
            "flops": self.flops,
        }

    def restore(self, state: State) -> None:
        """Go on from a state of the same wave; members that are not in it are dropped."""
        self.drop([number for number in self.active if number not in state["numbers"]])
        kept = [state["numbers"].index(number) for number in self.active]
        self.epoch, self.flops = state["epoch"], state["flops"]
        device = self._task.device
        self._fitted_K = {name: item_K[kept].to(device) for name, item_K in state["fitted"].items()}
        self.best.update({number: BestEpoch(**best) for number, best in state["best"].items()})

    @torch.inference_mode()
    def probabilities(self, split: str) -> NDArray[np.float64]:
        """Return the class probabilities (N, C) of the first member."""
        return as_array(self._chunked(split)[0], self._task.target)

    @torch.inference_mode()
    def refitted(self) -> Self:
        """Return the first member, fitted on the training and validation samples together."""
        made = type(self)(*with_validation(self._task, self._features), self._trials[:1])
        made.fit()
        made.epoch, made.best, made.flops = self.epoch, self.best, self.flops + made.flops
        return made

    def network(self) -> Any:
        """Return the trunk below the first member."""
        network = self._task.backbone.network(self._task.classes, self._task.seed)
        network.head = self.head()
        return network

    def _chunked(self, split: str) -> Tensor:
        parts = [self.logits(chunk) for chunk in self._features[split].split(_CHUNK)]
        return torch.cat(parts, dim=1)
