import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from sweep.compare.results import Predictions
from sweep.compare.statistics import REPORTED, draw_weights, intervals


def simulated(samples: int, seed: int, signal: float = 1.0) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.arange(samples) % 2
    scores = 1 / (1 + np.exp(-signal * (labels - 0.5) - rng.normal(size=samples)))
    return Predictions(labels, np.arange(samples), np.stack([1 - scores, scores], axis=1))


def test_the_interval_is_that_of_a_plain_loop_over_resamples() -> None:
    predictions = simulated(150, 0)
    rng = np.random.default_rng(3)
    plain: dict[str, list[float]] = {"auroc": [], "accuracy": []}
    for _ in range(2000):
        drawn = rng.integers(0, 150, 150)
        labels, scores = predictions.labels_N[drawn], predictions.probabilities_NC[drawn, 1]
        plain["auroc"].append(roc_auc_score(labels, scores))
        plain["accuracy"].append(accuracy_score(labels, scores > 0.5))
    found = intervals([predictions], ("auroc", "accuracy"))
    for name, values in plain.items():
        low, high = np.percentile(values, [2.5, 97.5])
        assert found[name].low == pytest.approx(low, abs=0.01)
        assert found[name].high == pytest.approx(high, abs=0.01)


def test_an_interval_holds_the_truth_19_times_in_20() -> None:
    # Two normal distributions 1 apart, of noise 1: AUROC = Phi(1 / sqrt 2).
    truth, runs = 0.7602, 300
    held = 0
    for seed in range(runs):
        interval = intervals([simulated(200, seed)], ("auroc",), resamples=400)["auroc"]
        held += interval.low <= truth <= interval.high
    assert 0.90 <= held / runs <= 0.99


def test_whole_groups_are_drawn() -> None:
    groups = np.repeat(np.arange(10), 5)
    weights = draw_weights(groups, 100, np.random.default_rng(0))
    assert weights.shape == (100, 50)
    assert (weights.reshape(100, 10, 5) == weights.reshape(100, 10, 5)[:, :, :1]).all()
    assert (weights.sum(axis=1) == 50).all()


def test_samples_of_one_group_make_the_interval_wider() -> None:
    one = simulated(40, 0)
    copies = Predictions(
        np.repeat(one.labels_N, 8), np.arange(320), np.repeat(one.probabilities_NC, 8, axis=0)
    )
    grouped = Predictions(copies.labels_N, np.repeat(np.arange(40), 8), copies.probabilities_NC)
    naive, honest = (intervals([p], ("auroc",))["auroc"] for p in (copies, grouped))
    assert honest.mean == naive.mean
    assert honest.high - honest.low > 2 * (naive.high - naive.low)


def test_the_mean_is_over_seeds() -> None:
    seeds = [simulated(100, seed) for seed in range(3)]
    each = [intervals([p])["auroc"].mean for p in seeds]
    together = intervals(seeds)
    assert set(together) == set(REPORTED)
    assert together["auroc"].mean == pytest.approx(np.mean(each))
    assert together["auroc"].low < together["auroc"].mean < together["auroc"].high


def test_the_same_predictions_give_the_same_interval() -> None:
    assert intervals([simulated(80, 1)]) == intervals([simulated(80, 1)])


def test_without_predictions_there_is_no_interval() -> None:
    assert intervals([]) == {}
