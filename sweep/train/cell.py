"""One wave of a cell, from its inputs to its report: what a worker does, on Ray or without it."""

import math
import re
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sweep.backbones.backbone import Network
from sweep.base.atomic import write_text
from sweep.base.identity import canonical_hash
from sweep.base.outages import loss_of
from sweep.data.dataset import Dataset
from sweep.data.layouts import location
from sweep.data.manifest import SPLITS
from sweep.errors import BackboneError, DamagedError, DataError, SweepError, first_line
from sweep.space.freeze import freeze_mode
from sweep.train.allocator import keep_freed_memory, release_freed_memory
from sweep.train.checkpoints import read_checkpoint, write_checkpoint
from sweep.train.confirm import Confirmation, prediction_table, write_table
from sweep.train.external import open_external_sets
from sweep.train.facts import facts_of
from sweep.train.feature_search import heads_on
from sweep.train.features import THROUGHPUT_IMAGES, images_per_second
from sweep.train.finetune import FineTuning
from sweep.train.heads import head_of
from sweep.train.learner import EpochScore, Learner, Task, chosen
from sweep.train.loading import open_counted_features, open_inputs
from sweep.train.probe_start import probe_head
from sweep.train.wave import Report, SweepContext, Wave, kept_model, rungs

_CHECKPOINT_SHARE = 0.05  # share of the training time for writing checkpoints
_MIN_CHECKPOINT_INTERVAL_S = 5.0
_LOOK_EVERY_S = 1.0


