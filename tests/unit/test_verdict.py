"""Verdicts: one word, and an interval that agrees with it."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from sweep.comparison.stats.difference import Difference
from sweep.comparison.stats.verdict import holm, verdicts

gains = st.lists(
    st.builds(
        Difference,
        st.floats(-0.1, 0.1),
        st.floats(1e-8, 1e-3),
        st.floats(0, 1e-4),
        st.floats(2, 1e5),
        st.floats(0, 1e-5),
    ),
    min_size=1,
    max_size=30,
)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=20, deadline=None)
def test_holms_adjustment_is_that_of_statsmodels(values: list[float]) -> None:
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1].tolist())


def test_holms_adjustment_is_that_of_r() -> None:
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


def test_no_p_values_are_no_family() -> None:
    assert holm([]) == []


@given(gains)
def test_the_interval_agrees_with_the_word(found: list[Difference]) -> None:
    for verdict in verdicts(found, 0.02):
        inside = verdict.interval
        if min(abs(verdict.adjusted - 0.05), abs(verdict.equivalent - 0.05)) < 1e-6:
            continue
        if verdict.word == "better":
            assert inside.low > 0
        elif verdict.word == "worse":
            assert inside.high < 0
        elif verdict.word == "equivalent":
            assert -0.02 <= inside.low <= inside.high <= 0.02
        else:
            assert inside.low <= 0 <= inside.high


def test_a_verdict_the_other_way_round_is_its_mirror() -> None:
    (verdict,) = verdicts([Difference(0.1, 1e-4, 0.0, math.inf)], 0.01)
    assert (verdict.word, verdict.flipped().word) == ("better", "worse")
    assert verdict.flipped().p == verdict.p
    assert verdict.flipped().interval.high == -verdict.interval.low


def test_what_is_not_judged_has_no_verdict() -> None:
    (verdict,) = verdicts([Difference(0.3, 1e-6, math.nan, math.inf, judged=False)], 0.01)
    assert verdict.word == "unjudged"
    assert verdict.adjusted == 1
