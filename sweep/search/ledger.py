"""The ledger: the trials of every cell in one Optuna storage, written at once and read once."""

import itertools
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from sweep.base.addresses import has_password
from sweep.errors import Interrupted, SweepError, first_line
from sweep.search.retry import retry_while_busy
from sweep.search.storages import (
    DamagedStorageError,
    close_storage,
    open_storage,
    open_storage_to_read,
)
from sweep.space.model import Space

Result = TypeVar("Result")

_ID = "sweep.id"
# A journal that is damaged during use raises errors of its JSON lines.
_OF_JSON = (json.JSONDecodeError, UnicodeDecodeError)
_ERRORS = (SQLAlchemyError, StorageInternalError, DamagedStorageError, OSError, *_OF_JSON)
DIRECTION = "maximize"

log = logging.getLogger("sweep.search")


class Ledger:
    """The studies of a sweep, one a cell, in one Optuna storage. Only the driver writes it.

    Args:
        location: the path of a journal file, or the URL of a database.
        put_aside: what to do with a file that is damaged, before a new one is made.

    Raises Interrupted if it cannot be opened.
    """

    def __init__(
        self,
        location: str,
        sweep: str,
        sweep_id: str = "",
        put_aside: Callable[[Path], None] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._sweep, self._id = sweep, sweep_id
        with _interrupting(sweep, "opened"):
            try:
                self._storage = retry_while_busy(lambda: open_storage(location))
            except DamagedStorageError as error:
                if put_aside is None:
                    raise
                text = "the ledger is damaged (%s): it is put aside, and made anew from the records"
                log.warning(text, error, extra={"shown": True})
                for file in sorted(Path(location).parent.glob("ledger.*")):
                    put_aside(file)
                self._storage = open_storage(location)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections to the storage."""
        close_storage(self._storage)

    def study(self, cell: str) -> "WrittenStudy":
        """Open or create the study of a cell."""
        with _interrupting(self._sweep, "read"):
            return retry_while_busy(
                lambda: WrittenStudy(self._storage, f"{self._sweep}/{cell}", self._id)
            )


class WrittenStudy:
    """A cell's study as it is in the storage, where any Optuna can read it.

    Decisions are made on a copy in memory (`CellStudy`): a database would be read a dozen times
    for each of them. Each change comes here before anything is done that rests on it. Trials are
    named by their number.

    Where the connection to a database breaks while a change is committed, nobody knows whether it
    was: it is tried again, and nothing is written twice.
    """

    def __init__(self, storage: BaseStorage, name: str, sweep_id: str = "") -> None:
        self._storage, self._name, self._sweep_id = storage, name, sweep_id
        self._sweep = name.partition("/")[0]
        self._study_id = self._find_or_create()
        self._trial_ids: dict[int, int] = {}

    def read(self) -> list[FrozenTrial]:
        """Return all trials, in the order of their numbers."""
        with _interrupting(self._sweep, "read"):
            trials: list[FrozenTrial] = retry_while_busy(
                lambda: self._storage.get_all_trials(self._study_id, deepcopy=False)
            )
        return trials

    def replace(self, trials: list[FrozenTrial]) -> None:
        """Put other trials in the place of all that are there."""

        def replace() -> None:
            with suppress(KeyError):  # an earlier attempt has deleted it
                self._storage.delete_study(self._storage.get_study_id_from_name(self._name))
            self._study_id = self._find_or_create()
            for trial in trials:
                self._storage.create_new_trial(self._study_id, trial)

        self._trial_ids = {}
        self._write(lambda again: replace())

    def begin(self, trial: FrozenTrial) -> None:
        """Write a trial that was asked, with its params, but not how the sampler came to them."""
        template = create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
        )

        def write(again: bool) -> int:
            if again and (known := self._find_trial(trial.number)) is not None:
                return known
            return int(self._storage.create_new_trial(self._study_id, template))

        self._trial_ids[trial.number] = self._write(write)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Write what a trial has reached after an epoch."""
        trial_id = self._trial_id(number)
        self._write(
            lambda again: self._storage.set_trial_intermediate_value(trial_id, epoch, value)
        )

    def note(self, number: int, attributes: dict[str, Any]) -> None:
        """Write what the pruner has noted of a trial, which it reads when it judges others."""
        trial_id = self._trial_id(number)

        def write(again: bool) -> None:
            for name, value in attributes.items():
                self._storage.set_trial_system_attr(trial_id, name, value)

        self._write(write)

    def end(self, trial: FrozenTrial, state: str) -> None:
        """Write how a trial ended: its value, and Optuna's state for ours."""
        trial_id = self._trial_id(trial.number)

        def write(again: bool) -> None:
            try:
                if state == "diverged":  # Optuna knows no diverged trials; they are pruned ones
                    self._storage.set_trial_user_attr(trial_id, "state", state)
                self._storage.set_trial_state_values(trial_id, trial.state, trial.values)
            except UpdateFinishedTrialError:
                if not again:
                    raise

        self._write(write)

    def _find_or_create(self) -> int:
        try:
            found = self._storage.get_study_id_from_name(self._name)
        except KeyError:
            direction = StudyDirection[DIRECTION.upper()]
            found = self._storage.create_new_study([direction], self._name)
        if self._sweep_id and _ID not in self._storage.get_study_user_attrs(found):
            self._storage.set_study_user_attr(found, _ID, self._sweep_id)
        return int(found)

    def _trial_id(self, number: int) -> int:
        if number not in self._trial_ids:
            with _interrupting(self._sweep, "read"):
                found = retry_while_busy(lambda: self._find_trial(number))
            assert found is not None, f"trial {number} of {self._name} was not begun"
            self._trial_ids[number] = found
        return self._trial_ids[number]

    def _find_trial(self, number: int) -> int | None:
        try:
            found = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
            return int(found)
        except KeyError:
            return None

    def _write(self, write: Callable[[bool], Result]) -> Result:
        """Return what `write` returns. While the storage is busy it is called again, with True."""
        calls = itertools.count()
        with _interrupting(self._sweep, "written"):
            return retry_while_busy(lambda: write(next(calls) > 0))


@contextmanager
def _interrupting(sweep: str, what: str) -> Iterator[None]:
    """Turn what a storage raises into an interruption: what was done is kept."""
    try:
        yield
    except _ERRORS as error:
        raise Interrupted(
            f"the ledger cannot be {what}: {_first_line(error)}; what was done is kept; go on "
            f"with: sweep resume {sweep}"
        ) from None


def _first_line(error: BaseException) -> str:
    if isinstance(error, StorageInternalError) and error.__cause__:
        error = error.__cause__  # the cause is more precise than Optuna's own message
    return first_line(error)[:300]


def read_studies(location: str, sweep: str, cells: Sequence[str]) -> dict[str, list[FrozenTrial]]:
    """Return the trials of each cell, by its name, as the ledger holds them.

    Nothing is written, and a file that is not there is not made.

    Raises OSError if it cannot be read.
    """
    try:
        storage = retry_while_busy(lambda: open_storage_to_read(location))
        known = {study.study_name for study in storage.get_all_studies()}
        names = {cell: f"{sweep}/{cell}" for cell in cells}
        found = {
            cell: storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
            if name in known
            else []
            for cell, name in names.items()
        }
        close_storage(storage)
        return found
    except (SQLAlchemyError, StorageInternalError, DamagedStorageError) as error:
        raise OSError(_first_line(error)) from None


def refuse_ledger(location: str, space: Space, sweep_id: str) -> None:
    """Raise SweepError if a storage cannot be used, or holds another sweep of the same name."""
    if has_password(location):
        raise SweepError(
            "--ledger: a password in the URL would be kept in launch.json; leave it out, and "
            "set PGPASSWORD, or use ~/.pgpass"
        )
    try:
        storage = open_storage(location)
        studies = storage.get_all_studies()
        close_storage(storage)
    except Exception as error:  # SQLAlchemy and its drivers raise many kinds of errors
        raise SweepError(f"--ledger {location} cannot be opened: {_first_line(error)}") from None
    for study in studies:
        own = study.study_name.startswith(f"{space.name}/")
        if own and study.user_attrs.get(_ID) != sweep_id:
            raise SweepError(
                f"the ledger at {location} holds another sweep called {space.name}: launch under "
                "another --name"
            )
