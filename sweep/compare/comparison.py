"""The comparison: every cell with its intervals, and the differences between cells.

`compared` is where a comparison begins; questions, costs, ranks and tables are made from what it
returns.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from sweep.compare.cache import cached_estimates
from sweep.compare.comparable import odd_tests, require_comparable
from sweep.compare.delong import Areas
from sweep.compare.estimates import Bootstrapped, Estimate, Interval, contrast, two_sided
from sweep.compare.resampling import RESAMPLES
from sweep.compare.results import CellResult, Predictions, SweepResults
from sweep.compare.wording import listed
from sweep.errors import SweepError
from sweep.train.metrics import LOWER_IS_BETTER, score

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Choices:
    """What the reader chose.

    Attributes:
        metric: to rank by.
        margin: the difference in the metric that would not matter.
        resamples: of the bootstrap.
    """

    metric: str
    margin: float = 0.01
    resamples: int = RESAMPLES

    @property
    def sign(self) -> int:
        """1 if more of the metric is better, -1 if less is."""
        return -1 if self.metric in LOWER_IS_BETTER else 1


@dataclass(frozen=True, eq=False)
class Row:
    """A cell and its metrics; none if it has no scored confirmation.

    Attributes:
        label: backbone and mode, as people name the cell within its dataset; with the sweep
            where several have it.
        spread: standard deviation of each metric over the seeds; NaN for one seed.
    """

    label: str
    cell: CellResult
    estimates: dict[str, Bootstrapped]
    spread: dict[str, float]

    @cached_property
    def metrics(self) -> dict[str, Interval]:
        """Each metric with its interval."""
        return {name: item.interval() for name, item in self.estimates.items()}


@dataclass(frozen=True)
class Pair:
    """Two cells of a dataset.

    Attributes:
        estimate: the first's metric minus the second's.
        p, adjusted: of no difference, alone and by Holm among all pairs of the dataset.
    """

    first: Row
    second: Row
    estimate: Estimate
    p: float
    adjusted: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Sweeps side by side.

    Attributes:
        rows: of every cell; datasets in the order of the grid, in each the best first.
        notes: what to know before trusting a number.
    """

    sweeps: list[SweepResults]
    choices: Choices
    rows: list[Row]
    notes: list[str]

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

    @cached_property
    def paired(self) -> dict[str, list[Row]]:
        """The rows of each dataset that were tested on the same samples."""
        return {name: _same_tests(rows) for name, rows in self.datasets.items()}

    def gain(self, terms: list[tuple[float, Row]]) -> Bootstrapped:
        """Return a weighted sum of rows' metrics, signed so that more is better."""
        sign, metric = self.choices.sign, self.choices.metric
        return contrast([(sign * weight, row.estimates[metric]) for weight, row in terms])

    def difference(self, first: Row, second: Row) -> Estimate:
        """Return the first row's metric minus the second's; of two classes' AUROC by DeLong."""
        dataset, metric = first.cell.dataset, self.choices.metric
        if self.by_delong(dataset):
            places = self.paired[dataset]
            return self._areas[dataset].difference(places.index(first), places.index(second))
        return contrast([(1, first.estimates[metric]), (-1, second.estimates[metric])])

    def by_delong(self, dataset: str) -> bool:
        """Tell whether a dataset's differences are DeLong's: AUROCs of two classes, both there."""
        rows = self.paired[dataset]
        if self.choices.metric != "auroc" or not rows or len(rows[0].cell.classes) != 2:
            return False
        return not np.isnan(rows[0].estimates["auroc"].point)

    @cached_property
    def pairs(self) -> dict[str, list[Pair]]:
        """All pairs of each dataset's cells."""
        return {name: self._pairs(rows) for name, rows in self.paired.items()}

    def rivals(self, best: Row) -> list[Row]:
        """Return the cells that cannot be told from the best of a dataset."""
        return [
            pair.second if pair.first is best else pair.first
            for pair in self.pairs[best.cell.dataset]
            if best in (pair.first, pair.second) and not pair.adjusted < SIGNIFICANT
        ]

    def _pairs(self, rows: list[Row]) -> list[Pair]:
        couples = list(combinations(rows, 2))
        estimates = [self.difference(*couple) for couple in couples]
        values = [two_sided(estimate) for estimate in estimates]
        return [
            Pair(*couple, estimate, p, adjusted)
            for couple, estimate, p, adjusted in zip(
                couples, estimates, values, holm(values), strict=True
            )
        ]

    @cached_property
    def _areas(self) -> dict[str, Areas]:
        return {
            name: Areas([row.cell.predictions() for row in rows])
            for name, rows in self.paired.items()
            if self.by_delong(name)
        }


