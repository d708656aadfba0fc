"""Operating points, decision curves and the effect of the temperature."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sweep.comparison.calibration import calibration_effect
from sweep.comparison.comparison import Choices, compare
from sweep.comparison.operating import decision_curve, operating_results, treat_all
from sweep.comparison.stats.intervals import share_interval
from sweep.comparison.stats.sampling import share_estimate
from sweep.records.predictions import Predictions
from sweep.train.calibration import with_temperature
from sweep.train.metrics import score
from sweep.train.thresholds import OPERATING_POINTS, choose_thresholds
from tests.simulated import sweep_of


@given(st.integers(0, 10_000))
def test_a_threshold_holds_its_level_and_no_better_one_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.array([0, 1, *rng.integers(0, 2, 30)])
    scores = rng.integers(0, 8, len(labels)) / 8  # with ties
    chosen = choose_thresholds(labels, scores)

    def rates(threshold: float) -> dict[str, float]:
        called = scores >= threshold
        return {
            "sensitivity": called[labels == 1].mean(),
            "specificity": (~called)[labels == 0].mean(),
        }

    for point in OPERATING_POINTS:
        held = rates(chosen[point.name])
        assert held[point.held] >= point.level
        others = [rates(threshold) for threshold in [*np.unique(scores), 2.0]]
        best = max(other[point.scored] for other in others if other[point.held] >= point.level)
        assert held[point.scored] == pytest.approx(best)


def test_names_of_operating_points() -> None:
    assert [point.name for point in OPERATING_POINTS] == [
        "specificity_90", "specificity_95", "sensitivity_90", "sensitivity_95",
    ]  # fmt: skip


def test_the_interval_of_a_share_is_wilsons() -> None:
    hits = np.array([[1.0] * 45 + [0.0] * 5])
    found = share_interval(share_estimate(hits, np.arange(50)))
    wanted = binomtest(45, 50).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.01)


def test_a_share_of_grouped_samples_is_known_less_well() -> None:
    hits = np.array([[1.0] * 40 + [0.0] * 10])
    alone = share_interval(share_estimate(hits, np.arange(50)))
    grouped = share_interval(share_estimate(hits, np.arange(50) // 5))
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)


def test_a_cell_is_shown_at_each_operating_point() -> None:
    sweep = sweep_of({"small/frozen": 0.9})
    for record in sweep.cells[0].confirmations:
        record.facts["thresholds"] = {point.name: 0.5 for point in OPERATING_POINTS}
    (row, *_) = compare([sweep], Choices("auroc")).datasets["eyes"]
    results = operating_results(row)
    assert [item.point for item in results] == list(OPERATING_POINTS)
    item = row.cell.predictions()[0]
    right = [
        (p.probabilities_NC[:, 1] >= 0.5)[p.labels_N == 1].mean() for p in row.cell.predictions()
    ]
    assert results[0].sensitivity.mean == pytest.approx(np.mean(right))
    assert results[0].sensitivity.low < results[0].sensitivity.mean < results[0].sensitivity.high
    assert len(item.labels_N) == 300


def test_records_of_older_versions_have_no_operating_points() -> None:
    (row, *_) = compare([sweep_of({"small/frozen": 0.9})], Choices("auroc")).datasets["eyes"]
    assert operating_results(row) == []
    assert calibration_effect(row) is None


def test_net_benefit_is_that_of_vickers_and_elkin() -> None:
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9])
    at, benefit = decision_curve(
        Predictions(labels, np.arange(4), np.stack([1 - scores, scores], 1))
    )
    place = int(np.argmin(np.abs(at - 0.5)))
    assert benefit[place] == pytest.approx(1 / 4 - 1 / 4 * at[place] / (1 - at[place]))
    assert treat_all(0.5)[0] == pytest.approx(benefit[0])


def test_the_effect_of_the_temperature_is_that_on_the_kept_probabilities() -> None:
    sweep = sweep_of({"small/frozen": 0.8})
    cell = sweep.cells[0]
    raw = [item.probabilities_NC for item in cell.predictions()]
    tables = []
    for table, own in zip(cell._tables, raw, strict=True):
        scaled = with_temperature(own, 2.0)
        frame = table.to_pandas()
        for index, name in enumerate(cell.classes):
            frame[f"p_{name}"], frame[f"uncalibrated_{name}"] = scaled[:, index], own[:, index]
        tables.append(pa.Table.from_pandas(frame))
    cell.__dict__["_tables"] = tables
    for record in cell.confirmations:
        record.facts["temperature"] = 2.0
    (row, *_) = compare([sweep], Choices("auroc")).datasets["eyes"]
    effect = calibration_effect(row)
    labels = row.cell.predictions()[0].labels_N
    assert effect.before["brier"] == pytest.approx(
        np.mean([score(labels, p)["brier"] for p in raw])
    )
    assert effect.after["brier"] != pytest.approx(effect.before["brier"])
    assert effect.temperatures == (2.0, 2.0)
