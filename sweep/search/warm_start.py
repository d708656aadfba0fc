"""Warm start: a cell first tries where the best choices of finished cells lie.

Its first trial is the one in the middle of them (as in Feurer et al. 2015, Initializing Bayesian
Hyperparameter Optimization via Meta-Learning); the others of its first half are spread over the
box around them (Perrone et al. 2019, Learning search spaces for Bayesian optimization).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sweep.space.domains import Domain, Range

Params = Mapping[str, Any]

_MARGIN = 0.2  # share of a range, by which the box is wider than the best choices at either end


def lying_in(params: Sequence[Params], domains: Mapping[str, Domain]) -> list[Params]:
    """Return the choices that lie in domains, and have no other hyper-parameters."""
    return [one for one in params if domains and _lies_in(one, domains)]


def middle_of(params: Sequence[Params], domains: Mapping[str, Domain]) -> Params:
    """Return the choice that has the least distance to all of them together."""
    return min(params, key=lambda one: sum(_distance(one, o, domains) for o in params))


def box_around(params: Sequence[Params], domains: Mapping[str, Domain]) -> dict[str, Domain]:
    """Return the domains around choices: ranges are narrowed, lists of values stay."""
    return {
        name: _narrowed(domain, [one[name] for one in params])
        if isinstance(domain, Range)
        else domain
        for name, domain in domains.items()
    }


def without_nearest(
    points: Sequence[Params], choice: Params, domains: Mapping[str, Domain]
) -> list[Params]:
    """Return points in their order, but for the one that lies nearest to a choice."""
    nearest = min(points, key=lambda point: _distance(point, choice, domains))
    return [point for point in points if point is not nearest]


def _narrowed(domain: Range, values: Sequence[float]) -> Range:
    if domain.low == domain.high:
        return domain
    places = [domain.place(value) for value in values]
    low, high = max(0.0, min(places) - _MARGIN), min(1.0, max(places) + _MARGIN)
    return Range(low=domain.at(low), high=domain.at(high), log=domain.log)


def _lies_in(params: Params, domains: Mapping[str, Domain]) -> bool:
    return params.keys() == domains.keys() and all(
        domain.low <= params[name] <= domain.high
        if isinstance(domain, Range)
        else params[name] in domain.root
        for name, domain in domains.items()
    )


def _distance(one: Params, other: Params, domains: Mapping[str, Domain]) -> float:
    """Return the mean distance over the domains: a share of a range, 0 or 1 of a value."""
    return sum(_apart(one[n], other[n], domain) for n, domain in domains.items()) / len(domains)


def _apart(one: Any, other: Any, domain: Domain) -> float:
    if one == other:
        return 0.0
    return abs(domain.place(one) - domain.place(other)) if isinstance(domain, Range) else 1.0
