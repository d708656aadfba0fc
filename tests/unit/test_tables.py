import csv
import io
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from sweep.compare.results import CellResult
from sweep.compare.statistics import REPORTED, Interval
from sweep.compare.tables import FORMATS, Row, render
from sweep.home import RunRecord


def confirmation() -> RunRecord:
    return RunRecord(
        "k", "s", "d", "b", "f", "confirmation", "complete", params={"learning_rate": 0.003}
    )


def row(backbone: str, auroc: float | None, dataset: str = "brain_mri", sweep: str = "s") -> Row:
    states = Counter(complete=10, pruned=5, failed=1)
    done = [confirmation(), confirmation()] if auroc else []
    cell = CellResult(sweep, dataset, backbone, "frozen", states, done, 12.5, 0, 0, Path())
    if auroc is None:
        return Row(cell, {})
    return Row(cell, {name: Interval(auroc, auroc - 0.02, auroc + 0.02) for name in REPORTED})


ROWS = [row("small", 0.90), row("large_&_new", 0.95), row("broken", None), row("x", 0.7, "eyes")]


def test_json_has_the_fields_of_the_contract() -> None:
    found = json.loads(render(ROWS, "auroc", "json"))
    assert found["sweeps"] == ["s"]
    assert found["metric"] == "auroc"
    best = found["cells"][0]
    assert (best["dataset"], best["backbone"], best["freeze"]) == (
        "brain_mri", "large_&_new", "frozen",
    )  # fmt: skip
    assert best["metrics"]["auroc"] == {"mean": 0.95, "low": pytest.approx(0.93), "high": 0.97}
    assert {k: best[k] for k in ("learning_rate", "trials", "pruned", "failed", "seeds")} == {
        "learning_rate": 0.003, "trials": 16, "pruned": 5, "failed": 1, "seeds": 2,
    }  # fmt: skip
    assert best["seconds"] == 12.5
    assert found["cells"][2]["metrics"] == {}


def test_csv_is_a_table_with_one_row_a_cell() -> None:
    rows = list(csv.DictReader(io.StringIO(render(ROWS, "auroc", "csv"))))
    assert len(rows) == 4
    assert float(rows[0]["auroc_low"]) == pytest.approx(0.93)
    assert rows[2]["auroc"] == ""


def test_latex_is_the_studys_table() -> None:
    text = render(ROWS, "auroc", "latex")
    assert r"Task & Model & Freeze & Accuracy & Precision & Recall & F1 \\" in text
    assert r"brain\_mri & large\_\&\_new & frozen & 0.950 [0.930, 0.970]" in text
    assert text.count(r"\midrule") == 2
    assert text.endswith(r"\end{tabular}")


def test_markdown_has_a_column_for_every_metric() -> None:
    head, *_ = render(ROWS, "f1", "markdown").splitlines()
    assert head.startswith("| Dataset | Backbone | Freeze | F1 | AUROC |")


def test_the_terminal_table_names_the_best_of_each_dataset_and_its_rivals() -> None:
    text = render(ROWS, "auroc", "table")
    assert "brain_mri: large_&_new/frozen is best on test" in text
    assert "no other cell's interval reaches it" in text
    close = render([row("a", 0.90), row("b", 0.91)], "auroc", "table")
    assert "the intervals of a/frozen overlap with it" in close


def test_several_sweeps_get_a_column() -> None:
    rows = [row("a", 0.9, sweep="monday"), row("a", 0.8, sweep="tuesday")]
    for style in FORMATS:
        assert "monday" in render(rows, "auroc", style)


def test_the_table_fits_a_terminal_of_100_columns() -> None:
    text = re.sub(r"\x1b\[[\d;]*m", "", render(ROWS, "auroc", "table", 100))
    table = text.partition("test split")[0]
    assert max(map(len, table.splitlines())) <= 100
    assert "[0.930, 0.970]" in table
