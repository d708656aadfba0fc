"""Heads without training: the vote of the nearest training images, and the nearest class mean.

Both compare directions: features are divided by their length.

Dimensions: B images, N of the training split, D features, C classes, K members.
"""

from typing import Any

import torch
from torch import Tensor, nn

from sweep.train.estimator import BatchedEstimator
from sweep.train.learner import State, Trial
from sweep.train.losses.base import loss_of

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
        self.classes, self.temperature, self.calibration = classes, temperature, 1.0
        self.n_neighbors = min(n_neighbors, len(labels_N))

    def forward(self, features_BD: Tensor) -> Tensor:
        """Return the logarithms (B, C) of the classes' shares of the vote."""
        found = self.nearest(features_BD, self.n_neighbors)
        return self.vote(*found, self.temperature) / self.calibration

    def nearest(self, features_BD: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the cosine similarities of the nearest images, and their labels: (B, count)."""
        similarity_BN = nn.functional.normalize(features_BD, dim=1) @ self.features.T
        nearest, index = similarity_BN.topk(count, dim=1)
        return nearest, self.labels[index]

    def vote(self, nearest: Tensor, labels: Tensor, temperature: float) -> Tensor:
        """Return the logarithms (B, C) of the classes' shares of the vote of some neighbours.

        Of several labels a picture the logits of their shares.

        Args:
            labels: of the neighbours, (B, count), or 0 and 1, (B, count, C).
        """
        votes = (nearest / temperature).softmax(dim=1)
        if labels.ndim == 3:
            shares_BC = (votes[:, :, None] * labels).sum(dim=1)
            return shares_BC.clamp(_LEAST_SHARE, 1 - _LEAST_SHARE).logit()
        shares_BC = votes.new_zeros(votes.shape[0], self.classes).scatter_add_(1, labels, votes)
        return shares_BC.clamp(min=_LEAST_SHARE).log()

    def description(self) -> dict[str, Any]:
        """Return the numbers of the head, and how it is computed from them and its buffers."""
        shares = (
            "zeros(len(features), classes).scatter_add_(1, head.labels[index], votes); logits = "
            f"shares.clamp(min={_LEAST_SHARE}).log() / calibration"
        )
        if self.labels.ndim == 2:
            shares = (
                "(votes[:, :, None] * head.labels[index]).sum(dim=1); logits = "
                f"shares.clamp({_LEAST_SHARE}, 1 - {_LEAST_SHARE}).logit() / calibration"
            )
        return {
            "n_neighbors": self.n_neighbors,
            "temperature": self.temperature,
            "calibration": self.calibration,
            "classes": self.classes,
            "logits": "similarity, index = (normalize(features, dim=1) @ head.features.T).topk("
            "n_neighbors, dim=1); votes = (similarity / temperature).softmax(dim=1); shares = "
            f"{shares}",
        }

    @classmethod
    def restored(cls, described: dict[str, Any], buffers: dict[str, Tensor]) -> "KNNHead":
        """Return a head of which `description` and the buffers were kept."""
        features_ND, labels_N = buffers["features"], buffers["labels"]
        numbers = (described["classes"], described["n_neighbors"], described["temperature"])
        head = cls(features_ND, labels_N, *numbers)
        head.load_state_dict(buffers)
        head.calibration = described["calibration"]
        return head


class PrototypeHead(nn.Module):
    """The nearest class mean of centred directions (SimpleShot, Wang et al. 2019).

    Of several labels a picture each has two: of the pictures with it, and of those without.
    """

    mean: Tensor
    prototypes: Tensor
    others: Tensor | None

    def __init__(
        self, features_ND: Tensor, labels_N: Tensor, classes: int, temperature: float
    ) -> None:
        super().__init__()
        mean_D = features_ND.mean(dim=0)
        direction_ND = nn.functional.normalize(features_ND - mean_D, dim=1)
        others_CD = None
        if labels_N.ndim == 2:
            has_NC = labels_N.to(direction_ND.dtype)
            sums_CD, others_CD = has_NC.T @ direction_ND, (1 - has_NC).T @ direction_ND
        else:
            sums_CD = direction_ND.new_zeros(classes, features_ND.shape[1])
            sums_CD.index_add_(0, labels_N, direction_ND)
        self.register_buffer("mean", mean_D)
        self.register_buffer("prototypes", nn.functional.normalize(sums_CD, dim=1))
        if others_CD is None:
            self.others = None
        else:
            self.register_buffer("others", nn.functional.normalize(others_CD, dim=1))
        self.temperature, self.calibration = temperature, 1.0

    def forward(self, features_BD: Tensor) -> Tensor:
        """Return the cosine similarities (B, C) to the classes, over the temperature."""
        return self.similarity(features_BD) / self.temperature / self.calibration

    def similarity(self, features_BD: Tensor) -> Tensor:
        """Return the cosine similarities (B, C) to the classes.

        Of labels, less those to the pictures without them.
        """
        direction_BD = nn.functional.normalize(features_BD - self.mean, dim=1)
        if self.others is not None:
            return direction_BD @ (self.prototypes - self.others).T
        return direction_BD @ self.prototypes.T

    def description(self) -> dict[str, Any]:
        """Return the numbers of the head, and how it is computed from them and its buffers."""
        means = "head.prototypes" if self.others is None else "(head.prototypes - head.others)"
        return {
            "temperature": self.temperature,
            "calibration": self.calibration,
            "logits": f"logits = normalize(features - head.mean, dim=1) @ {means}.T / "
            "temperature / calibration",
        }

    @classmethod
    def restored(cls, described: dict[str, Any], buffers: dict[str, Tensor]) -> "PrototypeHead":
        """Return a head of which `description` and the buffers were kept."""
        classes, features = buffers["prototypes"].shape
        shape = (1, classes) if "others" in buffers else (1,)
        empty = torch.zeros(1, features), torch.zeros(shape, dtype=torch.long)
        head = cls(*empty, classes, described["temperature"])
        head.load_state_dict(buffers)
        head.calibration = described["calibration"]
        return head


class NearestNeighbors(BatchedEstimator):
    """kNN classifiers that differ in their number of neighbours and their temperature."""

    SEARCHED = frozenset({"n_neighbors", "temperature"})

    def fit(self) -> None:
        """Keep the directions of the training images, once for all members.

        There is no training loss: each training image is its own nearest neighbour.
        """
        most = max(int(trial.params["n_neighbors"]) for trial in self._trials)
        self._widest = self._head(most, 1.0)

    def logits(self, features_ND: Tensor) -> Tensor:
        """Return the logits (K, N, C), from one search for the neighbours of all members."""
        nearest, labels = self._widest.nearest(features_ND, self._widest.n_neighbors)
        of_each = []
        for count, temperature in map(_neighbors_and_temperature, self._trials):
            own = slice(min(count, self._widest.n_neighbors))
            of_each.append(self._widest.vote(nearest[:, own], labels[:, own], temperature))
        return torch.stack(of_each)

    def restore(self, state: State) -> None:
        """Go on from a state of the same wave."""
        super().restore(state)
        self.fit()

    def head(self) -> KNNHead:
        """Return the vote of the first member's neighbours."""
        return self._head(*_neighbors_and_temperature(self._trials[0])).cpu()

    def _head(self, count: int, temperature: float) -> KNNHead:
        train = self._features["train"], self._labels
        return KNNHead(*train, self._task.classes, count, temperature)


def _neighbors_and_temperature(trial: Trial) -> tuple[int, float]:
    return int(trial.params["n_neighbors"]), float(trial.params["temperature"])


class Prototypes(BatchedEstimator):
    """Nearest class means that differ in their temperature."""

    SEARCHED = frozenset({"temperature"})

    def fit(self) -> list[float]:
        """Compute the class means, once for all members; return the mean loss of each."""
        self._means = self._head(1.0)
        logits_KNC = self.logits(self._features["train"])
        loss = loss_of("cross_entropy")
        return [float(loss.mean(logits_NC, self._labels)) for logits_NC in logits_KNC]

    def logits(self, features_ND: Tensor) -> Tensor:
        """Return the logits (K, N, C)."""
        temperatures = [float(trial.params["temperature"]) for trial in self._trials]
        similarity_NC = self._means.similarity(features_ND)
        return similarity_NC / similarity_NC.new_tensor(temperatures)[:, None, None]

    def restore(self, state: State) -> None:
        """Go on from a state of the same wave."""
        super().restore(state)
        self._means = self._head(1.0)

    def head(self) -> PrototypeHead:
        """Return the class means, with the first member's temperature."""
        return self._head(float(self._trials[0].params["temperature"])).cpu()

    def _head(self, temperature: float) -> PrototypeHead:
        train = self._features["train"], self._labels
        return PrototypeHead(*train, self._task.classes, temperature)
