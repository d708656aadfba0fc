"""Several labels a picture: metrics against scikit-learn's, splits, losses, heads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from sweep.train.metrics import all_metrics, influences, pool, score
from sweep.train.metrics.base import Metric, WeightedPredictions


@st.composite
def labelled(draw: st.DrawFn):
    """A matrix of 2 to 5 labels, each on some samples and not on others, and probabilities."""
    count, samples = draw(st.integers(2, 5)), draw(st.integers(8, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    labels = (rng.random((samples, count)) < rng.uniform(0.1, 0.6, count)).astype(np.int64)
    labels[0], labels[1] = 1, 0
    probabilities = np.clip(rng.random((samples, count)) * 0.7 + 0.3 * labels, 0, 1)
    if draw(st.booleans()):
        probabilities = np.round(probabilities, 1)
    return labels, probabilities


def by_scikit_learn(labels, probabilities) -> dict[str, float]:
    predicted, columns = (probabilities > 0.5).astype(int), range(labels.shape[1])

    def mean_of(metric, values) -> float:
        return float(np.mean([metric(labels[:, c], values[:, c]) for c in columns]))

    def averaged(metric, how: str) -> float:
        return metric(labels, predicted, average=how, zero_division=0)

    return {
        "auroc": oracle.roc_auc_score(labels, probabilities, average="macro"),
        "auprc": oracle.average_precision_score(labels, probabilities, average="macro"),
        "accuracy": 1 - oracle.hamming_loss(labels, predicted),
        "balanced_accuracy": mean_of(oracle.balanced_accuracy_score, predicted),
        "mcc": mean_of(oracle.matthews_corrcoef, predicted),
        "brier": mean_of(oracle.brier_score_loss, probabilities),
        "precision": averaged(oracle.precision_score, "weighted"),
        "recall": averaged(oracle.recall_score, "weighted"),
        "f1": averaged(oracle.f1_score, "weighted"),
        "precision_macro": averaged(oracle.precision_score, "macro"),
        "recall_macro": averaged(oracle.recall_score, "macro"),
        "f1_macro": averaged(oracle.f1_score, "macro"),
    }


@given(labelled())
@settings(max_examples=60, deadline=None)
def test_every_metric_of_several_labels_is_scikit_learns(drawn) -> None:
    labels, probabilities = drawn
    found = score(labels, probabilities, "multilabel")
    assert list(found) == list(all_metrics("multilabel"))
    for name, value in by_scikit_learn(labels, probabilities).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    assert 0 <= found["ece"] <= 1


@pytest.mark.parametrize(
    "name", [n for n, metric in all_metrics("multilabel").items() if metric.has_variance]
)
def test_influences_of_several_labels_are_those_of_the_slow_way(name: str) -> None:
    rng, metric = np.random.default_rng(3), all_metrics()[name]
    labels = (rng.random((80, 4)) < 0.3).astype(np.int64)
    probabilities = np.clip(rng.random((80, 4)) * 0.6 + 0.4 * labels, 0, 1)
    one = WeightedPredictions.of_weight_1(labels, probabilities[None])
    found = influences(labels, probabilities, "multilabel")[name]
    assert Metric.influences(metric, one) == pytest.approx(found, abs=1e-6)
    assert found.sum() == pytest.approx(0, abs=1e-9)


def test_a_sample_of_weight_2_counts_like_two_samples() -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random((30, 3)) < 0.4).astype(np.int64)
    probabilities, times = rng.random((30, 3)), rng.integers(1, 4, 30)
    repeated = score(np.repeat(labels, times, 0), np.repeat(probabilities, times, 0), "multilabel")
    given_ = WeightedPredictions(labels, probabilities[None], times.astype(float))
    for name, metric in all_metrics("multilabel").items():
        assert metric.score(given_)[0] == pytest.approx(repeated[name]), name


def test_the_predictions_of_a_patient_are_averaged_label_by_label() -> None:
    labels = np.array([[1, 0], [1, 0], [0, 1]])
    probabilities = np.array([[[0.2, 0.4], [0.6, 0.0], [0.1, 0.9]]])
    pooled, means = pool(labels, probabilities, np.array([0, 0, 1]))
    assert pooled.tolist() == [[1, 0], [0, 1]]
    assert means[0] == pytest.approx(np.array([[0.4, 0.2], [0.1, 0.9]]))
