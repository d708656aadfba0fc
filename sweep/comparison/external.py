"""External test sets: how the confirmed models of each cell do on data of other places."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from sweep.comparison.comparison import Comparison, Row
from sweep.comparison.stats.across_samples import difference_across
from sweep.comparison.stats.difference import Difference, Interval
from sweep.comparison.stats.intervals import Counts, interval
from sweep.comparison.stats.sampling import MetricEstimate, estimate
from sweep.comparison.text import format_signed, title
from sweep.comparison.text import interval as written
from sweep.errors import SweepError


@dataclass(frozen=True, eq=False)
class ExternalResult:
    """A cell on one external test set.

    Attributes:
        metric: the one that ranks.
        drop: the metric on the external set less that on the test split; below 0 where the models
            do worse elsewhere, if more of the metric is better.
        samples, groups: how many were scored.
    """

    row: Row
    name: str
    metric: str
    estimates: dict[str, MetricEstimate]
    counts: Counts
    drop: Difference

    @cached_property
    def metrics(self) -> dict[str, Interval]:
        """Each metric with its interval."""
        return {name: interval(name, item, self.counts) for name, item in self.estimates.items()}


def external_results(comparison: Comparison, dataset: str) -> dict[str, list[ExternalResult]]:
    """Return, by external test set, the cells of a data set that were scored on it.

    They stand in the order of the test split: an order by the external scores would choose a
    winner by them. Cells whose predictions cannot be read are left out: see `external_problems`.
    """
    found: dict[str, list[ExternalResult]] = {}
    for row in comparison.datasets.get(dataset, []):
        for name in row.cell.external_sets:
            with suppress(SweepError):
                found.setdefault(name, []).append(_result(row, name, comparison.choices.metric))
    return {name: results for name, results in found.items() if results}


def external_problems(comparison: Comparison) -> list[str]:
    """Say which predictions on external test sets cannot be read, so that a cell is left out."""
    problems = []
    for row in comparison.rows:
        for name in row.cell.external_sets if row.metrics else ():
            try:
                row.cell.external(name)
            except SweepError as error:
                problems.append(f"{error}: {row.cell.name} is left out of {name}")
    return problems


def _result(row: Row, name: str, metric: str) -> ExternalResult:
    predictions, records = row.cell.external(name), row.cell.confirmations
    first = predictions[0]
    inside = row.estimates[metric]
    estimates = estimate(predictions, shared=inside.shared)
    values = [(r.external[name]["test"][metric], r.test[metric]) for r in records]
    drop = difference_across(estimates[metric], inside, values)
    counts = Counts.of(first.labels_N, first.groups_N, first.probabilities_NC.shape[1])
    return ExternalResult(row, name, metric, estimates, counts, drop)


def external_sentences(comparison: Comparison) -> list[str]:
    """Say how the best cell of each data set does on its external test sets."""
    lines = []
    for dataset in comparison.datasets:
        for name, results in external_results(comparison, dataset).items():
            best = results[0]
            if best.row is not comparison.datasets[dataset][0]:
                continue  # the best of the test split was not scored there, or cannot be read
            drop, metric = best.drop.interval(), best.metric
            lines.append(
                f"{dataset}: {best.row.label}, the best on the test split, has {title(metric)} "
                f"{written(best.metrics[metric])} on {name} ({best.counts.samples:,} samples), "
                f"{format_signed(drop)} against the test split"
            )
    return [f"{line}." for line in lines]
