"""Warm start: a cell first tries what was best in finished cells of its backbone and freeze mode.

The first proposals of a search are the best choices of earlier ones, after Feurer et al. 2015
(Initializing Bayesian Hyperparameter Optimization via Meta-Learning). They are taken from the
middle outwards: first the choice that has the least distance to all others, then the one that is
farthest from what was tried, until none is left that differs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sweep.space.domains import Domain, Range

Params = Mapping[str, Any]

_NEAR = 0.05  # mean share of the ranges, below which two choices are taken as one


def warm_proposal(
    best: Sequence[Params], tried: Sequence[Params], domains: Mapping[str, Domain]
) -> Params | None:
    """Return what a search tries next of the best choices of other searches; None if nothing.

    Args:
        best: of other searches, one each. Those that lie outside of the domains are left out.
        tried: what this search has tried so far.
    """
    fitting = [params for params in best if _lies_in(params, domains)]
    if not fitting or not domains:
        return None
    if not tried:
        return min(fitting, key=lambda one: sum(_distance(one, o, domains) for o in fitting))

    def novelty(params: Params) -> float:
        return min(_distance(params, other, domains) for other in tried)

    farthest = max(fitting, key=novelty)
    return farthest if novelty(farthest) > _NEAR else None


def without_nearest(
    points: Sequence[Params], given: Sequence[Params], domains: Mapping[str, Domain]
) -> list[Params]:
    """Return points in their order, but for the one that lies nearest to each given choice."""
    left = list(points)
    for params in given:
        if left:
            left.remove(min(left, key=lambda point: _distance(point, params, domains)))
    return left


def _lies_in(params: Params, domains: Mapping[str, Domain]) -> bool:
    return params.keys() == domains.keys() and all(
        domain.low <= params[name] <= domain.high
        if isinstance(domain, Range)
        else params[name] in domain.root
        for name, domain in domains.items()
    )


def _distance(one: Params, other: Params, domains: Mapping[str, Domain]) -> float:
    """Return the mean distance over the domains: a share of a range, 0 or 1 of a choice."""
    return sum(_apart(one[n], other[n], domain) for n, domain in domains.items()) / len(domains)


def _apart(one: Any, other: Any, domain: Domain) -> float:
    if one == other:
        return 0.0
    return abs(domain.place(one) - domain.place(other)) if isinstance(domain, Range) else 1.0
