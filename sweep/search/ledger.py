"""The ledger: the trials of every cell in one Optuna storage, written at once and read once."""

import copy
import logging
import re
import sqlite3
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from sweep.errors import SweepError
from sweep.space import Space

_ID = "sweep.id"
DIRECTION = "maximize"


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
            self._storage = RDBStorage(url)
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
    """A cell's study as it is in the database.

    Decisions are made on a copy in memory (`CellStudy`): a database would be read a dozen times
    for each of them, which is most of what a trial would cost the driver. Each change comes here
    in one transaction, before anything is done that rests on it. Trials are named by their number.
    """

    def __init__(self, storage: RDBStorage, name: str) -> None:
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(name)
        self._ids: dict[int, int] = {}

    def read(self) -> list[FrozenTrial]:
        """Return all trials, in the order of their numbers."""
        trials: list[FrozenTrial] = self._storage.get_all_trials(self._study_id, deepcopy=False)
        self._ids = {trial.number: trial._trial_id for trial in trials}
        return trials

    def begin(self, trial: FrozenTrial) -> None:
        """Write a trial that was asked, with its rates; its number is the next one."""
        bare = copy.copy(trial)
        bare.system_attrs = {}  # how the sampler came to the rates
        self._ids[trial.number] = self._storage.create_new_trial(self._study_id, bare)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Write what a trial has reached after an epoch."""
        self._storage.set_trial_intermediate_value(self._ids[number], epoch, value)

    def note(self, number: int, attributes: dict[str, Any]) -> None:
        """Write what the pruner has noted of a trial, which it reads when it judges others."""
        for name, value in attributes.items():
            self._storage.set_trial_system_attr(self._ids[number], name, value)

    def end(self, trial: FrozenTrial, state: str) -> None:
        """Write how a trial ended: its value, and Optuna's state for ours."""
        trial_id = self._ids[trial.number]
        if state == "diverged":  # to Optuna it is pruned
            self._storage.set_trial_user_attr(trial_id, "state", state)
        self._storage.set_trial_state_values(trial_id, trial.state, trial.values)


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
        first_line = str(error).strip().splitlines()[0][:300]
        raise SweepError(f"--ledger {url} cannot be opened: {first_line}") from None
    for study in studies:
        own = study.study_name.startswith(f"{space.name}/")
        if own and study.user_attrs.get(_ID) != sweep_id:
            raise SweepError(
                f"the ledger at {url} holds another sweep called {space.name}: launch under "
                "another --name"
            )
