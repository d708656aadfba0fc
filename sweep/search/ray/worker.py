"""What runs on a node: a Ray Tune actor that trains one wave after the other."""

import time
from contextlib import suppress
from typing import Any

from ray import tune

from sweep.search.stalls import WorkerHeartbeat, progress_file
from sweep.train.cell import WaveRun
from sweep.train.wave import SweepContext, Wave

_SHOW_EVERY_S = 10.0

_heartbeat = WorkerHeartbeat()


class WaveTrainable(tune.Trainable):  # type: ignore[misc]
    """Trains the wave in its config; each step goes on to the next report."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the wave of `config`; failures are told by the first step."""
        self._context: SweepContext = config["context"]
        self._wave: Wave = config["wave"]
        self._shown = -_SHOW_EVERY_S
        _heartbeat.begin(self._context.folder, self._wave.key)
        self.__dict__.pop("_run", None)  # frees the network of the previous wave
        self._run = WaveRun(self._context, self._wave, int(config["threads"]), self._show_life)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another wave on this actor; nothing of the last one is left."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train up to the next report, or to the end of the wave."""
        report = self._run.step()
        return {"report": report, "epoch": report.epoch, "done": report.done}

    def drop(self, numbers: list[int]) -> None:
        """Give up these members; called by the driver between two steps."""
        self._run.drop(numbers)

    def _show_life(self) -> None:
        """Tell the driver, now and then, that this process computes, between two reports."""
        now = time.monotonic()
        if now - self._shown > _SHOW_EVERY_S:
            self._shown = now
            with suppress(OSError):
                progress_file(self._context.folder, self._wave.key).touch()
