"""The ledger in a journal file and on PostgreSQL: what was written survives its process."""

import itertools
import math
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import create_engine, text

from sweep.errors import Interrupted
from sweep.records.record import RunRecord
from sweep.search.ledger import Ledger, read_studies
from sweep.search.repair import contradicts, repair_study
from sweep.search.studies import CellStudy
from sweep.space.model import Space
from tests.servers import PostgreSQL, postgresql

pytestmark = pytest.mark.integration


def space(**changes: object) -> Space:
    entry = {"name": "b", "model": "test_resnet", "weights": "none"}
    document = {"name": "s", "datasets": ["digits"], "backbones": [entry], "freeze": ["frozen"],
                "learning_rate": {"low": 1e-4, "high": 1e-1},
                "budget": {"trials": 8, "epochs": 27}, **changes}  # fmt: skip
    return Space.model_validate(document)


@pytest.fixture(scope="module", params=["journal", "postgresql"], autouse=True)
def server(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run every test of this file on both storages."""
    if request.param == "journal":
        yield
        return
    folder = request.getfixturevalue("tmp_path_factory").mktemp("ledger") / "postgresql"
    with postgresql(folder) as server:
        SERVER.append(server)
        yield
        SERVER.clear()


SERVER: list[PostgreSQL] = []  # while a test is to use it


def location(tmp_path: Path) -> str:
    """Return the storage of a test: the same for the same folder."""
    if not SERVER:
        return str(tmp_path / "ledger.journal")
    name = re.sub(r"\W", "", str(tmp_path))[-40:]
    marker = tmp_path / "database"
    if not marker.exists():
        marker.touch()
        SERVER[0].create(name)
    return f"{SERVER[0].url}/{name}"


def optunas_own(location: str) -> BaseStorage:
    """Return the storage as any other program opens it."""
    if "://" in location:
        return RDBStorage(location)
    return JournalStorage(JournalFileBackend(location))


OPEN: list[Ledger] = []  # by the test that runs


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what a test has opened: a server takes a hundred connections."""
    yield
    while OPEN:
        OPEN.pop().close()


def ledger(location: str, name: str = "s") -> Ledger:
    OPEN.append(Ledger(location, name))
    return OPEN[-1]


def study(tmp_path: Path, of: Space | None = None, where: str | None = None) -> CellStudy:
    of = of or space()
    cell = of.cells()[0]
    return CellStudy(ledger(where or location(tmp_path), of.name).study(cell.name), cell, of)


def record(number: int, value: float, state: str = "complete", loss: float = 1.0) -> RunRecord:
    best = {"epoch": 1, "value": value, "val/loss": loss}
    return RunRecord(f"k{number}", "s", "d", "b", "f", "trial", state, number, best=best)


def test_the_first_rates_cover_the_range_evenly(tmp_path: Path) -> None:
    own = study(tmp_path)
    rates = sorted(own.ask("wave").learning_rate for _ in range(4))
    logs = [math.log10(rate) for rate in rates]
    assert logs[0] == pytest.approx(-4 + 3 / 8)
    assert [b - a for a, b in itertools.pairwise(logs)] == pytest.approx([0.75] * 3)


def test_later_rates_come_from_what_was_learnt(tmp_path: Path) -> None:
    own = study(tmp_path, space(budget={"trials": 16, "epochs": 27}))
    logs = []
    for _ in range(16):
        rate = own.ask("wave")
        logs.append(math.log10(rate.learning_rate))
        own.tell(record(rate.number, -((logs[-1] + 2.2) ** 2)))
    spread, later = (sorted(abs(value + 2.2) for value in part) for part in (logs[:8], logs[8:]))
    assert later[0] < spread[0]
    assert later[4] < 0.5 < spread[4]


def test_what_is_proposed_does_not_depend_on_interruptions(tmp_path: Path) -> None:
    of = space(budget={"trials": 8, "epochs": 27})

    def asked(folder: Path, resumed: bool) -> list[float]:
        folder.mkdir()
        own, found = study(folder, of), []
        for _ in range(8):
            own = study(folder, of) if resumed else own
            rate = own.ask("wave")
            found.append(rate.learning_rate)
            own.tell(record(rate.number, -abs(math.log10(rate.learning_rate) + 2.2)))
        return found

    assert asked(tmp_path / "a", False) == asked(tmp_path / "b", True)


def test_a_backbone_scale_gives_a_second_rate(tmp_path: Path) -> None:
    domain = {"low": 1e-4, "high": 1e-1, "backbone_scale": {"low": 0.01, "high": 1}}
    own = study(tmp_path, space(learning_rate=domain))
    for _ in range(8):
        rate = own.ask("wave")
        of_backbone = rate.params["backbone_learning_rate"]
        assert of_backbone is not None
        assert 0.0099 < of_backbone / rate.learning_rate <= 1


SEARCH = {"weight_decay": {"low": 1e-6, "high": 1e-2}}


def test_weight_decay_is_searched_over_its_own_range(tmp_path: Path) -> None:
    own = study(tmp_path, space(search=SEARCH, budget={"trials": 16, "epochs": 27}))
    for number in range(16):
        trial = own.ask("wave")
        assert 1e-6 <= trial.params["weight_decay"] <= 1e-2
        near = abs(math.log10(trial.params["weight_decay"]) + 3)
        own.tell(record(number, -near - abs(math.log10(trial.learning_rate) + 2.2)))
    best = own.best()
    assert abs(math.log10(best.params["weight_decay"]) + 3) < 1
    assert abs(math.log10(best.learning_rate) + 2.2) < 1


def test_a_list_of_values_is_searched_each_of_them_early_and_then_what_wins(tmp_path: Path) -> None:
    search = {"optimizer": ["adam", "adamw", "sgd"]}
    of = space(search=search, freeze=["full"], budget={"trials": 24, "epochs": 2})
    own, seen = study(tmp_path, of), []
    for number in range(24):
        trial = own.ask("wave")
        seen.append(trial.params["optimizer"])
        own.tell(record(number, 0.9 if seen[-1] == "adamw" else 0.5 + number / 1000))
    assert set(Counter(seen[:12]).values()) == {4}
    assert Counter(seen[12:]).most_common(1)[0][0] == "adamw"
    assert own.best().params["optimizer"] == "adamw"
    assert [item.params for item in study(tmp_path, of).tried()] == [
        item.params for item in own.tried()
    ]


def test_the_first_trials_cover_every_pair_of_ranges(tmp_path: Path) -> None:
    scale = {"low": 1e-4, "high": 1e-1, "backbone_scale": {"low": 0.01, "high": 1}}
    of = space(search=SEARCH, learning_rate=scale, budget={"trials": 32, "epochs": 27})
    own = study(tmp_path, of)
    places = []
    for _ in range(16):
        params = own.ask("wave").params
        share = params["backbone_learning_rate"] / params["learning_rate"]
        values = (params["learning_rate"], share, params["weight_decay"])
        ends = ((1e-4, 1e-1), (0.01, 1), (1e-6, 1e-2))
        places.append([
            math.log(v / low) / math.log(high / low)
            for v, (low, high) in zip(values, ends, strict=True)
        ])  # fmt: skip
    for first, second in itertools.combinations(zip(*places, strict=True), 2):
        quarters = {(int(a * 2), int(b * 2)) for a, b in zip(first, second, strict=True)}
        assert len(quarters) == 4
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.5


def test_a_lost_ledger_is_made_anew_with_every_hyper_parameter(tmp_path: Path) -> None:
    of = space(search=SEARCH)
    own, cell = study(tmp_path, of), of.cells()[0]
    trial = own.ask("wave")
    told = replace(record(0, 0.5), params={**of.recipe.model_dump(), **trial.params})
    own.tell(told)
    (tmp_path / "anew").mkdir()
    written = ledger(location(tmp_path / "anew"), of.name).study(cell.name)
    repair_study(written, cell, of, {0: told})
    assert CellStudy(written, cell, of).best() == trial


@pytest.mark.parametrize("state", ["complete", "pruned", "diverged", "failed"])
def test_a_record_and_its_trial_in_the_ledger_agree_however_it_ended(
    tmp_path: Path, state: str
) -> None:
    own = study(tmp_path)
    trial = own.ask("wave")
    own.report(0, 1, 0.25)
    told = replace(record(0, 0.5, state), params=dict(trial.params))
    own.tell(told)
    (written,) = ledger(location(tmp_path)).study(space().cells()[0].name).read()
    assert not contradicts(written, told)
    assert contradicts(written, replace(told, params={"learning_rate": 1.0}))
    assert contradicts(
        written, replace(told, state="pruned" if state != "pruned" else "failed")
    ) != (
        state == "diverged"  # which is pruned to Optuna
    )


def test_trials_left_unfinished_are_found_with_their_rates_and_wave(tmp_path: Path) -> None:
    own = study(tmp_path)
    asked = [own.ask("first"), own.ask("first"), own.ask("second")]
    own.tell(record(0, 0.5))
    again = study(tmp_path)
    left = again.without_record({0})
    assert [item.trial for item in left] == asked[1:]
    assert [item.wave for item in left] == ["first", "second"]
    assert again.trials() == 3


def test_telling_or_reporting_twice_does_no_harm(tmp_path: Path) -> None:
    own = study(tmp_path)
    own.ask("wave")
    for _ in range(2):
        own.report(0, 1, 0.4)
        own.tell(record(0, 0.5))
    assert study(tmp_path).without_record({0}) == []


def test_the_best_trial_is_complete_and_among_equals_that_of_the_lowest_loss(
    tmp_path: Path,
) -> None:
    own = study(tmp_path)
    asked = [own.ask("wave") for _ in range(4)]
    own.tell(record(0, 0.8, loss=0.5))
    own.tell(record(1, 0.8, loss=0.3))
    own.tell(record(2, 0.9, "pruned"))
    own.tell(record(3, 0.95, "diverged"))
    assert own.best() == asked[1]


def test_who_takes_up_a_study_tells_it_the_records_again_for_their_losses(tmp_path: Path) -> None:
    own = study(tmp_path)
    asked = [own.ask("wave") for _ in range(2)]
    records = [record(0, 0.8, loss=0.5), record(1, 0.8, loss=0.3)]
    for taken_up in (lambda: own, lambda: study(tmp_path)):
        taken = taken_up()
        for item in records:
            taken.tell(item)
        assert taken.best() == asked[1]


def tuned(trials: int = 8, epochs: int = 27, pruner: str = "hyperband") -> Space:
    budget = {"trials": trials, "epochs": epochs, "pruner": pruner}
    return space(freeze=["full"], budget=budget)


def test_hyperband_gives_up_most_of_a_wave_and_keeps_the_best(tmp_path: Path) -> None:
    own = study(tmp_path, tuned())
    alive = {own.ask("wave").number for _ in range(8)}
    for epoch in (5, 15):
        for number in sorted(alive):
            own.report(number, epoch, 0.5 + 0.05 * number)
        ranked = sorted(alive, reverse=True)  # as the scheduler judges: the best first
        alive -= {number for number in ranked if own.should_prune(number)}
    assert 7 in alive
    assert len(alive) <= 4


def test_the_median_pruner_gives_up_what_is_worse_than_half_of_the_complete(tmp_path: Path) -> None:
    own = study(tmp_path, tuned(pruner="median"))
    for number in range(3):
        own.ask("wave")
        own.report(number, 6, 0.5 + number / 10)
        own.tell(record(number, 0.9))
    for value, pruned in ((0.55, True), (0.65, False)):
        number = own.ask("wave").number
        own.report(number, 6, value)
        assert own.should_prune(number) == pruned


@pytest.mark.parametrize("pruner", ["hyperband", "median"])
@pytest.mark.parametrize(("epochs", "first"), [(27, 5), (90, 10), (100, 12)])
def test_nothing_is_pruned_before_five_epochs_or_a_ninth(
    tmp_path: Path, pruner: str, epochs: int, first: int
) -> None:
    own, pruned = study(tmp_path, tuned(12, epochs, pruner)), []
    for number in range(12):
        own.ask("wave")
        for epoch in range(1, epochs + 1):
            own.report(number, epoch, 0.9 - number / 100)  # each worse than all before it
            if own.should_prune(number):
                pruned.append(epoch)
                own.tell(record(number, 0.9, "pruned"))
                break
        else:
            own.tell(record(number, 0.9))
    assert min(pruned) == first


def completed_of_worse_and_worse(own: CellStudy, trials: int) -> list[int]:
    """Run trials one after the other, each worse than all before; return which were completed."""
    complete = []
    for number in range(trials):
        own.ask("wave")
        for epoch in (5, 15, 27):
            own.report(number, epoch, 0.9 - number / 100)
            if epoch < 27 and own.should_prune(number):
                own.tell(record(number, 0.9, "pruned"))
                break
        else:
            own.tell(record(number, 0.9 - number / 100))
            complete.append(number)
    return complete


@pytest.mark.parametrize("pruner", ["hyperband", "median"])
@pytest.mark.parametrize(("trials", "least"), [(3, 3), (6, 3), (16, 6), (30, 10)])
def test_a_third_of_the_trials_three_at_least_is_completed(
    tmp_path: Path, pruner: str, trials: int, least: int
) -> None:
    complete = completed_of_worse_and_worse(study(tmp_path, tuned(trials, 27, pruner)), trials)
    assert len(complete) >= least
    if trials > 6:
        assert len(complete) < trials  # or nothing would be pruned at all


@pytest.mark.parametrize("trials", [8, 16, 64])
def test_no_bracket_of_hyperband_is_too_small_to_prune(tmp_path: Path, trials: int) -> None:
    own = study(tmp_path, tuned(trials))
    alive = {own.ask("wave").number for _ in range(trials)}
    epochs = 0
    for before, epoch in ((0, 5), (5, 15), (15, 27)):
        epochs += len(alive) * (epoch - before)
        for number in sorted(alive):
            own.report(number, epoch, number / 100)
        alive -= {number for number in sorted(alive, reverse=True) if own.should_prune(number)}
    assert epochs <= 27 * trials * 2 / 3


def test_of_the_trials_dealt_to_a_confirmation_two_are_completed(tmp_path: Path) -> None:
    of = tuned(20).model_copy(update={"seeds": 5})
    complete = completed_of_worse_and_worse(study(tmp_path, of), 20)
    assert min(sum(number % 5 == index for number in complete) for index in range(5)) >= 2
    assert len(complete) < 20  # or nothing would be pruned at all


def test_frozen_cells_are_not_pruned(tmp_path: Path) -> None:
    own = study(tmp_path, space(budget={"trials": 8, "epochs": 27}))
    for number in range(8):
        own.ask("wave")
        own.report(number, 15, number / 10)
    assert not any(own.should_prune(number) for number in range(8))


def test_beyond_an_edge_a_quarter_of_the_budget_is_spread_over_a_power_of_ten(
    tmp_path: Path,
) -> None:
    own = study(tmp_path)
    for number in range(8):
        rate = own.ask("wave").learning_rate
        own.tell(record(number, rate))  # the higher the better
    assert (own.left(), own.left_beyond()) == (0, 2)
    again = study(tmp_path)
    for number in range(8):
        again.tell(record(number, 0.5))
    rates = [again.ask_beyond("wave").learning_rate for _ in range(2)]
    assert all(0.1 < rate < 1.0 for rate in rates)
    assert abs(math.log10(rates[0] / rates[1])) == pytest.approx(0.5)
    taken_up = study(tmp_path)
    assert (taken_up.left(), taken_up.left_beyond(), taken_up.beyond()) == (0, 0, 2)


def test_in_the_middle_of_the_range_or_told_to_keep_it_nothing_is_searched_beyond(
    tmp_path: Path,
) -> None:
    own = study(tmp_path)
    for number in range(8):
        rate = own.ask("wave").learning_rate
        own.tell(record(number, -abs(math.log10(rate) + 2.5)))
    assert own.left_beyond() == 0
    kept = study(tmp_path, space(edges="keep"))
    assert kept.left_beyond() == 0


def test_without_a_pruner_nothing_is_pruned(tmp_path: Path) -> None:
    own = study(tmp_path, tuned(pruner="none"))
    for number in range(8):
        own.ask("wave")
        own.report(number, 15, number / 10)
    assert not any(own.should_prune(number) for number in range(8))


def test_cells_have_studies_and_seeds_of_their_own(tmp_path: Path) -> None:
    of = space(freeze=["frozen", "full"])
    both = ledger(location(tmp_path))
    one, two = (CellStudy(both.study(cell.name), cell, of) for cell in of.cells())
    one.ask("wave")
    assert (one.trials(), two.trials()) == (1, 0)


def test_any_optuna_reads_what_was_written(tmp_path: Path) -> None:
    of = space(
        learning_rate={"low": 1e-4, "high": 1e-1, "backbone_scale": {"low": 0.01, "high": 1}}
    )
    own = study(tmp_path, of)
    rates = [own.ask("the wave") for _ in range(4)]
    own.report(0, 1, 0.25)
    own.report(0, 3, 0.5)
    for number, state in enumerate(("complete", "pruned", "diverged", "failed")):
        own.tell(record(number, 0.75, state))
    name = f"s/{of.cells()[0].name}"
    plain = optuna.load_study(study_name=name, storage=optunas_own(location(tmp_path)))
    assert [trial.number for trial in plain.trials] == [0, 1, 2, 3]
    assert [trial.state.name for trial in plain.trials] == ["COMPLETE", "PRUNED", "PRUNED", "FAIL"]
    for trial, rate in zip(plain.trials, rates, strict=True):
        assert trial.params["learning_rate"] == rate.learning_rate
        assert set(trial.distributions) == set(trial.params) == {"learning_rate", "backbone_scale"}
        assert trial.user_attrs["wave"] == "the wave"
        assert trial.datetime_start and trial.datetime_complete
        assert abs(trial.datetime_start - datetime.now()) < timedelta(minutes=1)
        assert trial.datetime_start <= trial.datetime_complete
    assert plain.trials[0].intermediate_values == {1: 0.25, 3: 0.5}
    assert plain.best_value == 0.75
    more = plain.ask(plain.trials[0].distributions)  # and goes on with it
    plain.tell(more, 0.8)
    assert more.number == 4
    assert study(tmp_path, of).trials() == 5


def test_a_ledger_that_comes_back_is_written_on(tmp_path: Path) -> None:
    if not SERVER:
        pytest.skip("a file has no server that could be started again")
    own = study(tmp_path)
    own.ask("wave")
    engine = create_engine(location(tmp_path))
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        )
    engine.dispose()
    own.tell(record(0, 0.5))
    assert study(tmp_path).without_record({0}) == []


