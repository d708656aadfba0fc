"""Tune's controller, but patient with workers that are being started, and without a memory."""
# Neither class has a parameter in Tune's public interface: see `patience`.

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune import tune as _tune
from ray.tune.execution import tune_controller as _controller
from ray.tune.execution.tune_controller import TuneController


class PatientController(TuneController):  # type: ignore[misc]
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


class WorkersThatDie(RayActorManager):  # type: ignore[misc]
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
def patience() -> Iterator[None]:
    """Let `tune.Tuner` use these: it has no parameter for them."""
    before = _tune.TuneController, _controller.RayActorManager
    _tune.TuneController, _controller.RayActorManager = PatientController, WorkersThatDie
    try:
        yield
    finally:
        _tune.TuneController, _controller.RayActorManager = before
