"""Heads on cached features that are fitted at once instead of over epochs; a Learner of one epoch.

Dimensions: N samples, D features, K members, C classes.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sweep.train.learner import BestEpoch, EpochScore, State, Task, Trial, validation

_CHUNK = 1024


class ClosedFormHeads(ABC):
    """Heads that differ in their hyper-parameters, fitted on the same features.

    Args:
        features: per split, float32 (N, D) on the CPU.
        trials: the members.
    """

    SEARCHED: frozenset[str]

    def __init__(self, task: Task, features: dict[str, Tensor], trials: list[Trial]) -> None:
        self.epoch = 0
        self.best = {trial.number: BestEpoch(task.objective) for trial in trials}
        self._task = task
        self._trials = list(trials)
        self._features = {name: item.to(task.device) for name, item in features.items()}
        self._labels = task.labels["train"].to(task.device)

    @abstractmethod
    def fit(self, trials: list[Trial]) -> list[float]:
        """Fit the head of each trial; return its mean loss on the training split."""

    @abstractmethod
    def logits(self, features_ND: Tensor) -> Tensor:
        """Return the logits (K, N, C) of the fitted members."""

    @abstractmethod
    def head(self) -> nn.Module:
        """Return the first member: raw features (B, D) to logits (B, C)."""

    @property
    def active(self) -> list[int]:
        """Numbers of the members."""
        return [trial.number for trial in self._trials]

    @torch.inference_mode()
    def train_epoch(self) -> list[EpochScore]:
        """Fit every member and score it on the validation split."""
        self.epoch += 1
        losses = self.fit(self._trials)
        logits_KNC = self._chunked("val").cpu()
        results = validation(self._task, logits_KNC, losses, self.active, self.epoch)
        for result in results:
            if not result.diverged:
                self.best[result.number].offer(result)
        return results

    def drop(self, numbers: list[int]) -> None:
        """Forget these members."""
        kept = [trial for trial in self._trials if trial.number not in numbers]
        if len(kept) < len(self._trials):
            self._trials = kept
            if self.epoch and kept:
                self._refit()

    def state(self) -> State:
        """Return what there is to go on from; the heads are fitted again."""
        best = {number: vars(best).copy() for number, best in self.best.items()}
        return {"epoch": self.epoch, "numbers": self.active, "best": best}

    def restore(self, state: State) -> None:
        """Go on from a state of the same wave."""
        self._trials = [t for t in self._trials if t.number in state["numbers"]]
        self.epoch = state["epoch"]
        self.best.update({number: BestEpoch(**best) for number, best in state["best"].items()})
        if self.epoch:
            self._refit()

    @torch.inference_mode()
    def probabilities(self, split: str) -> NDArray[np.float64]:
        """Return the class probabilities (N, C) of the first member."""
        logits_NC = self._chunked(split)[0]
        result: NDArray[np.float64] = logits_NC.double().softmax(dim=1).cpu().numpy()
        return result

    def network(self) -> Any:
        """Return the trunk below the first member."""
        network = self._task.backbone.network(self._task.classes, self._task.seed)
        network.head = self.head()
        return network

    @torch.inference_mode()
    def _refit(self) -> None:
        self.fit(self._trials)

    def _chunked(self, split: str) -> Tensor:
        parts = [self.logits(chunk) for chunk in self._features[split].split(_CHUNK)]
        return torch.cat(parts, dim=1)