def test_a_ledger_that_is_gone_interrupts_the_sweep(tmp_path: Path) -> None:
    own = study(tmp_path)
    own.ask("wave")
    if SERVER:
        engine = create_engine(location(tmp_path))
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE trial_values"))
        engine.dispose()
    else:
        Path(location(tmp_path)).unlink()
        Path(location(tmp_path)).mkdir()
    with pytest.raises(Interrupted, match=r"cannot be written.* go on with: sweep resume s"):
        own.tell(record(0, 0.5))


class BreaksAfterEveryWrite:
    """A storage whose connection breaks once after each change, when it has been committed."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage, self._broken = storage, False

    def __getattr__(self, name: str) -> Callable[..., object]:
        method: Callable[..., object] = getattr(self._storage, name)
        if not name.startswith(("set_trial", "create_new_trial")):
            return method

        def write(*arguments: object) -> object:
            self._broken = not self._broken
            if not self._broken:
                return method(*arguments)
            method(*arguments)
            raise StorageInternalError from Exception("server closed the connection unexpectedly")

        return write


def test_what_was_written_when_the_connection_broke_is_not_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.search.retry._PAUSE_S", 0.01)
    own = study(tmp_path)
    own._written._storage = BreaksAfterEveryWrite(own._written._storage)  # type: ignore[assignment]
    for number in range(2):
        assert own.ask("wave").number == number
        own.report(number, 1, 0.4)
        own.tell(record(number, 0.5))
    (first, second) = study(tmp_path)._study.get_trials()
    assert [first.value, second.value] == [0.5, 0.5]
    assert first.intermediate_values == {1: 0.4}


def journal_alone() -> None:
    if SERVER:
        pytest.skip("of files alone")


def test_a_damaged_ledger_is_told_in_words(tmp_path: Path) -> None:
    journal_alone()
    (tmp_path / "damaged").write_bytes(b"not a journal, but as long as one\n" * 100)
    with pytest.raises(Interrupted, match=r"cannot be opened: .*damaged is not a journal"):
        Ledger(str(tmp_path / "damaged"), "s")


@pytest.mark.parametrize("torn", [b'{"op_code":6,"worker_id":"0', b"\x00" * 5000])
def test_a_line_that_was_not_written_to_its_end_is_forgotten(tmp_path: Path, torn: bytes) -> None:
    journal_alone()
    own = study(tmp_path)
    asked = [own.ask("wave") for _ in range(2)]
    with Path(location(tmp_path)).open("ab") as file:
        file.write(torn)
    again = study(tmp_path)
    again.tell(record(0, 0.5))
    assert [item.trial for item in study(tmp_path).without_record({0})] == asked[1:]


def test_a_last_line_that_is_damaged_is_noticed_before_another_follows(tmp_path: Path) -> None:
    journal_alone()
    study(tmp_path).ask("wave")
    with Path(location(tmp_path)).open("ab") as file:
        file.write(b"not a line of JSON\n")
    with pytest.raises(Interrupted, match="is not a journal"):
        Ledger(location(tmp_path), "s")
    aside: list[str] = []

    def put_aside(path: Path) -> None:
        aside.append(path.name)
        path.unlink()

    with Ledger(location(tmp_path), "s", put_aside=put_aside) as anew:
        assert anew.study("d/b/frozen").read() == []
    assert aside == ["ledger.journal"]


def test_a_journal_that_is_damaged_while_it_is_in_use_interrupts_the_sweep(tmp_path: Path) -> None:
    journal_alone()
    own = study(tmp_path)
    own.ask("wave")
    with Path(location(tmp_path)).open("ab") as file:
        file.write(b"not a line of JSON\n")
    with pytest.raises(Interrupted, match="the ledger cannot be written"):
        own.tell(record(0, 0.5))


def sqlite_ledger(folder: Path, of: Space) -> tuple[str, CellStudy]:
    """Return a ledger in SQLite, as sweep 0.1 had it, and the study of its first cell."""
    url = f"sqlite:///{folder / 'ledger.db'}"
    return url, study(folder, of, where=url)


def test_a_ledger_of_sweep_0_1_is_taken_over_with_all_that_it_holds(tmp_path: Path) -> None:
    journal_alone()
    of = tuned()
    _, old = sqlite_ledger(tmp_path, of)
    asked = [old.ask("first") for _ in range(3)]
    old.report(0, 5, 0.25)
    old.should_prune(0)
    old.tell(record(0, 0.75))
    old.tell(record(1, 0.5, "diverged"))
    before = [(t.state, t.params, t.value, t.user_attrs, t.intermediate_values, t.system_attrs)
              for t in old._written.read()]  # fmt: skip
    new = study(tmp_path, of)
    assert before == [
        (t.state, t.params, t.value, t.user_attrs, t.intermediate_values, t.system_attrs)
        for t in new._written.read()
    ]
    assert [item.trial for item in new.without_record({0, 1})] == asked[2:]
    new.tell(record(2, 0.8))
    assert study(tmp_path, of).best() == asked[2]


def test_a_ledger_of_sweep_0_1_is_read_where_it_is(tmp_path: Path) -> None:
    journal_alone()
    of = space()
    _, old = sqlite_ledger(tmp_path, of)
    old.ask("wave")
    name = of.cells()[0].name
    (trial,) = read_studies(location(tmp_path), "s", [name])[name]
    assert trial.user_attrs == {"wave": "wave"}
    assert not Path(location(tmp_path)).exists()


def test_a_damaged_ledger_of_sweep_0_1_is_put_aside(tmp_path: Path) -> None:
    journal_alone()
    (tmp_path / "ledger.db").write_bytes(b"garbage" * 1000)
    aside: list[Path] = []

    def put_aside(path: Path) -> None:
        aside.append(path)
        path.unlink()

    with Ledger(location(tmp_path), "s", put_aside=put_aside) as anew:
        assert anew.study("d/b/frozen").read() == []
    assert [path.name for path in aside] == ["ledger.db"]


def test_a_ledger_that_is_locked_for_a_while_is_waited_for_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal_alone()
    monkeypatch.setattr("sweep.search.storages._SQLITE_WAITS_S", 0.1)
    url, own = sqlite_ledger(tmp_path, space())
    own.ask("wave")
    other = sqlite3.connect(tmp_path / "ledger.db", check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(5.0, other.rollback)
    timer.start()
    with caplog.at_level("WARNING", "sweep.search"):
        again = study(tmp_path, where=url)  # it is opened, too
        again.tell(record(0, 0.5))
    timer.join()
    other.close()
    assert "waiting for the ledger" in caplog.text
    assert study(tmp_path, where=url).without_record({0}) == []


def test_a_ledger_that_stays_locked_interrupts_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal_alone()
    monkeypatch.setattr("sweep.search.storages._SQLITE_WAITS_S", 0.1)
    monkeypatch.setattr("sweep.search.retry.WAIT_S", 0.5)
    url, own = sqlite_ledger(tmp_path, space())
    own.ask("wave")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Interrupted, match=r"database is locked.*go on with: sweep resume s"):
            own.tell(record(0, 0.5))
        with pytest.raises(Interrupted, match=r"the ledger cannot be .*: .*database is locked"):
            study(tmp_path, where=url)
