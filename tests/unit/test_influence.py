"""Influences: the derivative of every metric, against differences of the metric itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from sweep.train.metrics import all_metrics, influences, score
from sweep.train.metrics.base import Metric, WeightedPredictions
from tests.simulated import classifier


def repeated(values: np.ndarray, index: int, times: int) -> np.ndarray:
    """Return the values with every sample `times` times, one of them once more."""
    counts = np.full(len(values), times)
    counts[index] += 1
    return np.repeat(values, counts, axis=0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.booleans())
def test_an_influence_is_what_one_more_of_a_sample_does(
    seed: int, classes: int, ties: bool
) -> None:
    item = classifier(24, 0.75, seed, classes=classes)
    probabilities = np.round(item.probabilities_NC, 1) if ties else item.probabilities_NC
    found, times = influences(item.labels_N, probabilities), 2000
    before = score(item.labels_N, probabilities)
    for index in (0, 11, 23):
        labels, moved = (repeated(v, index, times) for v in (item.labels_N, probabilities))
        after = score(labels, moved)
        for name, influence_N in found.items():
            change = (after[name] - before[name]) * times
            assert influence_N[index] == pytest.approx(change, abs=2e-3), name


@pytest.mark.parametrize("classes", [2, 5])
def test_influences_of_a_metric_sum_to_zero(classes: int) -> None:
    item = classifier(90, 0.8, 3, classes=classes)
    found = influences(item.labels_N, item.probabilities_NC)
    of_classes = all_metrics("multiclass").items()
    assert set(found) == {name for name, metric in of_classes if metric.has_variance}
    for influence_N in found.values():
        assert influence_N.sum() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("metric", ["auroc", "auprc"])
def test_their_squares_are_the_variance_of_the_bootstrap(metric: str) -> None:
    item = classifier(400, 0.8, 5)
    oracle = {"auroc": roc_auc_score, "auprc": average_precision_score}[metric]
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, 400, 400) for _ in range(600)]
    drawn = np.std([oracle(item.labels_N[d], item.probabilities_NC[d, 1]) for d in draws])
    influence_N = influences(item.labels_N, item.probabilities_NC)[metric]
    assert np.sqrt((influence_N**2).sum()) == pytest.approx(drawn, rel=0.1)


def test_ranks_of_one_class_have_none() -> None:
    found = influences(np.zeros(5, dtype=np.int64), np.full((5, 2), 0.5))
    assert np.isnan(found["auroc"]).all()
    assert np.isfinite(found["accuracy"]).all()


@pytest.mark.parametrize("name", [n for n, metric in all_metrics().items() if metric.has_variance])
def test_the_slow_way_for_any_metric_gives_the_same_influences(name: str) -> None:
    metric, item = all_metrics()[name], classifier(120, 0.8, 7, classes=3)
    given = WeightedPredictions.of_weight_1(item.labels_N, item.probabilities_NC[None])
    assert Metric.influences(metric, given) == pytest.approx(metric.influences(given), abs=1e-6)


def test_the_slow_way_in_parts_gives_the_same_variance() -> None:
    metric, item = all_metrics()["brier"], classifier(4000, 0.8, 7)
    given = WeightedPredictions.of_weight_1(item.labels_N, item.probabilities_NC[None])
    parts, exact = Metric.influences(metric, given), metric.influences(given)
    assert np.count_nonzero(parts) <= 500
    assert (parts**2).sum() == pytest.approx((exact**2).sum(), rel=0.25)


@pytest.mark.parametrize("name", list(all_metrics()))
def test_a_sample_of_weight_two_counts_like_two_samples(name: str) -> None:
    metric, item = all_metrics()[name], classifier(60, 0.8, 11, classes=3)
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 4, 60)
    labels = np.repeat(item.labels_N, weights)
    probabilities = np.repeat(item.probabilities_NC, weights, axis=0)
    repeated = WeightedPredictions.of_weight_1(labels, probabilities[None])
    given = WeightedPredictions.of_weight_1(item.labels_N, item.probabilities_NC[None])
    weighted = given.weighted(weights.astype(np.float64))
    assert metric.score(weighted) == pytest.approx(metric.score(repeated))
