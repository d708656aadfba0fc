"""The record of a run: its durable result, of which MLflow is a projection.

A record is a JSON file that ends with the SHA-256 of what stands before it, so that a damaged
one is known as such.
"""

import json
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic_core import from_json  # it parses three times as fast as json

from sweep.base.atomic import write_text
from sweep.errors import DamagedError
from sweep.space.model import cell_name

_DIGEST = ', "sha256": "'


@dataclass
class RunRecord:
    """What a trial or a confirmation gave: the durable result, of which MLflow is a projection.

    Attributes:
        key: unique among all runs of all sweeps.
        kind: cell, trial or confirmation.
        state: complete, pruned, diverged or failed.
        history: one mapping an epoch: ``epoch`` and metrics such as ``val/auroc``.
        best: the chosen epoch with its metrics; empty if there is none.
        test: test metrics of a confirmation.
        external: of a confirmation, by the names of external test sets: ``predictions``, the name
            of a file, and ``test``, metrics.
        started, seconds: Unix time, and the seconds spent training.
        facts: what the result depends on: versions, device, fingerprints, peak memory.
        validation: file of a trial's validation predictions, where confirmations choose by them.
        choice: of a confirmation, the identity of the rates that it chose from.
        round: of a confirmation; those of the first are 0, those done again after the budget was
            raised have higher ones.
        checksums: SHA-256 of the files it has left, by their paths in the sweep's folder.
    """

    key: str
    sweep: str
    dataset: str
    backbone: str
    freeze: str
    kind: str
    state: str
    number: int = 0
    params: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    external: dict[str, dict[str, Any]] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    predictions: str | None = None
    model: str | None = None
    error: str | None = None
    train_fraction: float = 1.0
    log: str | None = None
    validation: str | None = None
    choice: str | None = None
    round: int = 0
    checksums: dict[str, str] = field(default_factory=dict)

    @property
    def cell(self) -> str:
        """The run's cell, as `Cell.name` writes it."""
        return cell_name(self.dataset, self.backbone, self.freeze, self.train_fraction)

    @property
    def content(self) -> str:
        """The SHA-256 of everything in the record."""
        return sha256(_text(self).encode()).hexdigest()


def write_record(path: Path, record: RunRecord) -> None:
    """Write a record, atomically."""
    text = _text(record)
    write_text(path, f'{text[:-1]}{_DIGEST}{sha256(text.encode()).hexdigest()}"}}')


def read_record(path: Path) -> RunRecord:
    """Read a record; raises DamagedError, which names the file, if it is not what was written."""
    raw = path.read_bytes()
    try:
        found = from_json(raw)
        digest = found.pop("sha256", None)  # records of older versions have no checksum
        if digest is not None:
            body = raw[: raw.rindex(_DIGEST.encode())] + b"}"
            if sha256(body).hexdigest() != digest:
                raise ValueError("its content is not what its SHA-256 says")
        return RunRecord(**found)
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedError(path, error, "'sweep resume' makes the run anew") from None


def _text(record: RunRecord) -> str:
    return json.dumps({item.name: getattr(record, item.name) for item in fields(record)})
