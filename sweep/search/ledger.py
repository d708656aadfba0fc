"""The ledger: the trials of every cell in one Optuna storage, written at once and read once."""

import json
import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, insert, update
from sqlalchemy.exc import SQLAlchemyError

from sweep.errors import Interrupted, SweepError
from sweep.space import Space

_ID = "sweep.id"
DIRECTION = "maximize"

_trials, _rates = models.TrialModel.__table__, models.TrialParamModel.__table__
_reports, _values = models.TrialIntermediateValueModel, models.TrialValueModel
_user_notes = models.TrialUserAttributeModel.__table__
_notes = models.TrialSystemAttributeModel.__table__


class Ledger:
    """The studies of a sweep, one a cell, in a SQL database. Only the driver writes it.

    Args:
        url: of an Optuna storage: ``sqlite:///PATH`` or ``postgresql://...``.

    Raises SweepError if it cannot be opened.
    """

    def __init__(self, url: str, sweep: str, sweep_id: str = "") -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        try:
            if url.startswith("sqlite:///"):  # readers such as `sweep status` then never block it
                with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
                connection.close()
            # A server may be started again in the middle of a sweep.
            self._storage = RDBStorage(url, {"pool_pre_ping": True})
        except sqlite3.DatabaseError as error:
            raise SweepError(
                f"the ledger {url} cannot be opened: {error}; put a copy of it in its place, or "
                "launch under another --name"
            ) from None
        self._sweep, self._id = sweep, sweep_id

    def study(self, cell: str) -> "WrittenStudy":
        """Open or create the study of a cell."""
        study = optuna.create_study(
            storage=self._storage,
            study_name=f"{self._sweep}/{cell}",
            direction=DIRECTION,
            load_if_exists=True,
        )
        if self._id and _ID not in study.user_attrs:
            study.set_user_attr(_ID, self._id)
        return WrittenStudy(self._storage, study.study_name)


class WrittenStudy:
    """A cell's study as it is in the database: Optuna's tables, in which any Optuna can read.

    Decisions are made on a copy in memory (`CellStudy`): a database would be read a dozen times
    for each of them. Each change comes here in one transaction, before anything is done that
    rests on it. Optuna's storage would look at each row before and after it writes it, in case
    others write too; here nobody does, and plain statements are faster (benchmarks/scaling.py
    --dealer prints both). Trials are named by their number.
    """

    def __init__(self, storage: RDBStorage, name: str) -> None:
        self._storage, self._engine = storage, storage.engine
        self._sweep = name.partition("/")[0]
        self._study_id = storage.get_study_id_from_name(name)
        self._ids: dict[int, int] = {}

    def read(self) -> list[FrozenTrial]:
        """Return all trials, in the order of their numbers."""
        trials: list[FrozenTrial] = self._storage.get_all_trials(self._study_id, deepcopy=False)
        self._ids = {trial.number: trial._trial_id for trial in trials}
        return trials

    def begin(self, trial: FrozenTrial) -> None:
        """Write a trial that was asked, with its rates, but not how the sampler came to them."""
        row = {
            "study_id": self._study_id,
            "number": trial.number,
            "state": trial.state,
            "datetime_start": _now(),
        }
        with self._transaction() as connection:
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
        self._ids[trial.number] = trial_id

    def report(self, number: int, epoch: int, value: float) -> None:
        """Write what a trial has reached after an epoch, once for each."""
        stored, kind = _reports.intermediate_value_to_stored_repr(value)
        row = {"intermediate_value": stored, "intermediate_value_type": kind}
        with self._transaction() as connection:
            connection.execute(
                insert(_reports.__table__), {"trial_id": self._ids[number], "step": epoch, **row}
            )

    def note(self, number: int, attributes: dict[str, Any]) -> None:
        """Write what the pruner has noted of a trial, which it reads when it judges others."""
        if not attributes:
            return
        rows = [_note(self._ids[number], name, value) for name, value in attributes.items()]
        with self._transaction() as connection:
            connection.execute(insert(_notes), rows)

    def end(self, trial: FrozenTrial, state: str) -> None:
        """Write how a trial ended: its value, and Optuna's state for ours."""
        trial_id = self._ids[trial.number]
        done = update(_trials).where(_trials.c.trial_id == trial_id)
        with self._transaction() as connection:
            if state == "diverged":  # to Optuna it is pruned
                connection.execute(insert(_user_notes), _note(trial_id, "state", state))
            connection.execute(done, {"state": trial.state, "datetime_complete": _now()})
            for place, value in enumerate(trial.values or ()):
                stored, kind = _values.value_to_stored_repr(value)
                row = {"objective": place, "value": stored, "value_type": kind}
                connection.execute(insert(_values.__table__), {"trial_id": trial_id, **row})

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise Interrupted(
                f"the ledger cannot be written: {_first_line(error)}; what was done is kept; go on "
                f"with: sweep resume {self._sweep}"
            ) from None


def _note(trial_id: int, name: str, value: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "key": name, "value_json": json.dumps(value)}


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)  # as Optuna keeps times


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]


def refuse_ledger(url: str, space: Space, sweep_id: str) -> None:
    """Raise SweepError if a storage cannot be used, or holds another sweep of the same name."""
    if re.search(r"://[^/@\s]*:[^/@\s]+@", url):
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
