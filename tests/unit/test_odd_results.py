"""Results as odd as they come are shown in every format and in the report, without a warning."""

import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from sweep.comparison.api import FORMATS, render
from sweep.comparison.caveats import caveats
from sweep.comparison.comparison import Choices, Comparison, compare
from sweep.comparison.report.page import report
from sweep.records.results import SweepResults
from tests.simulated import broken, sweep_of

AUROCS = {"small/frozen": 0.8, "large/frozen": 0.9}


def shown(sweep: SweepResults) -> tuple[Comparison, str]:
    """Render everything; return the comparison and the text for the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = compare([sweep], Choices("auroc"))
        texts = [render(comparison, style) for style in FORMATS[:-1]]
        assert report(comparison).endswith("</html>")
        return comparison, texts[0] + "\n".join(caveats(comparison))


def altered(change: Callable[[pa.Table], pa.Table], **options: object) -> SweepResults:
    sweep = sweep_of(AUROCS, **options)
    for cell in sweep.cells:
        if cell.confirmations:
            cell._tables[:] = [change(table) for table in cell._tables]
    return sweep


def test_a_test_split_of_one_class() -> None:
    _, text = shown(altered(lambda table: table.filter(np.asarray(table["label"]) == 1)))
    assert "eyes: AUROC has no meaning on a test split of one class" in text
    assert "eyes has no test sample of class0" in text


def test_a_test_split_of_one_sample() -> None:
    _, text = shown(altered(lambda table: table.slice(0, 1)))
    assert "the rarest class has 1 groups" in text


def test_one_patient_a_class_can_tell_nothing() -> None:
    comparison, text = shown(sweep_of(AUROCS, groups=2))
    (pair,) = comparison.pairs["eyes"]
    assert pair.verdict.p == 1
    assert "the data cannot tell it from" in text


def test_predictions_that_are_always_right() -> None:
    _, text = shown(sweep_of(dict.fromkeys(AUROCS, 1 - 1e-12)))
    assert "a score at its bound" in text


def test_records_of_which_hardly_anything_is_known() -> None:
    sweep = sweep_of(AUROCS)
    for cell in sweep.cells:
        for record in [*cell.confirmations, *cell.trials]:
            record.facts = {"test_samples": "t"}
            record.history.clear()
            record.best = {"epoch": 1, "value": 0.5} if record.kind == "confirmation" else {}
    shown(sweep)


def test_a_sweep_without_trials() -> None:
    sweep = sweep_of(AUROCS)
    cells = [broken(cell, fetch_trials=list, states=type(cell.states)()) for cell in sweep.cells]
    shown(replace(sweep, cells=cells))


@pytest.mark.parametrize("classes", [2, 12])
def test_one_cell_alone(classes: int) -> None:
    comparison, _ = shown(sweep_of({"small/frozen": 0.8}, classes=classes))
    assert comparison.pairs["eyes"] == []


def test_the_same_cell_in_two_sweeps_with_the_same_predictions() -> None:
    sweeps = [sweep_of(AUROCS, name) for name in ("a", "b")]
    comparison = compare(sweeps, Choices("f1"))
    near_duplicates = [
        pair for pair in comparison.pairs["eyes"] if pair.first.cell.name == pair.second.cell.name
    ]
    assert [pair.verdict.p for pair in near_duplicates] == [1, 1]
    assert report(comparison).endswith("</html>")


def test_a_thousand_classes_take_no_more_than_their_margins() -> None:
    many = sweep_of(AUROCS, samples=2000, classes=1000)
    tracemalloc.start()
    comparison = compare([many], Choices("auroc"))
    peak = tracemalloc.get_traced_memory()[1] / 2**30
    tracemalloc.stop()
    assert peak < 2
    page = report(comparison)
    assert len(page) < 5 << 20
    assert "of 1000 classes those that most often go wrong" in page
