"""The grouped, paired bootstrap gives what plain loops give, and covers the truth."""

import numpy as np
import pytest
from confidenceinterval import roc_auc_score as oracle_auroc
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, roc_auc_score

from sweep.compare.estimates import Interval
from sweep.compare.resampling import draw_weights, estimated, weighted_scores
from sweep.compare.results import Predictions
from sweep.train.metrics import score
from tests.simulated import classifier


@st.composite
def weighted(draw: st.DrawFn):
    classes, samples = draw(st.integers(2, 4)), draw(st.integers(6, 50))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, samples)])
    raw = rng.random((len(labels), classes)) + 0.01
    if draw(st.booleans()):
        raw = np.ceil(raw * 3)  # so that many tie
    weights = rng.integers(0, 4, (len(labels), 3)).astype(float)
    weights[:classes] += 1  # every class keeps some weight
    predictions = Predictions(labels, np.arange(len(labels)), raw / raw.sum(axis=1, keepdims=True))
    return predictions, weights


@given(weighted())
@settings(max_examples=100, deadline=None)
def test_a_weight_counts_a_sample_that_often(drawn) -> None:
    predictions, weights_NR = drawn
    found = weighted_scores(predictions, weights_NR)
    for column in range(weights_NR.shape[1]):
        rows = np.repeat(np.arange(len(weights_NR)), weights_NR[:, column].astype(int))
        plain = score(predictions.labels_N[rows], predictions.probabilities_NC[rows])
        for name, value in plain.items():
            assert found[name][column] == pytest.approx(value, abs=1e-9), name


def test_a_class_that_a_resample_misses_leaves_the_mean_to_the_others() -> None:
    predictions = classifier(30, 0.8, 0, classes=3)
    weights_NR = np.ones((30, 1))
    weights_NR[predictions.labels_N == 2] = 0
    found = weighted_scores(predictions, weights_NR)
    rows = predictions.labels_N != 2
    plain = score(predictions.labels_N[rows], predictions.probabilities_NC[rows])
    assert found["auroc"][0] == pytest.approx(plain["auroc"])


def test_ranks_have_no_meaning_where_a_resample_holds_one_class() -> None:
    predictions = classifier(30, 0.8, 0)
    found = weighted_scores(predictions, (predictions.labels_N == 0)[:, None].astype(float))
    assert np.isnan(found["auroc"][0])
    assert np.isnan(found["auprc"][0])


def test_the_interval_is_that_of_a_plain_loop_over_resamples() -> None:
    predictions = classifier(150, 0.8, 0)
    rng = np.random.default_rng(3)
    plain: dict[str, list[float]] = {"auroc": [], "accuracy": []}
    for _ in range(2000):
        drawn = rng.integers(0, 150, 150)
        labels, scores = predictions.labels_N[drawn], predictions.probabilities_NC[drawn, 1]
        plain["auroc"].append(roc_auc_score(labels, scores))
        plain["accuracy"].append(accuracy_score(labels, scores > 0.5))
    found = estimated([[predictions]], "d")[0]
    for name, values in plain.items():
        percentiles = np.percentile(values, [2.5, 97.5])
        interval = found[name].interval()
        assert [interval.low, interval.high] == pytest.approx(percentiles, abs=0.02)


def test_the_interval_of_auroc_is_near_delongs_of_confidenceinterval() -> None:
    predictions = classifier(400, 0.8, 5)
    value, (low, high) = oracle_auroc(
        predictions.labels_N.tolist(), predictions.probabilities_NC[:, 1].tolist()
    )
    interval = estimated([[predictions]], "d")[0]["auroc"].interval()
    assert interval.mean == pytest.approx(value)
    assert [interval.low, interval.high] == pytest.approx([low, high], abs=0.008)


@pytest.mark.parametrize(("metric", "truth"), [("auroc", 0.8), ("accuracy", 0.7242)])
def test_an_interval_holds_the_truth_19_times_in_20(metric: str, truth: float) -> None:
    # Of AUROC 0.8 the scores are 1.19 standard deviations apart; half of it is at 72.4 %.
    runs, held = 1000, 0
    for seed in range(runs):
        interval = estimated([[classifier(200, 0.8, seed)]], "d", 400)[0][metric].interval()
        held += interval.low <= truth <= interval.high
    assert 0.93 <= held / runs <= 0.97


def test_an_interval_of_grouped_samples_holds_the_truth_where_one_of_samples_does_not() -> None:
    runs, grouped, naive = 300, 0, 0
    for seed in range(runs):
        one = classifier(60, 0.8, seed)
        copies = np.repeat(np.arange(60), 6)
        labels, probabilities = one.labels_N[copies], one.probabilities_NC[copies]
        for groups in (copies, np.arange(360)):
            item = Predictions(labels, groups, probabilities)
            interval = estimated([[item]], "d", 300)[0]["auroc"].interval()
            held = interval.low <= 0.8 <= interval.high
            grouped, naive = (
                grouped + held * (groups is copies),
                naive + held * (groups is not copies),
            )
    assert grouped / runs > 0.90
    assert naive / runs < 0.70


def test_whole_groups_are_drawn() -> None:
    groups = np.repeat(np.arange(10), 5)
    weights_NR = draw_weights(groups, 100, np.random.default_rng(0))
    assert weights_NR.shape == (50, 100)
    by_group = weights_NR.reshape(10, 5, 100)
    assert (by_group == by_group[:, :1]).all()
    assert (weights_NR.sum(axis=0) == 50).all()


def test_all_cells_of_a_dataset_get_the_same_resamples() -> None:
    one = classifier(80, 0.7, 1)
    first, second = estimated([[one], [one]], "d")
    assert (first["auroc"].resampled_R == second["auroc"].resampled_R).all()
    alone = estimated([[one]], "d")[0]
    assert (alone["auroc"].resampled_R == first["auroc"].resampled_R).all()


def test_other_datasets_get_other_resamples() -> None:
    one = classifier(80, 0.7, 1)
    here, there = estimated([[one]], "here")[0], estimated([[one]], "there")[0]
    assert (here["auroc"].resampled_R != there["auroc"].resampled_R).any()


def test_the_mean_is_over_seeds() -> None:
    seeds = [classifier(100, 0.8, seed) for seed in range(3)]
    each = [estimated([[p]], "d")[0]["auroc"].point for p in seeds]
    together = estimated([seeds], "d")[0]["auroc"].interval()
    assert together.mean == pytest.approx(np.mean(each))
    assert together.low < together.mean < together.high


def test_every_point_is_within_its_interval() -> None:
    for name, item in estimated([[classifier(300, 0.8, 2, classes=3)]], "d")[0].items():
        interval = item.interval()
        assert interval.low < interval.mean < interval.high, name


def test_constant_predictions_have_an_interval_without_width() -> None:
    predictions = Predictions(np.arange(20) % 2, np.arange(20), np.full((20, 2), 0.5))
    assert estimated([[predictions]], "d")[0]["auroc"].interval() == Interval(0.5, 0.5, 0.5)
