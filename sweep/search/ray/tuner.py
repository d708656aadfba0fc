"""Ray Tune over the studies: a Searcher that suggests waves, a scheduler that takes reports.

The ledger is the truth; Tune's own experiment state is thrown away.
"""

import logging
import math
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import sweep.search.ray.environment  # noqa: F401 - before ray, which reads it

# isort: split
import psutil
import ray
from ray import tune
from ray.exceptions import RayTaskError
from ray.tune import PlacementGroupFactory, TuneError
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweep.base.settings import WAIT_FOR_NODES, whole_number
from sweep.errors import Interrupted, SweepError
from sweep.records.progress import CellProgress
from sweep.search.ray.compat import patient_tune
from sweep.search.ray.heartbeat import HeartbeatWriter
from sweep.search.ray.nodes import NodeWatcher
from sweep.search.ray.resources import ResourcePlanner, describe_nodes
from sweep.search.ray.worker import WaveTrainable
from sweep.search.scheduler import Scheduler, open_scheduler
from sweep.search.stalls import StallDetector
from sweep.train.wave import SweepContext, Wave

_LOOK_EVERY_S = {"stop": 1.0, "nodes": 5.0, "stalls": 5.0}
_WAIT_FOR_NODES_S = 1800.0
_NODE = "ray.io/node-id"  # Ray gives each node this label

log = logging.getLogger("sweep.search")

Watcher = Callable[[list[CellProgress]], None]


def search(
    context: SweepContext, planner: ResourcePlanner, watch: Watcher, through_client: bool
) -> bool:
    """Run every wave of a sweep that its ledger does not hold yet, on the connected cluster.

    Args:
        watch: called with the progress of all cells after every change.
        through_client: this process is connected by Ray's client.

    Returns:
        Whether it came to its end; False if something is left, as after `sweep stop`.

    Raises:
        KeyboardInterrupt: stopped; what is under way goes on from its checkpoint next time.
    """
    if not through_client:
        return _run(context, planner, watch)[0]
    # With a Ray client the driver runs in the cluster, so that the studies are near the workers.
    remote = ray.remote(num_cpus=0)(_run)
    with _own_errors():
        ended, progress = ray.get(remote.remote(context, planner, None))
    watch(progress)
    return bool(ended)


def _run(
    context: SweepContext, planner: ResourcePlanner, watch: Watcher | None
) -> tuple[bool, list[CellProgress]]:
    def changed() -> None:
        if watch:
            watch(scheduler.progress)

    with open_scheduler(context, changed) as scheduler:
        if scheduler.finished:
            return True, scheduler.progress
        _fit(scheduler, context, planner)
        scheduler.refuse_blocked()
        return not scheduler.unfinished, scheduler.progress


def _fit(scheduler: Scheduler, context: SweepContext, planner: ResourcePlanner) -> None:
    """Let Tune run the waves that are left."""
    for record in context.folder.records():  # records of an earlier driver
        if peak := record.facts.get("reserved_memory_mib"):
            planner.note_memory(record.cell, peak)
    searcher = WaveSearcher(scheduler, context, planner)
    # The name must not collide with a user's folder.
    scratch = context.folder.path / f"tune.{context.sweep_id}"
    shutil.rmtree(scratch, ignore_errors=True)  # a killed driver may have left the folder
    _silence()
    try:
        with (
            HeartbeatWriter(context.folder, lambda: scheduler.progress),
            patient_tune(),
            _own_errors(),
        ):
            tune.Tuner(
                tune.with_resources(WaveTrainable, _bundle),
                tune_config=tune.TuneConfig(
                    num_samples=-1,
                    search_alg=searcher,
                    scheduler=PruningScheduler(scheduler, planner, searcher),
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name=context.space.name,
                    storage_path=str(scratch),
                    verbose=0,
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    failure_config=tune.FailureConfig(max_failures=0),
                ),
            ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _own_errors() -> Iterator[None]:
    """Let our own errors through: Tune makes texts of them, and Ray a kind of its own."""
    try:
        yield
    except TuneError as error:
        cause = error.__context__
        while cause is not None and not isinstance(cause, SweepError):
            cause = cause.__context__
        raise cause or error from None
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, SweepError) else error from None


