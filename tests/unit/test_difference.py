"""Differences between cells: DeLong's test, the error of training, Student's t, equivalence."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from MLstatkit import Delong_test
from scipy.stats import t as student
from scipy.stats import ttest_ind
from sklearn.metrics import roc_auc_score

from sweep.comparison.stats.difference import (
    Difference,
    average,
    can_be_equivalent,
    quantile,
    weighted_sum,
)
from sweep.comparison.stats.sampling import MetricEstimate, estimate
from sweep.records.predictions import Predictions
from tests.simulated import classifier


def alike(item: Predictions, count: int = 3) -> list[Predictions]:
    """Return confirmations that do not differ: there is no error of training."""
    return [item] * count


def gap(first: Predictions, second: Predictions, metric: str = "auroc") -> Difference:
    terms = ((1, first), (-1, second))
    return weighted_sum([(weight, estimate(alike(item))[metric]) for weight, item in terms])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [False, True])
def test_without_noise_of_training_the_p_value_is_delongs(seed: int, ties: bool) -> None:
    first, second = (classifier(120, auroc, seed, shared=0.5) for auroc in (0.8, 0.7))
    if ties:
        first, second = (
            Predictions(p.labels_N, p.groups_N, np.round(p.probabilities_NC, 1))
            for p in (first, second)
        )
    scores = (first.probabilities_NC[:, 1], second.probabilities_NC[:, 1])
    _, oracle = Delong_test(first.labels_N, *scores)[:2]
    assert gap(first, second).p == pytest.approx(oracle, abs=1e-6)
    expected = roc_auc_score(first.labels_N, scores[0]) - roc_auc_score(second.labels_N, scores[1])
    assert gap(first, second).point == pytest.approx(expected)


def test_without_noise_of_the_test_set_it_is_welchs_t() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(0.80, 0.02, 10), rng.normal(0.78, 0.01, 5)
    items = [
        MetricEstimate(float(values.mean()), np.zeros((1, 9)), np.array([9]),
                float(values.std(ddof=1)), len(values))
        for values in (first, second)
    ]  # fmt: skip
    found = weighted_sum([(1, items[0]), (-1, items[1])])
    oracle = ttest_ind(first, second, equal_var=False)
    assert found.p == pytest.approx(oracle.pvalue)
    assert found.freedom == pytest.approx(oracle.df)
    ends = oracle.confidence_interval()
    interval = found.interval()
    assert [interval.low, interval.high] == pytest.approx([ends.low, ends.high])


def test_both_errors_add_up_with_satterthwaites_degrees_of_freedom() -> None:
    cells = [[classifier(200, 0.8, 10 * c + k, shared=0.5) for k in range(5)] for c in (0, 1)]
    one, two = (estimate(cell)["auroc"] for cell in cells)
    found = weighted_sum([(1, one), (-1, two)])
    training = (one.spread**2 + two.spread**2) / 5
    assert found.error**2 == pytest.approx(found.test + training)
    parts = [(item.spread**2 / 5) ** 2 / 4 for item in (one, two)]
    assert found.freedom == pytest.approx((found.test + training) ** 2 / sum(parts))
    reach = student.ppf(0.975, found.freedom) * found.error
    assert found.interval().high - found.point == pytest.approx(reach)


def test_fewer_than_three_confirmations_are_not_judged() -> None:
    cells = [[classifier(200, auroc, k) for k in range(2)] for auroc in (0.9, 0.6)]
    found = weighted_sum([(w, estimate(c)["auroc"]) for w, c in zip((1, -1), cells, strict=True)])
    assert not found.judged
    assert found.p == 1
    assert found.equivalent(0.5) >= 0.5
    assert math.isnan(found.interval().low)


def test_copies_within_a_group_add_no_certainty() -> None:
    ones = [classifier(60, auroc, 7, shared=0.5) for auroc in (0.85, 0.7)]
    copies = np.repeat(np.arange(60), 5)
    grouped = [Predictions(p.labels_N[copies], copies, p.probabilities_NC[copies]) for p in ones]
    for metric in ("auroc", "accuracy", "brier"):
        alone, together = gap(*ones, metric), gap(*grouped, metric)
        assert together.point == pytest.approx(alone.point)
        assert together.error == pytest.approx(alone.error, rel=0.02)


def test_groups_of_both_classes_are_taken_together() -> None:
    # Of each patient one healthy and one ill eye, whose scores share most of their error.
    rng, found = np.random.default_rng(0), []
    groups, labels = np.repeat(np.arange(80), 2), np.tile([0, 1], 80)
    for _ in range(300):
        logits = np.repeat(rng.normal(size=80), 2) * 2 + rng.normal(size=160) + 1.5 * labels
        scores = 1 / (1 + np.exp(-logits))
        item = Predictions(labels, groups, np.stack([1 - scores, scores], axis=1))
        chance = Predictions(labels, groups, np.full((160, 2), 0.5))
        found.append(gap(item, chance))
    spread = np.std([item.point for item in found])
    assert np.mean([item.error for item in found]) == pytest.approx(spread, rel=0.1)


def test_one_patient_a_class_says_nothing() -> None:
    found = gap(*(classifier(40, auroc, 1, groups=2) for auroc in (0.9, 0.6)))
    assert found.p == 1
    assert math.isnan(found.interval().low)


def test_a_cell_does_not_differ_from_itself() -> None:
    item = classifier(50, 0.8, 1)
    for metric in ("auroc", "f1", "brier", "mcc"):
        assert (gap(item, item, metric).point, gap(item, item, metric).p) == (0, 1)


def test_a_calibration_error_has_no_verdict() -> None:
    assert gap(classifier(200, 0.9, 1), classifier(200, 0.6, 2), "ece").p == 1


@given(st.floats(-0.2, 0.2), st.floats(0.001, 0.1), st.floats(2, 1e6), st.floats(0.5, 0.999))
def test_the_interval_excludes_zero_exactly_where_p_is_small(
    point: float, error: float, freedom: float, level: float
) -> None:
    found = Difference(point, error**2, 0.0, freedom)
    inside = found.interval(level)
    if abs(found.p - (1 - level)) > 1e-6:
        assert (inside.low <= 0 <= inside.high) == (found.p > 1 - level)


def test_equivalence_asks_for_more_than_agreement_on_few_patients() -> None:
    assert Difference(0.0, 0.0, 0.0, math.inf).equivalent(0.01) == 0
    for groups, can in ((30, False), (100, False), (300, True), (1000, True)):
        grain = 2 / groups**2
        assert can_be_equivalent(grain, 0.01) == can
        assert (Difference(0.0, 0.0, 0.0, math.inf, grain).equivalent(0.01) < 0.05) == can


def test_not_worse_and_equivalent_are_one_sided_tests() -> None:
    found = Difference(-0.004, 0.003**2, 0.0, math.inf)
    assert found.not_worse(0.01) == pytest.approx(0.0228, abs=1e-3)  # two errors from the margin
    assert found.equivalent(0.01) == found.not_worse(0.01)
    assert found.flipped().not_worse(0.01) < 1e-4


def test_a_mean_over_data_sets_has_the_errors_of_all() -> None:
    items = [Difference(0.1, 0.02**2, 0.01**2, 40.0), Difference(0.2, 0.04**2, 0.0, math.inf)]
    found = average(items)
    assert found.point == pytest.approx(0.15)
    assert found.error**2 == pytest.approx((0.02**2 + 0.01**2 + 0.04**2) / 4)
    assert found.freedom > 40


def test_a_known_error_reaches_as_a_normal_one() -> None:
    assert quantile(math.inf) == pytest.approx(1.96, abs=1e-3)
    assert quantile(9) == pytest.approx(student.ppf(0.975, 9))
