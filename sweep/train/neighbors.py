"""Heads without training: the vote of the nearest training images, and the nearest class mean.

Both compare directions: features are divided by their length.
"""

import copy

import torch
from torch import Tensor, nn

from sweep.train.closed_form import ClosedFormHeads
from sweep.train.learner import Trial

_LEAST_SHARE = 1e-6


class KNNHead(nn.Module):
    """The weighted vote of the nearest neighbours (Wu et al. 2018).

    Each of the `n_neighbors` training images with the largest cosine similarity s votes for its
    class with exp(s / temperature).
    """

    features: Tensor
    labels: Tensor

    def __init__(
        self, features_ND: Tensor, labels_N: Tensor, classes: int, n_neighbors: int,
        temperature: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("features", nn.functional.normalize(features_ND, dim=1))
        self.register_buffer("labels", labels_N)
        self.classes, self.temperature = classes, temperature
        self.n_neighbors = min(n_neighbors, len(labels_N))

    def forward(self, features_BD: Tensor) -> Tensor:
        """Return the logarithms (B, C) of the classes' shares of the vote."""
        similarity_BN = nn.functional.normalize(features_BD, dim=1) @ self.features.T
        nearest_BK, index_BK = similarity_BN.topk(self.n_neighbors, dim=1)
        votes_BK = (nearest_BK / self.temperature).softmax(dim=1)
        shares_BC = votes_BK.new_zeros(len(features_BD), self.classes)
        shares_BC.scatter_add_(1, self.labels[index_BK], votes_BK)
        return shares_BC.clamp(min=_LEAST_SHARE).log()


class PrototypeHead(nn.Module):
    """The nearest class mean of centred directions (SimpleShot, Wang et al. 2019)."""

    mean: Tensor
    prototypes: Tensor

    def __init__(
        self, features_ND: Tensor, labels_N: Tensor, classes: int, temperature: float
    ) -> None:
        super().__init__()
        mean_D = features_ND.mean(dim=0)
        direction_ND = nn.functional.normalize(features_ND - mean_D, dim=1)
        sums_CD = direction_ND.new_zeros(classes, features_ND.shape[1])
        sums_CD.index_add_(0, labels_N, direction_ND)
        self.register_buffer("mean", mean_D)
        self.register_buffer("prototypes", nn.functional.normalize(sums_CD, dim=1))
        self.temperature = temperature

    def forward(self, features_BD: Tensor) -> Tensor:
        """Return the cosine similarities (B, C) to the classes, over the temperature."""
        direction_BD = nn.functional.normalize(features_BD - self.mean, dim=1)
        similarity_BC: Tensor = direction_BD @ self.prototypes.T / self.temperature
        return similarity_BC


class _Neighbors(ClosedFormHeads):
    def fit(self, trials: list[Trial]) -> list[float]:
        """Make the head of each trial; a loss on its own training images says nothing: 0."""
        self._heads = [self.make(trial) for trial in trials]
        return [0.0] * len(trials)

    def make(self, trial: Trial) -> nn.Module:
        """Return the head of a trial."""
        raise NotImplementedError

    def logits(self, features_ND: Tensor) -> Tensor:
        """Return the logits (K, N, C)."""
        return torch.stack([head(features_ND) for head in self._heads])

    def head(self) -> nn.Module:
        """Return the head of the first member."""
        return copy.deepcopy(self._heads[0]).cpu()


class NearestNeighbors(_Neighbors):
    """kNN classifiers that differ in their number of neighbours and their temperature."""

    SEARCHED = frozenset({"n_neighbors", "temperature"})

    def make(self, trial: Trial) -> KNNHead:
        """Return the vote of a trial's neighbours."""
        count, temperature = int(trial.params["n_neighbors"]), float(trial.params["temperature"])
        train = self._features["train"], self._labels
        return KNNHead(*train, self._task.classes, count, temperature)


class Prototypes(_Neighbors):
    """Nearest class means that differ in their temperature."""

    SEARCHED = frozenset({"temperature"})

    def make(self, trial: Trial) -> PrototypeHead:
        """Return the class means, with a trial's temperature."""
        train = self._features["train"], self._labels
        return PrototypeHead(*train, self._task.classes, float(trial.params["temperature"]))
