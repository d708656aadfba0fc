"""Published numbers beside ours."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sweep.comparison.api import render
from sweep.comparison.caveats import caveats
from sweep.comparison.comparison import Choices, Comparison, compare
from sweep.comparison.published import read_published
from sweep.comparison.report.page import report
from sweep.errors import SweepError
from tests.conftest import ROOT
from tests.simulated import sweep_of

HEAD = "source,dataset,backbone,mode,metric,value,low,high\n"
ROWS = (
    "Doe 2024,eyes,small,frozen,auroc,0.93,0.9,0.95\n"
    "Doe 2024,eyes,huge,full,auroc,0.97,,\n"
    "Doe 2024,ears,huge,full,auroc,0.5,,\n"
)


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "published.csv"
    path.write_text(HEAD + text)
    return path


def compared(tmp_path: Path) -> Comparison:
    found = compare([sweep_of({"small/frozen": 0.9, "large/frozen": 0.8})], Choices("auroc"))
    return replace(found, published=tuple(read_published(table(tmp_path, ROWS))))


def test_they_stand_beside_ours_and_change_no_verdict(tmp_path: Path) -> None:
    found = compared(tmp_path)
    alone = replace(found, published=())
    text = render(found, "markdown")
    assert "- eyes: small/frozen AUROC 0.930 [0.900, 0.950] (Doe 2024)." in text
    assert "- eyes: huge/full AUROC 0.970 (Doe 2024)." in text
    document, before = (json.loads(render(item, "json")) for item in (found, alone))
    assert [item["value"] for item in document.pop("published")] == [0.93, 0.97, 0.5]
    before.pop("published")
    notes, notes_before = document.pop("notes"), before.pop("notes")
    assert [note for note in notes if note not in notes_before] == [
        "published numbers of ears are of no data set here"
    ]
    assert document == before


def test_the_report_draws_them_in_grey_on_the_line_of_the_same_cell(tmp_path: Path) -> None:
    page = report(compared(tmp_path))
    assert "huge/full (Doe 2024)" in page
    assert "small/frozen (Doe 2024)" not in page
    assert "grey: published" in page
    assert "Published numbers (2)" in page


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("Doe,eyes,small,frozen,auroc,93,,", "row 2: auroc of 93 must lie between 0 and 1"),
        ("Doe,eyes,small,frozen,auc,0.9,,", "unknown metric 'auc'"),
        ("Doe,eyes,small,frozen,auroc,high,,", "row 2: could not convert"),
        ("Doe,eyes,small,frozen,auroc,0.9,0.95,0.99", "does not hold the value 0.9"),
        ("Doe,eyes,small,frozen,auroc,,,", "row 2"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(SweepError, match=words):
        read_published(table(tmp_path, row + "\n"))


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("source,dataset\na,b\n")
    with pytest.raises(SweepError, match="no column 'backbone'; it has 'source', 'dataset'"):
        read_published(path)
    with pytest.raises(SweepError, match="No such file"):
        read_published(tmp_path / "nowhere.csv")


def test_notes_do_not_change_where_nothing_is_published() -> None:
    found = compare([sweep_of({"small/frozen": 0.9})], Choices("auroc"))
    assert not any("published" in note for note in caveats(found))


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "published").glob("*.csv")), ids=str)
def test_the_tables_that_are_shipped_can_be_read(path: Path) -> None:
    assert read_published(path)
