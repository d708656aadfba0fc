"""Tables as text files: whatever separator and encoding a program has chosen to write."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.base.lfs import refuse_pointer
from sweep.data.values import clean

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = (",", ";", "\t", "|")
_HEADER_LINES = 1
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_WINDOWS = "cp1252"  # Excel writes this encoding by default on Windows


def read_csv(path: Path) -> pd.DataFrame:
    """Return a table as text, blanks around every value and invisible characters removed.

    The separator is the one of comma, semicolon, tab and bar that parts the header most often.
    The index counts lines: see `row_of`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no table; what was seen, and in which line.
    """
    import pandas as pd  # checking a space does not need pandas

    text = _decode(path)
    csv.field_size_limit(1 << 20)
    try:
        separator = _separator(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        rows = [(reader.line_num, [clean(cell) for cell in row]) for row in reader if any(row)]
    except csv.Error as error:
        raise ValueError(f"it is no table: {error}") from None
    if not rows:
        raise ValueError("it is empty")
    header = rows[0][1]
    while header and not header[-1]:
        header = header[:-1]
    _refuse_two_of_a_name(header)
    cells = [_fit_row(row, len(header), line) for line, row in rows[1:]]
    index = [line - 1 - _HEADER_LINES for line, _ in rows[1:]]
    return pd.DataFrame(cells, columns=header, index=index, dtype=object)


def columns_of(path: Path) -> list[str]:
    """Return the names of a table's columns; none if the file cannot be read as one."""
    try:
        return [str(column) for column in read_csv(path).columns]
    except (OSError, ValueError):
        return []


def row_of(index: int) -> int:
    """Return the line of a table's row in its file, the header being line 1."""
    return int(index) + 1 + _HEADER_LINES


def _decode(path: Path) -> str:
    content = path.read_bytes()
    refuse_pointer(content)
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return _as_text(content, encoding)
    if b"\0" in content:
        raise ValueError("it holds bytes that are no text; save it as CSV in UTF-8")
    try:
        return _as_text(content, "utf-8")
    except ValueError:
        return _as_text(content, _WINDOWS)


def _as_text(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not {encoding}: {error.reason}; save it as UTF-8") from None


def _separator(text: str) -> str:
    header = next((line for line in text.splitlines() if line.strip()), "")
    counts = {
        separator: len(next(csv.reader([header], delimiter=separator), []))
        for separator in _SEPARATORS
    }
    return max(_SEPARATORS, key=lambda separator: counts[separator])


def _refuse_two_of_a_name(header: list[str]) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise ValueError(f"it has several columns called {', '.join(map(repr, twice))}; keep one")
    if "" in header:
        raise ValueError(f"column {header.index('') + 1} has no name; write one in the first line")


def _fit_row(row: list[str], columns: int, line: int) -> list[str]:
    """Return a row as long as the header: blank cells at its end say nothing."""
    if any(row[columns:]):
        raise ValueError(
            f"line {line} has {len(row)} cells and the first line {columns}; put text that holds "
            'the separator in "quotes"'
        )
    return row[:columns] + [""] * (columns - len(row))
