import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from sweep.train.metrics import all_metrics, pool, score, score_each


@st.composite
def predictions(draw: st.DrawFn):
    """Labels and probabilities of 2 to 4 classes, coarse ones now and then, so that many tie."""
    classes, samples = draw(st.integers(2, 4)), draw(st.integers(8, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, samples)])
    raw = rng.random((len(labels), classes)) + 0.01
    if draw(st.booleans()):
        raw = np.ceil(raw * 3)
    return labels, raw / raw.sum(axis=1, keepdims=True)


def by_scikit_learn(labels, probabilities) -> dict[str, float]:
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    one_hot = np.eye(classes)[labels]
    sided = range(1, 2) if classes == 2 else range(classes)
    average = {"average": "weighted", "zero_division": 0}
    macro = {"average": "macro", "zero_division": 0}

    def over_classes(metric) -> float:
        return float(np.mean([metric(one_hot[:, c], probabilities[:, c]) for c in sided]))

    return {
        "auroc": over_classes(oracle.roc_auc_score),
        "auprc": over_classes(oracle.average_precision_score),
        "accuracy": oracle.accuracy_score(labels, predicted),
        "balanced_accuracy": oracle.balanced_accuracy_score(labels, predicted),
        "precision": oracle.precision_score(labels, predicted, **average),
        "recall": oracle.recall_score(labels, predicted, **average),
        "f1": oracle.f1_score(labels, predicted, **average),
        "precision_macro": oracle.precision_score(labels, predicted, **macro),
        "recall_macro": oracle.recall_score(labels, predicted, **macro),
        "f1_macro": oracle.f1_score(labels, predicted, **macro),
        "brier": oracle.brier_score_loss(labels, probabilities, labels=np.arange(classes)),
        "mcc": oracle.matthews_corrcoef(labels, predicted),
    }


@given(predictions())
@settings(max_examples=100, deadline=None)
def test_every_metric_is_scikit_learns(drawn) -> None:
    labels, probabilities = drawn
    found = score(labels, probabilities)
    assert list(found) == list(all_metrics("multiclass"))
    for name, value in by_scikit_learn(labels, probabilities).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


@given(st.lists(predictions(), min_size=1, max_size=1), st.integers(1, 5), st.booleans())
@settings(max_examples=30, deadline=None)
def test_many_predictions_at_once_score_as_each_alone(drawn, count: int, ties: bool) -> None:
    labels, first = drawn[0]
    rng = np.random.default_rng(count)
    others = rng.dirichlet(np.ones(first.shape[1]), (count, len(labels)))
    together = np.concatenate([first[None], np.round(others, 1) if ties else others])
    found = score_each(labels, together)
    for row, probabilities in enumerate(together):
        for name, value in score(labels, probabilities).items():
            assert found[name][row] == pytest.approx(value, abs=1e-12)


def test_no_prediction_has_no_scores() -> None:
    found = score_each(np.array([0, 1]), np.zeros((0, 2, 2)))
    assert {len(values) for values in found.values()} == {0}


def test_ranks_are_not_a_number_where_one_class_has_all_samples() -> None:
    found = score(np.array([0, 0]), np.array([[0.9, 0.1], [0.4, 0.6]]))
    assert np.isnan(found["auroc"])
    assert np.isnan(found["auprc"])
    assert found["accuracy"] == 0.5


def test_a_class_without_samples_is_left_out_of_the_mean() -> None:
    labels = np.array([0, 1, 0, 1])
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.6, 0.2, 0.2]])
    found = score(labels, probabilities)
    expected = [oracle.roc_auc_score(labels == c, probabilities[:, c]) for c in (0, 1)]
    assert found["auroc"] == pytest.approx(np.mean(expected))
    assert found["balanced_accuracy"] == oracle.balanced_accuracy_score(
        labels, probabilities.argmax(axis=1)
    )


def test_constant_predictions_score_as_chance() -> None:
    found = score(np.array([0, 1, 0, 1]), np.full((4, 2), 0.5))
    assert found["auroc"] == 0.5
    assert found["mcc"] == 0


def test_the_calibration_error_is_the_gap_of_each_bin_by_its_share_of_the_samples() -> None:
    # Two bins: 3 samples said with 0.9, of which 2 are right; 1 said with 0.6, which is right.
    confidences = np.array([0.9, 0.9, 0.9, 0.6])
    found = score(np.array([0, 0, 1, 0]), np.stack([confidences, 1 - confidences], axis=1))
    assert found["ece"] == pytest.approx(3 / 4 * abs(2 / 3 - 0.9) + 1 / 4 * abs(1 - 0.6))


def test_pooled_predictions_are_the_means_of_their_units() -> None:
    labels = np.array([1, 0, 1, 0, 1])
    units = np.array([2, 0, 2, 1, 2])
    probabilities = np.random.default_rng(0).dirichlet([1, 1], (3, 5))
    of_units, means = pool(labels, probabilities, units)
    assert of_units.tolist() == [0, 0, 1]
    assert means.shape == (3, 3, 2)
    np.testing.assert_allclose(means[:, 2], probabilities[:, [0, 2, 4]].mean(axis=1))
    np.testing.assert_allclose(means[:, 0], probabilities[:, 1])


def test_without_units_nothing_is_pooled() -> None:
    labels, probabilities = np.array([0, 1]), np.ones((1, 2, 2)) / 2
    assert pool(labels, probabilities, None) == (labels, probabilities)
