"""Several labels a sample, one by one: each is there or not, as of two classes."""

from dataclasses import dataclass
from functools import cached_property

from sweep.comparison.comparison import Row
from sweep.comparison.stats.difference import Interval
from sweep.comparison.stats.intervals import Counts, interval
from sweep.comparison.stats.sampling import MetricEstimate, estimate
from sweep.space.specs import MULTILABEL


@dataclass(frozen=True, eq=False)
class LabelResult:
    """One label of one cell.

    Attributes:
        samples: of the test split that have it.
        estimates: every metric of the label against its absence.
    """

    row: Row
    label: str
    samples: int
    estimates: dict[str, MetricEstimate]
    counts: Counts

    @cached_property
    def metrics(self) -> dict[str, Interval]:
        """Each metric with its interval."""
        return {name: interval(name, item, self.counts) for name, item in self.estimates.items()}


def label_results(row: Row) -> list[LabelResult]:
    """Return the metrics of each label of a cell; nothing where a sample has one class."""
    if row.cell.target != MULTILABEL or not row.metrics:
        return []
    together, by_fold, found = row.cell.predictions(), row.cell.predictions_by_fold(), []
    shared = max((item.shared for item in row.estimates.values()), default=0.0)
    for place, label in enumerate(row.cell.classes):
        own = [item.of_label(place) for item in together]
        folds = by_fold and [item.of_label(place) for item in by_fold]
        counts = Counts.of(own[0].labels_N, own[0].groups_N, 2)
        samples = int(own[0].labels_N.sum())
        found.append(LabelResult(row, label, samples, estimate(own, folds, shared), counts))
    return found
