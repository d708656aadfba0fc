"""Changing what a ledger holds, behind the back of the sweep."""

import json
from pathlib import Path

from optuna.storages.journal import JournalFileBackend

_SET_TRIAL_STATE_VALUES = 6  # of the operations of Optuna's journal


def change_first_value(journal: Path, value: float) -> None:
    """Give another value to the trial that was the first to end with one."""
    logs = list(JournalFileBackend(str(journal)).read_logs(0))
    first = next(log for log in logs if log["op_code"] == _SET_TRIAL_STATE_VALUES and log["values"])
    first["values"] = [value]
    journal.write_text("".join(json.dumps(log) + "\n" for log in logs))
