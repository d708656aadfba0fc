"""A csv of images: columns path and label, group and split if there are any.

The entry's `group` is another column that names groups, or a pattern of file names.
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.data.io.csvfile import row_of
from sweep.data.layouts.base import Files, Layout, read_table, require_extras
from sweep.data.layouts.folder import SPLIT_NAMES, assign_groups, scoped
from sweep.data.manifest import SEPARATOR, Sample
from sweep.data.multilabel import join_labels, labels_in
from sweep.data.values import is_missing, is_missing_id, whole_number
from sweep.errors import DataError, listing
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec

if TYPE_CHECKING:
    import pandas as pd


class Table(Layout):
    """A table whose rows are images; paths are relative to the table."""

    keys = frozenset({"group", "group_scope"})
    is_file = True

    def recognises(self, path: Path) -> bool:
        """Tell a file that nothing says is something else."""
        return path.is_file() and path.suffix != ".npz"

    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name the images of the rows."""
        columns = spec.multilabel if isinstance(spec.multilabel, tuple) else ()
        table = read_table(spec, path, ["path", *(columns or ["label"])])
        if spec.group in table:
            table["group"] = table[spec.group]
        problems: list[str] = []
        if columns:
            problems += odd_indicators(table, columns)
            table["label"] = joined_columns(table, columns)
        blank = ["path", "group", "split"] if columns else ["path", "label", "group", "split"]
        problems += blank_values(table, blank)
        if spec.multilabel and not columns and table["label"].map(is_missing).any():
            problems.append("a sample that has none of the labels is to have the label none")
        table["path"] = [_find(path.parent, item) for item in table["path"]]
        twice = table.index[table["path"].map(posixpath.normpath).duplicated()]
        if len(twice):
            problems.append(f"{len(twice)} paths appear more than once: row {row_of(twice[0])}")
        splits = table["split"].str.lower() if "split" in table else None
        if splits is not None and (odd := sorted(set(splits) - set(SPLIT_NAMES) - {""})):
            row = row_of(splits.index[splits == odd[0]][0])
            problems.append(f"split {odd[0]!r} is not one of train, val, test (row {row})")
        if not spec.multilabel:
            problems += _several_labels(table["label"])
        elif not columns:
            problems += texts_without_labels(table["label"])
        absent = [
            f"row {row_of(index)}: {path.parent / item}"
            for index, item in table["path"].items()
            if item and not (path.parent / item).is_file()
        ]
        if absent:
            problems.append(f"{len(absent)} images are not there:\n{listing(absent)}")
        if problems:
            raise DataError(f"dataset {spec.name}: {path}: " + "\n".join(problems))
        require_extras(path.parent / item for item in table["path"])
        parts = (
            [SPLIT_NAMES[item] for item in splits] if splits is not None else [None] * len(table)
        )
        groups = table["path"]
        if "group" in table:
            groups = [
                scoped(spec, own, part) for own, part in zip(table["group"], parts, strict=True)
            ]
        rows = zip(table["path"], table["label"], groups, parts, strict=True)
        samples = [Sample(*row) for row in rows]
        return samples if "group" in table else assign_groups(spec, samples, table.columns)

    def attributes(self, spec: DatasetSpec, path: Path) -> dict[str, dict[str, str]]:
        """Return the table's columns."""
        table = read_table(spec, path, ["path"])
        paths = [_find(path.parent, item) for item in table["path"]]
        return {str(name): dict(zip(paths, table[name], strict=True)) for name in table.columns}

    def source(self, spec: DatasetSpec, path: Path) -> Files:
        """Open files beside the table."""
        return Files(path.parent)


def _find(root: Path, item: str) -> str:
    """Return a path as it is on the disk: with / for \\, and in the other form of Unicode."""
    tried = dict.fromkeys((item, item.replace("\\", "/")))
    forms = [unicodedata.normalize(form, path) for path in tried for form in ("NFC", "NFD")]
    return next((path for path in (*tried, *forms) if path and (root / path).is_file()), item)


def _several_labels(labels: pd.Series) -> list[str]:
    """Say that a cell holds several labels, as ``Effusion|Nodule`` does."""
    known = set(labels)
    several = [
        (index, label)
        for index, label in labels.items()
        if "|" in label
        or any(
            len(parts := [part.strip() for part in label.split(separator)]) > 1
            and known.issuperset(parts)
            for separator in (";", ",", "/", "+", "&", " and ")
        )
    ]
    if not several:
        return []
    index, label = several[0]
    return [
        f"{len(several)} rows have several labels, such as {label!r} (row {row_of(index)}), and "
        "one for each image is read: write 'multilabel: true' into the entry, with | between the "
        "labels, keep the rows with one, or write one class for each combination, without the "
        "separator"
    ]


def joined_columns(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return the labels of each row as one text: the names of the columns with a 1."""
    has = {name: table[name].map(whole_number) == "1" for name in columns}
    return [join_labels(name for name in columns if has[name][row]) for row in table.index]


def odd_indicators(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Say which columns of labels hold what is neither 0 nor 1, and in which row first."""
    problems = []
    for name in columns:
        numbers = table[name].map(whole_number)
        odd = table.index[~numbers.isin(["0", "1"])]
        if len(odd):
            value = table[name][odd[0]]
            problems.append(
                f"{len(odd)} rows have neither 0 nor 1 in {name!r}: row {row_of(odd[0])} "
                f"({value!r}); where it is not known, leave the row out"
            )
        if SEPARATOR in name:
            problems.append(f"the column {name!r} has | in its name, which separates labels")
    return problems


def texts_without_labels(labels: pd.Series) -> list[str]:
    """Say which texts name no label and are not blank, as ``|`` does, and in which row first."""
    odd = [index for index, text in labels.items() if text and not labels_in(text)]
    if not odd:
        return []
    return [f"{len(odd)} rows name no label: row {row_of(odd[0])} ({labels[odd[0]]!r}); write none"]


def blank_values(table: pd.DataFrame, columns: list[str]) -> list[str]:
    """Say which of these columns, where they are, lack values, and in which line first."""
    problems = []
    for column in columns:
        lacks = is_missing_id if column == "group" else is_missing
        blank = table.index[table[column].map(lacks)] if column in table else []
        if len(blank):
            value = table[column][blank[0]]
            seen = f" ({value!r})" if value else ""
            problems.append(f"{len(blank)} rows have no {column}: row {row_of(blank[0])}{seen}")
    return problems


LAYOUTS.register("csv", Table())
