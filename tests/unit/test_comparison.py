"""From sweeps to rows, pairs and notes; what cannot be compared is refused in words."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sweep.comparison.caveats import caveats
from sweep.comparison.comparison import Choices, Comparison
from sweep.comparison.comparison import compare as compare_sweeps
from sweep.comparison.stats.verdict import holm
from sweep.errors import SweepError
from sweep.records.results import CellResult, SweepResults
from tests.simulated import as_table, broken, classifier, space, sweep_of

SIX = {
    "small/frozen": 0.80, "small/full": 0.80, "large/frozen": 0.95,
    "large/full": 0.80, "other/frozen": 0.60, "other/full": 0.62,
}  # fmt: skip


def compare(*sweeps: SweepResults, metric: str = "auroc") -> Comparison:
    return compare_sweeps(list(sweeps), Choices(metric))


def with_cells(sweep: SweepResults, **changes: object) -> SweepResults:
    return replace(sweep, cells=[broken(cell, **changes) for cell in sweep.cells])


def test_the_best_of_each_dataset_comes_first() -> None:
    rows = compare(sweep_of(SIX)).rows
    assert rows[0].label == "large/frozen"
    assert rows[0].metrics["auroc"].mean == pytest.approx(0.95, abs=0.02)
    means = [row.metrics["auroc"].mean for row in rows]
    assert means == sorted(means, reverse=True)


def test_of_a_calibration_error_the_smallest_comes_first() -> None:
    means = [row.metrics["ece"].mean for row in compare(sweep_of(SIX), metric="ece").rows]
    assert means == sorted(means)


def test_a_cell_without_confirmations_comes_last_and_is_named() -> None:
    comparison = compare(sweep_of({"small/frozen": 0.8, "small/full": 0.7}))
    assert [row.metrics == {} for row in comparison.rows] == [False, False] + [True] * 4
    assert "eyes/large/full of s has no confirmation: it is not compared" in comparison.notes


def test_all_pairs_of_a_page_are_one_family() -> None:
    datasets = [{"name": n, "layout": "folder", "path": n} for n in ("eyes", "skin")]
    found = compare(sweep_of(SIX, datasets=datasets)).pairs
    assert [len(pairs) for pairs in found.values()] == [15, 15]
    judged = [pair.verdict for pairs in found.values() for pair in pairs]
    assert [v.adjusted for v in judged] == holm([v.p for v in judged])
    assert all(v.adjusted >= v.p for v in judged)


def test_a_pair_is_the_same_verdict_whichever_cell_comes_first() -> None:
    comparison = compare(sweep_of(SIX))
    first, second = comparison.rows[0], comparison.rows[-1]
    pair = comparison.pair(first, second)
    assert pair is comparison.pair(second, first)
    assert pair.of(first).word == "better"
    assert pair.of(second).word == "worse"


def test_what_a_cell_loses_in_other_metrics_is_known() -> None:
    comparison = compare(sweep_of(SIX))
    pair = comparison.pair(comparison.rows[0], comparison.rows[-1])
    assert pair.lost_by(comparison.rows[0]) == ()
    assert set(pair.lost_by(comparison.rows[-1])) == {
        "accuracy",
        "balanced_accuracy",
        "f1",
        "brier",
    }


def test_choices_on_resamples_have_something_in_common() -> None:
    sweep = sweep_of(SIX)
    for cell in sweep.cells:
        for record in cell.confirmations:
            record.params["chosen_by"] = "partition" if cell.freeze == "frozen" else "resample"
    rows = {row.label: row.estimates["auroc"] for row in compare(sweep).rows}
    frozen, full = rows["small/frozen"], rows["small/full"]
    assert frozen.training_variance == pytest.approx(frozen.spread**2 / 3)
    assert full.training_variance == pytest.approx(full.spread**2 * (1 / 3 + 0.1))


def test_only_cells_that_differ_beyond_chance_are_no_rivals() -> None:
    comparison = compare(sweep_of({**SIX, "large/full": 0.945}, shared=0.3, samples=2000))
    (pair,) = comparison.rivals(comparison.rows[0])
    assert {pair.first.label, pair.second.label} == {"large/frozen", "large/full"}


def test_equal_classifiers_are_rarely_told_apart() -> None:
    wrong = 0
    for seed in range(40):
        equal = dict.fromkeys(SIX, 0.8)
        sweep = sweep_of(equal, samples=200 + 2 * seed, shared=0.3)
        wrong += any(pair.verdict.adjusted < 0.05 for pair in compare(sweep).pairs["eyes"])
    assert wrong <= 6  # 2 expected: the family's error is 5 %


def test_the_spread_over_seeds_stands_beside_the_interval() -> None:
    comparison = compare(sweep_of(SIX))
    row = comparison.rows[0]
    seeds = [p.probabilities_NC[:, 1] for p in row.cell.predictions()]
    labels = row.cell.predictions()[0].labels_N
    scores = [roc_auc_score(labels, probabilities) for probabilities in seeds]
    assert row.spread["auroc"] == pytest.approx(np.std(scores, ddof=1))


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_confirmations_give_estimates_and_no_verdict(count: int) -> None:
    comparison = compare(sweep_of(SIX, seeds=count))
    assert {pair.verdict.word for pair in comparison.pairs["eyes"]} == {"unjudged"}
    assert np.isnan(comparison.rows[0].half_width("auroc"))
    assert comparison.rows[0].metrics["auroc"].low > 0.8
    assert any("estimates, no verdicts" in note for note in caveats(comparison))


def test_a_class_absent_from_test_is_named() -> None:
    sweep = sweep_of(SIX, classes=3)
    for cell in sweep.cells:
        for place, table in enumerate(cell._tables):
            cell._tables[place] = table.filter(np.asarray(table["label"]) != 2)
    comparison = compare(sweep)
    assert "eyes has no test sample of class2" in " ".join(comparison.notes)
    assert 0.5 < comparison.rows[0].metrics["auroc"].mean < 1


def test_predictions_that_are_not_numbers_leave_their_cell_out_in_words() -> None:
    sweep = sweep_of(SIX)
    cell = sweep.cells[0]
    item = classifier(300, 0.8, 0)
    item.probabilities_NC[7, 1] = np.nan
    sweep.cells[0] = broken(cell, read=lambda *_: as_table(item))
    comparison = compare(sweep)
    assert comparison.rows[-1].cell is sweep.cells[0]
    assert "eyes/small/frozen of s predicted probabilities that are not numbers" in " ".join(
        comparison.notes
    )


@pytest.mark.parametrize("damage", ["label", "group", "rows"])
def test_damaged_predictions_leave_their_cell_out_in_words(damage: str) -> None:
    sweep = sweep_of(SIX)
    table = as_table(classifier(300, 0.8, 0))
    damaged = table.slice(0, 0) if damage == "rows" else table.drop_columns([damage])
    sweep.cells[0] = broken(sweep.cells[0], read=lambda *_: damaged)
    assert "eyes/small/frozen of s are empty or damaged" in " ".join(compare(sweep).notes)


def test_constant_predictions_are_named_and_have_chance() -> None:
    sweep = sweep_of(SIX)
    constant = classifier(300, 0.8, 0)
    constant.probabilities_NC[:] = 0.5
    sweep.cells[0] = broken(sweep.cells[0], read=lambda *_: as_table(constant))
    comparison = compare(sweep)
    row = next(row for row in comparison.rows if row.cell is sweep.cells[0])
    assert row.metrics["auroc"].mean == 0.5
    assert any("nothing was learnt: small/frozen" in note for note in comparison.notes)


def test_few_groups_of_a_class_are_warned_of() -> None:
    notes = caveats(compare(sweep_of(SIX, groups=12)))
    assert any("the rarest class has 6 groups" in note for note in notes)
    assert not any("rarest class has" in n for n in caveats(compare(sweep_of(SIX, groups=40))))


def test_a_score_at_its_bound_is_warned_of() -> None:
    perfect = compare(sweep_of({**SIX, "large/frozen": 1 - 1e-13}))
    (note,) = (note for note in caveats(perfect) if "at its bound" in note)
    assert "AUROC of large/frozen" in note
    assert perfect.rows[0].metrics["auroc"].low < 1


def test_a_margin_that_the_test_split_cannot_judge_is_named() -> None:
    notes = [n for n in caveats(compare(sweep_of(SIX))) if "too small to call cells equiv" in n]
    assert len(notes) == 1
    large = compare(sweep_of(SIX, samples=1000))
    assert not any("too small to call" in note for note in caveats(large))


def test_heads_that_learnt_from_more_samples_than_others_are_named() -> None:
    recipe = {"frozen": {"refit": True}}
    notes = " ".join(caveats(compare(sweep_of(SIX, recipe=recipe))))
    assert "refitted" in notes
    assert "small/frozen on eyes" in notes
    assert "small/full on eyes" not in notes
    alone = sweep_of(SIX, recipe=recipe, freeze=["frozen"])
    assert "refitted" not in " ".join(caveats(compare(alone)))
    plain = sweep_of(SIX, "plain", freeze=["frozen"])
    notes = " ".join(caveats(compare(alone, plain)))
    assert "s: small/frozen on eyes" in notes
    assert "plain: small/frozen on eyes" not in notes


def test_a_margin_chosen_after_the_run_is_named() -> None:
    comparison = compare_sweeps([sweep_of(SIX)], Choices("auroc", 0.05, chosen_after=True))
    assert any("0.05 was chosen after the run" in note for note in caveats(comparison))


def test_validation_far_above_the_test_asks_the_right_questions() -> None:
    sweep = sweep_of(SIX)
    for cell in sweep.cells[:4]:
        for record in cell.confirmations:
            record.best["value"] = 0.99
    good = [c for c in caveats(compare(sweep)) if "far above the test interval" in c]
    assert "patients on both sides of the validation split" in good[0]
    for cell in sweep.cells[1:4]:
        for record in cell.confirmations:
            record.best["value"] = 0.8
    assert not any("far above" in note for note in caveats(compare(sweep)))


def test_fewer_than_three_complete_trials_are_named() -> None:
    sweep = sweep_of(SIX)
    sweep.cells[0].states.update({"pruned": 3})
    sweep.cells[0].states["complete"] = 1
    assert any("complete trials to choose from: eyes/small/frozen (1)" in note
               for note in caveats(compare(sweep)))  # fmt: skip


def test_a_test_split_that_was_scored_again_is_named_with_its_first_scores() -> None:
    sweep = sweep_of(SIX)
    cell = sweep.cells[0]
    before = [replace(record, test={"auroc": 0.7}) for record in cell.confirmations]
    sweep.cells[0] = broken(cell, earlier=before)
    (note,) = (n for n in caveats(compare(sweep)) if "scored again after its first" in n)
    assert "eyes/small/frozen (first 0.700 in 3, now " in note


def test_a_best_rate_at_an_edge_of_the_range_is_warned_of() -> None:
    narrow = sweep_of(SIX, learning_rate={"low": 1e-4, "high": 1.1e-2})
    (note,) = (n for n in caveats(compare(narrow)) if "upper end" in n)
    assert "near the upper end, 0.011" in note
    wide = sweep_of(SIX, learning_rate={"low": 1e-4, "high": 1.0})
    assert not any("end" in note for note in caveats(compare(wide)))


def test_cells_that_were_searched_less_are_warned_of() -> None:
    budget = {"trials": 4, "epochs": 3, "frozen": {"trials": 8}}
    (note,) = (n for n in caveats(compare(sweep_of(SIX, budget=budget))) if "fewer trials" in n)
    assert note.startswith("eyes: searched with fewer trials than others (8): ")
    assert "small/full (4)" in note


def test_two_sweeps_of_the_same_data_are_compared_cell_by_cell() -> None:
    monday, tuesday = sweep_of(SIX, "monday"), sweep_of(SIX, "tuesday")
    comparison = compare(monday, tuesday)
    assert len(comparison.rows) == 12
    assert len(comparison.pairs["eyes"]) == 66
    assert comparison.several
    assert {row.label for row in comparison.rows} == {
        f"{day}: {name}" for day in ("monday", "tuesday") for name in SIX
    }


def test_groups_are_paired_though_each_home_hashes_their_names_otherwise() -> None:
    here, there = sweep_of(SIX, "here", groups=60), sweep_of(SIX, "there", groups=60)

    def renamed(cell: CellResult) -> CellResult:
        def read(record, file):  # type: ignore[no-untyped-def]
            table = cell.read(record, file)
            names = [f"x{hash(name) % 97}{name}" for name in table["group"].to_pylist()]
            return table.set_column(1, "group", [names])

        return broken(cell, read=read)

    moved = replace(there, cells=[renamed(cell) for cell in there.cells])
    assert len(compare(here, moved).pairs["eyes"]) == 66


def test_another_test_split_is_refused_naming_both() -> None:
    with pytest.raises(SweepError) as caught:
        compare(sweep_of(SIX, "a"), sweep_of(SIX, "b", test="other"))
    assert "a, b cannot be compared" in str(caught.value)
    assert "eyes was tested on different samples (300 in a, 300 in b)" in str(caught.value)


@pytest.mark.parametrize(
    ("fact", "said"),
    [("fingerprint", "other pixels"), ("split_fingerprint", "other labels or another split")],
)
def test_other_data_are_refused(fact: str, said: str) -> None:
    other = sweep_of(SIX, "b")
    for cell in other.cells:
        for record in cell.confirmations:
            record.facts[fact] = "else"
    with pytest.raises(SweepError, match=f"eyes has {said}.* in a than in b"):
        compare(sweep_of(SIX, "a"), other)


def test_models_chosen_by_another_metric_are_refused() -> None:
    with pytest.raises(SweepError, match="different metrics: a by auroc, b by f1"):
        compare(sweep_of(SIX, "a"), sweep_of(SIX, "b", objective="f1"))


def test_sweeps_of_different_datasets_stand_side_by_side() -> None:
    other = [{"name": "lungs", "layout": "folder", "path": "x"}]
    comparison = compare(sweep_of(SIX, "a"), sweep_of(SIX, "b", datasets=other, test="x"))
    assert list(comparison.datasets) == ["eyes", "lungs"]


def test_equal_names_of_samples_with_other_labels_are_refused() -> None:
    other = sweep_of(SIX, "b", groups=100)
    with pytest.raises(SweepError, match="other labels, groups or classes: compare each alone"):
        compare(sweep_of(SIX, "a"), other)


def test_a_cell_that_lacks_folds_is_scored_but_not_paired() -> None:
    sweep = sweep_of(SIX, split={"folds": 3})
    for cell in sweep.cells:
        for record in cell.confirmations:
            record.facts["test_samples"] = f"fold {record.number}"
    del sweep.cells[0].confirmations[-1]
    comparison = compare(sweep)
    row = next(row for row in comparison.rows if row.cell is sweep.cells[0])
    assert row.metrics
    assert row not in comparison.paired["eyes"]
    assert any("lacks folds" in note for note in comparison.notes)
    assert space(split={"folds": 3}).cells()[0].confirmations == 3


def test_a_sweep_is_not_compared_with_its_copy() -> None:
    one = sweep_of({"frozen": 0.9})
    copy = replace(one, name="copy")
    with pytest.raises(
        SweepError, match="s and copy are one sweep, of which the folder was copied"
    ):
        compare_sweeps([one, copy], Choices("auroc"))


@pytest.mark.parametrize(
    ("fact", "said"),
    [("weights_hash", "the weights of small"), ("pixels", "the pictures of eyes"),
     ("split_fingerprint", "the labels or splits of eyes")],
)  # fmt: skip
def test_results_of_two_kinds_in_one_sweep_are_refused(fact: str, said: str) -> None:
    one = sweep_of({"small/frozen": 0.9, "small/full": 0.8})
    for cell in one.cells:
        for record in cell.confirmations:
            record.facts[fact] = "a" if cell.freeze == "frozen" else "b"
    with pytest.raises(SweepError, match=f"{said} changed while s ran: its results are of two"):
        compare_sweeps([one], Choices("auroc"))