def _bundle(config: dict[str, Any]) -> PlacementGroupFactory:
    if not config["unfit"]:
        return PlacementGroupFactory([config["bundle"]])
    elsewhere = {_NODE: f"!in({','.join(config['unfit'])})"}
    return PlacementGroupFactory([config["bundle"]], bundle_label_selector=[elsewhere])


def _silence() -> None:
    # Tune logs each failure, which records and progress already show.
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class WaveSearcher(Searcher):  # type: ignore[misc]
    """Gives each Tune trial the next wave of the scheduler."""

    def __init__(
        self, scheduler: Scheduler, context: SweepContext, planner: ResourcePlanner
    ) -> None:
        super().__init__(metric="epoch", mode="max")
        self._scheduler, self._context, self._planner = scheduler, context, planner
        self._waves: dict[str, Wave] = {}
        self._roster = NodeWatcher(context, planner.nodes)
        self._holding = False
        self._failure: Exception | None = None
        self._looked = dict.fromkeys(_LOOK_EVERY_S, -math.inf)
        self.causes: dict[str, str] = {}  # causes of workers' deaths, by trial id
        self.trials: dict[str, Any] = {}  # Tune's trials, by id
        self.stalls = StallDetector(context.folder)
        self._without_nodes: float | None = None  # time since which no node has answered

    def suggest(self, trial_id: str) -> Any:
        """Return the config of a Tune trial that runs the next wave; Tune asks for it."""
        if self._failure is not None:
            raise self._failure
        self._look_around()
        self._holding &= self._roster.is_asking
        if self._holding or len(self._waves) >= self._planner.at_once():
            # A wave that waits would be chosen with fewer results than are known when it starts.
            return None
        wave = self._scheduler.next_wave()
        if wave is None:
            return Searcher.FINISHED if self._scheduler.finished else None
        self._waves[trial_id] = wave
        share = self._planner.resources(wave.cell)
        log.info("%s: its wave gets %s", wave.cell.name, share)
        return {
            "context": self._context,
            "wave": wave,
            "threads": share.cpus,
            "bundle": share.bundle(),
            "unfit": sorted(self._roster.unfit),
        }

    def _look_around(self) -> None:
        if self._is_time_for("stop") and self._context.folder.is_asked_to_stop():
            self._scheduler.drain()
        if self._is_time_for("nodes"):
            self._follow_nodes()
        if self._is_time_for("stalls"):
            self._end_the_silent()

    def _end_the_silent(self) -> None:
        for trial_id, wave in list(self._waves.items()):
            trial = self.trials.get(trial_id)
            runs = trial is not None and trial.status == "RUNNING"
            seconds = self.stalls.of(trial_id, wave, runs)
            if seconds is not None:
                self.causes[trial_id] = f"it made no progress for {seconds:.0f} s, and was ended"
                _end_worker(trial)

    def _follow_nodes(self) -> None:
        if self._roster.changed():
            log.info("nodes: %s", describe_nodes(self._roster.nodes) or "none")
            self._planner.follow(self._roster.nodes)
        if self._roster.nodes:
            self._without_nodes = None
            return
        wait, now = whole_number(WAIT_FOR_NODES, "seconds", _WAIT_FOR_NODES_S), time.monotonic()
        if self._without_nodes is None:
            self._without_nodes = now
            text = "no node of the cluster is left: waiting up to %.0f s for one"
            log.warning(text, wait, extra={"shown": True})
        elif now - self._without_nodes > wait:
            name = self._context.folder.name
            raise Interrupted(
                f"no node of the cluster has come back in {wait:.0f} s; what was done is kept; go "
                f"on with: sweep resume {name}"
            )

    def _may_be_the_node(self) -> bool:
        """Tell whether a wave may have failed for want of something on a node that has come.

        As long as such a node has not told what it lacks, nothing begins that might go there.
        """
        self._follow_nodes()
        self._holding = self._roster.is_asking
        return self._holding or bool(self._roster.unfit)

    def _is_time_for(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._looked[what] < _LOOK_EVERY_S[what]:
            return False
        self._looked[what] = now
        return True

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take what a wave ended with, or that its worker died."""
        try:
            self._end(trial_id, result, error)
        except Exception as failure:  # Tune would only log the error and continue
            self._failure = failure

    def _end(self, trial_id: str, result: dict[str, Any] | None, error: bool) -> None:
        wave = self._waves.pop(trial_id, None)
        self.trials.pop(trial_id, None)
        self.stalls.forget(trial_id)
        if wave is None:
            return
        if error or result is None:
            self._take_death(wave, self.causes.pop(trial_id, _KILLED))
        elif (report := result["report"]).done:
            if report.error and self._may_be_the_node():
                report = replace(report, retry=True)
            self._scheduler.on_complete(wave.key, report)

    def _take_death(self, wave: Wave, cause: str) -> None:
        """Try a wave again whose process died; with fewer beside it, if memory may be the reason.

        Alone it is tried as often as the settings say.
        """
        memory = self._planner.memory_of(wave.cell.name)
        reason = f"its process died ({cause}); {memory}"
        fewer = cause == _KILLED and self._planner.run_fewer()
        if fewer:
            log.warning("from now on %d waves at once: %s", self._planner.at_once(), reason)
        self._scheduler.on_failure(wave.key, reason, counts=not fewer)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the ledger is the truth."""


_NODE_DIED, _KILLED = "its node died", "out of memory, or killed"


def _end_worker(trial: Any) -> None:
    """End the process of a trial, also one that hears nothing any more."""
    if actor := trial.temporary_state.ray_actor:
        ray.kill(actor)
    about = trial.last_result or {}
    if about.get("hostname") == socket.gethostname() and about.get("pid"):
        with suppress(psutil.Error):
            process = psutil.Process(about["pid"])
            if process.name().startswith("ray::"):
                process.kill()


def _cause(error: BaseException | None) -> str:
    """Say in a few words why a process died; Ray's own account is a page long."""
    text = str(error or "")
    if "OutOfMemory" in type(error).__name__ or "low on memory" in text:
        return _KILLED
    if "node was terminated" in text or "node died" in text or "node has died" in text:
        return _NODE_DIED
    return _KILLED


class PruningScheduler(FIFOScheduler):  # type: ignore[misc]
    """Tells the scheduler every report, and stops the trials that it prunes."""

    def __init__(
        self, scheduler: Scheduler, planner: ResourcePlanner, searcher: WaveSearcher
    ) -> None:
        super().__init__()
        self._scheduler, self._planner, self._searcher = scheduler, planner, searcher

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Let the searcher know Tune's trials, which it is not told."""
        self._searcher.trials[trial.trial_id] = trial

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Take note of why the process of a trial died, which the searcher is not told."""
        known = self._searcher.causes
        known.setdefault(trial.trial_id, _cause(trial.get_pickled_error()))

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Choose none: Tune starts those that wait in their order; here it would look at all."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Take a report of a wave; stop the wave once none of its trials is left."""
        wave: Wave = trial.config["wave"]
        self._searcher.stalls.on_report(trial.trial_id, wave)
        if peak := result["report"].facts.get("reserved_memory_mib"):
            self._planner.note_memory(wave.cell.name, peak)
        if result["report"].paused:
            return str(TrialScheduler.CONTINUE)  # the trial has ended, and the searcher is told
        pruned, over = self._scheduler.on_report(wave.key, result["report"])
        if over:
            return str(TrialScheduler.STOP)
        if pruned:  # the call runs before the next step, as an actor executes calls in order
            trial.temporary_state.ray_actor.drop.remote(pruned)
        return str(TrialScheduler.CONTINUE)
