"""What is searched in a cell: the domains of a space that the cell's learner understands."""

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)

from sweep.space.domains import Categorical, Domain, Range
from sweep.space.freeze import head_domains
from sweep.space.model import Cell, Space
from sweep.train.feature_search import searched_features
from sweep.train.heads import head_of


def domains_of(cell: Cell, space: Space) -> dict[str, Domain]:
    """Return the domains that are searched in a cell.

    The trials of a frozen cell train as one batch: they differ in what its members can differ
    in, and take the rest from the recipe.
    """
    domains = space.domains().items()
    if not cell.fused:
        return {n: d for n, d in domains if n not in head_domains() and n != "features"}
    own = {n: d for n, d in domains if n in head_of(cell.freeze).SEARCHED}
    features = searched_features(cell, space)
    return {**own, "features": Categorical(features)} if features else own


def distribution_of(domain: Domain) -> BaseDistribution:
    """Return a domain as Optuna has it."""
    if isinstance(domain, Categorical):
        return CategoricalDistribution(domain.root)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def domain_of(distribution: BaseDistribution) -> Domain:
    """Return the domain that a distribution was made of."""
    if isinstance(distribution, CategoricalDistribution):
        return Categorical(tuple(distribution.choices))
    return Range(low=distribution.low, high=distribution.high, log=distribution.log)
