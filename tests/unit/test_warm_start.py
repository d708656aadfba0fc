"""What a search takes from finished searches."""

from sweep.search.warm_start import warm_proposal
from sweep.space.domains import Categorical, Range

RATE = {"learning_rate": Range(low=1e-5, high=1e-1)}


def rates(*values: float) -> list[dict[str, float]]:
    return [{"learning_rate": value} for value in values]


def test_first_comes_the_choice_in_the_middle_of_all() -> None:
    assert warm_proposal(rates(1e-5, 1e-2, 2e-2), [], RATE) == {"learning_rate": 1e-2}


def test_then_the_one_farthest_from_what_was_tried() -> None:
    best = rates(1e-4, 1e-3, 1e-2, 2e-2)
    assert warm_proposal(best, rates(1e-3), RATE) == {"learning_rate": 2e-2}
    assert warm_proposal(best, rates(1e-3, 2e-2), RATE) == {"learning_rate": 1e-4}


def test_what_is_nearly_the_same_as_a_choice_that_was_tried_is_not_tried_again() -> None:
    assert warm_proposal(rates(1.1e-3), rates(1e-3), RATE) is None


def test_without_finished_searches_or_without_a_search_nothing_is_proposed() -> None:
    assert warm_proposal([], [], RATE) is None
    assert warm_proposal([{}], [], {}) is None


def test_choices_outside_of_the_domains_are_left_out() -> None:
    own = {**RATE, "optimizer": Categorical(("adam", "sgd"))}
    best = [
        {"learning_rate": 1.0, "optimizer": "sgd"},  # from beyond an edge
        {"learning_rate": 1e-3, "optimizer": "lamb"},
        {"learning_rate": 1e-3},
    ]
    assert warm_proposal(best, [], own) is None
    assert warm_proposal([*best, {"learning_rate": 1e-3, "optimizer": "sgd"}], [], own) is not None


def test_another_value_of_a_list_is_another_choice() -> None:
    own = {**RATE, "optimizer": Categorical(("adam", "sgd"))}
    adam, sgd = ({"learning_rate": 1e-3, "optimizer": name} for name in ("adam", "sgd"))
    assert warm_proposal([sgd], [adam], own) == sgd
