"""The comparison: every cell with its intervals, and the verdicts on pairs of cells.

`compare` is where a comparison begins; questions, costs, ranks and tables are made from what it
returns, and quote its verdicts.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from sweep.comparison.comparable import find_odd_tests, require_comparable
from sweep.comparison.published import PublishedResult
from sweep.comparison.stats.difference import (
    LEAST_CONFIRMATIONS,
    Difference,
    Interval,
    quantile,
    weighted_sum,
)
from sweep.comparison.stats.intervals import Counts, interval
from sweep.comparison.stats.sampling import MetricEstimate, estimate
from sweep.comparison.stats.verdict import ALPHA, Verdict, holm, verdicts
from sweep.comparison.text import join_names
from sweep.data.manifest import positives
from sweep.errors import SweepError, shorten
from sweep.records.predictions import Predictions
from sweep.records.results import CellResult, SweepResults
from sweep.train.metrics import metric_of

# A cell that loses in one of these is not "as good" as another, whichever metric ranks.
ALSO = ("accuracy", "balanced_accuracy", "f1", "brier")
# Confirmations share part of the noise of the choice by validation. The value is the variance that
# does not average out, relative to the variance over confirmations (benchmarks/claims.py).
_SHARED_CHOICE = 0.1


@dataclass(frozen=True)
class Choices:
    """What the reader chose.

    Attributes:
        metric: to rank by.
        margin: the difference in the metric that would not matter.
        chosen_after: whether the margin is another than that of the space, which was written
            before the run.
    """

    metric: str
    margin: float = 0.01
    chosen_after: bool = False

    @property
    def sign(self) -> int:
        """1 if more of the metric is better, -1 if less is."""
        return direction(self.metric)


def direction(metric: str) -> int:
    """Return 1 if more of a metric is better, -1 if less is."""
    return -1 if metric_of(metric).lower_is_better else 1


@dataclass(frozen=True, eq=False)
class Row:
    """A cell and its metrics; none if it has no scored confirmation.

    Attributes:
        label: backbone and mode, as people name the cell within its dataset; with the sweep
            where several have it.
        counts: of the test split's samples and groups; None without metrics.
    """

    label: str
    cell: CellResult
    estimates: dict[str, MetricEstimate]
    counts: Counts | None

    @cached_property
    def metrics(self) -> dict[str, Interval]:
        """Each metric with its interval."""
        if self.counts is None:
            return {}
        return {name: interval(name, item, self.counts) for name, item in self.estimates.items()}

    @cached_property
    def spread(self) -> dict[str, float]:
        """Standard deviation of each metric over the confirmations; NaN for one."""
        return {name: item.spread for name, item in self.estimates.items()}

    def half_width(self, metric: str) -> float:
        """Return the half width that the confirmations alone give an interval; NaN below three."""
        item = self.estimates[metric]
        if item.confirmations < LEAST_CONFIRMATIONS:
            return float("nan")
        return float(quantile(item.confirmations - 1) * np.sqrt(item.training_variance))

    @property
    def judged(self) -> bool:
        """Whether there are enough confirmations for a verdict."""
        return len(self.cell.confirmations) >= LEAST_CONFIRMATIONS


@dataclass(frozen=True)
class Pair:
    """Two cells of a dataset and the verdict on the first against the second.

    Attributes:
        loses: other metrics in which the first is worse, and those in which the second is, beyond
            chance.
    """

    first: Row
    second: Row
    verdict: Verdict
    loses: tuple[tuple[str, ...], tuple[str, ...]]

    def of(self, row: Row) -> Verdict:
        """Return the verdict on one of the two against the other."""
        return self.verdict if row is self.first else self.verdict.flipped()

    def lost_by(self, row: Row) -> tuple[str, ...]:
        """Return the other metrics in which one of the two is worse, beyond chance."""
        return self.loses[0 if row is self.first else 1]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Sweeps side by side.

    Attributes:
        rows: of every cell; datasets in the order of the grid, in each the best first.
        notes: what to know before trusting a number.
        published: numbers of others to show beside ours; nothing is tested against them.
    """

    sweeps: list[SweepResults]
    choices: Choices
    rows: list[Row]
    notes: list[str]
    published: tuple[PublishedResult, ...] = ()

    @property
    def several(self) -> bool:
        """Whether rows have to say which sweep they are of."""
        return len(self.sweeps) > 1

    @cached_property
    def datasets(self) -> dict[str, list[Row]]:
        """The scored rows of each dataset, the best first."""
        found: dict[str, list[Row]] = {row.cell.dataset: [] for row in self.rows}
        for row in self.rows:
            if row.metrics:
                found[row.cell.dataset].append(row)
        return found

    def published_of(self, dataset: str) -> list[PublishedResult]:
        """Return the published numbers of a data set in the metric that ranks."""
        metric = self.choices.metric
        return [p for p in self.published if p.dataset == dataset and p.metric == metric]

    @cached_property
    def paired(self) -> dict[str, list[Row]]:
        """The rows of each dataset that were tested on the same samples."""
        return {name: _same_tests(rows) for name, rows in self.datasets.items()}

    def gain(self, terms: list[tuple[float, Row]], metric: str | None = None) -> Difference:
        """Return a weighted sum of rows' metrics, signed so that more is better.

        Args:
            metric: by default the one that ranks.
        """
        name = metric or self.choices.metric
        sign = direction(name)
        return weighted_sum([(sign * weight, row.estimates[name]) for weight, row in terms])

    @cached_property
    def pairs(self) -> dict[str, list[Pair]]:
        """All pairs of each dataset's cells; the verdicts of all datasets are one family."""
        couples = [
            (name, *couple)
            for name, rows in self.paired.items()
            for couple in combinations(rows, 2)
        ]
        judged = verdicts(
            [self.gain([(1, first), (-1, second)]) for _, first, second in couples],
            self.choices.margin,
        )
        lost = self._losses([(first, second) for _, first, second in couples])
        found: dict[str, list[Pair]] = {name: [] for name in self.paired}
        for (name, first, second), verdict, loses in zip(couples, judged, lost, strict=True):
            found[name].append(Pair(first, second, verdict, loses))
        return found

    @cached_property
    def _pair_of(self) -> dict[tuple[Row, Row], Pair]:
        pairs = [pair for pairs in self.pairs.values() for pair in pairs]
        there = {(pair.first, pair.second): pair for pair in pairs}
        return {**there, **{(b, a): pair for (a, b), pair in there.items()}}

    def pair(self, first: Row, second: Row) -> Pair | None:
        """Return the pair of two cells, in whichever order; None if they are not paired."""
        return self._pair_of.get((first, second))

    def rivals(self, best: Row) -> list[Pair]:
        """Return the pairs of the best cell of a dataset with those that it is not better than."""
        pairs = self.pairs[best.cell.dataset]
        mine = [pair for pair in pairs if best in (pair.first, pair.second)]
        return [pair for pair in mine if pair.of(best).word != "better"]

    def _losses(
        self, couples: list[tuple[Row, Row]]
    ) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Return in which other metrics each of two cells is worse; all tests are one family."""
        names = [name for name in ALSO if name != self.choices.metric]
        gains = [
            [self.gain([(1, first), (-1, second)], name) for name in names]
            for first, second in couples
        ]
        flat = iter(holm([gain.p for row in gains for gain in row]))
        result = []
        for row in gains:
            sides: tuple[list[str], list[str]] = ([], [])
            for name, gain in zip(names, row, strict=True):
                if next(flat) < ALPHA:
                    sides[0 if gain.point < 0 else 1].append(name)
            result.append((tuple(sides[0]), tuple(sides[1])))
        return result


def compare(sweeps: list[SweepResults], choices: Choices) -> Comparison:
    """Compute the intervals of every cell of the sweeps, and put the best first.

    Raises SweepError if the sweeps cannot be compared.
    """
    cells = [cell for sweep in sweeps for cell in sweep.cells]
    require_comparable(sweeps)
    _require_meaning(cells, choices.metric)
    notes = [
        f"{sweep.name} is not finished; its cells without seeds are missing or provisional"
        for sweep in sweeps
        if not sweep.finished
    ]
    by_dataset: dict[str, list[CellResult]] = defaultdict(list)
    for cell in cells:
        by_dataset[cell.dataset].append(cell)
    rows, labels = [], _labels(cells)
    for dataset, own in by_dataset.items():
        found = _rows(dataset, own, labels, choices, notes)
        rows += sorted(found, key=lambda row: -_rank(row, choices))
    return Comparison(sweeps, choices, rows, notes)


def _require_meaning(cells: list[CellResult], metric: str) -> None:
    """Raise SweepError if a data set has no such metric, as its labels are of another kind."""
    targets = metric_of(metric).targets
    if odd := dict.fromkeys(cell.dataset for cell in cells if cell.target not in targets):
        raise SweepError(
            f"--metric {metric} is for {' or '.join(sorted(targets))} labels, and those of "
            f"{', '.join(odd)} are not"
        )


def _rows(
    dataset: str,
    cells: list[CellResult],
    labels: dict[CellResult, str],
    choices: Choices,
    notes: list[str],
) -> list[Row]:
    read: dict[CellResult, list[Predictions]] = {}
    for cell in cells:
        if not cell.confirmations:
            notes.append(f"{cell.name} of {cell.sweep} has no confirmation: it is not compared")
            continue
        try:
            read[cell] = cell.predictions()
        except SweepError as error:
            notes.append(f"{error}: {cell.name} is not compared")
    odd = find_odd_tests(list(read))
    together = [cell for cell in read if cell not in odd]
    _require_pairs(dataset, [(cell, read[cell]) for cell in together])
    for cell in odd:
        notes.append(
            f"{cell.name} of {cell.sweep} lacks folds: it was tested on fewer samples than the "
            "others, and is not paired with them"
        )
    notes += _test_notes(dataset, together, read, labels)
    return [
        _row(labels[cell], cell, read[cell]) if cell in read else Row(labels[cell], cell, {}, None)
        for cell in cells
    ]


def _row(label: str, cell: CellResult, predictions: list[Predictions]) -> Row:
    first = predictions[0]
    ways = {record.params.get("chosen_by") for record in cell.confirmations}
    shared = _SHARED_CHOICE if "resample" in ways else 0.0
    counts = Counts.of(first.labels_N, first.groups_N, first.probabilities_NC.shape[1])
    return Row(label, cell, estimate(predictions, cell.predictions_by_fold(), shared), counts)


def _labels(cells: list[CellResult]) -> dict[CellResult, str]:
    plain = {cell: f"{cell.backbone}/{cell.mode}" for cell in cells}
    counts = Counter((cell.dataset, label) for cell, label in plain.items())
    twice = {label for (_, label), count in counts.items() if count > 1}
    return {
        cell: f"{cell.sweep}: {label}" if label in twice else label for cell, label in plain.items()
    }


def _require_pairs(dataset: str, cells: list[tuple[CellResult, list[Predictions]]]) -> None:
    """Raise SweepError unless all predictions are of the same samples in the same order."""
    if not cells:
        return
    reference, (first, *_) = cells[0]
    for cell, predictions in cells:
        for item in predictions:
            if not (
                np.array_equal(item.labels_N, first.labels_N)
                and np.array_equal(item.groups_N, first.groups_N)
                and item.probabilities_NC.shape == first.probabilities_NC.shape
            ):
                raise SweepError(
                    f"{reference.name} of {reference.sweep} and {cell.name} of {cell.sweep} were "
                    f"tested on samples of {dataset} with other labels, groups or classes: "
                    "compare each alone"
                )


def _test_notes(
    dataset: str,
    cells: list[CellResult],
    read: dict[CellResult, list[Predictions]],
    labels: dict[CellResult, str],
) -> list[str]:
    """Say what about a test split or its predictions makes numbers less than they seem."""
    if not cells:
        return []

    def named(found: list[CellResult]) -> str:
        return join_names([labels[cell] for cell in found])

    first, notes = read[cells[0]][0], []
    names = enumerate(cells[0].classes)
    absent = [name for place, name in names if not positives(first.labels_N, place).any()]
    if absent:
        notes.append(
            f"{dataset} has no test sample of {shorten(absent)}: AUROC, AUPRC and balanced "
            "accuracy are means over the other classes"
        )
    constant = [
        cell
        for cell in cells
        if any(np.ptp(p.probabilities_NC, axis=0).max() == 0 for p in read[cell])
    ]
    if constant:
        notes.append(
            f"{dataset}: the same prediction for every sample, so that nothing was learnt: "
            f"{named(constant)}"
        )
    return notes


def _rank(row: Row, choices: Choices) -> float:
    if not row.estimates or np.isnan(row.estimates[choices.metric].point):
        return float("-inf")
    return choices.sign * row.estimates[choices.metric].point


def _same_tests(rows: list[Row]) -> list[Row]:
    odd = find_odd_tests([row.cell for row in rows])
    return [row for row in rows if row.cell not in odd]
