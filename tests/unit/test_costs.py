"""Cost beside quality, ranks across datasets, and fairness of the search."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare

from sweep.comparison.budgets import at_equal_budget, best_values, expected_best
from sweep.comparison.comparison import Choices, Comparison, compare
from sweep.comparison.costs import (
    cheapest_good,
    cheapest_sentence,
    cost,
    describe_unlike_devices,
    pareto,
    work,
)
from sweep.comparison.ranks import ranks
from sweep.records.results import cell_result
from tests.simulated import sweep_of
from tests.unit.test_questions import DATASETS, cells, shifted


def comparison(aurocs: dict[str, float], margin: float = 0.01, **changes: object) -> Comparison:
    return compare([sweep_of(aurocs, **changes)], Choices("auroc", margin))


def test_a_cell_costs_its_search_and_one_training() -> None:
    row = next(r for r in comparison(cells(0.8, 0.8, 0.6)).rows if r.label == "small/full")
    spent = cost(row.cell)
    assert (spent.search_s, spent.training_s, spent.total_s) == (80, 20, 100)
    assert (spent.parameters, spent.trainable, spent.memory_mib) == (1_000_000, 1000, 500)
    assert spent.images_per_s == 50
    assert (spent.search_flops, spent.training_flops) == (4e10, 1e10)
    assert spent.total_flops == 5e10
    assert spent.device == "x86_64, threads: 1"


def test_no_cell_beats_one_of_the_front_in_both_cost_and_quality() -> None:
    found = comparison(cells(0.8, 0.7, 0.6, full=0.1))
    front = pareto(found, "eyes")
    assert [row.label for row in front] == ["small/frozen", "small/full"]
    for row in found.rows:
        better = [
            one
            for one in found.rows
            if work(one.cell) <= work(row.cell)
            and one.metrics["auroc"].mean > row.metrics["auroc"].mean
        ]
        assert bool(better) == (row not in front)


def test_the_cheapest_good_cell_is_shown_to_be_near_the_best() -> None:
    found = comparison(cells(0.85, 0.7, 0.6, full=0.003), 0.05, samples=3000, shared=0.5, seeds=10)
    assert cheapest_good(found, "eyes").row.label == "small/frozen"
    said = cheapest_sentence(found, "eyes")
    assert "the cheapest cell that is as good as the best (not worse by 0.05 AUROC" in said
    assert "is small/frozen, " in said
    assert "at 1/10.0 of the work of the best" in said


def test_with_few_samples_no_cheaper_cell_is_shown_to_be_good() -> None:
    found = comparison(cells(0.85, 0.7, 0.6, full=0.05), 0.01, samples=80)
    best = found.rows[0]
    assert cheapest_good(found, "eyes").row is best
    assert "no cheaper cell is shown to be as good" in cheapest_sentence(found, "eyes")


def test_a_cheaper_cell_that_loses_in_another_metric_is_not_as_good() -> None:
    sweep = sweep_of(cells(0.85, 0.7, 0.6, full=0.003), samples=3000, shared=0.5, seeds=10)
    cell = sweep.cells[0]
    assert cell.name == "eyes/small/frozen"
    cell._tables[:] = [shifted(table) for table in cell._tables]
    found = compare([sweep], Choices("auroc", 0.05))
    assert cheapest_good(found, "eyes").row.label == "small/full"
    said = cheapest_sentence(found, "eyes")
    assert "small/frozen is cheaper and within the margin, but worse in accuracy 0." in said


def test_a_frozen_cell_costs_its_features_once_whether_they_were_cached_or_not() -> None:
    found = comparison(cells(0.8, 0.8, 0.6))
    cell = next(r.cell for r in found.rows if r.label == "small/frozen")
    trials = [replace(t, facts={**t.facts, "features_flops": 7e9}) for t in cell.trials]
    records = [*trials, *cell.confirmations]
    grid = found.sweeps[0].space.cells()
    own = next(item for item in grid if item.name == cell.name)
    again = cell_result("s", own, records, cell.read)
    assert cost(again).search_flops == cost(cell).search_flops + 7e9


def test_times_of_different_machines_are_warned_of() -> None:
    found = comparison(cells(0.8, 0.8, 0.6))
    assert describe_unlike_devices(found) is None
    for record in found.rows[0].cell.confirmations:
        record.facts |= {"device": "NVIDIA H100", "accelerator": "cuda"}
    assert "NVIDIA H100, x86_64, threads: 1" in describe_unlike_devices(found)


def test_ranks_are_averages_over_the_datasets() -> None:
    found = comparison(cells(0.8, 0.9, 0.6), datasets=DATASETS)
    result = ranks(found)
    assert result.datasets == ["eyes", "lungs", "skin"]
    assert {result.average.index[0], result.average.index[1]} == {"large/frozen", "large/full"}
    assert result.average.sum() == pytest.approx(1 + 2 + 3 + 4 + 5 + 6)
    scores = {
        label: [r.estimates["auroc"].point for r in found.rows if r.label == label]
        for label in result.average.index
    }
    assert result.p == pytest.approx(friedmanchisquare(*scores.values()).pvalue)


def test_the_critical_distance_is_that_of_demsars_table() -> None:
    # Demšar (2006), table 5: q = 2.850 for 6 methods at 0.05.
    result = ranks(comparison(cells(0.8, 0.9, 0.6), datasets=DATASETS))
    assert result.distance == pytest.approx(2.850 * np.sqrt(6 * 7 / (6 * 3)), abs=1e-3)


def test_one_dataset_or_two_methods_have_no_ranks() -> None:
    assert ranks(comparison(cells(0.8, 0.9, 0.6))) is None
    two = {"small/frozen": 0.8, "small/full": 0.7}
    assert ranks(comparison(two, datasets=DATASETS)) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_the_expected_best_is_the_mean_over_all_draws(values: list[float]) -> None:
    found = expected_best(np.array(values))
    for n in range(1, len(values) + 1):
        plain = np.mean([max(draw) for draw in combinations(values, n)])
        assert found[n - 1] == pytest.approx(plain, abs=1e-9)


def test_a_trial_that_diverged_counts_as_the_worst() -> None:
    trials = sweep_of(cells(0.8, 0.9, 0.6)).cells[0].trials
    trials[0].best = {}
    assert best_values(trials).tolist() == pytest.approx([0.81, 0.81, 0.82, 0.83])
    assert best_values([]).tolist() == []


def test_cells_are_compared_at_the_fewest_trials_of_any() -> None:
    budget = {"trials": 2, "epochs": 3, "frozen": {"trials": 4}}
    rows = comparison(cells(0.8, 0.9, 0.6), budget=budget).rows
    fewest, expected = at_equal_budget(rows)
    assert fewest == 2
    frozen = next(row for row in rows if row.label == "small/frozen")
    full = next(row for row in rows if row.label == "small/full")
    assert expected[full] == pytest.approx(0.81)
    assert expected[frozen] == pytest.approx(np.mean([0.81, 0.82, 0.83, 0.82, 0.83, 0.83]))
