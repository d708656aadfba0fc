"""DeLong's test, plain and clustered, against published code and simulated truth."""

import numpy as np
import pytest
from MLstatkit import Delong_test
from sklearn.metrics import roc_auc_score

from sweep.compare.delong import Areas
from sweep.compare.estimates import two_sided
from sweep.compare.results import Predictions
from tests.simulated import classifier


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [False, True])
def test_the_p_value_is_that_of_mlstatkit(seed: int, ties: bool) -> None:
    first, second = (classifier(120, auroc, seed, shared=0.5) for auroc in (0.8, 0.7))
    if ties:
        first, second = (
            Predictions(p.labels_N, p.groups_N, np.round(p.probabilities_NC, 1))
            for p in (first, second)
        )
    _, oracle = Delong_test(
        first.labels_N, first.probabilities_NC[:, 1], second.probabilities_NC[:, 1]
    )[:2]
    areas = Areas([[first], [second]])
    assert two_sided(areas.difference(0, 1)) == pytest.approx(oracle, abs=1e-6)
    expected = roc_auc_score(first.labels_N, first.probabilities_NC[:, 1])
    assert areas.areas_K[0] == pytest.approx(expected)


def test_equal_classifiers_differ_once_in_20() -> None:
    found = []
    for seed in range(1000):
        pair = [[classifier(150, 0.75, 2 * seed + k, shared=0.4)] for k in (0, 1)]
        found.append(two_sided(Areas(pair).difference(0, 1)) < 0.05)
    assert 0.03 <= np.mean(found) <= 0.07


def test_unequal_classifiers_are_told_apart_with_enough_samples() -> None:
    pair = [[classifier(2000, auroc, 3, shared=0.5)] for auroc in (0.85, 0.75)]
    assert two_sided(Areas(pair).difference(0, 1)) < 1e-6


def test_copies_within_a_group_add_no_certainty() -> None:
    ones = [classifier(60, auroc, 7, shared=0.5) for auroc in (0.85, 0.7)]
    copies = np.repeat(np.arange(60), 5)
    grouped = [[Predictions(p.labels_N[copies], copies, p.probabilities_NC[copies])] for p in ones]
    alone = Areas([[p] for p in ones]).difference(0, 1)
    together = Areas(grouped).difference(0, 1)
    assert together.point == pytest.approx(alone.point)
    assert together.error == pytest.approx(alone.error, rel=0.02)


def test_groups_of_both_classes_are_taken_together() -> None:
    # Of each patient one healthy and one ill eye, whose scores share most of their error.
    rng, found = np.random.default_rng(0), []
    groups, labels = np.repeat(np.arange(80), 2), np.tile([0, 1], 80)
    for _ in range(400):
        logits = np.repeat(rng.normal(size=80), 2) * 2 + rng.normal(size=160) + 1.5 * labels
        scores = 1 / (1 + np.exp(-logits))
        item = Predictions(labels, groups, np.stack([1 - scores, scores], axis=1))
        chance = Predictions(labels, groups, np.full((160, 2), 0.5))
        found.append(Areas([[item], [chance]]).difference(0, 1))
    spread = np.std([item.point for item in found])
    assert np.mean([item.error for item in found]) == pytest.approx(spread, rel=0.1)


def test_the_area_of_a_cell_is_the_mean_over_its_seeds() -> None:
    seeds = [classifier(100, 0.8, seed) for seed in range(3)]
    each = [roc_auc_score(p.labels_N, p.probabilities_NC[:, 1]) for p in seeds]
    assert Areas([seeds]).areas_K[0] == pytest.approx(np.mean(each))


def test_a_cell_does_not_differ_from_itself() -> None:
    one = [classifier(50, 0.8, 1)]
    difference = Areas([one, one]).difference(0, 1)
    assert difference.point == 0
    assert two_sided(difference) == 1
