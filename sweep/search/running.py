"""A wave under way: what was heard of it, and the record that it ends as."""

import time
from dataclasses import dataclass
from typing import Any

from sweep.records.record import RunRecord
from sweep.space.model import Space
from sweep.train.learner import BestEpoch, EpochScore
from sweep.train.wave import Report, Wave


@dataclass
class RunningWave:
    """A wave that has begun, and the reports of its trials so far."""

    wave: Wave
    sweep_id: str
    started: float
    histories: dict[int, dict[int, EpochScore]]
    best: dict[int, BestEpoch]
    open: set[int]
    images: int = 0

    @property
    def results_left(self) -> int:
        """How many results of the wave are still to come."""
        return len(self.open) if self.wave.kind == "trial" else 1


def describe_wave(wave: Wave, verb: str = "") -> str:
    """Return what runs in a wave, and with a verb in the singular a sentence on it."""
    one = wave.kind == "confirmation" or len(wave.trials) == 1
    numbers = [trial.number for trial in wave.trials] if wave.kind == "trial" else [wave.index]
    title = f"{wave.kind}{'' if one else 's'} {', '.join(map(str, numbers))}"
    return f"{title} {verb if one else verb.removesuffix('s')}".rstrip()


def as_record(
    running: RunningWave, space: Space, number: int | None, state: str, report: Report
) -> RunRecord:
    """Return the result of a trial, or of a confirmation that has chosen a trial, or none."""
    wave = running.wave
    confirming = wave.kind == "confirmation"
    best = BestEpoch(space.objective) if number is None else running.best[number]
    history = {} if number is None else running.histories[number]
    chosen = {"epoch": best.epoch, "value": best.value, **best.metrics} if best.epoch else {}
    return RunRecord(
        key=wave.key if confirming else f"{running.sweep_id}:{wave.cell.name}:trial:{number}",
        sweep=space.name,
        dataset=wave.cell.dataset.name,
        backbone=wave.cell.backbone.name,
        freeze=wave.cell.freeze,
        train_fraction=wave.cell.train_fraction,
        kind=wave.kind,
        state=state,
        number=wave.index if confirming else number or 0,
        params={
            "image_size": report.facts.get("image_size", space.image_size),
            **_params(wave, space, number),
        },
        history=[
            {"epoch": epoch, **item.metrics}
            for epoch, item in sorted(history.items())
            if item.metrics
        ],
        best=chosen,
        test=report.test,
        external=report.external,
        started=running.started,
        ended=time.time(),
        seconds=report.seconds / wave.runs,
        facts={**report.facts, **_flops(running, number, report)},
        predictions=report.predictions,
        model=report.model,
        error=report.error,
        log=report.log,
        validation=report.validation,
        choice=wave.choice if confirming else None,
        round=wave.round,
        checksums=report.checksums,
    )


def _params(wave: Wave, space: Space, number: int | None) -> dict[str, Any]:
    """Return what a run was given: by its wave, by the recipe, and by its trial."""
    trial = next((trial for trial in wave.trials if trial.number == number), None)
    return {
        "epochs": wave.cell.epochs,
        "seed": wave.seed,
        "partition": wave.partition,
        **({"chosen_by": wave.chosen_by} if wave.kind == "confirmation" else {}),
        **({"fold": wave.fold} if space.split.folds else {}),
        "objective": space.objective,
        **space.recipe_of(wave.cell).model_dump(exclude={"frozen"}),
        **(trial.params if trial else {}),
    }


def _flops(running: RunningWave, number: int | None, report: Report) -> dict[str, float]:
    """Return the work of a run: of one trial, or of all that a confirmation chose from."""
    if "epoch_flops" not in report.facts:
        return {}
    confirming = running.wave.kind == "confirmation"
    counted = running.histories.values() if confirming else [running.histories[number or 0]]
    epochs = sum(len(history) for history in counted)
    tested = report.facts["test_flops"] if report.predictions else 0.0
    return {"flops": epochs * report.facts["epoch_flops"] + tested}
