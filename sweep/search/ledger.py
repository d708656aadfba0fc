"""The ledger: the trials of every cell in one Optuna storage, written at once and read once."""

import itertools
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.distributions import distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from sweep.base.addresses import has_password
from sweep.errors import Interrupted, SweepError
from sweep.search.patience import is_busy, patiently
from sweep.space.model import Space

Result = TypeVar("Result")

_ID = "sweep.id"
_FILE = "sqlite:///"
_BUSY_S = 2.0  # as long as SQLite itself waits for a lock: Ctrl-C is heard after it
DIRECTION = "maximize"

_trials, _rates = models.TrialModel.__table__, models.TrialParamModel.__table__
_reports, _values = models.TrialIntermediateValueModel, models.TrialValueModel
_user_notes = models.TrialUserAttributeModel.__table__
_notes = models.TrialSystemAttributeModel.__table__

log = logging.getLogger("sweep.search")


class Ledger:
    """The studies of a sweep, one a cell, in a SQL database. Only the driver writes it.

    Args:
        url: of an Optuna storage: ``sqlite:///PATH`` or ``postgresql://...``.
        put_aside: what to do with a file that is damaged, before a new one is made.

    Raises SweepError if it cannot be opened.
    """

    def __init__(
        self,
        url: str,
        sweep: str,
        sweep_id: str = "",
        put_aside: Callable[[Path], None] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._sweep, self._id = sweep, sweep_id
        with _interrupting(sweep, "opened"):
            try:
                self._storage = patiently(lambda: _open(url))
            except sqlite3.DatabaseError as error:
                if put_aside is None or is_busy(error):
                    raise
                text = "the ledger is damaged (%s): it is put aside, and made anew from the records"
                log.warning(text, error, extra={"said": True})
                for suffix in ("", "-wal", "-shm"):
                    file = Path(url.removeprefix(_FILE) + suffix)
                    if file.is_file():
                        put_aside(file)
                self._storage = _open(url)

    def study(self, cell: str) -> "WrittenStudy":
        """Open or create the study of a cell."""
        with _interrupting(self._sweep, "read"):
            return patiently(lambda: WrittenStudy(self._storage, f"{self._sweep}/{cell}", self._id))


class WrittenStudy:
    """A cell's study as it is in the database: Optuna's tables, in which any Optuna can read.

    Decisions are made on a copy in memory (`CellStudy`): a database would be read a dozen times
    for each of them. Each change comes here in one transaction, before anything is done that
    rests on it. Optuna's storage would look at each row before and after it writes it, in case
    others write too; here nobody does, and plain statements are faster (benchmarks/scaling.py
    --scheduler prints both). Trials are named by their number.
    """

    def __init__(self, storage: RDBStorage, name: str, sweep_id: str = "") -> None:
        self._storage, self._engine = storage, storage.engine
        self._name, self._sweep, self._sweep_id = name, name.partition("/")[0], sweep_id
        self._study_id = self._create()._study_id
        self._ids: dict[int, int] = {}

    def _create(self) -> optuna.Study:
        study = optuna.create_study(
            storage=self._storage,
            study_name=self._name,
            direction=DIRECTION,
            load_if_exists=True,
        )
        if self._sweep_id and _ID not in study.user_attrs:
            study.set_user_attr(_ID, self._sweep_id)
        return study

    def read(self) -> list[FrozenTrial]:
        """Return all trials, in the order of their numbers."""
        with _interrupting(self._sweep, "read"):
            trials: list[FrozenTrial] = patiently(
                lambda: self._storage.get_all_trials(self._study_id, deepcopy=False)
            )
        self._ids = {trial.number: trial._trial_id for trial in trials}
        return trials

    def replace(self, trials: list[FrozenTrial]) -> None:
        """Put other trials in the place of all that are there."""

        def anew() -> None:
            optuna.delete_study(study_name=self._name, storage=self._storage)
            study = self._create()
            study.add_trials(trials)
            self._study_id = study._study_id

        with _interrupting(self._sweep, "written"):
            patiently(anew)

    def begin(self, trial: FrozenTrial) -> None:
        """Write a trial that was asked, with its rates, but not how the sampler came to them."""
        row = {
            "study_id": self._study_id,
            "number": trial.number,
            "state": trial.state,
            "datetime_start": _now(),
        }

        def write(connection: Connection) -> int:
            key = connection.execute(insert(_trials), row).inserted_primary_key
            assert key is not None
            trial_id = int(key[0])
            for name, domain in trial.distributions.items():
                value, text = trial.params[name], distribution_to_json(domain)
                rate = {"param_value": domain.to_internal_repr(value), "distribution_json": text}
                connection.execute(
                    insert(_rates), {"trial_id": trial_id, "param_name": name, **rate}
                )
            for name, value in trial.user_attrs.items():
                connection.execute(insert(_user_notes), _note(trial_id, name, value))
            return trial_id

        place = (_trials.c.study_id == self._study_id) & (_trials.c.number == trial.number)
        known = select(_trials.c.trial_id).where(place)
        found = self._transact(write, lambda connection: connection.execute(known).scalar())
        assert found is not None
        self._ids[trial.number] = found

    def report(self, number: int, epoch: int, value: float) -> None:
        """Write what a trial has reached after an epoch, once for each."""
        stored, kind = _reports.intermediate_value_to_stored_repr(value)
        row = {"intermediate_value": stored, "intermediate_value_type": kind}
        row |= {"trial_id": self._ids[number], "step": epoch}
        self._transact(lambda connection: connection.execute(insert(_reports.__table__), row))

    def note(self, number: int, attributes: dict[str, Any]) -> None:
        """Write what the pruner has noted of a trial, which it reads when it judges others."""
        if not attributes:
            return
        rows = [_note(self._ids[number], name, value) for name, value in attributes.items()]
        self._transact(lambda connection: connection.execute(insert(_notes), rows))

    def end(self, trial: FrozenTrial, state: str) -> None:
        """Write how a trial ended: its value, and Optuna's state for ours."""
        trial_id = self._ids[trial.number]
        done = update(_trials).where(_trials.c.trial_id == trial_id)

        def write(connection: Connection) -> None:
            if state == "diverged":  # to Optuna it is pruned
                connection.execute(insert(_user_notes), _note(trial_id, "state", state))
            connection.execute(done, {"state": trial.state, "datetime_complete": _now()})
            for place, value in enumerate(trial.values or ()):
                stored, kind = _values.value_to_stored_repr(value)
                row = {"objective": place, "value": stored, "value_type": kind}
                connection.execute(insert(_values.__table__), {"trial_id": trial_id, **row})

        self._transact(write)

    def _transact(
        self,
        write: Callable[[Connection], Result],
        known: Callable[[Connection], Result | None] = lambda _: None,
    ) -> Result | None:
        """Do it all in one transaction, or nothing of it; wait while another has the database.

        Where the connection breaks while it is committed, nobody knows whether it was. When it is
        tried again, `known` returns what was written, and rows that are there already are taken
        for those (None is returned).
        """
        tries = itertools.count()

        def once() -> Result | None:
            again = next(tries) > 0
            try:
                with self._engine.begin() as connection:
                    found = known(connection) if again else None
                    return write(connection) if found is None else found
            except IntegrityError:
                if not again:
                    raise
                return None

        with _interrupting(self._sweep, "written"):
            return patiently(once)


def _open(url: str, to_write: bool = True) -> RDBStorage:
    """Open a storage; raises sqlite3.DatabaseError if it is a file that is damaged."""
    if not url.startswith(_FILE):
        # A server may be started again in the middle of a sweep.
        return RDBStorage(url, {"pool_pre_ping": True})
    with closing(sqlite3.connect(url.removeprefix(_FILE), timeout=_BUSY_S)) as connection:
        if to_write:
            connection.execute("PRAGMA journal_mode=WAL")  # readers then never block it
        (told,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if told != "ok":
            raise sqlite3.DatabaseError(told)
    try:
        arguments = {"connect_args": {"timeout": _BUSY_S}}
        return RDBStorage(url, arguments, skip_table_creation=not to_write)
    except (SQLAlchemyError, AssertionError, RuntimeError) as error:  # tables that are not Optuna's
        if is_busy(error):
            raise
        raise sqlite3.DatabaseError(_first_line(error)) from None


@contextmanager
def _interrupting(sweep: str, what: str) -> Iterator[None]:
    """Turn what a database raises into an interruption: what was done is kept."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.DatabaseError) as error:
        raise Interrupted(
            f"the ledger cannot be {what}: {_first_line(error)}; what was done is kept; go on "
            f"with: sweep resume {sweep}"
        ) from None


def _note(trial_id: int, name: str, value: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "key": name, "value_json": json.dumps(value)}


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)  # as Optuna keeps times


def _first_line(error: BaseException) -> str:
    if isinstance(error, StorageInternalError) and error.__cause__:
        error = error.__cause__  # Optuna's own sentence does not say what is wrong
    return str(error).strip().splitlines()[0][:300]


def read_studies(url: str, sweep: str, cells: Sequence[str]) -> dict[str, list[FrozenTrial]]:
    """Return the trials of each cell, by its name, as the ledger holds them.

    Nothing is written, and a file that is not there is not made.

    Raises OSError if it cannot be read.
    """
    if url.startswith(_FILE) and not Path(url.removeprefix(_FILE)).is_file():
        raise FileNotFoundError("it is missing")
    try:
        storage = patiently(lambda: _open(url, to_write=False))
        known = {study.study_name for study in optuna.get_all_study_summaries(storage)}
        return {
            cell: storage.get_all_trials(
                storage.get_study_id_from_name(f"{sweep}/{cell}"), deepcopy=False
            )
            if f"{sweep}/{cell}" in known
            else []
            for cell in cells
        }
    except (SQLAlchemyError, StorageInternalError, sqlite3.DatabaseError) as error:
        raise OSError(_first_line(error)) from None


def refuse_ledger(url: str, space: Space, sweep_id: str) -> None:
    """Raise SweepError if a storage cannot be used, or holds another sweep of the same name."""
    if has_password(url):
        raise SweepError(
            "--ledger: a password in the URL would be kept in launch.json; leave it out, and "
            "set PGPASSWORD, or use ~/.pgpass"
        )
    try:
        storage = RDBStorage(url)
        studies = optuna.get_all_study_summaries(storage)
    except Exception as error:  # of SQLAlchemy, of any driver
        raise SweepError(f"--ledger {url} cannot be opened: {_first_line(error)}") from None
    for study in studies:
        own = study.study_name.startswith(f"{space.name}/")
        if own and study.user_attrs.get(_ID) != sweep_id:
            raise SweepError(
                f"the ledger at {url} holds another sweep called {space.name}: launch under "
                "another --name"
            )
