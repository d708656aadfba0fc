"""A sweep from its space to its table: prepare, search, confirm, conclude."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sweep.base.addresses import kept_address, without_password
from sweep.base.atomic import write_atomically, write_text
from sweep.base.settings import default_cache, default_tracking_uri, models_for_mlflow
from sweep.comparison.api import answer
from sweep.comparison.comparison import Choices, Comparison, Row, compare
from sweep.data.inputs import refuse_changes, write_inputs
from sweep.data.subgroups import subgroup_table
from sweep.errors import Interrupted, SweepError, listing
from sweep.records.folder import Settings, SweepFolder
from sweep.records.home import hashing_key, new_id
from sweep.records.integrity import faults, repair
from sweep.records.progress import CellProgress
from sweep.records.record import RunRecord
from sweep.records.results import CellResult, home_results
from sweep.run.extend import extend
from sweep.run.interruption import LaunchState, how_to_go_on, interruptible
from sweep.run.listener import Decoding, Listener
from sweep.run.logfile import log_to_folder
from sweep.run.plan import Prepared, model_sizes, prepare
from sweep.run.publish import publish, sentences
from sweep.run.results import Results
from sweep.search.agreement import disagreements
from sweep.search.ledger import refuse_ledger
from sweep.search.local import search_here
from sweep.search.order import known_flops
from sweep.search.ray.connection import cluster, plan_resources
from sweep.search.ray.node_check import unwritable
from sweep.search.ray.tuner import search
from sweep.search.storages import is_database
from sweep.space.imports import imported
from sweep.space.model import Space
from sweep.tracking.spool import Spool
from sweep.tracking.store import refuse_tracking
from sweep.train.wave import SweepContext

_TELL_EVERY_S = 1.0

log = logging.getLogger("sweep.launch")


def new_settings(
    data_root: Path,
    weights_dir: Path | None,
    tracking_uri: str | None,
    address: str | None,
    retries: int = 2,
    ledger: str | None = None,
    local: bool = False,
    command: str = "sweep",
    register: bool = False,
) -> Settings:
    """Return the settings of a sweep that is launched now."""
    return Settings(
        id=new_id(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data_root=str(data_root.absolute()),
        weights_dir=str(weights_dir.absolute()) if weights_dir else None,
        tracking_uri=kept_address(tracking_uri or default_tracking_uri()),
        address=address,
        retries=retries,
        ledger=ledger if not ledger or is_database(ledger) else str(Path(ledger).absolute()),
        local=local,
        command=command,
        register=register,
    )


@dataclass(frozen=True)
class Changes:
    """What a resumed sweep does otherwise than when it was launched.

    Attributes:
        overrides: of its space; see `sweep.run.extend`.
        settings: fields of `Settings` that are new: another machine has other paths.
        retry_failed: forget the trials that failed, and begin as many anew.
    """

    overrides: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    retry_failed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a sweep has come to.

    Attributes:
        failures: what went wrong, one line for each cell that lacks results.
        unsent: how many results MLflow still lacks, and why; None if it has all.
    """

    comparison: Comparison
    failures: list[str]
    unsent: str | None = None

    @property
    def results(self) -> Results:
        """What its runs have found, as data frames."""
        return Results(self.comparison.sweeps[0])


def launch(space: Space, home: Path, settings: Settings, listener: Listener) -> Outcome:
    """Run a new sweep to its end and compare its cells.

    Raises:
        SweepError: something it needs is missing or wrong; nothing was begun.
        Interrupted: stopped; what was done is kept.
    """
    folder = SweepFolder(home, space.name)
    with interruptible(folder) as course, folder.locked():
        _refuse_known(folder)
        return _prepare_and_run(folder, space, settings, listener, course)


def resume(folder: SweepFolder, listener: Listener, changes: Changes = Changes()) -> Outcome:
    """Go on with a sweep that was launched, to its end; see `launch`.

    What is missing or damaged of what it has left is run again.
    """
    folder.refuse_other_name()
    space = extend(folder, list(changes.overrides))
    settings = replace(folder.settings(), **changes.settings)
    more = changes.retry_failed or space != folder.space()
    with interruptible(folder) as course, folder.locked():
        wrong = _repair(folder, settings, listener)
        if more or wrong or not folder.is_finished():
            forget = changes.retry_failed
            return _prepare_and_run(folder, space, settings, listener, course, forget)
        spool = Spool(folder, settings.tracking_uri, space.trackers)
        if spool.waiting():
            spool.send_all()
    return _outcome(compared(folder), space, spool, settings)


def _repair(folder: SweepFolder, settings: Settings, listener: Listener) -> bool:
    """Put damaged files of a sweep aside, and say it; tell whether anything is to run again."""
    found = list(faults(folder))
    repair(folder, found)
    lines = [str(fault) for fault in found]
    if folder.is_finished():
        url = settings.ledger or folder.ledger
        lines += disagreements(folder.records(), folder.space(), url, finished=True)
    if lines:
        count = f"{len(lines)} things of this sweep are" if len(lines) > 1 else "something is"
        text = f"{count} missing or damaged; what is missing is run again:\n{listing(lines)}"
        listener.note(text)
    return bool(lines)


