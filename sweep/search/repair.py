"""A ledger that is not what the records say is made anew from them: the records are the truth."""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweep.records.record import RunRecord
from sweep.search.domains import distribution_of, domains_of
from sweep.search.ledger import WrittenStudy
from sweep.search.studies import BEYOND, STATES
from sweep.space.domains import Domain, Range, extend_range
from sweep.space.model import Cell, Space
from sweep.train.wave import rungs

log = logging.getLogger("sweep.search")


def repair_study(
    written: WrittenStudy, cell: Cell, space: Space, records: Mapping[int, RunRecord]
) -> None:
    """Make the study of a cell anew if it contradicts the records of its trials, by number.

    A trial that was begun and has no record, as its driver died, is no contradiction.
    """
    trials = written.read()
    wrong = [n for n, r in records.items() if n >= len(trials) or contradicts(trials[n], r)]
    if not wrong:
        return
    log.warning(
        "%s: the ledger holds %d trials, and %d of %d records say otherwise: it is made anew from "
        "the records",
        cell.name, len(trials), len(wrong), len(records), extra={"shown": True},
    )  # fmt: skip
    written.replace(list(_trials(trials, cell, space, records)))


def contradicts(trial: FrozenTrial, record: RunRecord) -> bool:
    """Tell whether a trial of the ledger ended otherwise than its record says."""
    if not trial.state.is_finished():
        return False  # the record exists, but its driver died before it told the study
    shared = trial.params.keys() & record.params.keys()
    if not shared or any(trial.params[name] != record.params[name] for name in shared):
        return True
    if STATES[record.state] != trial.state:
        return True
    # Optuna gives a pruned trial the last value that it reported.
    return record.state == "complete" and bool(trial.value != record.best.get("value"))


def _trials(
    before: list[FrozenTrial], cell: Cell, space: Space, records: Mapping[int, RunRecord]
) -> Iterator[FrozenTrial]:
    for number in range(max(len(before), *(n + 1 for n in records))):
        record, old = records.get(number), before[number] if number < len(before) else None
        if record is None:
            # The trial's params are unknown, so another trial replaces it.
            yield old or optuna.trial.create_trial(state=TrialState.FAIL)
        else:
            yield _of_record(record, cell, space, old)


def _of_record(record: RunRecord, cell: Cell, space: Space, old: FrozenTrial | None) -> FrozenTrial:
    own = domains_of(cell, space)
    params = _params(record, own)
    outside = {
        name: domain
        for name, domain in own.items()
        if isinstance(domain, Range) and not domain.low <= params[name] <= domain.high
    }
    domains = dict(own)
    for name, domain in outside.items():
        domains[name] = extend_range(domain, "lower" if params[name] < domain.low else "upper")
    notes = {"wave": f"{record.key}:again"}
    if old is not None and old.params == params:
        notes = dict(old.user_attrs)
    return optuna.trial.create_trial(
        state=STATES[record.state],
        value=record.best["value"] if record.state == "complete" else None,
        params=params,
        distributions={name: distribution_of(domain) for name, domain in domains.items()},
        user_attrs={
            **notes,
            **({BEYOND: True} if outside else {}),
            **({"state": "diverged"} if record.state == "diverged" else {}),
        },
        system_attrs=dict(old.system_attrs) if old is not None else None,
        intermediate_values=dict(_reported(record, cell, space)),
    )


def _params(record: RunRecord, domains: Mapping[str, Domain]) -> dict[str, Any]:
    """Return what the study proposed; of the backbone's rate it proposes the share."""
    found = {name: record.params[name] for name in domains if name in record.params}
    rate, of_backbone = (record.params.get(n) for n in ("learning_rate", "backbone_learning_rate"))
    if rate is None or of_backbone is None:
        return found
    # This scale reproduces the backbone's learning rate to the last bit.
    scale = of_backbone / rate
    near = (scale, math.nextafter(scale, 0), math.nextafter(scale, math.inf))
    exact = next((item for item in near if rate * item == of_backbone), scale)
    return {**found, "backbone_scale": exact}


def _reported(record: RunRecord, cell: Cell, space: Space) -> Iterator[tuple[int, float]]:
    """Return what the trial had reported to its study: its best score up to an epoch."""
    reported = rungs(cell.epochs) if cell.fused else range(cell.epochs + 1)
    best = -math.inf
    for entry in record.history:
        epoch, value = int(entry["epoch"]), entry.get(f"val/{space.objective}", math.nan)
        best = max(best, value) if math.isfinite(value) else best
        ended = epoch == cell.epochs and record.state == "complete"
        if epoch in reported and math.isfinite(best) and not ended:
            yield epoch, best
