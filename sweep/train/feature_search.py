"""Heads that differ in the features that they are trained on, all from one pass of the trunk.

They differ within a cell where its trials choose features, and between cells where a space names
one network in several entries, each with features of its own.

Dimensions: N samples, D features.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sweep.backbones.backbone import Backbone, features_of
from sweep.backbones.tokens import columns, widest
from sweep.space.backbone import BackboneSpec
from sweep.space.domains import Categorical
from sweep.space.model import Cell, Space
from sweep.train.learner import BestEpoch, EpochScore, Head, State, Task, Trial

Make = Callable[[Task, dict[str, Tensor], list[Trial]], Head]


def searched_features(cell: Cell, space: Space) -> tuple[str, ...]:
    """Return the features among which a cell's trials choose; none if they are fixed.

    Of those that the space names these are the ones that the backbone has.
    """
    domain = space.search.domains().get("features")
    if not isinstance(domain, Categorical) or not cell.fused or cell.backbone.features:
        return ()
    own = features_of(cell.backbone, space.image_size)
    return tuple(str(value) for value in domain.root if value in own)


def backbone_of(cell: Cell, space: Space) -> BackboneSpec:
    """Return the backbone of a cell, giving all features that frozen cells need of its network."""
    if not _needed(cell, space):
        return cell.backbone
    own = _but_features(cell.backbone)
    same = (other for other in space.backbones if _but_features(other) == own)
    names = [name for other in same for name in _needed(replace(cell, backbone=other), space)]
    return cell.backbone.model_copy(update={"features": widest(names)})


def _needed(cell: Cell, space: Space) -> tuple[str, ...]:
    """Return the features of a frozen cell, fixed or searched; none if they are timm's own."""
    if cell.fused and cell.backbone.features:
        return (cell.backbone.features,)
    return searched_features(cell, space)


def _but_features(spec: BackboneSpec) -> BackboneSpec:
    return spec.model_copy(update={"name": "", "features": None})


def heads_on(
    task: Task,
    features: dict[str, Tensor],
    trials: list[Trial],
    make: Make,
    fixed: str | None = None,
) -> Head:
    """Return what trains a wave's heads, whether or not they differ in their features.

    Args:
        features: per split, all features (N, D) that the space asks for.
        fixed: the features that the cell's entry names.
    """
    if any("features" in trial.params for trial in trials):
        return HeadsByFeatures(task, features, trials, make)
    if fixed is not None:
        task, features = _part(task, features, fixed)
    return make(task, features, trials)


def _part(task: Task, features: dict[str, Tensor], name: str) -> tuple[Task, dict[str, Tensor]]:
    """Return a task on some of its backbone's features, and these."""
    of_all = task.backbone.spec.features
    assert of_all is not None
    chosen = columns(of_all, name, task.backbone.features)
    own = {split: all_ND[:, chosen] for split, all_ND in features.items()}
    return replace(task, backbone=task.backbone.giving(name, own["train"].shape[1])), own


def own_columns(all_ND: Tensor, backbone: Backbone, own: Backbone) -> Tensor:
    """Return, of a backbone's features, those that a head with a backbone of its own sees."""
    of_all, name = backbone.spec.features, own.spec.features
    if of_all is None or name is None or of_all == name:
        return all_ND
    return all_ND[:, columns(of_all, name, backbone.features)]


class HeadsByFeatures:
    """Groups of heads, each on its own columns of the features; a Head."""

    def __init__(
        self, task: Task, features: dict[str, Tensor], trials: list[Trial], make: Make
    ) -> None:
        self.epoch = 0
        self._task, self._order = task, [trial.number for trial in trials]
        self._groups: dict[str, Head] = {}
        for name in dict.fromkeys(str(trial.params["features"]) for trial in trials):
            members = [trial for trial in trials if trial.params["features"] == name]
            self._groups[name] = make(*_part(task, features, name), members)

    @property
    def best(self) -> dict[int, BestEpoch]:
        """The best epoch of each member."""
        return {n: best for group in self._groups.values() for n, best in group.best.items()}

    @property
    def active(self) -> list[int]:
        """Numbers of the members that still learn."""
        active = {number for group in self._groups.values() for number in group.active}
        return [number for number in self._order if number in active]

    @property
    def backbone(self) -> Backbone:
        """The backbone with the features of the members, or with all if these differ."""
        groups = self._learning()
        return groups[0].backbone if len(groups) == 1 else self._task.backbone

    def train_epoch(self) -> list[EpochScore]:
        """Train every group for one epoch."""
        self.epoch += 1
        scores = [score for group in self._learning() for score in group.train_epoch()]
        return sorted(scores, key=lambda score: self._order.index(score.number))

    def drop(self, numbers: list[int]) -> None:
        """Stop training these members."""
        for group in self._groups.values():
            group.drop(numbers)

    def state(self) -> State:
        """Return all that is needed to go on from here."""
        groups = {name: group.state() for name, group in self._groups.items()}
        return {"epoch": self.epoch, "groups": groups}

    def restore(self, state: State) -> None:
        """Go on from a state of the same wave."""
        self.epoch = state["epoch"]
        for name, group in self._groups.items():
            group.restore(state["groups"][name])

    def probabilities(self, split: str) -> NDArray[np.float64]:
        """Return the class probabilities (N, C) of the first member's best epoch."""
        return self._first().probabilities(split)

    def network(self) -> Any:
        """Return the first member as a network, whose trunk gives that member's features."""
        return self._first().network()

    def refitted(self) -> Head:
        """Return the first member, trained on the training and validation samples together."""
        return self._first().refitted()

    @property
    def flops(self) -> float:
        """Floating-point operations that fitting has taken."""
        return sum(group.flops for group in self._groups.values())

    def _learning(self) -> list[Head]:
        return [group for group in self._groups.values() if group.active]

    def _first(self) -> Head:
        number = self.active[0]
        return next(group for group in self._groups.values() if number in group.active)