def _refuse_known(folder: SweepFolder) -> None:
    if folder.is_finished():
        raise SweepError(
            f"the sweep {folder.name} in {folder.home} is finished: see it with 'sweep compare "
            f"{folder.name}', or launch under another --name"
        )
    if folder.exists():
        raise SweepError(
            f"the sweep {folder.name} in {folder.home} exists and is not finished: go on with "
            f"'sweep resume {folder.name}', or launch under another --name"
        )


def _prepare_and_run(
    folder: SweepFolder,
    space: Space,
    settings: Settings,
    listener: Listener,
    course: LaunchState,
    forget_failures: bool = False,
) -> Outcome:
    """Find everything that stands in the way before anything of the sweep is written."""
    models_for_mlflow()  # it raises an error for a value that it does not know
    _refuse_places(folder, space, settings, listener)
    prepared = _prepare(folder, space, settings, listener)
    if folder.exists():
        refuse_changes(folder, prepared.inputs)
    context = _context(folder, space, settings, prepared)
    with contextlib.ExitStack() as stack:
        if settings.local:
            stack.enter_context(log_to_folder(folder, listener))
            run_waves: Callable[..., bool] = search_here
        else:
            on_ray = cluster(settings.address, course.lose, how_to_go_on(folder.name))
            through_client = stack.enter_context(on_ray)
            stack.enter_context(log_to_folder(folder, listener))
            planner = plan_resources(
                context, model_sizes(prepared.plans), bool(settings.address), through_client
            )
            run_waves = partial(search, planner=planner, through_client=through_client)
        write_inputs(folder, prepared.inputs)
        folder.create(space, settings)
        _write_subgroups(context)
        folder.reopen(forget_failures)
        course.begun = True
        listener.begin(without_password(settings.tracking_uri))
        return _run(context, run_waves, settings, listener, course)


def _refuse_places(
    folder: SweepFolder, space: Space, settings: Settings, listener: Listener
) -> None:
    """Raise SweepError if MLflow, the ledger, the home or the cache takes nothing from us."""
    if silence := refuse_tracking(settings.tracking_uri, space.name):
        uri = without_password(settings.tracking_uri)
        text = f"MLflow at {uri} does not answer ({silence}): results are kept until it does"
        listener.note(text)
    if settings.ledger:
        refuse_ledger(settings.ledger, space, settings.id)
    problems = unwritable(folder.path, "--home") + unwritable(default_cache(), "$SWEEP_CACHE")
    if problems:
        raise SweepError("\n".join(problems))


def _context(
    folder: SweepFolder, space: Space, settings: Settings, prepared: Prepared
) -> SweepContext:
    return SweepContext(
        space=space,
        sweep_id=settings.id,
        folder=folder,
        data_root=Path(settings.data_root),
        weights_dir=_weights_dir(settings),
        cache=default_cache().absolute(),
        ids_key=hashing_key(folder.home),
        owner=folder.owner()["since"],
        retries=settings.retries,
        ledger=settings.ledger or folder.ledger,
        inputs=prepared.inputs.identities(),
        flops=known_flops({plan.cell.name: plan.flops for plan in prepared.plans}),
        image_flops={plan.cell.name: plan.work.image for plan in prepared.plans if plan.work},
        deadline=_deadline(space, settings),
        modules=imported(space.imports),
    )


def _deadline(space: Space, settings: Settings) -> float | None:
    """Return the Unix time at which a sweep is to be over; None if it has all time."""
    if space.budget.hours is None:
        return None
    return datetime.fromisoformat(settings.created).timestamp() + 3600 * space.budget.hours


def _write_subgroups(context: SweepContext) -> None:
    """Write down the subgroups of each data set, for the comparison; MLflow does not get them."""
    for dataset in context.space.datasets:
        if dataset.subgroups:
            table = subgroup_table(dataset, context.data_root, context.ids_key)
            path = context.folder.subgroups(dataset.name)
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, partial(table.to_parquet, index=False))


def _prepare(folder: SweepFolder, space: Space, settings: Settings, listener: Listener) -> Prepared:
    """Decode what is to be decoded; `sweep status` sees how far it is, `sweep stop` stops it."""
    folder.mark_preparing("looks at weights and data", 0, 0)
    with listener.decoding() as bars:

        def progress(title: str) -> Decoding:
            bar, written = bars(title), -math.inf

            def tell(done: int, total: int) -> None:
                nonlocal written
                bar(done, total)
                if folder.is_asked_to_stop():
                    raise Interrupted("stopped while it prepared; what was decoded is kept")
                if time.monotonic() - written > _TELL_EVERY_S:
                    written = time.monotonic()
                    folder.mark_preparing(title, done, total)

            return tell

        prepared = prepare(space, Path(settings.data_root), _weights_dir(settings), progress)
    folder.end_preparing()
    for note in prepared.notes:
        listener.note(note)
    return prepared


