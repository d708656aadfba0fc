"""Whether the ledger and the records of a sweep say the same."""

from collections import defaultdict
from collections.abc import Iterator

from optuna.trial import FrozenTrial, TrialState

from sweep.records.record import RunRecord
from sweep.search.ledger import read_studies
from sweep.search.repair import contradicts
from sweep.space.model import Space


def disagreements(
    records: list[RunRecord], space: Space, url: str, finished: bool
) -> Iterator[str]:
    """Yield what is in the records of a sweep and not in its ledger, or the other way round.

    Args:
        url: of the ledger. It is read and not written.
        finished: the sweep has concluded, so that each cell has a record of its own.
    """
    by_cell: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        by_cell[record.cell].append(record)
    try:
        studies = read_studies(url, space.name, [cell.name for cell in space.cells()])
    except OSError as error:
        yield f"the ledger cannot be read: {error}"
        return
    for cell in space.cells():
        own = by_cell[cell.name]
        yield from _of_trials(cell.name, own, studies[cell.name])
        yield from _of_confirmations(cell.name, own, cell.confirmations)
        if finished and not any(record.kind == "cell" for record in own):
            yield f"{cell.name}: its result has no record"


def _of_trials(cell: str, records: list[RunRecord], trials: list[FrozenTrial]) -> Iterator[str]:
    ended = {record.number: record for record in records if record.kind == "trial"}
    for number, record in sorted(ended.items()):
        if number >= len(trials):
            yield f"{cell}: trial {number} has a record, and the ledger does not hold it"
        elif contradicts(trials[number], record):
            yield f"{cell}: of trial {number} the ledger and the record say different things"
        elif not trials[number].state.is_finished():
            yield f"{cell}: trial {number} has ended, and the ledger does not hold how"
    for trial in trials:
        # A failed trial was replaced by another trial.
        known = trial.number in ended or trial.state == TrialState.FAIL
        if trial.state.is_finished() and not known:
            yield f"{cell}: trial {trial.number} is in the ledger and has no record"


def _of_confirmations(cell: str, records: list[RunRecord], planned: int) -> Iterator[str]:
    if not any(record.kind == "trial" and record.state == "complete" for record in records):
        return
    there = {record.number for record in records if record.kind == "confirmation"}
    for number in sorted(set(range(planned)) - there):
        yield f"{cell}: confirmation {number} has no record"
