"""Resamples that were computed before: looked up by the content of the predictions."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from sweep.atomic import write_atomically
from sweep.cache import default_cache
from sweep.compare.estimates import Bootstrapped
from sweep.compare.resampling import estimated
from sweep.compare.results import Predictions

_VERSION = b"1"  # of the resampling and of the metrics: another one makes old entries unknown


def cached_estimates(
    cells: list[list[Predictions]], dataset: str, resamples: int
) -> list[dict[str, Bootstrapped]]:
    """Return what `resampling.estimated` gives, from the cache where it is there.

    A full disk or a cache that cannot be written only costs the time of the next call.
    """
    place = default_cache() / "comparisons"
    paths = [place / f"{_key(cell, dataset, resamples)}.npz" for cell in cells]
    found = {path: item for path in paths if (item := _load(path)) is not None}
    lacking = {path: cell for path, cell in zip(paths, cells, strict=True) if path not in found}
    if lacking:
        computed = estimated(list(lacking.values()), dataset, resamples)
        for path, item in zip(lacking, computed, strict=True):
            found[path] = item
            with suppress(OSError):
                _save(path, item)
    return [found[path] for path in paths]


def _key(cell: list[Predictions], dataset: str, resamples: int) -> str:
    digest = hashlib.sha256(_VERSION)
    for part in _parts(cell, dataset, resamples):
        digest.update(part)
    return digest.hexdigest()[:32]


def _parts(cell: list[Predictions], dataset: str, resamples: int) -> Iterable[bytes]:
    yield f"{dataset} {resamples}".encode()
    for item in cell:
        for array in (item.labels_N, item.groups_N, item.probabilities_NC):
            yield str(array.shape).encode()
            yield np.ascontiguousarray(array).tobytes()


def _save(path: Path, estimates: dict[str, Bootstrapped]) -> None:
    arrays = {
        "names": np.array(list(estimates)),
        "points": np.array([item.point for item in estimates.values()]),
        "resampled": np.stack([item.resampled_R for item in estimates.values()]),
        "influences": np.stack([item.influences_J for item in estimates.values()]),
    }

    def write(file: Path) -> None:
        with file.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]

    write_atomically(path, write)


def _load(path: Path) -> dict[str, Bootstrapped] | None:
    try:
        with np.load(path) as entry:
            arrays = {name: entry[name] for name in entry.files}
        columns = zip(
            arrays["names"].tolist(),
            arrays["points"].tolist(),
            arrays["resampled"],
            arrays["influences"],
            strict=True,
        )
        return {name: Bootstrapped(point, *rest) for name, point, *rest in columns}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
