"""Near-duplicates in drawn splits: they belong to one group, as the pictures of a patient do.

Pictures that are the same, or the same but for size and encoding, may not be on both sides of a
split. Where the split is drawn they are kept together; only a picture that has several labels is
left out, as nobody can tell which of them is right.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def merged_groups(groups: Sequence[str], alike_N: NDArray[np.int64]) -> list[str]:
    """Return each sample's group, with those that share a picture merged into one.

    Args:
        groups: of each sample, such as its patient.
        alike_N: number of the set of near-duplicates that each sample is in.

    Returns:
        Of each sample the name of the first group in its merged one.
    """
    names, group_N = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    nodes = len(names) + int(alike_N.max(initial=-1)) + 1
    edges = (group_N, len(names) + alike_N)
    graph = coo_array((np.ones(len(group_N), dtype=bool), edges), shape=(nodes, nodes))
    component_V = connected_components(graph, directed=False)[1]
    _, first_K = np.unique(component_V[: len(names)], return_index=True)
    first_of = dict(zip(component_V[first_K].tolist(), first_K.tolist(), strict=True))
    return [str(names[first_of[part]]) for part in component_V[group_N].tolist()]


def several_labels(labels_N: NDArray[np.int64], alike_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which samples show a picture that has another label elsewhere, shape (N,)."""
    lowest = np.full(int(alike_N.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    highest = np.full(len(lowest), -1)
    np.minimum.at(lowest, alike_N, labels_N)
    np.maximum.at(highest, alike_N, labels_N)
    return np.asarray((lowest < highest)[alike_N])
