"""Tables that fit their terminal: names are never cut; there are fewer columns instead."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.box import HEAVY_HEAD, Box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        spare: columns with the highest number are left out first; those with 0 never are.
    """

    title: str
    spare: int = 0
    justify: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class Line:
    """A row of a table: a text for each column, and how it is shown."""

    values: Sequence[str]
    style: str = ""
    end_section: bool = False


@dataclass(frozen=True)
class TableStyle:
    """What else a table has: a title, a caption, the kind of its box."""

    title: str | None = None
    caption: str | None = None
    box: Box = HEAVY_HEAD
    padding: tuple[int, int, int, int] = (0, 1, 0, 1)
    pad_edge: bool = True


def fit_table(
    columns: Sequence[Column],
    lines: Sequence[Line],
    width: int,
    style: TableStyle = TableStyle(),
) -> RenderableType:
    """Return a table that is at most so wide.

    Where even the columns that are never left out are too wide, each row is a name with its
    values below.
    """
    shown = list(range(len(columns)))
    console = Console(width=10_000)
    while True:
        table = _table([columns[i] for i in shown], lines, shown, style)
        if console.measure(table).maximum <= width:
            return table
        spare = max(shown, key=lambda index: (columns[index].spare, index))
        if not columns[spare].spare:
            return _paragraphs([columns[i] for i in shown], lines, shown, width, style)
        shown.remove(spare)


def _table(
    columns: Sequence[Column], lines: Sequence[Line], shown: list[int], style: TableStyle
) -> Table:
    options: dict[str, Any] = {
        "title": style.title and escape(style.title),
        "box": style.box,
        "padding": style.padding,
        "pad_edge": style.pad_edge,
    }
    if style.caption:
        options |= {"caption": escape(style.caption), "caption_justify": "left"}
    table = Table(**options)
    for column in columns:
        table.add_column(column.title, justify=column.justify, no_wrap=True)
    for line in lines:
        values = (escape(line.values[index]) for index in shown)
        table.add_row(*values, style=line.style, end_section=line.end_section)
    return table


def _paragraphs(
    columns: Sequence[Column],
    lines: Sequence[Line],
    shown: list[int],
    width: int,
    style: TableStyle,
) -> Group:
    """Return each row as its names, broken after a slash at most, and its values below."""
    parts = [Text(style.title)] if style.title else []
    for line in lines:
        values = [line.values[index] for index in shown]
        names = [v for v, column in zip(values, columns, strict=True) if column.justify == "left"]
        parts += [Text(text, style=line.style) for text in _break_name(" ".join(names), width)]
        for value, column in zip(values, columns, strict=True):
            if column.justify == "right" and value:
                text = f"  {column.title} {value}".replace("\n", " ")
                parts.append(Text(text, style=line.style))
    if style.caption:
        parts.append(Text(style.caption))
    return Group(*parts)


def _break_name(name: str, width: int) -> list[str]:
    """Break a name where a blank or a slash is, if it is wider than the terminal."""
    lines = [""]
    for part in name.replace("/", "/\0").replace(" ", " \0").split("\0"):
        if lines[-1] and cell_len(lines[-1] + part.rstrip()) > width:
            lines.append("  ")
        lines[-1] += part
    return [line.rstrip() for line in lines]
