"""Subgroups of a data set's samples: by the values of its table's columns, such as sex or scanner.

Models never see them. They lie in the folder of a sweep beside the hashes of the samples' names,
and go nowhere else.
"""

from bisect import bisect_right
from itertools import pairwise
from pathlib import Path

import pandas as pd

from sweep.data.dataset import samples_of
from sweep.data.layouts import location
from sweep.data.layouts.base import layout_of
from sweep.data.values import clean, is_missing
from sweep.errors import DataError, nearest
from sweep.records.home import hashed_id
from sweep.space.specs import DatasetSpec, Subgroups

_MOST_VALUES = 12  # more values than that of a column are no subgroups


def read_subgroups(spec: DatasetSpec, data_root: Path) -> dict[str, list[str]]:
    """Return the subgroup of every sample, in their order, by column; '' where it is not known.

    Raises:
        DataError: the data set has no such column, it has too many values, or bands are asked for
            of what are no numbers.
    """
    samples = samples_of(spec, data_root)
    found = layout_of(spec).attributes(spec, location(spec, data_root))
    result = {}
    for wanted in spec.subgroups:
        if wanted.column not in found:
            there = f"it has {', '.join(found)}" if found else "its layout knows of no table"
            raise DataError(
                f"dataset {spec.name}: subgroups: there is no column {wanted.column!r}; "
                f"{there}{nearest(wanted.column, found)}"
            )
        values = found[wanted.column]
        texts = [clean(values.get(sample.path, "")) for sample in samples]
        known = ["" if is_missing(text) else text for text in texts]
        result[wanted.column] = _in_bands(spec, wanted, known)
    return result


def subgroup_table(spec: DatasetSpec, data_root: Path, key: bytes) -> pd.DataFrame:
    """Return the subgroups of what is scored: a row for each, its id hashed.

    Where predictions of a group are pooled, a row is a group; its value is not known if its
    samples have several.

    Args:
        key: of the home, under which ids are hashed.
    """
    samples = samples_of(spec, data_root)
    ids = [sample.group if spec.pooled else sample.path for sample in samples]
    frame = pd.DataFrame({"id": ids, **read_subgroups(spec, data_root)})
    one = frame.groupby("id", sort=False).agg(lambda own: own.iloc[0] if own.nunique() == 1 else "")
    hashes = [hashed_id(key, f"{spec.name}/{name}") for name in one.index]
    return one.reset_index(drop=True).assign(sample=hashes)


def _in_bands(spec: DatasetSpec, wanted: Subgroups, values: list[str]) -> list[str]:
    where = f"dataset {spec.name}: subgroups: {wanted.column}"
    if not wanted.bands:
        several = set(values) - {""}
        if len(several) > _MOST_VALUES:
            raise DataError(
                f"{where} has {len(several)} values, more than {_MOST_VALUES}; of numbers make "
                f"bands, such as {{{wanted.column}: [40, 60]}}"
            )
        return values
    try:
        numbers = [float(value.replace(",", ".")) if value else None for value in values]
    except ValueError as error:
        raise DataError(f"{where} is to be cut into bands and has no numbers: {error}") from None
    names = _band_names(wanted.bands)
    return ["" if n is None else names[bisect_right(wanted.bands, n)] for n in numbers]


def _band_names(bands: tuple[float, ...]) -> list[str]:
    between = [f"{low:g} to < {high:g}" for low, high in pairwise(bands)]
    return [f"< {bands[0]:g}", *between, f"≥ {bands[-1]:g}"]