def compared(sweeps: list[SweepResults], choices: Choices) -> Comparison:
    """Compute the intervals of every cell of the sweeps, and put the best first.

    Raises SweepError if the sweeps cannot be compared.
    """
    cells = [cell for sweep in sweeps for cell in sweep.cells]
    require_comparable(sweeps)
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


def holm(values: list[float]) -> list[float]:
    """Return p-values adjusted for being a family (Holm 1979).

    statsmodels' `multipletests` gives the same, and collects garbage at every call: with the
    resamples of a large sweep in memory that took a third of the time of a report.
    """
    order = np.argsort(values)
    factors = np.arange(len(values), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(factors * np.take(values, order)), 1)
    result = np.empty(len(values))
    result[order] = adjusted
    return result.tolist()


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
    odd = odd_tests(list(read))
    together = [cell for cell in read if cell not in odd]
    _require_pairs(dataset, [(cell, read[cell]) for cell in together])
    found = dict(zip(together, _estimates(dataset, together, read, choices), strict=True))
    for cell in odd:
        notes.append(
            f"{cell.name} of {cell.sweep} lacks folds: it was tested on fewer samples than the "
            "others, and is not paired with them"
        )
        found |= zip([cell], _estimates(dataset, [cell], read, choices), strict=True)
    notes += _test_notes(dataset, together, read, labels)
    return [
        Row(
            labels[cell],
            cell,
            found.get(cell, {}),
            _spread(read[cell]) if cell in found else {},
        )
        for cell in cells
    ]


def _labels(cells: list[CellResult]) -> dict[CellResult, str]:
    plain = {cell: f"{cell.backbone}/{cell.mode}" for cell in cells}
    counts = Counter((cell.dataset, label) for cell, label in plain.items())
    twice = {label for (_, label), count in counts.items() if count > 1}
    return {
        cell: f"{cell.sweep}: {label}" if label in twice else label for cell, label in plain.items()
    }


def _estimates(
    dataset: str,
    cells: list[CellResult],
    read: dict[CellResult, list[Predictions]],
    choices: Choices,
) -> list[dict[str, Bootstrapped]]:
    return cached_estimates([read[cell] for cell in cells], dataset, choices.resamples)


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
        return listed([labels[cell] for cell in found])

    first, notes = read[cells[0]][0], []
    counts = np.bincount(first.labels_N, minlength=len(cells[0].classes))
    absent = [name for name, count in zip(cells[0].classes, counts, strict=True) if not count]
    if absent:
        notes.append(
            f"{dataset} has no test sample of {', '.join(absent)}: AUROC, AUPRC and balanced "
            "accuracy are means over the other classes"
        )
    if (groups := int(first.groups_N.max()) + 1) < 20:
        notes.append(f"{dataset} has {groups} groups in its test split: its intervals are rough")
    if narrow := [cell for cell in cells if _never_wrong(read[cell])]:
        notes.append(
            f"{dataset}: no error at all, so that intervals have no width, which is not certainty "
            f"(of {len(first.labels_N)} samples, up to 3 in as many may be wrong): {named(narrow)}"
        )
    alone = [cell for cell in cells if len(cell.confirmations) == 1 and not cell.folded]
    if alone:
        notes.append(f"{dataset}: one seed only, so that its spread is not known: {named(alone)}")
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


def _never_wrong(seeds: list[Predictions]) -> bool:
    return all((p.probabilities_NC.argmax(axis=1) == p.labels_N).all() for p in seeds)


def _spread(seeds: list[Predictions]) -> dict[str, float]:
    scores = [score(item.labels_N, item.probabilities_NC) for item in seeds]
    if len(scores) < 2:
        return {name: float("nan") for name in scores[0]}
    return {name: float(np.std([s[name] for s in scores], ddof=1)) for name in scores[0]}


def _rank(row: Row, choices: Choices) -> float:
    if not row.estimates or np.isnan(row.estimates[choices.metric].point):
        return float("-inf")
    return choices.sign * row.estimates[choices.metric].point


def _same_tests(rows: list[Row]) -> list[Row]:
    odd = odd_tests([row.cell for row in rows])
    return [row for row in rows if row.cell not in odd]
