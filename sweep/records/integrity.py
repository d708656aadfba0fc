"""Whether the files of a sweep are whole: records, predictions, models."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from sweep.base.checksums import sha256
from sweep.records.folder import SweepFolder
from sweep.records.record import RunRecord


@dataclass(frozen=True)
class Fault:
    """A file of a sweep that is missing or damaged.

    Attributes:
        path: the file.
        what: what is wrong with it, in words.
        record: the file of the run that has left it; the file itself if it is a record.
    """

    path: Path
    what: str
    record: Path

    def __str__(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}: {self.what}"


def faults(folder: SweepFolder) -> Iterator[Fault]:
    """Yield all that is missing or damaged of what the runs of a sweep have left."""
    records, damaged = folder.readable_records()
    for error in damaged:
        yield Fault(error.path, error.reason, error.path)
    runs = [record for record in records if record.kind != "cell"]
    last = {(r.cell, r.number): r for r in sorted(runs, key=lambda r: r.round) if r.model}
    # Models of earlier records of the cell were deleted.
    with_model = {record.key for record in last.values()}
    for record in runs:
        own = folder.file("runs", record.key, ".json")
        for path in _files(folder, record, record.key in with_model):
            name = path.relative_to(folder.path).as_posix()
            if what := _fault(path, record.checksums.get(name)):
                yield Fault(path, what, own)


def repair(folder: SweepFolder, found: list[Fault]) -> None:
    """Put damaged files aside, with the records of their runs: these run again."""
    for path in dict.fromkeys(path for fault in found for path in (fault.path, fault.record)):
        if path.is_file():
            folder.put_aside(path)


def _files(folder: SweepFolder, record: RunRecord, with_model: bool) -> Iterator[Path]:
    """Yield the files that a run has left and that are still to be there."""
    if record.predictions:
        yield folder.path / "predictions" / record.predictions
    for found in record.external.values():
        yield folder.path / "predictions" / str(found["predictions"])
    if record.validation:
        yield folder.path / "validation" / record.validation
    if with_model:
        place = folder.path / "models" / str(record.model)
        yield from (place / name for name in ("model.safetensors", "model.json"))


def _fault(path: Path, digest: str | None) -> str | None:
    if not path.is_file():
        return "it is missing"
    if digest is not None and sha256(path) != digest:
        return "its content is not what its SHA-256 says"
    if path.suffix == ".parquet":
        try:
            pq.ParquetFile(path).close()
        except (OSError, ValueError) as error:
            return next(iter(str(error).splitlines()), "it cannot be read")
    return None
