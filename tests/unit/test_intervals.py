"""Intervals of single metrics: never beyond the scale, never without a width, right at its ends."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from sweep.comparison.stats.difference import Interval
from sweep.comparison.stats.intervals import Counts, interval
from sweep.comparison.stats.sampling import estimate
from sweep.records.predictions import Predictions
from tests.simulated import classifier


def intervals(cell: list[Predictions]) -> dict[str, Interval]:
    first = cell[0]
    counts = Counts.of(first.labels_N, first.groups_N, first.probabilities_NC.shape[1])
    return {name: interval(name, item, counts) for name, item in estimate(cell).items()}


@settings(max_examples=40, deadline=None)
@given(st.integers(12, 80), st.floats(0.5, 0.9999), st.integers(0, 10_000), st.integers(2, 4))
def test_every_interval_holds_its_value_within_the_scale(
    samples: int, auroc: float, seed: int, classes: int
) -> None:
    found = intervals([classifier(samples, auroc, seed, classes=classes)] * 3)
    for name, item in found.items():
        if name == "ece":
            assert math.isnan(item.low)
            continue
        lowest = -1 if name == "mcc" else 0
        assert lowest <= item.low <= item.mean + 1e-9, name
        most = 2 if name == "brier" and classes > 2 else 1
        assert item.mean - 1e-9 <= item.high <= most, name
        assert item.low < item.high, name


def test_an_accuracy_has_wilsons_interval() -> None:
    labels = np.tile([0, 1], 1000)
    hits = np.arange(2000) % 10 < 9
    right = np.where(labels == 1, hits, ~hits)
    item = Predictions(labels, np.arange(2000), np.stack([~right, right], axis=1) * 1.0)
    found = intervals([item] * 3)["accuracy"]
    oracle = binomtest(1800, 2000).proportion_ci(method="wilson")
    assert [found.low, found.high] == pytest.approx([oracle.low, oracle.high], abs=2e-4)


def test_a_perfect_score_says_how_little_a_small_test_set_can() -> None:
    found = {n: intervals([classifier(n, 1 - 1e-13, 1)] * 3)["auroc"] for n in (30, 300)}
    assert found[30].mean == found[300].mean == 1
    assert found[30].low < 0.9
    assert 0.98 < found[300].low < 1


@pytest.mark.parametrize("auroc", [0.8, 0.98])
def test_the_interval_of_an_auroc_covers_the_truth(auroc: float) -> None:
    held = []
    for seed in range(400):
        item = intervals([classifier(60, auroc, seed)] * 3)["auroc"]
        held.append(item.low <= auroc <= item.high)
    assert np.mean(held) >= 0.925


def test_noise_of_training_makes_an_interval_wider() -> None:
    still = intervals([classifier(400, 0.8, 1)] * 5)["auroc"]
    moving = intervals([classifier(400, 0.8, seed) for seed in range(5)])["auroc"]
    assert moving.high - moving.low > still.high - still.low


def test_copies_within_a_group_make_no_interval_narrower() -> None:
    one = classifier(60, 0.85, 7)
    copies = np.repeat(np.arange(60), 5)
    grouped = Predictions(one.labels_N[copies], copies, one.probabilities_NC[copies])
    for metric in ("auroc", "accuracy", "balanced_accuracy", "auprc", "brier"):
        alone, together = (intervals([item] * 3)[metric] for item in (one, grouped))
        assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_one_class_alone_leaves_ranks_unknown() -> None:
    item = classifier(40, 0.8, 1)
    kept = item.labels_N == 1
    alone = Predictions(item.labels_N[kept], np.arange(kept.sum()), item.probabilities_NC[kept])
    found = intervals([alone] * 3)
    assert math.isnan(found["auroc"].low)
    assert found["accuracy"].low < found["accuracy"].high
