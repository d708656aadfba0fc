"""The comparison in every format: complete, escaped, and what the next tool expects."""

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from sweep.comparison.api import (
    FORMATS,
    answer,
    check_choices,
    render,
    require_format,
    require_scores,
    write,
)
from sweep.comparison.comparison import Choices, compare
from sweep.comparison.formats.latex import escape
from sweep.errors import SweepError
from tests.simulated import sweep_of

AUROCS = {
    "small/frozen": 0.80, "small/full": 0.80, "large/frozen": 0.95, "large/full": 0.80,
    "other/frozen": 0.60,
}  # fmt: skip
CHOICES = Choices("auroc")


@pytest.fixture(scope="module")
def comparison():
    sweep = sweep_of(AUROCS)
    sweep.cells[0].states.update({"pruned": 5, "failed": 1})
    return compare([sweep], CHOICES)


def test_json_has_the_fields_of_the_contract(comparison) -> None:
    found = json.loads(render(comparison, "json"))
    assert found["sweeps"] == ["s"]
    assert found["metric"] == "auroc"
    best = found["cells"][0]
    assert (best["dataset"], best["backbone"], best["freeze"]) == ("eyes", "large", "frozen")
    assert set(best["metrics"]["auroc"]) == {"mean", "low", "high"}
    assert best["metrics"]["auroc"]["mean"] == pytest.approx(0.95, abs=0.02)
    small = next(c for c in found["cells"] if (c["backbone"], c["freeze"]) == ("small", "frozen"))
    assert {k: small[k] for k in ("learning_rate", "trials", "pruned", "failed", "seeds")} == {
        "learning_rate": 0.01, "trials": 10, "pruned": 5, "failed": 1, "seeds": 3,
    }  # fmt: skip
    assert small["seconds"] == 14
    assert found["cells"][-1]["metrics"] == {}


def test_json_holds_differences_questions_and_notes(comparison) -> None:
    found = json.loads(render(comparison, "json"))
    assert len(found["differences"]) == 10
    first = found["differences"][0]
    assert first["low"] < first["difference"] < first["high"]
    assert first["p"] <= first["p_holm"]
    assert {q["question"] for q in found["questions"]} >= {
        "Is training 'full' better than leaving the backbone frozen?"
    }
    assert found["questions"][0]["findings"][0]["verdict"] == "better"
    assert any("no confirmation" in note for note in found["notes"])


def test_json_knows_no_nan() -> None:
    text = render(compare([sweep_of(AUROCS, seeds=1)], CHOICES), "json")
    assert "NaN" not in text
    assert json.loads(text)["cells"][0]["spread"]["auroc"] is None


def test_csv_is_a_table_with_one_row_a_cell(comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(render(comparison, "csv"))))
    assert len(rows) == 6
    assert float(rows[0]["auroc_low"]) < float(rows[0]["auroc"]) < float(rows[0]["auroc_high"])
    assert float(rows[0]["f1_macro_spread"]) > 0
    assert float(rows[0]["parameters"]) == 20_000_000
    assert rows[-1]["auroc"] == ""


def test_parquet_holds_the_same_table(tmp_path: Path, comparison) -> None:
    path = tmp_path / "table.parquet"
    write(comparison, "parquet", path)
    found = pd.read_parquet(path)
    expected = pd.read_csv(io.StringIO(render(comparison, "csv")))
    assert list(found.columns) == list(expected.columns)
    assert found["auroc"].to_numpy()[:5] == pytest.approx(expected["auroc"].to_numpy()[:5])


def test_parquet_needs_a_file(comparison) -> None:
    with pytest.raises(SweepError, match="say --output FILE"):
        require_format("parquet", None)


def test_latex_is_the_studys_table_with_the_best_in_bold(comparison) -> None:
    text = render(comparison, "latex")
    assert r"Task & Model & Freeze & AUROC & Accuracy & Precision & Recall & F1 \\" in text
    best = next(line for line in text.splitlines() if line.startswith("eyes & large & frozen"))
    assert best.count(r"\textbf") == 5
    assert text.count(r"\midrule") == 1
    assert text.endswith("\\end{tabular}\n\\endgroup")
    assert " & -- & --" in text  # the cell without confirmations


def test_latex_compiles_without_a_warning(tmp_path: Path, comparison) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    table = render(comparison, "latex")
    (tmp_path / "table.tex").write_text(table + "\n")
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}\noindent"
        + "\n\\input{table}\n\\end{document}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "Warning" not in done.stdout
    assert "Overfull" not in done.stdout


def test_latex_sees_no_command_in_a_name() -> None:
    assert escape(r"a_b&c%d$e#f{g}h~i^j\k") == (
        r"a\_b\&c\%d\$e\#f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k"
    )


def test_markdown_has_a_column_for_every_metric_and_the_sentences_below(comparison) -> None:
    text = render(comparison, "markdown")
    head, line, *_ = text.splitlines()
    assert head.startswith("| Dataset | Backbone | Freeze | AUROC | Accuracy |")
    assert head.count("|") == line.count("|")
    assert len({row.count("|") for row in text.splitlines() if row.startswith("|")}) == 1
    assert "**Which cell is best?**" in text
    assert "- eyes: large/frozen has the highest test score, AUROC 0.9" in text


def test_the_terminal_table_says_which_cell_wins_and_what_cannot_be_told(comparison) -> None:
    text = render(comparison, "table")
    assert "eyes: large/frozen has the highest test score" in text
    assert "it is better than every other cell for models trained on these patients." in text
    close = compare([sweep_of({"small/frozen": 0.8, "large/frozen": 0.8})], CHOICES)
    assert re.search(r"the data cannot tell it from (small|large)/frozen", render(close, "table"))


def test_several_sweeps_get_a_column() -> None:
    both = compare([sweep_of(AUROCS, "monday"), sweep_of(AUROCS, "tuesday")], CHOICES)
    for style in FORMATS[:-1]:
        assert "monday" in render(both, style)


def test_the_table_fits_a_terminal_of_100_columns(comparison) -> None:
    text = re.sub(r"\x1b\[[\d;]*m", "", render(comparison, "table", 100))
    table = text.partition("test split")[0]
    assert max(map(len, table.splitlines())) <= 100


def test_unknown_formats_metrics_and_senseless_numbers_are_refused_in_words(comparison) -> None:
    sweeps = comparison.sweeps
    with pytest.raises(SweepError, match=r"unknown format 'markdwon'.*did you mean markdown"):
        require_format("markdwon", None)
    with pytest.raises(SweepError, match=r"unknown metric 'briar'.*did you mean brier"):
        check_choices(sweeps, "briar", 0.01)
    with pytest.raises(SweepError, match="margin -1"):
        check_choices(sweeps, None, -1)
    chosen = check_choices(sweeps, None, None)
    assert (chosen.metric, chosen.margin, chosen.chosen_after) == ("auroc", 0.01, False)
    assert check_choices(sweeps, None, 0.02).chosen_after
    assert "parquet" in FORMATS


def test_nothing_confirmed_is_nothing_to_compare() -> None:
    with pytest.raises(SweepError, match="nothing to compare yet: no cell of s is confirmed"):
        require_scores(compare([sweep_of({})], CHOICES))


def test_the_answer_that_trackers_show_says_what_weakens_it() -> None:
    few, many = (answer(compare([sweep_of(AUROCS, seeds=count)], CHOICES)) for count in (1, 5))
    assert few.startswith("**Which cell is best?**")
    sentences, _, notes = few.partition("**Notes**")
    assert "fewer than 3 confirmations" in notes
    assert "fewer than 3 confirmations" not in sentences + many
