"""What a confirmation chooses from: it repeats what chance decided in the search.

A confirmation is one of several repeats of a cell, each with its own partition of the non-test
samples into train and val. The noise of a choice that all of them shared would not average out,
so each makes its own:

- *partition*: of a fused cell every choice that the search tried is trained again on the new
  partition, which chooses among them: they train as one matrix.
- *repeat*: where another cell has trials enough, they are dealt to the confirmations and trained
  on their partitions; each takes the best of its own, which is trained already.
- *resample*: with fewer trials, the choice is made on a bootstrap resample, by group, of the
  search's validation predictions (Efron 1979); the first takes it on the predictions as they are.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow.parquet as pq

from sweep.records.folder import SweepFolder
from sweep.records.predictions import Predictions
from sweep.records.record import RunRecord
from sweep.search.studies import CellStudy
from sweep.space.model import Cell, Space
from sweep.train.learner import Trial
from sweep.train.metrics import metric_of
from sweep.train.metrics.base import WeightedPredictions

Way = Literal["partition", "repeat", "resample"]

_DRAWS = 100  # attempts at a resample that has all classes


def way_of(cell: Cell) -> Way:
    """Return how the confirmations of a cell choose."""
    return "partition" if cell.fused else "repeat" if cell.repeated else "resample"


def trials_to_confirm(
    cell: Cell,
    space: Space,
    study: CellStudy,
    index: int,
    records: Mapping[int, RunRecord],
    folder: SweepFolder,
) -> tuple[Trial, ...]:
    """Return the trials that confirmation number `index` of a cell chooses from; none if no trial
    is complete.

    Args:
        records: of the trials, by number.
        folder: where their validation predictions are.
    """
    best = study.best()
    if best is None:
        return ()
    if cell.fused:
        return study.tried()
    complete = [trial for trial in study.complete() if trial.number in records]
    if cell.repeated:
        own = [r for r in complete if records[r.number].params.get("partition") == 1 + index]
        return (max(own, key=lambda trial: goodness(records[trial.number]), default=best),)
    if index == 0:
        return (best,)
    read = {trial: read_validation(folder, records[trial.number]) for trial in complete}
    found = {trial: item for trial, item in read.items() if item is not None}
    rng = np.random.default_rng(cell.seed(space.split.seed, f"choice {index}"))
    place = choose_in_resample(list(found.values()), space.objective, rng)
    return (best if place is None else list(found)[place],)


def goodness(record: RunRecord) -> tuple[float, float]:
    """Return what the best trial has the most of: its score, among equals the lower loss."""
    return record.best["value"], -record.best.get("val/loss", 0.0)


def choose_in_resample(
    trials: list[Predictions], objective: str, rng: np.random.Generator
) -> int | None:
    """Return which of the trials is best on a resample of the groups of the validation split.

    None if there is none, or if no resample has a score, as classes are missing.
    """
    if not trials:
        return None
    first = trials[0]
    rows_of = [np.flatnonzero(first.groups_N == group) for group in np.unique(first.groups_N)]
    probabilities_KNC = np.stack([trial.probabilities_NC for trial in trials])
    for _ in range(_DRAWS):
        drawn = rng.integers(0, len(rows_of), len(rows_of))
        rows = np.concatenate([rows_of[group] for group in drawn])
        given = WeightedPredictions.of_weight_1(first.labels_N[rows], probabilities_KNC[:, rows])
        scores_K = metric_of(objective).score(given)
        if np.isfinite(scores_K).all():
            return int(np.argmax(scores_K))
    return None


def read_validation(folder: SweepFolder, record: RunRecord) -> Predictions | None:
    """Return the validation predictions of a trial; None if they were not kept or are damaged."""
    if record.validation is None:
        return None
    try:
        return Predictions.of_table(pq.read_table(folder.path / "validation" / record.validation))
    except (OSError, ValueError):
        return None
