"""Which cell goes next."""

from types import SimpleNamespace

from sweep.search.order import WorkOrder, known_flops

FLOPS = {"tiny": 1.0, "small": 100.0, "large": 900.0}


def work(name: str, share: float = 0.0, searched: bool = False) -> SimpleNamespace:
    """Return as much of a cell's work as the order looks at."""
    cell = SimpleNamespace(name=name)
    return SimpleNamespace(cell=cell, searched=searched, share_begun=lambda: share)


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
