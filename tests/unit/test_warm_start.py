"""Where a search begins, by the best choices of finished searches."""

import pytest

from sweep.search.warm_start import box_around, lying_in, middle_of, without_nearest
from sweep.space.domains import Categorical, Range

RATE = {"learning_rate": Range(low=1e-5, high=1e-1)}
BOTH = {**RATE, "optimizer": Categorical(("adam", "sgd"))}


def rates(*values: float) -> list[dict[str, float]]:
    return [{"learning_rate": value} for value in values]


def test_the_middle_is_the_choice_nearest_to_all_others() -> None:
    assert middle_of(rates(1e-5, 1e-2, 2e-2), RATE) == {"learning_rate": 1e-2}


def test_a_value_of_a_list_is_as_far_from_another_as_a_whole_range() -> None:
    best = [{"learning_rate": rate, "optimizer": name}
            for rate, name in ((1e-3, "sgd"), (1e-2, "adam"), (2e-2, "adam"))]  # fmt: skip
    assert middle_of(best, BOTH)["optimizer"] == "adam"


def test_the_box_is_a_fifth_of_the_range_wider_than_the_choices_and_inside_of_the_domain() -> None:
    box = box_around(rates(1e-3, 3e-3), RATE)["learning_rate"]
    assert isinstance(box, Range)
    assert RATE["learning_rate"].place(box.low) == pytest.approx(0.5 - 0.2)
    assert box.log
    wide = box_around(rates(2e-5, 9e-2), RATE)["learning_rate"]
    assert wide == RATE["learning_rate"]
    assert (
        box_around([{"learning_rate": 1e-3, "optimizer": "sgd"}], BOTH)["optimizer"]
        == (BOTH["optimizer"])
    )


def test_a_range_of_one_value_stays() -> None:
    only = {"learning_rate": Range(low=1e-3, high=1e-3)}
    assert box_around(rates(1e-3), only) == only


def test_choices_outside_of_the_domains_are_left_out() -> None:
    fits = {"learning_rate": 1e-3, "optimizer": "sgd"}
    best = [
        {"learning_rate": 1.0, "optimizer": "sgd"},  # from beyond an edge
        {"learning_rate": 1e-3, "optimizer": "lamb"},
        {"learning_rate": 1e-3},
        fits,
    ]
    assert lying_in(best, BOTH) == [fits]
    assert lying_in([{}], {}) == []  # nothing is searched


def test_the_point_that_the_first_trial_stands_for_is_left_out() -> None:
    assert without_nearest(rates(1e-5, 1e-3, 1e-2), {"learning_rate": 2e-3}, RATE) == rates(
        1e-5, 1e-2
    )
