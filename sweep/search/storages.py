"""Optuna storages: a journal file in the folder of a sweep, or a database by its URL."""

import json
import logging
import os
from collections import deque
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.exc import SQLAlchemyError

from sweep.base.atomic import write_atomically
from sweep.errors import first_line
from sweep.search.retry import is_busy

# Limit on waiting for another process's lock, during which Ctrl-C has no effect.
_SQLITE_WAITS_S = 2.0
_BLOCK = 4096  # in bytes

log = logging.getLogger("sweep.search")


class DamagedStorageError(Exception):
    """A file is not a journal, or no longer a whole one."""


def open_storage(location: str) -> BaseStorage:
    """Open a storage to write it; make it if there is none.

    A journal that is not there takes over what SQLite holds in the file ``ledger.db`` beside it,
    where sweep 0.1 kept its studies.

    Args:
        location: the path of a journal file, or the URL of a database.

    Raises:
        DamagedStorageError: the journal cannot be read.
        OSError: the file cannot be opened.
        SQLAlchemyError, StorageInternalError: the database cannot be opened.
    """
    if is_database(location):
        return _database(location)
    journal = Path(location)
    if not journal.exists() and _sqlite_file(journal).is_file():
        _take_over(_sqlite_file(journal), journal)
    _delete_torn_line(journal)
    return _journal(journal)


def open_storage_to_read(location: str) -> BaseStorage:
    """Open a storage of which nothing is to be changed, nor made if it is not there.

    Raises what `open_storage` raises, and FileNotFoundError if there is none.
    """
    if is_database(location):
        return _database(location)
    journal = Path(location)
    if journal.is_file():
        return _journal(journal)
    if _sqlite_file(journal).is_file():
        return _database(f"sqlite:///{_sqlite_file(journal)}", make=False)
    raise FileNotFoundError("it is missing")


def close_storage(storage: BaseStorage) -> None:
    """Give back the connections of a storage that is no longer used."""
    storage.remove_session()
    if isinstance(storage, RDBStorage):
        storage.engine.dispose()


def is_database(location: str) -> bool:
    """Tell whether a location of a storage is the URL of a database, and not a path."""
    return "://" in location


def _database(url: str, make: bool = True) -> RDBStorage:
    # A server may restart during a sweep, so each connection is tested before use.
    arguments: dict[str, object] = {"pool_pre_ping": True}
    if url.startswith("sqlite:"):
        arguments = {"connect_args": {"timeout": _SQLITE_WAITS_S}}
    return RDBStorage(url, arguments, skip_table_creation=not make)


def _journal(path: Path) -> JournalStorage:
    try:
        _refuse_damaged_end(path)
        # The lock is a file while a line is written. Optuna's default is a symbolic link, which
        # `sweep remove` would take for the user's.
        return JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))
    except OSError:
        raise
    except Exception as error:  # Optuna raises many kinds of errors on lines that it did not write
        raise DamagedStorageError(f"{path} is not a journal of Optuna: {error!r}"[:200]) from None


def _refuse_damaged_end(path: Path) -> None:
    """Raise ValueError if the last whole line is no JSON: Optuna reads over it, as one that is
    being written, and fails when another line follows.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        lines = deque(file, maxlen=2)
    whole = [line for line in lines if line.endswith(b"\n")]
    if whole:
        json.loads(whole[-1])


def _delete_torn_line(path: Path) -> None:
    """Delete the end of a journal that a process was writing when it died, or its disk was full.

    Raises DamagedStorageError if not a single line is whole.
    """
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return
            end = start
    raise DamagedStorageError(f"{path} has no whole line")


def _sqlite_file(journal: Path) -> Path:
    return journal.with_name("ledger.db")


def _take_over(file: Path, journal: Path) -> None:
    """Make a journal that holds every study of an SQLite file, or no journal at all.

    Raises DamagedStorageError if the file cannot be read.
    """
    log.info("the search goes on in %s: it takes over what %s holds", journal.name, file.name)
    url = f"sqlite:///{file}"

    def write(temporary: Path) -> None:
        target = _journal(temporary)
        source = _database(url, make=False)
        try:
            for study in source.get_all_studies():
                optuna.copy_study(
                    from_study_name=study.study_name, from_storage=source, to_storage=target
                )
        finally:
            close_storage(source)

    try:
        write_atomically(journal, write)
    except (SQLAlchemyError, StorageInternalError, RuntimeError, AssertionError) as error:
        if is_busy(error):
            raise
        cause = first_line(error.__cause__ or error)
        raise DamagedStorageError(f"{file} cannot be read: {cause}"[:200]) from None
