"""A csv of images: columns path and label, group and split if there are any."""

from pathlib import Path

import pandas as pd

from sweep.data.layouts.base import Files, Layout, read_table, require_extras
from sweep.data.layouts.folder import SPLIT_NAMES, grouped
from sweep.data.manifest import Sample
from sweep.errors import DataError, listing
from sweep.space import DatasetSpec

_HEADER_LINES = 1


def _read(spec: DatasetSpec, path: Path) -> list[Sample]:
    table = read_table(spec, path, ["path", "label"])
    problems = blank_values(table, ["path", "label", "group"])
    twice = table.index[table["path"].duplicated()]
    if len(twice):
        problems.append(f"{len(twice)} paths appear more than once: row {row_of(twice[0])}")
    splits = table["split"].str.lower() if "split" in table else None
    if splits is not None and (odd := sorted(set(splits) - set(SPLIT_NAMES))):
        row = row_of(splits.index[splits == odd[0]][0])
        problems.append(f"split {odd[0]!r} is not one of train, val, test (row {row})")
    absent = [
        f"row {row_of(index)}: {path.parent / item}"
        for index, item in table["path"].items()
        if not (path.parent / item).is_file()
    ]
    if absent:
        problems.append(f"{len(absent)} images are not there:\n{listing(absent)}")
    if problems:
        raise DataError(f"dataset {spec.name}: {path}: " + "\n".join(problems))
    require_extras(path.parent / item for item in table["path"])
    parts = [SPLIT_NAMES[item] for item in splits] if splits is not None else [None] * len(table)
    groups = table["group"] if "group" in table else table["path"]
    columns = (table["path"], table["label"], groups, parts)
    samples = [Sample(*row) for row in zip(*columns, strict=True)]
    return samples if "group" in table else grouped(spec, samples)


def blank_values(table: pd.DataFrame, columns: list[str]) -> list[str]:
    """Say which of these columns, where they are, lack values, and in which row first."""
    problems = []
    for column in columns:
        blank = table.index[table[column] == ""] if column in table else []
        if len(blank):
            problems.append(f"{len(blank)} rows have no {column}: row {row_of(blank[0])}")
    return problems


def row_of(index: int) -> int:
    """Return the line of a table's row in its file, the header being line 1."""
    return int(index) + 1 + _HEADER_LINES


TABLE = Layout(_read, lambda _spec, path: Files(path.parent), is_file=True)
