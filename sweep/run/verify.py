"""Whether records, predictions, models, ledger and MLflow of a sweep say the same."""

from collections.abc import Iterator
from dataclasses import dataclass

from sweep.records.folder import SweepFolder
from sweep.records.integrity import faults
from sweep.search.agreement import disagreements as of_ledger
from sweep.tracking.runs import disagreements as of_tracking
from sweep.tracking.spool import Spool


@dataclass(frozen=True)
class Verification:
    """What was compared, and all that differs, in words."""

    records: int
    files: list[str]
    ledger: list[str]
    tracking: list[str]

    @property
    def all(self) -> list[str]:
        """Everything that differs."""
        return [*self.files, *self.ledger, *self.tracking]


def verify(folder: SweepFolder, tracking_uri: str | None = None) -> Verification:
    """Compare all that a sweep has left.

    Args:
        tracking_uri: of MLflow, if another than that it was launched with.

    Raises SweepError if its space, or how it was launched, cannot be read.
    """
    space, settings = folder.space(), folder.settings()
    records, _ = folder.readable_records()
    url = settings.ledger or folder.ledger
    uri = tracking_uri or settings.tracking_uri
    waiting = Spool(folder, uri).waiting()
    return Verification(
        len(records),
        [str(fault) for fault in faults(folder)],
        list(of_ledger(records, space, url, folder.is_finished())),
        [
            *_waiting(waiting),
            *(() if waiting else of_tracking(folder.name, settings.id, uri, records)),
        ],
    )


def _waiting(count: int) -> Iterator[str]:
    if count:
        yield f"{count} results wait to be sent to MLflow"