def run_wave(
    context: SweepContext,
    wave: Wave,
    threads: int,
    on_report: Callable[[Report], Iterable[int] | None],
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Train one wave, to its end or until it is given up. It needs neither Ray nor Optuna.

    Args:
        on_report: takes each report; returns the numbers of the members to give up, or None to
            give up the wave.
        should_stop: see `WaveRun`.
    """
    run, ended = WaveRun(context, wave, threads, should_stop=should_stop), False
    while not ended:
        report = run.step()
        dropped = on_report(report)
        ended = report.done or dropped is None
        run.drop(list(dropped or ()))


class WaveRun:
    """Trains one wave; each step goes on to the next report. It needs neither Ray nor Optuna.

    The process keeps the last datasets, backbones and features loaded, so that the next wave of
    a cell starts at once. Everything that makes a result comes from the wave.

    Args:
        threads: how many CPUs the wave may use.
        show_life: called now and then while images are decoded, features computed, or epochs
            trained.
        should_stop: asked at most once a second; then the wave leaves a checkpoint and pauses. By
            default it looks whether the sweep is asked to stop.
    """

    def __init__(
        self,
        context: SweepContext,
        wave: Wave,
        threads: int,
        show_life: Callable[[], None] = lambda: None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        self._context, self._wave, self._show_life = context, wave, show_life
        self._should_stop = should_stop or context.folder.is_asked_to_stop
        self._learner: Learner | None = None
        self._refit: Callable[[], Learner] | None = None
        self._unsent: list[EpochScore] = []
        self._history: list[EpochScore] = []
        self._notes: list[str] = []
        self._seconds, self._speed, self._computed = 0.0, 0.0, 0
        self._external: dict[str, Dataset] = {}
        self._chosen_on_validation: dict[str, Any] = {}
        self._checkpoint_cost, self._last_checkpoint = 0.0, time.monotonic()
        self._looked, self._stopping = -math.inf, False
        torch.set_num_threads(max(1, threads))
        keep_freed_memory()
        release_freed_memory()  # the previous wave's memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def step(self) -> Report:
        """Train up to the next report, or to the end of the wave; a failure is a report, too."""
        if self._is_stopping():
            self._pause()
            return Report(paused=True, done=True)
        try:
            report = self._work()
            if self._stopping and not report.done:  # the next launch repeats this report
                self._pause()
                report = Report(paused=True, done=True)
        except DataError:  # the message names files, which records must not contain
            text = (
                f"dataset {self._wave.cell.dataset.name} is not what it was when the sweep was "
                "launched, or is decoded otherwise on this node: see sweep data check"
            )
            report = Report(error=text, retry=False, blocked=True, done=True)
        except BackboneError as error:
            report = Report(error=str(error), retry=False, blocked=True, done=True)
        except SweepError as error:
            report = Report(error=str(error), retry=False, done=True)
        except Exception as error:
            report = self._failed(error)
        return report

    def _failed(self, error: Exception) -> Report:
        """Return what is told of an unexpected error: the loss of a disk is none of the sweep's."""
        folders = (self._context.folder.home, self._context.node_cache())
        name = error.filename if isinstance(error, OSError) else None
        own = name is None or any(Path(name).is_relative_to(folder) for folder in folders)
        if own and (loss := loss_of(error, isinstance(error, OSError), folders)):
            return Report(error=loss, blocked=True, done=True)
        log = self._log()
        line = self._without_names(first_line(error))
        text = f"{type(error).__name__}: {line} (all of it: {log})"
        return Report(error=text, done=True, log=log.name)

    def drop(self, numbers: list[int]) -> None:
        """Give up these members, between two steps."""
        if self._learner is not None:
            self._learner.drop(numbers)

    def _is_stopping(self) -> bool:
        """Tell whether the sweep is to be stopped; looks once a second."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY_S:
            self._looked, self._stopping = now, self._should_stop()
        return self._stopping

    def _pause(self) -> None:
        if self._learner is not None and self._learner.epoch:
            self._write_checkpoint(self._seconds)

    def _log(self) -> Path:
        """Keep the traceback of a failure; return where."""
        folder = self._context.folder
        path = folder.path / "logs" / f"{canonical_hash(self._wave.key)}.log"
        with suppress(OSError):  # the driver reports a full disk
            write_text(path, self._without_names(traceback.format_exc()))
        return path

    def _without_names(self, text: str) -> str:
        """Cut the paths of data out of a message: they may name patients."""
        roots = {
            self._context.data_root,
            location(self._wave.cell.dataset, self._context.data_root),
        }
        for root in sorted(map(str, roots)):
            text = re.sub(re.escape(root) + r"[^'\"\n]*", "DATA", text)
        return text

    def _work(self) -> Report:
        started = time.perf_counter()
        resumed = False
        if self._learner is None:
            self._learner = self._begin()
            resumed = self._resume()
        learner, cell = self._learner, self._wave.cell
        fused = cell.fused
        end = next((r for r in rungs(cell.epochs) if r > learner.epoch), cell.epochs)
        end = end if fused else min(learner.epoch + 1, cell.epochs)
        if self._wave.kind == "confirmation" and fused:
            end = cell.epochs
        elif resumed and (not fused or learner.epoch in rungs(cell.epochs)):
            # The pruner judges a resumed trial at the same epoch as one without interruption.
            end = learner.epoch
        while learner.active and learner.epoch < end and not self._is_stopping():
            scores = learner.train_epoch()
            self._unsent += scores
            self._history += scores
            self._show_life()
            self._keep(time.perf_counter() - started)
        done = not learner.active or learner.epoch >= cell.epochs
        report = Report(self._unsent, learner.epoch, done)
        if done and self._wave.kind == "confirmation":
            self._confirm(report)
        elif done and isinstance(learner, FineTuning) and cell.repeated:
            self._keep_model(learner)
        elif done and isinstance(learner, FineTuning):
            self._keep_validation(learner, report)
        self._seconds += time.perf_counter() - started
        self._unsent = []
        if report.model:  # the time of training does not include this
            self._speed = self._throughput(learner.network())
        images = self._computed
        if not fused:
            images += learner.epoch * sum(len(self._dataset.rows(s)) for s in ("train", "val"))
        report.notes, self._notes = self._notes, []
        return replace(report, seconds=self._seconds, facts=self._facts(), images=images)

    def _begin(self) -> Learner:
        space, cell = self._context.space, self._wave.cell
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._backbone, self._dataset = open_inputs(self._context, self._wave, self._show_life)
        if self._wave.kind == "confirmation":
            self._external = open_external_sets(
                self._context, cell, self._backbone, self._show_life
            )
        rows = {split: self._dataset.rows(split) for split in SPLITS}
        labels = {s: torch.from_numpy(self._dataset.labels[rows[s]]) for s in SPLITS}
        # Members of a fused wave share the recipe, and the learner has their searched params.
        own = {} if cell.fused else self._wave.trials[0].params
        task = Task(
            self._backbone,
            labels,
            len(self._dataset.classes),
            space.recipe_of(cell, own),
            cell.epochs,
            space.objective,
            self._wave.seed,
            device,
            self._dataset.units("val") if self._dataset.pooled else None,
            cell.dataset.target,
        )
        store = self._dataset.store
        if cell.fused:
            inputs = self._features(rows, device)
            trials, make = list(self._wave.trials), head_of(cell.freeze)
            heads = heads_on(task, inputs, trials, make, cell.backbone.features)
            self._refit = heads.refitted if task.recipe.refit else None
            return heads
        keep_best = self._wave.kind == "confirmation" or cell.repeated
        trial = self._wave.trials[0]
        tuning = FineTuning(task, store, rows, cell.freeze, trial, keep_best, self._show_life)
        if freeze_mode(cell.freeze)[0].starts_from_probe:
            tuning.begin_with(probe_head(task, self._features(rows, device)))
        return tuning

    def _features(
        self, rows: dict[str, NDArray[np.int64]], device: torch.device
    ) -> dict[str, torch.Tensor]:
        """Return the trunk's outputs (N, D) for each split."""
        found, self._computed = open_counted_features(
            self._backbone, self._dataset.store, self._context.node_cache(), device, self._show_life
        )
        return {split: found.rows(rows[split]) for split in SPLITS}

    def _resume(self) -> bool:
        """Go on from the wave's checkpoint, if there is one, and tell its history again.

        One that is damaged, or of other data or weights, is put aside: the wave begins anew.
        """
        paths = [self._checkpoint_path]
        if self._wave.chosen_by == "repeat":
            paths.append(self._kept_path)
        state = next((state for path in paths if (state := self._read(path))), None)
        if state is None or self._learner is None:
            return False
        self._learner.restore(state["learner"])
        members = {trial.number for trial in self._wave.trials}
        self._history = [item for item in state["history"] if item.number in members]
        self._unsent = list(self._history)
        self._seconds = state["seconds"]
        return True

    def _read(self, path: Path) -> dict[str, Any] | None:
        if not path.is_file():
            return None
        try:
            state = read_checkpoint(path)
            if state["of"] != self._inputs():
                raise DamagedError(path, "it is of other data or weights")
        except DamagedError as error:
            self._context.folder.put_aside(path)
            self._notes.append(f"{error.path.name} {error.reason}: put aside, it begins anew")
            return None
        return state

    def _inputs(self) -> str:
        """Return the identity of what the wave learns from and begins with."""
        return canonical_hash([self._dataset.fingerprint(), self._backbone.weights_hash])

    @property
    def _kept_path(self) -> Path:
        wave = self._wave
        return kept_model(self._context.folder, wave.cell, wave.index, wave.trials[0])

    def _keep_model(self, learner: FineTuning) -> None:
        """Leave what was trained for the confirmation that this trial belongs to."""
        more = {"seconds": 0.0, "of": self._inputs()}
        write_checkpoint(self._kept_path, learner.result(), self._history, **more)

    def _keep(self, running: float) -> None:
        """Write a checkpoint, unless that would take too large a share of the time."""
        assert self._learner is not None
        since = time.monotonic() - self._last_checkpoint
        if since < max(self._checkpoint_cost / _CHECKPOINT_SHARE, _MIN_CHECKPOINT_INTERVAL_S):
            return
        began = time.monotonic()
        self._write_checkpoint(self._seconds + running)
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = self._last_checkpoint - began

    def _write_checkpoint(self, seconds: float) -> None:
        assert self._learner is not None
        more = {"seconds": seconds, "of": self._inputs()}
        write_checkpoint(self._checkpoint_path, self._learner.state(), self._history, **more)

    @property
    def _checkpoint_path(self) -> Path:
        return self._context.folder.file("checkpoints", self._wave.key, ".pt")

    def _confirm(self, report: Report) -> None:
        """Score the test split with what validation chose; keep the predictions and the model."""
        learner = self._learner
        assert learner is not None
        report.chosen = chosen(learner)
        if report.chosen is None:
            return  # all members diverged, so there is no model to test
        learner.drop([number for number in learner.active if number != report.chosen])
        confirmation = Confirmation(
            self._context, self._wave, self._backbone, self._dataset, self._external
        )
        confirmation.settle(learner)
        if self._refit:
            refitted = self._refit()
            if np.isfinite(refitted.probabilities("test")).all():
                self._learner = learner = refitted
            else:
                self._notes.append("refitting the chosen head diverged: it is kept as it was")
        confirmation.score(learner, report, self._show_life)
        self._chosen_on_validation = confirmation.facts()

    def _keep_validation(self, learner: FineTuning, report: Report) -> None:
        """Keep what a trial said of the validation split: confirmations choose by it."""
        probabilities_NC = learner.validation_probabilities()
        if not len(probabilities_NC):
            return
        name, key = self._wave.cell.dataset.name, self._context.ids_key
        table = prediction_table(self._dataset, name, key, "val", probabilities_NC)
        folder = self._context.folder
        report.validation = write_table(folder, report, "validation", self._wave.key, table)

    def _throughput(self, network: Network) -> float:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        images = self._dataset.store.rows(self._dataset.rows("test")[:THROUGHPUT_IMAGES])
        return images_per_second(network, images, self._backbone.preprocessing, device)

    def _facts(self) -> dict[str, Any]:
        tuning = self._learner if isinstance(self._learner, FineTuning) else None
        imports = {module.name: module.sha256 for module in self._context.modules}
        backbone = self._learner.backbone if self._learner else self._backbone
        cell = self._wave.cell
        counted = self._context.image_flops.get(cell.name)
        facts = facts_of(backbone, self._dataset, cell, counted)
        if self._learner:
            facts["epoch_flops"] += self._learner.flops / len(self._wave.trials)
        return {
            **facts,
            **({"imports": imports} if imports else {}),
            **({"micro_batch": tuning.micro_batch} if tuning else {}),
            **({"images_per_second": self._speed} if self._speed else {}),
            **self._chosen_on_validation,
        }
