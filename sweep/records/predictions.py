"""Predictions of a model on a split, as a run has left them in a Parquet file."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

# Prefixes of the columns that hold probabilities, and what they were before their temperature.
PROBABILITY, UNCALIBRATED = "p_", "uncalibrated_"
LABEL = "label_"  # of columns of 0 and 1, where a sample may have several labels


@dataclass(frozen=True)
class Predictions:
    """What one model said of a split.

    Attributes:
        labels_N: class indices; of several labels a sample 0 and 1, shape (N, C).
        groups_N: group of each sample, as integers from 0 in the order they appear.
        probabilities_NC: class probabilities.
        target: the kind of target; see `sweep.space.specs.Target`.
    """

    labels_N: NDArray[np.int64]
    groups_N: NDArray[np.int64]
    probabilities_NC: NDArray[np.float64]
    target: str = "multiclass"

    @classmethod
    def of_table(
        cls, table: pa.Table, prefix: str = PROBABILITY, target: str = "multiclass"
    ) -> "Predictions":
        """Read a table; raises ValueError if it has no rows, or lacks a column.

        Args:
            prefix: of the columns to read: `PROBABILITY`, or `UNCALIBRATED`.

        Groups are hashed under a key of each home: were they numbered in the order of their
        names, whatever depends on that order would differ between homes.
        """
        names = [name for name in table.column_names if name.startswith(prefix)]
        labels = [n for n in table.column_names if n.startswith(LABEL)] or ["label"]
        if not names or not len(table) or not {"group", *labels} <= set(table.column_names):
            raise ValueError("rows or columns are missing")
        labels_NL = np.stack([table[name].to_numpy() for name in labels], axis=1).astype(np.int64)
        groups = table["group"].to_numpy(zero_copy_only=False)
        probabilities = [table[name].to_numpy() for name in names]
        return cls(
            labels_NL if labels != ["label"] else labels_NL[:, 0],
            pd.factorize(groups)[0].astype(np.int64),
            np.stack(probabilities, axis=1).astype(np.float64),
            target,
        )

    def of_label(self, place: int) -> "Predictions":
        """Return what it said of one of several labels: 0 where it is not there, 1 where it is."""
        has_N = self.probabilities_NC[:, place]
        both_NC = np.stack([1 - has_N, has_N], axis=1)
        return Predictions(self.labels_N[:, place], self.groups_N, both_NC)

    def of_samples(self, rows: NDArray[Any]) -> "Predictions":
        """Return what it said of some samples, by a mask or their places."""
        return replace(
            self,
            labels_N=self.labels_N[rows],
            groups_N=self.groups_N[rows],
            probabilities_NC=self.probabilities_NC[rows],
        )


def classes_of(table: pa.Table) -> list[str]:
    """Return the names of the classes in a table of predictions."""
    columns = table.column_names
    return [n.removeprefix(PROBABILITY) for n in columns if n.startswith(PROBABILITY)]
