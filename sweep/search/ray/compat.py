"""What Ray has no public way for. Where a Ray lacks it, Ray's own way is taken and that is said."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

try:
    from ray._private import ray_constants as _constants
    from ray.air.execution._internal import RayActorManager
    from ray.tune import tune as _tune
    from ray.tune.execution import tune_controller as _controller
    from ray.tune.execution.tune_controller import TuneController
except ImportError:
    _constants = _tune = _controller = None
    RayActorManager = TuneController = object

_UNKNOWN = "Unknown keyword argument"

log = logging.getLogger("sweep.search")


def _missing(*needed: tuple[Any, str]) -> list[str]:
    return [
        f"{getattr(owner, '__name__', 'ray')}.{n}" for owner, n in needed if not hasattr(owner, n)
    ]


def missing_of_tune() -> list[str]:
    """Return what `PatientTuneController` and `ForgivingActorManager` need and Tune lacks."""
    return _missing(
        (_tune, "TuneController"),
        (_controller, "RayActorManager"),
        (TuneController, "_maybe_reuse_cached_actor"),
        (TuneController, "_get_trial_checkpoints"),
        (RayActorManager, "_actor_task_failed"),
    )


def missing_of_loopback() -> list[str]:
    """Return what `on_loopback` needs and Ray lacks."""
    return _missing((_constants, "ENABLE_RAY_CLUSTER"), (_constants, "ENABLE_RAY_CLUSTERS_ENV_VAR"))


class PatientTuneController(TuneController):  # type: ignore[misc]
    """Leaves a trial to the worker that is being started for it.

    Tune gives a waiting trial to any worker that has become free, and removes the one that was
    requested for it. Where that one still waits for resources this is right: the free worker
    holds them. But one that is being started has its own, and takes seconds: as long as waves
    are shorter than that, workers would be started and removed without end, on a cluster of
    which a few nodes work (Ray 2.60; benchmarks/scaling.py tells).

    Of its trials it saves nothing: the ledger is the truth.
    """

    def _maybe_reuse_cached_actor(self, trial: Any) -> bool:
        requested = self._trial_to_actor.get(trial)
        if (
            requested is not None
            and trial not in self._resetting_trials
            and self._actor_manager.is_actor_started(requested)
        ):
            return False
        return bool(super()._maybe_reuse_cached_actor(trial))

    def _get_trial_checkpoints(self) -> dict[str, str]:
        return {}


class ForgivingActorManager(RayActorManager):  # type: ignore[misc]
    """Takes a worker that Ray has killed for want of memory for one that has died.

    Ray tells it by an error of another kind (Ray 2.60: OutOfMemoryError), at which Tune would end
    the whole experiment.
    """

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        known = isinstance(exception, RayActorError | RayTaskError)
        if isinstance(exception, RayError) and not known:
            exception = RayActorError(error_msg=str(exception))
        super()._actor_task_failed(tracked_actor_task, exception)


@contextmanager
def patient_tune() -> Iterator[None]:
    """Let `tune.Tuner` use these two: it has no parameter for them."""
    if missing := missing_of_tune():
        _warn(missing, "short waves start slowly, and a worker that lacks memory ends the search")
        yield
        return
    before = _tune.TuneController, _controller.RayActorManager
    _tune.TuneController = PatientTuneController
    _controller.RayActorManager = ForgivingActorManager
    try:
        yield
    finally:
        _tune.TuneController, _controller.RayActorManager = before


@contextmanager
def on_loopback() -> Iterator[None]:
    """Let Ray be started so that nobody else on the network reaches it.

    On Linux Ray takes a loopback address for another unless it is told that there is no cluster,
    by a variable that it reads when it is imported.
    """
    if missing := missing_of_loopback():
        _warn(missing, "this machine's Ray listens on its network address, too")
        yield
        return
    name = _constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before = _constants.ENABLE_RAY_CLUSTER, os.environ.get(name)
    _constants.ENABLE_RAY_CLUSTER = False
    os.environ[name] = "0"
    try:
        yield
    finally:
        _constants.ENABLE_RAY_CLUSTER = before[0]
        os.environ.pop(name)
        if before[1] is not None:
            os.environ[name] = before[1]


def start_ray(hidden: dict[str, Any], **arguments: Any) -> None:
    """Call `ray.init`, with hidden arguments as far as this Ray knows them."""
    try:
        ray.init(**arguments, **hidden)
    except RuntimeError as error:
        if _UNKNOWN not in str(error):
            raise
        _warn(sorted(hidden), "its folders and sockets are where Ray puts them")
        ray.init(**arguments)


def _warn(missing: list[str], consequence: str) -> None:
    text = "Ray %s has no %s: %s; use a Ray that pyproject.toml of sweep names"
    log.warning(text, ray.__version__, ", ".join(missing), consequence, extra={"shown": True})