def _run(
    context: SweepContext,
    run_waves: Callable[..., bool],
    settings: Settings,
    listener: Listener,
    course: LaunchState,
) -> Outcome:
    folder, space = context.folder, context.space
    spool = Spool(folder, settings.tracking_uri, space.trackers)
    with spool:
        with listener.searching(space.objective) as show:

            def watch(cells: list[CellProgress]) -> None:
                if (
                    course.stopped.is_set()
                ):  # a finaliser may have swallowed the exception of the signal
                    raise KeyboardInterrupt
                show(cells)

            log.info("the search begins: %d cells", len(space.cells()))
            if not run_waves(context, watch=watch):
                raise Interrupted(f"stopped; go on with: sweep resume {folder.name}")
        comparison = compared(folder)
        for row in comparison.rows:
            _conclude(folder, space, settings, row)
        folder.write_answer(answer(comparison))
    spool.delete_strays()
    models = "best" if settings.register else models_for_mlflow()
    if "mlflow" in space.trackers and models != "none" and not spool.error:
        sent = publish(folder, comparison, settings.register, models == "all")
        for text in sentences(sent, settings.register):
            listener.note(text)
    write_text(folder.path / "finished", datetime.now(UTC).isoformat(timespec="seconds"))
    log.info("finished")
    return _outcome(comparison, space, spool, settings)


def _outcome(comparison: Comparison, space: Space, spool: Spool, settings: Settings) -> Outcome:
    unsent = None
    if waiting := spool.waiting():
        uri, name = without_password(settings.tracking_uri), spool.folder.name
        unsent = (
            f"{waiting} results wait for MLflow at {uri} ({spool.error}); send them with: "
            f"sweep sync {name}"
        )
    return Outcome(comparison, _failures(comparison.rows, space), unsent)


def _conclude(folder: SweepFolder, space: Space, settings: Settings, row: Row) -> None:
    """Record a cell's result; of its confirmed models the first is kept, or all."""
    cell, best = row.cell, row.cell.first()
    test = {name: interval.mean for name, interval in row.metrics.items()}
    known = {name: item for name, item in row.metrics.items() if math.isfinite(item.low)}
    test |= {f"{name}_low": interval.low for name, interval in known.items()}
    test |= {f"{name}_high": interval.high for name, interval in known.items()}
    shared = {"seed", "number", "fold", "partition"}
    folder.write_record(
        RunRecord(
            key=f"{settings.id}:{cell.name}:cell:0",
            sweep=folder.name,
            dataset=cell.dataset,
            backbone=cell.backbone,
            freeze=cell.freeze,
            train_fraction=cell.train_fraction,
            kind="cell",
            state="complete" if best else "failed",
            params={k: v for k, v in best.params.items() if k not in shared} if best else {},
            best=best.best if best else {},
            test=test,
            started=cell.started or time.time(),
            ended=cell.ended or time.time(),
            seconds=cell.seconds,
            facts={**(best.facts if best else {}), **_search_facts(cell)},
            model=best.model if best else None,
        )
    )
    kept = {r.model for r in cell.confirmations} if space.keep_models == "all" else set()
    for record in (*cell.confirmations, *cell.earlier):
        if record.model and best and record.model not in {best.model, *kept}:
            folder.forget_model(record.model)


def _search_facts(cell: CellResult) -> dict[str, Any]:
    """Return what a cell's run says of its trials, so that nobody has to read them all."""
    flops = {} if cell.search_flops is None else {"search_flops": cell.search_flops}
    return {"trials": dict(cell.states), **flops}


def _failures(rows: list[Row], space: Space) -> list[str]:
    """Name the cells that lack results, or of which trials failed for good, and why."""
    lines = []
    for row in rows:
        confirmed, states = len(row.cell.confirmations), row.cell.states
        planned = next(cell for cell in space.cells() if cell.name == row.cell.name)
        if confirmed == planned.confirmations and not states["failed"]:
            continue
        ended = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        reason = f": {row.cell.error}" if row.cell.error else ""
        given_up = sum(states.values()) < planned.trials
        lines.append(
            f"{row.cell.name}: {confirmed} of {planned.confirmations} confirmations; "
            f"trials: {ended}{f' of {planned.trials}; given up' if given_up else ''}{reason}"
        )
    return lines


def compared(folder: SweepFolder) -> Comparison:
    """Return the comparison of a sweep whose search is over, as its space asks for it."""
    results = replace(home_results(folder), finished=True)
    return compare([results], Choices(results.space.objective, results.space.margin))


def _weights_dir(settings: Settings) -> Path | None:
    return Path(settings.weights_dir) if settings.weights_dir else None
