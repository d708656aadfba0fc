"""Which cell goes next."""

from types import SimpleNamespace

from sweep.search.deadline import Deadline
from sweep.search.order import WorkOrder, known_flops

FLOPS = {"tiny": 1.0, "small": 100.0, "large": 900.0}


def work(
    name: str, share: float = 0.0, searched: bool = False, searching: int = 0
) -> SimpleNamespace:
    """Return as much of a cell's work as the order looks at."""
    cell = SimpleNamespace(name=name, trials=8)
    return SimpleNamespace(
        cell=cell, searched=searched, searching=searching, share_begun=lambda: share
    )


def first(order: WorkOrder, *cells: SimpleNamespace) -> str:
    return min(cells, key=order.key).cell.name


def test_cells_that_are_a_small_part_of_all_work_go_first() -> None:
    order = WorkOrder(FLOPS)
    assert first(order, work("large"), work("small"), work("tiny", 0.9)) == "tiny"


def test_then_the_cell_with_the_most_work_left() -> None:
    order = WorkOrder(FLOPS)
    assert first(order, work("large", 0.5), work("small")) == "large"
    assert first(order, work("large", 0.95), work("small")) == "small"


def test_what_is_searched_is_confirmed_before_more_is_searched() -> None:
    order = WorkOrder(FLOPS)
    assert first(order, work("large"), work("small", 0.9, searched=True)) == "small"


def test_cells_of_unknown_work_advance_alike() -> None:
    assert known_flops({"a": 1.0, "b": None}) == {}
    order = WorkOrder({})
    assert first(order, work("a", 0.5), work("b", 0.2)) == "b"


def test_where_time_is_short_all_cells_but_the_cheap_advance_alike() -> None:
    order = WorkOrder(FLOPS, fair=True)
    assert first(order, work("large", 0.5), work("small", 0.4)) == "small"
    assert first(order, work("large"), work("tiny", 0.9)) == "tiny"


def test_with_a_warm_start_a_cell_that_is_begun_goes_on_before_another_begins() -> None:
    order = WorkOrder(FLOPS, warm_start=True)
    assert first(order, work("large"), work("small", 0.2)) == "small"
    assert first(order, work("large"), work("small", 0.2, searching=2)) == "large"
    assert first(WorkOrder({}, warm_start=True), work("a", 0.2), work("b")) == "a"


def timed(left: int, seconds: float, confirmations: int = 5, **of_cell: bool) -> SimpleNamespace:
    """Return as much of a cell's work as the deadline looks at: two trials that took so long."""
    cell = SimpleNamespace(**{"fused": False, "repeated": False, **of_cell})
    trials = {number: SimpleNamespace(seconds=seconds) for number in range(2)}
    progress = SimpleNamespace(seeds=confirmations)
    return SimpleNamespace(
        cell=cell, left=left, again=[], searched_trials=trials, confirmed={}, progress=progress
    )


def test_the_search_ends_when_the_time_left_is_needed_to_confirm() -> None:
    deadline = Deadline(1000.0)
    # Five confirmations of 100 s, one after the other, and a trial of 100 s.
    assert not deadline.is_due([timed(3, 100.0)], 1, now=399.0)
    assert deadline.is_due([timed(3, 100.0)], 1, now=400.0)
    assert not deadline.is_due([timed(3, 100.0)], 5, now=750.0)  # five side by side
    assert not Deadline(None).is_due([timed(3, 100.0)], 1, now=1e12)


def test_confirmations_that_are_trained_already_take_little_time() -> None:
    assert not Deadline(1000.0).is_due([timed(3, 100.0, repeated=True)], 1, now=870.0)
    assert Deadline(1000.0).is_due([timed(3, 100.0, fused=True)], 1, now=0.0)
