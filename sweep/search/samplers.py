"""Which values a trial tries: the first cover the ranges, the later ones are proposed by TPE."""

import math
from collections.abc import Mapping

from optuna.samplers import TPESampler

from sweep.base.identity import canonical_hash
from sweep.space.domains import Categorical, Domain, Value

GOLDEN = (math.sqrt(5) - 1) / 2


def tpe_sampler(spread: int, seed: int) -> TPESampler:
    """Return the sampler of the trials that follow those that are spread."""
    return TPESampler(seed=seed, n_startup_trials=spread, constant_liar=True)


def spread_points(domains: Mapping[str, Domain], count: int) -> list[dict[str, Value]]:
    """Return values that are spread evenly over domains, on the logarithmic scale of ranges.

    They are in an order in which any first few already cover the domains.
    """
    return [
        {name: _spread_value(domain, name, index, count) for name, domain in domains.items()}
        for index in range(count)
    ]


def _spread_value(domain: Domain, name: str, index: int, count: int) -> Value:
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
