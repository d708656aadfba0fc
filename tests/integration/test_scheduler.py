"""The scheduler with a real ledger and real training, without Ray: any death loses nothing."""

import math
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sweep.records.folder import SweepFolder
from sweep.records.record import RunRecord
from sweep.search.ledger import Ledger
from sweep.search.scheduler import GIVE_UP_AFTER, Scheduler
from sweep.space.model import Space
from sweep.tracking.schema import params_of
from sweep.train.cell import WaveRun, run_wave
from sweep.train.learner import EpochScore
from sweep.train.wave import Report, SweepContext, Wave
from tests.ledgers import change_first_value

pytestmark = pytest.mark.integration

Dies = Callable[[int], None]
Outcomes = dict[str, tuple[object, ...]]

SMALL = {"budget": {"trials": 2, "epochs": 2, "frozen": {"trials": 4, "epochs": 3}}, "seeds": 1}


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _stores_made_once(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cache for all tests of this file: most of their time would go into making it."""
    monkeypatch.setenv("SWEEP_CACHE", str(shared_cache))


class DriverDiedError(Exception):
    """Stands for kill -9: nothing after it is done."""


def sweep_context(tmp_path: Path, **changes: object) -> SweepContext:
    document = {
        "name": "s",
        "datasets": ["digits"],
        "backbones": [{"name": "b", "model": "test_efficientnet", "weights": "none"}],
        "freeze": ["frozen", "last:1"],
        "image_size": 32,
        "budget": {"trials": 3, "epochs": 3, "frozen": {"trials": 6, "epochs": 9}},
        "seeds": 2,
        "split": {"val": 0.1, "test": 0.7},
        "edges": "keep",
        **changes,
    }
    space, folder = Space.model_validate(document), SweepFolder(tmp_path / "home", "s")
    folder.path.mkdir(parents=True, exist_ok=True)
    cache = Path(os.environ["SWEEP_CACHE"])
    return SweepContext(space, "id", folder, tmp_path, None, cache, b"key")


def new_scheduler(context: SweepContext) -> Scheduler:
    location = context.ledger or context.folder.ledger
    return Scheduler(context, Ledger(location, "s", put_aside=context.folder.put_aside))


def begin(context: SweepContext, wave: Wave) -> WaveRun:
    return WaveRun(context, wave, threads=torch.get_num_threads())


def run_here(context: SweepContext, dies: Dies = lambda _: None) -> list[Wave]:
    """Run the waves one after the other in this process; `dies` is asked before each report."""
    scheduler, dealt, reports = new_scheduler(context), [], 0
    while (wave := scheduler.next_wave()) is not None:
        dealt.append(wave)
        worker, over = begin(context, wave), False
        while not over:
            report = worker.step()
            dies(reports)
            reports += 1
            pruned, over = scheduler.on_report(wave.key, report)
            worker.drop(pruned)
            if report.done:
                scheduler.on_complete(wave.key, report)
                over = True
    return dealt


def test_a_wave_stops_when_a_callable_says_so_and_goes_on_from_its_checkpoint(
    tmp_path: Path,
) -> None:
    context = sweep_context(tmp_path)
    wave = next(w for w in iter(new_scheduler(context).next_wave, None) if not w.cell.fused)
    stopped: list[Report] = []
    run_wave(context, wave, torch.get_num_threads(), stopped.append, should_stop=lambda: True)
    assert [(report.paused, report.done) for report in stopped] == [(True, True)]
    reports: list[Report] = []

    def on_report(report: Report) -> list[int]:
        reports.append(report)
        return []

    run_wave(context, wave, torch.get_num_threads(), on_report)
    assert reports[-1].done
    assert not reports[-1].error


def outcomes(context: SweepContext) -> Outcomes:
    """Return what each run found, without times."""
    return {
        record.key: (record.state, record.params.get("learning_rate"), record.history, record.test)
        for record in context.folder.records()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcomes]:
    """Returns what a sweep gives that nothing happened to; the same one is run once."""
    known: dict[str, Outcomes] = {}

    def run(**changes: object) -> Outcomes:
        if (key := repr(changes)) not in known:
            context = sweep_context(tmp_path_factory.mktemp("undisturbed"), **changes)
            run_here(context)
            known[key] = outcomes(context)
        return known[key]

    return run


def test_every_cell_gets_its_trials_and_its_confirmations(tmp_path: Path) -> None:
    context = sweep_context(tmp_path)
    dealt = run_here(context)
    records = context.folder.records()
    assert Counter((r.freeze, r.kind) for r in records) == {
        ("frozen", "trial"): 6,
        ("frozen", "confirmation"): 2,
        ("last:1", "trial"): 3,
        ("last:1", "confirmation"): 2,
    }
    assert len({record.key for record in records}) == len(records)
    assert new_scheduler(context).finished
    frozen = [wave for wave in dealt if wave.cell.freeze == "frozen" and wave.kind == "trial"]
    assert [len(wave.trials) for wave in frozen] == [3, 3]  # the second learns from the first
    assert dealt[0].cell != dealt[1].cell  # early results cover the grid


def test_weight_decay_is_searched_with_the_learning_rate(tmp_path: Path) -> None:
    search = {"weight_decay": {"low": 1e-5, "high": 1e-1}}
    context = sweep_context(tmp_path, search=search, recipe={"optimizer": "adamw"}, edges="extend")
    run_here(context)
    for freeze in ("frozen", "last:1"):
        own = [r for r in context.folder.records() if r.freeze == freeze]
        tried = {r.params["weight_decay"] for r in own if r.kind == "trial"}
        assert len(tried) == sum(r.kind == "trial" for r in own) >= 3
        assert {r.params["weight_decay"] for r in own if r.kind == "confirmation"} <= tried
        first = next(r for r in own if r.kind == "trial" and r.number == 0)
        assert params_of(first)["weight_decay"] == repr(first.params["weight_decay"])
    before = outcomes(context)
    assert new_scheduler(context).finished
    Path(context.folder.ledger).unlink()
    assert new_scheduler(context).finished  # the ledger is made anew from the records
    assert outcomes(context) == before


def test_what_a_frozen_cell_cannot_vary_it_takes_from_the_recipe_and_others_search(
    tmp_path: Path,
) -> None:
    search = {"optimizer": ["adam", "sgd"], "batch_size": [8, 16]}
    context = sweep_context(tmp_path, search=search)
    run_here(context)
    trials = [record for record in context.folder.records() if record.kind == "trial"]
    for freeze, optimizers in (("frozen", {"adamw"}), ("last:1", {"adam", "sgd"})):
        own = [record for record in trials if record.freeze == freeze]
        assert {record.params["optimizer"] for record in own} == optimizers
    confirmed = [r for r in context.folder.records() if r.kind == "confirmation"]
    assert {r.params["optimizer"] for r in confirmed if r.freeze == "last:1"} <= {"adam", "sgd"}
    before = outcomes(context)
    Path(context.folder.ledger).unlink()
    assert new_scheduler(context).finished  # the ledger is made anew from the records
    assert outcomes(context) == before


def test_confirmations_have_partitions_and_seeds_of_their_own(tmp_path: Path) -> None:
    context = sweep_context(tmp_path, seeds=3)
    run_here(context)
    for freeze in ("frozen", "last:1"):
        own = [r for r in context.folder.records() if r.freeze == freeze]
        trials = [r for r in own if r.kind == "trial"]
        confirmed = [r for r in own if r.kind == "confirmation"]
        assert sorted(r.params["partition"] for r in confirmed) == [1, 2, 3]
        assert len({r.facts["split_fingerprint"] for r in own}) == 4  # the search has its own
        assert len({r.facts["test_samples"] for r in own}) == 1
        assert len({r.params["seed"] for r in own}) == 4
        assert all(r.test and r.predictions and not any(t.test for t in trials) for r in confirmed)
    seeds = {r.freeze: r.params["seed"] for r in context.folder.records() if r.number == 0}
    assert seeds["frozen"] != seeds["last:1"]


def test_each_confirmation_of_a_frozen_cell_chooses_among_all_rates_that_were_tried(
    tmp_path: Path,
) -> None:
    context = sweep_context(tmp_path, freeze=["frozen"])
    dealt = run_here(context)
    trials = [r for r in context.folder.records() if r.kind == "trial"]
    for wave in (wave for wave in dealt if wave.kind == "confirmation"):
        assert {rate.learning_rate for rate in wave.trials} == {
            r.params["learning_rate"] for r in trials
        }
        alone = {}
        for rate in wave.trials:  # the plain way: one training after the other
            worker = begin(context, replace(wave, key=f"alone {rate.number}", trials=(rate,)))
            report = worker.step()
            best = max(
                report.scores, key=lambda s: (s.metrics["val/auroc"], -s.metrics["val/loss"])
            )
            score = (best.metrics["val/auroc"], -best.metrics["val/loss"])
            alone[rate.learning_rate] = (score, report.test)
        (record,) = [r for r in context.folder.records() if r.key == wave.key]
        chosen = max(alone, key=lambda rate: alone[rate][0])
        assert record.params["learning_rate"] == chosen
        assert record.test == pytest.approx(alone[chosen][1], abs=1e-4)


def test_the_first_confirmation_of_another_cell_takes_the_best_trial(tmp_path: Path) -> None:
    context = sweep_context(tmp_path, freeze=["last:1"], seeds=4)
    run_here(context)
    records = context.folder.records()
    trials = [r for r in records if r.kind == "trial" and r.state == "complete"]
    best = max(trials, key=lambda r: (r.best["value"], -r.best["val/loss"]))
    confirmed = {r.number: r for r in records if r.kind == "confirmation"}
    assert confirmed[0].params["learning_rate"] == best.params["learning_rate"]
    rates = {r.params["learning_rate"] for r in trials}
    assert {r.params["learning_rate"] for r in confirmed.values()} <= rates


def test_frozen_trials_are_never_pruned(tmp_path: Path) -> None:
    context = sweep_context(
        tmp_path, freeze=["frozen"], budget={"trials": 6, "epochs": 30, "pruner": "hyperband"}
    )
    run_here(context)
    states = Counter(r.state for r in context.folder.records() if r.kind == "trial")
    assert states == {"complete": 6}


def test_a_best_rate_at_an_edge_is_searched_beyond_once(tmp_path: Path) -> None:
    low, high = 1e-6, 1e-4  # too low by far: the best is at the upper end
    context = sweep_context(
        tmp_path,
        freeze=["frozen"],
        edges="extend",
        learning_rate={"low": low, "high": high},
        budget={"trials": 8, "epochs": 3},
        seeds=1,
    )
    run_here(context)
    rates = [r.params["learning_rate"] for r in context.folder.records() if r.kind == "trial"]
    beyond = [rate for rate in rates if rate > high]
    assert len(rates) == 8 + 2
    assert len(beyond) == 2
    assert max(beyond) <= 10 * high
    again = new_scheduler(context)
    assert again.finished
    assert again.progress[0].trials_total == 10


@pytest.mark.parametrize(
    "moment", [0, 6, 15, *(pytest.param(m, marks=pytest.mark.soak) for m in (3, 9, 12))]
)
def test_a_driver_killed_at_any_report_is_replaced_without_a_difference(
    tmp_path: Path, moment: int, undisturbed: Callable[..., Outcomes]
) -> None:
    broken = sweep_context(tmp_path)

    def dies(reports: int) -> None:
        if reports == moment:
            raise DriverDiedError

    with pytest.raises(DriverDiedError):
        run_here(broken, dies)
    before = {record.key: record.ended for record in broken.folder.records()}
    run_here(broken)
    after = {record.key: record.ended for record in broken.folder.records()}
    assert {key: after[key] for key in before} == before  # none of the finished ran again
    assert outcomes(broken) == undisturbed()
    assert not list((broken.folder.path / "checkpoints").glob("*"))


def test_a_trial_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.train.cell._MIN_CHECKPOINT_INTERVAL_S", 0.0)
    monkeypatch.setattr("sweep.train.cell._CHECKPOINT_SHARE", 1e9)
    context = sweep_context(tmp_path, freeze=["last:1"])
    wave = new_scheduler(context).next_wave()
    assert wave is not None
    first = begin(context, wave)
    early = first.step().scores + first.step().scores
    second = begin(context, wave)
    told_again = second.step()
    assert (told_again.scores, told_again.epoch) == (early, 2)
    assert second.step().epoch == 3


def test_a_result_that_was_written_but_not_told_is_told(tmp_path: Path) -> None:
    context = sweep_context(tmp_path, freeze=["last:1"])
    wave = new_scheduler(context).next_wave()
    assert wave is not None
    context.folder.write_record(
        RunRecord("id:digits/b/last:1:trial:0", "s", "digits", "b", "last:1", "trial", "pruned")
    )
    again = new_scheduler(context)
    assert again.progress[0].trials == {"pruned": 1}
    following = again.next_wave()
    assert following is not None
    assert following.trials[0].number == 1


def test_a_failing_wave_is_tried_again_and_given_up_with_its_reason(tmp_path: Path) -> None:
    context = sweep_context(tmp_path, freeze=["last:1"], budget={"trials": 1, "epochs": 1})
    scheduler = new_scheduler(context)
    for _ in range(context.retries + 1):
        wave = scheduler.next_wave()
        assert wave is not None
        scheduler.on_complete(wave.key, Report(error="a made-up reason", done=True))
    assert scheduler.next_wave() is None
    assert scheduler.finished
    (record,) = context.folder.records()
    assert (record.state, record.error) == ("failed", "a made-up reason")


def test_what_cannot_succeed_is_not_tried_again(tmp_path: Path) -> None:
    context = sweep_context(tmp_path, freeze=["last:1"], budget={"trials": 1, "epochs": 1})
    scheduler = new_scheduler(context)
    wave = scheduler.next_wave()
    assert wave is not None
    scheduler.on_complete(wave.key, Report(error="bad weights", retry=False, done=True))
    assert scheduler.finished


def ended(wave: Wave) -> Report:
    told = [EpochScore(r.number, 1, {"val/auroc": 0.5, "val/loss": 1.0}) for r in wave.trials]
    return Report(told, 1, done=True)


def searched_by_rate(context: SweepContext, best: dict[float, float]) -> dict[float, list[float]]:
    """Search without training, the first report interrupted; return the rates of each fraction.

    Args:
        best: the rate that is best in a cell, by its train_fraction.
    """
    waves, interrupted = [], False
    scheduler = new_scheduler(context)
    while (wave := scheduler.next_wave()) is not None:
        waves.append(wave)
        if wave.cell.train_fraction != 1 and not interrupted:
            interrupted, scheduler = True, new_scheduler(context)  # the driver died
            continue
        scores = [
            EpochScore(t.number, 1, {"val/auroc": 1 / (1 + far), "val/loss": far})
            for t in wave.trials
            for far in [abs(math.log10(t.learning_rate / best[wave.cell.train_fraction]))]
        ]
        chosen = wave.trials[0].number
        confirms = {"chosen": chosen, "test": {"auroc": 0.5}} if wave.kind != "trial" else {}
        scheduler.on_complete(wave.key, Report(scores, 1, done=True, **confirms))
    tried: dict[float, list[float]] = {}
    for record in sorted(context.folder.records(), key=lambda r: r.number):
        if record.kind == "trial":
            tried.setdefault(record.train_fraction, []).append(record.params["learning_rate"])
    return tried


def nearest(rate: float, rates: list[float]) -> float:
    return min(rates, key=lambda other: abs(math.log10(other / rate)))


BEST_RATES = {1.0: 2e-2, 0.5: 1e-4}  # by train_fraction: two cells of the same backbone and mode


@pytest.mark.parametrize("freeze", ["frozen", "last:1"])
def test_a_warm_start_begins_with_what_is_best_in_a_finished_cell(
    tmp_path: Path, freeze: str
) -> None:
    shared = {"train_fraction": list(BEST_RATES), "freeze": [freeze], "seeds": 3}
    budget = {"trials": 8, "epochs": 1}
    cold, warm = (
        searched_by_rate(
            sweep_context(
                tmp_path / name, budget=budget, search={"warm_start": name == "warm"}, **shared
            ),
            BEST_RATES,
        )
        for name in ("cold", "warm")
    )
    assert warm[1.0] == cold[1.0]  # nothing is finished before it
    of_finished = nearest(BEST_RATES[1.0], warm[1.0])
    assert warm[0.5][0] == of_finished
    # The range has four powers of ten, of which the box takes a fifth to either side.
    assert all(abs(math.log10(rate / of_finished)) < 0.2 * 4 for rate in warm[0.5][:4])
    assert len(set(warm[0.5])) == 8


def test_a_cell_that_keeps_failing_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    context = replace(
        sweep_context(tmp_path, freeze=["last:1", "last:2"], budget={"trials": 8, "epochs": 1}),
        retries=0,
    )
    scheduler, dealt = new_scheduler(context), Counter[str]()
    while (wave := scheduler.next_wave()) is not None:
        dealt[wave.cell.freeze] += 1
        if wave.cell.freeze == "last:2":
            scheduler.on_complete(wave.key, Report(error="a made-up reason", done=True))
        else:
            scheduler.on_complete(wave.key, ended(wave))
    assert dealt["last:2"] == GIVE_UP_AFTER
    assert dealt["last:1"] == 8 + 2  # and its confirmations
    assert [cell.given_up for cell in scheduler.progress] == [False, True]
    again = new_scheduler(context)  # a resumed sweep gives the cell another chance
    assert again.next_wave() is not None


def test_a_reason_that_holds_for_the_whole_cell_gives_it_up_at_once(tmp_path: Path) -> None:
    context = sweep_context(tmp_path, freeze=["last:1"], budget={"trials": 8, "epochs": 1})
    scheduler = new_scheduler(context)
    wave = scheduler.next_wave()
    assert wave is not None
    scheduler.on_complete(wave.key, Report(error="bad weights", retry=False, done=True))
    assert scheduler.finished
    assert scheduler.progress[0].given_up


def test_failed_trials_can_be_begun_anew(tmp_path: Path) -> None:
    context = sweep_context(tmp_path, freeze=["last:1"], budget={"trials": 2, "epochs": 1}, seeds=1)
    scheduler = new_scheduler(context)
    wave = scheduler.next_wave()
    assert wave is not None
    scheduler.on_complete(wave.key, Report(error="bad weights", retry=False, done=True))
    context.folder.reopen(forget_failures=True)
    run_here(context)
    states = Counter((r.kind, r.state) for r in context.folder.records())
    assert states == {("trial", "complete"): 2, ("confirmation", "complete"): 1}


def test_a_failed_trial_is_made_up_for_once(tmp_path: Path) -> None:
    context = sweep_context(tmp_path, freeze=["last:1"], budget={"trials": 3, "epochs": 1}, seeds=1)
    scheduler = new_scheduler(context)
    wave = scheduler.next_wave()
    assert wave is not None
    for _ in range(1 + context.retries):
        scheduler.on_failure(wave.key, "the worker died")
        wave = scheduler.next_wave()
    run_here(context)
    for _ in range(3):
        context.folder.reopen(forget_failures=True)
        run_here(context)
        assert len(new_scheduler(context).progress[0].trials) == 1
        (progress,) = new_scheduler(context).progress
        assert (progress.trials_done, progress.trials_total) == (3, 3)
    trials = [r for r in context.folder.records() if r.kind == "trial"]
    assert sorted((r.number, r.state) for r in trials) == [
        (1, "complete"), (2, "complete"), (3, "complete"),
    ]  # fmt: skip


def damaged(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "empty":
        content = bytearray()
    elif how == "truncated":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("how", "at"), [("gone", 3), ("empty", 99), ("truncated", 6), ("garbage", 4)]
)
def test_a_ledger_that_is_lost_is_made_anew_from_the_records(
    tmp_path: Path, undisturbed: Callable[..., Outcomes], how: str, at: int
) -> None:
    context = sweep_context(tmp_path, **SMALL)

    def dies(reports: int) -> None:
        if reports == at:
            raise DriverDiedError

    with suppress(DriverDiedError):
        run_here(context, dies)
    before = {record.key for record in context.folder.records()}
    assert before
    ledger = Path(context.folder.ledger)
    if how == "gone":
        ledger.unlink()
    elif how == "garbage":
        ledger.write_bytes(b"garbage" * 1000)
    else:
        damaged(ledger, how)
    dealt = run_here(context)
    again = {f"id:{w.cell.name}:trial:{rate.number}" for w in dealt for rate in w.trials
             if w.kind == "trial"}  # fmt: skip
    assert not again & before
    assert outcomes(context) == undisturbed(**SMALL)


def test_a_record_that_is_lost_is_made_again_and_no_other(
    tmp_path: Path, undisturbed: Callable[..., Outcomes]
) -> None:
    context = sweep_context(tmp_path, **SMALL)
    run_here(context)
    lost = [record.key for record in context.folder.records()][::3]
    for key in lost:
        context.folder.file("runs", key, ".json").unlink()
    began = time.time()
    run_here(context)
    again = {record.key for record in context.folder.records() if record.started > began}
    assert again == set(lost)
    assert outcomes(context) == undisturbed(**SMALL)
    assert run_here(context) == []


def test_a_value_in_the_ledger_that_is_not_the_records_is_mended(
    tmp_path: Path, undisturbed: Callable[..., Outcomes], caplog: pytest.LogCaptureFixture
) -> None:
    context = sweep_context(tmp_path, **SMALL)
    run_here(context)
    change_first_value(Path(context.folder.ledger), 2.0)
    assert run_here(context) == []
    assert "the ledger holds" in caplog.text
    caplog.clear()
    assert run_here(context) == []
    assert "the ledger holds" not in caplog.text
    assert outcomes(context) == undisturbed(**SMALL)


@pytest.mark.parametrize("how", ["empty", "truncated", "flipped"])
def test_a_damaged_checkpoint_is_put_aside_and_the_wave_begins_anew(
    tmp_path: Path, undisturbed: Callable[..., Outcomes], how: str
) -> None:
    changes = {**SMALL, "freeze": ["last:1"]}
    context = sweep_context(tmp_path, **changes)
    scheduler = new_scheduler(context)
    wave = scheduler.next_wave()
    assert wave is not None
    worker = begin(context, wave)
    scheduler.on_report(wave.key, worker.step())
    worker._write_checkpoint(1.0)
    damaged(worker._checkpoint_path, how)
    run_here(context)
    assert outcomes(context) == undisturbed(**changes)
    (aside,) = (context.folder.path / "damaged").iterdir()
    assert aside.name.startswith("checkpoints-")


def test_a_confirmation_that_is_tried_again_keeps_its_fold(tmp_path: Path) -> None:
    context = sweep_context(
        tmp_path,
        freeze=["last:1"],
        budget={"trials": 1, "epochs": 1},
        split={"val": 0.2, "test": 0.2, "folds": 3},
    )
    scheduler = new_scheduler(context)
    search = scheduler.next_wave()
    assert search is not None
    scheduler.on_complete(search.key, ended(search))
    waves = [scheduler.next_wave() for _ in range(3)]
    last = waves[2]
    assert last is not None
    scheduler.on_failure(last.key, "the worker died")
    again = scheduler.next_wave()
    assert again == last
    assert again.fold == 2


def test_a_stopped_wave_keeps_a_checkpoint_and_goes_on_from_it(
    tmp_path: Path, undisturbed: Callable[..., Outcomes]
) -> None:
    broken = sweep_context(tmp_path)
    scheduler = new_scheduler(broken)
    wave = scheduler.next_wave()
    assert wave is not None
    worker = begin(broken, wave)
    scheduler.on_report(wave.key, worker.step())
    (broken.folder.path / "stop").touch()
    worker._looked = -math.inf
    report = worker.step()
    assert report.paused
    scheduler.drain()
    scheduler.on_complete(wave.key, report)
    assert scheduler.finished
    assert scheduler.unfinished
    assert scheduler.next_wave() is None
    assert len(list((broken.folder.path / "checkpoints").glob("*.pt"))) == 1
    (broken.folder.path / "stop").unlink()
    run_here(broken)
    assert outcomes(broken) == undisturbed()


def test_a_worker_that_sees_the_stop_before_the_driver_stops_the_sweep(tmp_path: Path) -> None:
    scheduler = new_scheduler(sweep_context(tmp_path))
    waves = [scheduler.next_wave(), scheduler.next_wave()]
    for wave in waves:
        assert wave is not None
        scheduler.on_complete(wave.key, Report(paused=True, done=True))
        assert scheduler.next_wave() is None
    assert scheduler.finished  # for now: else it would be waited for without end
    assert scheduler.unfinished


@pytest.mark.parametrize(("freeze", "confirmed_again"), [("frozen", 2), ("last:1", 1)])
def test_a_larger_budget_keeps_the_first_scores_and_confirms_what_is_chosen_otherwise(
    tmp_path: Path, freeze: str, confirmed_again: int
) -> None:
    shared = {"freeze": [freeze], "learning_rate": {"low": 1e-7, "high": 1e-1}}
    small = sweep_context(tmp_path, budget={"trials": 1, "epochs": 1}, **shared)
    run_here(small)
    first = {record.key: record for record in small.folder.records()}
    large = sweep_context(tmp_path, budget={"trials": 4, "epochs": 1}, **shared)
    dealt = run_here(large)
    after = {record.key: record for record in large.folder.records()}
    trials = [record for record in after.values() if record.kind == "trial"]
    best = max(trials, key=lambda r: (r.best["value"], -r.best["val/loss"]))
    assert len(trials) == 4
    assert best.number > 0  # or this test would show nothing
    again = [wave for wave in dealt if wave.kind == "confirmation"]
    assert len(again) >= confirmed_again
    assert all(wave.round == 1 for wave in again)
    assert after[f"id:digits/b/{freeze}:confirmation.1:0"].params["learning_rate"] == (
        best.params["learning_rate"] if freeze == "last:1" else pytest.approx(0.05, abs=0.05)
    )
    assert new_scheduler(large).progress[0].confirmed == 2
    assert {key: after[key] for key in first} == first


def test_a_choice_is_the_same_only_if_all_its_params_are(tmp_path: Path) -> None:
    shared = {"freeze": ["last:1"], "seeds": 1}
    rate = {"low": 1e-2, "high": 1e-2, "backbone_scale": {"low": 1e-4, "high": 1.0}}
    small = sweep_context(tmp_path, learning_rate=rate, budget={"trials": 1, "epochs": 2}, **shared)
    run_here(small)
    large = sweep_context(tmp_path, learning_rate=rate, budget={"trials": 6, "epochs": 2}, **shared)
    run_here(large)
    records = large.folder.records()
    trials = [r for r in records if r.kind == "trial" and r.state == "complete"]
    best = max(trials, key=lambda r: (r.best["value"], -r.best["val/loss"]))
    assert best.number > 0  # or this test would show nothing
    latest = max((r for r in records if r.kind == "confirmation"), key=lambda r: r.round)
    assert latest.params["backbone_learning_rate"] == best.params["backbone_learning_rate"]


def test_diverged_trials_are_results(tmp_path: Path) -> None:
    context = sweep_context(
        tmp_path,
        freeze=["frozen"],
        learning_rate={"low": 1e38, "high": 3e38},
        recipe={"optimizer": "sgd"},
        budget={"trials": 2, "epochs": 3},
    )
    run_here(context)
    assert {record.state for record in context.folder.records()} == {"diverged"}
    assert new_scheduler(context).finished


def test_a_wave_that_fails_for_a_reason_outside_of_the_sweep_is_left_as_it_is(
    tmp_path: Path,
) -> None:
    context = sweep_context(tmp_path)
    scheduler = new_scheduler(context)
    wave = scheduler.next_wave()
    assert wave is not None
    reason = "no space left in /home: free some"
    scheduler.on_complete(wave.key, Report(error=reason, retry=False, blocked=True, done=True))
    assert scheduler.blocked == {wave.cell.name: reason}
    while (other := scheduler.next_wave()) is not None:
        assert other.cell != wave.cell
        scheduler.on_complete(other.key, Report(error="x", retry=False, done=True))
    assert scheduler.finished
    assert scheduler.unfinished
    assert not [r for r in context.folder.records() if r.cell == wave.cell.name]
    again = new_scheduler(context)
    dealt = [again.next_wave(), again.next_wave()]
    assert wave.key in {item.key for item in dealt if item}


def test_data_that_changed_since_the_launch_fails_no_trial(tmp_path: Path) -> None:
    context = replace(sweep_context(tmp_path), inputs={"samples digits": "another hash"})
    wave = new_scheduler(context).next_wave()
    assert wave is not None
    report = begin(context, wave).step()
    assert report.blocked
    assert "digits is not what it was when the sweep was launched" in report.error


def test_a_failure_is_recorded_without_the_names_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = sweep_context(tmp_path)
    file = tmp_path / "patient_17" / "scan 3.png"

    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file", str(file))

    monkeypatch.setattr("sweep.train.loading._open_dataset", fail)
    wave = new_scheduler(context).next_wave()
    assert wave is not None
    report = begin(context, wave).step()
    (log,) = (context.folder.path / "logs").glob("*.log")
    for text in (report.error, log.read_text()):
        assert "FileNotFoundError" in text
        assert "patient_17" not in text
        assert "scan 3" not in text


def repeated(tmp_path: Path, **changes: object) -> SweepContext:
    """Return a sweep whose trials are dealt to its confirmations: four for each."""
    budget = {"trials": 8, "epochs": 2}
    return sweep_context(tmp_path, freeze=["last:1"], budget=budget, seeds=2, **changes)


def test_trials_are_dealt_to_the_confirmations_each_with_its_own_partition(tmp_path: Path) -> None:
    context = repeated(tmp_path)
    run_here(context)
    records = context.folder.records()
    for index in (0, 1):
        own = [r for r in records if r.kind == "trial" and r.params["partition"] == 1 + index]
        assert [r.number % 2 for r in own] == [index] * 4
        best = max(own, key=lambda r: (r.best["value"], -r.best["val/loss"]))
        (confirmed,) = [r for r in records if r.kind == "confirmation" and r.number == index]
        for name in ("learning_rate", "seed", "partition"):
            assert confirmed.params[name] == best.params[name]
        assert confirmed.params["chosen_by"] == "repeat"
        assert confirmed.history == best.history


def test_a_confirmation_of_its_own_trial_trains_nothing_and_scores_what_training_again_would(
    tmp_path: Path,
) -> None:
    context, again = repeated(tmp_path / "kept"), repeated(tmp_path / "lost")
    scheduler, confirmed = new_scheduler(context), 0
    while (wave := scheduler.next_wave()) is not None:
        worker = begin(context, wave)
        report = worker.step()
        confirmed += wave.kind == "confirmation"
        assert report.epoch == 2 or wave.kind == "trial"  # at once, by the model that was kept
        while not report.done:
            scheduler.on_report(wave.key, report)
            report = worker.step()
        scheduler.on_complete(wave.key, report)
        if confirmed == 0:
            assert len(list((context.folder.path / "kept").glob("*.pt"))) <= 2
    assert confirmed == 2
    assert not list((context.folder.path / "kept").glob("*.pt"))

    def loses(_: int) -> None:
        for path in (again.folder.path / "kept").glob("*.pt"):
            path.unlink()

    run_here(again, loses)
    assert outcomes(again) == outcomes(context)
