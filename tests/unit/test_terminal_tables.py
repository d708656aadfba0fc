"""Tables fit their terminal, and no name is cut."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from sweep.base.tables import Column, Line, fit_table
from sweep.cli.views.progress import Display
from sweep.comparison.comparison import Choices, compare
from sweep.comparison.formats.tables import terminal
from sweep.records.progress import CellProgress
from sweep.space.file import load_space
from tests.simulated import sweep_of

WIDTHS = [20, 40, 60, 80, 120, 200]


def printed(item: object, width: int, height: int = 24) -> list[str]:
    out = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, no_color=True
    )
    out.print(item)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


@given(
    st.lists(
        st.text("abcdefgh_/é健", min_size=1, max_size=50), min_size=1, max_size=5, unique=True
    ),
    st.integers(10, 150),
)
def test_no_line_is_wider_and_every_name_is_there(names: list[str], width: int) -> None:
    columns = [Column("Cell", justify="left"), Column("A", 2), Column("B", 1)]
    lines = printed(fit_table(columns, [Line([name, "0.9", "12"]) for name in names], width), width)
    longest = max(cell_len(part) for name in names for part in re.split("(?<=/)", name))
    assert max(map(cell_len, lines)) <= max(width, longest + 2)
    whole = "".join(line.strip(" ┃│┏┡└┓┩┘━─┳╇┴") for line in lines)
    if longest + 2 <= width:
        for name in names:
            assert name.strip("/") in whole


def test_the_columns_that_matter_least_go_first() -> None:
    columns = [Column("Cell", justify="left"), Column("Best", 1), Column("Training", 2)]
    lines = [Line(["a" * 20, "0.9", "1:00"])]
    assert "Training" in printed(fit_table(columns, lines, 60), 60)[1]
    narrow = "\n".join(printed(fit_table(columns, lines, 32), 32))
    assert "Best" in narrow
    assert "Training" not in narrow


@pytest.mark.parametrize("width", WIDTHS)
def test_the_comparison_fits_and_names_are_whole(width: int) -> None:
    comparison = compare([sweep_of({"frozen": 0.9, "full": 0.8})], Choices("auroc"))
    table = terminal(comparison, width).partition("Which cell is best?")[0]
    lines = re.sub(r"\x1b\[[0-9;]*m", "", table).splitlines()
    assert max(map(len, lines)) <= width
    for name in ("small", "large", "other", "frozen", "AUROC"):
        assert name in table


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24), (120, 50), (80, 12)])
def test_the_live_table_of_72_cells_always_shows_the_summary(width: int, height: int) -> None:
    cells = [CellProgress(cell) for cell in load_space("full_grid", [], ()).cells()]
    assert len(cells) == 72
    for cell in cells[:10]:
        cell.trials.update({"complete": cell.cell.trials})
        cell.confirmations.update({"complete": cell.cell.confirmations})
    for cell in cells[10:40]:
        cell.running = 1
    display = Display("auroc", Console(width=width, height=height, force_terminal=True))
    display.watch(cells)
    lines = printed(display._screen(), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "10 finished, 32 waiting" in text
    assert text.endswith("time left not known yet")
    assert cells[10].name in text
