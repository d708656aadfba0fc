"""Which values a trial tries: the first cover the ranges, the later ones are proposed by TPE."""

import math
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

from sweep.base.identity import canonical_hash
from sweep.search.domains import domain_of
from sweep.space.domains import Categorical, Domain, Value

GOLDEN = (math.sqrt(5) - 1) / 2


class SpreadThenTPE(TPESampler):  # type: ignore[misc]
    """First rates spread evenly over the logarithmic range, then those that TPE expects to win.

    Args:
        spread: how many trials are spread; trial i gets the i-th of that many points, taken in
            an order in which any first few already cover the range.
    """

    def __init__(self, spread: int, seed: int) -> None:
        super().__init__(seed=seed, n_startup_trials=spread, constant_liar=True)
        self._spread = spread

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the value of a trial that is spread, or what TPE draws without a model."""
        if trial.number >= self._spread:
            return super().sample_independent(study, trial, param_name, param_distribution)
        domain = domain_of(param_distribution)
        return spread_value(domain, param_name, trial.number, self._spread)


def spread_value(domain: Domain, name: str, index: int, count: int) -> Value:
    """Return point number `index` of `count` that are spread evenly over a domain.

    The order covers the domain early, and is another one for each hyper-parameter, so that the
    space is covered too.
    """
    place = _covering_order(count)[index]
    if name != "learning_rate":
        place = (place * _coprime(count, _share(name)) + count // 2) % count
    if isinstance(domain, Categorical):
        return domain.root[place * len(domain.root) // count]
    return domain.at((place + 0.5) / count)


def _share(name: str) -> float:
    """Return which share of the range lies between a trial's value and the next one's."""
    if name == "backbone_scale":
        return GOLDEN
    if name == "weight_decay":
        return 1 - GOLDEN
    return int(canonical_hash(name, length=8), 16) / 16**8


def _covering_order(count: int) -> list[int]:
    """Return 0..count-1 by van der Corput's sequence: the middle, the quarters, and so on."""
    bits = max(1, (count - 1).bit_length())
    reversed_bits = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(1 << bits))
    return [place for place in reversed_bits if place < count]


def _coprime(count: int, share: float) -> int:
    candidates = range(max(1, round(count * share)), count + 1)
    return next((step for step in candidates if math.gcd(step, count) == 1), 1)
