"""What a freeze mode is. Nothing here imports torch: a wrong mode is refused at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweep.space.domains import Categorical, Range

if TYPE_CHECKING:
    from torch import nn


class FreezeMode(ABC):
    """Which parameters of a trunk are trained; the head always is.

    Attributes:
        form: how the mode is written, where it takes an argument: ``last:k``.
        trains: what it trains, for people.
        trunk_is_frozen: whether no parameter of any trunk is trained, so that the trunk's outputs
            are computed once and the trials of a cell train together, as heads on them.
        head: what is trained on the trunk's outputs; see `sweep.train.heads`.
        domains: of the hyper-parameters that the head has of its own, by name, where the space
            does not give another domain.
        epochs: how many there are, where the space does not decide it.
        trains_head: whether the head has parameters that are trained.
        starts_from_probe: whether training begins with the head of a logistic regression.
    """

    form: str | None = None
    trains: str
    trunk_is_frozen = False
    head = "linear"
    domains: Mapping[str, Range | Categorical] = {}
    epochs: int | None = None
    trains_head = True
    starts_from_probe = False

    def check(self, argument: str) -> bool:
        """Tell whether the mode takes what stands behind its colon; empty if nothing does."""
        return not argument

    def adapt(self, trunk: nn.Module, argument: str) -> None:  # noqa: B027 - most change nothing
        """Add to a trunk what the mode trains instead of the trunk's own parameters.

        Raises BackboneError if the mode cannot be had with this trunk.
        """

    @abstractmethod
    def trainable(self, trunk: nn.Module, argument: str) -> set[str]:
        """Return the names of the trunk's parameters that are trained.

        Raises BackboneError if the mode cannot be had with this trunk.
        """
