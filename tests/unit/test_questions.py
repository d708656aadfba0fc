"""The study's questions are answered in sentences that are true of simulated classifiers."""

import numpy as np
import pyarrow as pa
import pytest

from sweep.comparison.comparison import Choices, compare
from sweep.comparison.questions import Question, questions
from sweep.comparison.stats.verdict import holm
from tests.simulated import sweep_of

DATASETS = [{"name": name, "layout": "folder", "path": name} for name in ("eyes", "lungs", "skin")]


def asked(
    aurocs: dict[str, float],
    word: str,
    margin: float = 0.01,
    metric: str = "auroc",
    **changes: object,
) -> Question:
    comparison = compare([sweep_of(aurocs, **changes)], Choices(metric, margin))
    (question,) = (item for item in questions(comparison) if word in item.asked)
    return question


def cells(small: float, large: float, other: float, full: float = 0.0) -> dict[str, float]:
    frozen = {"small/frozen": small, "large/frozen": large, "other/frozen": other}
    return frozen | {f"{k.partition('/')[0]}/full": v + full for k, v in frozen.items()}


def test_a_better_pre_training_is_found_on_every_dataset() -> None:
    question = asked(cells(0.85, 0.85, 0.6), "ImageNet", datasets=DATASETS)
    assert question.asked == "Is ImageNet pre-training better than random initialisation?"
    assert {finding.word for finding in question.findings} == {"better"}
    assert question.answer == "Of 6 comparisons: ImageNet pre-training better in 6."
    overall = question.overall[0]
    assert overall.contrast.where == "on average over these 3"
    said = "ImageNet pre-training is better than random initialisation for models trained on these"
    assert said in overall.text
    assert "on the single data sets" in overall.text
    assert overall.verdict.gain.point == pytest.approx(0.25, abs=0.03)


def test_freezing_that_helps_is_found() -> None:
    question = asked(cells(0.9, 0.9, 0.9, full=-0.2), "frozen")
    assert question.asked == "Is training 'full' better than leaving the backbone frozen?"
    assert question.answer == "Of 3 comparisons: frozen better in 3."
    assert (
        "eyes, small: full is worse than frozen for models trained on these patients: AUROC -0.2"
        in question.findings[0].text
    )


@pytest.mark.parametrize("score", [0.6, 0.9])
def test_without_a_linear_probe_the_others_are_compared_with_logreg(score: float) -> None:
    aurocs = {"small/full": 0.75, "small/logreg": score, "small/knn": 1.5 - score}
    modes = {"freeze": ["full", "logreg", "knn"]}
    found = asked(aurocs, "full", **modes)
    assert found.asked == (
        "Is training 'full' better than leaving the backbone frozen, with the head of 'logreg'?"
    )
    assert found.findings[0].word == ("better" if score < 0.75 else "worse")
    assert (
        asked(aurocs, "knn", **modes).asked == "Is the head of 'knn' better than that of 'logreg'?"
    )


def test_a_small_model_as_good_as_the_large_is_equivalent_within_the_margin() -> None:
    question = asked(cells(0.85, 0.85, 0.6), "small", 0.05, samples=3000, shared=0.6)
    assert question.asked == "Is the larger large better than small, or is the small one as good?"
    assert {finding.word for finding in question.findings} == {"equivalent"}
    assert "equivalent within 0.05" in question.findings[0].text
    assert "TOST adjusted p" in question.findings[0].text


def test_too_few_samples_cannot_tell() -> None:
    question = asked(cells(0.80, 0.81, 0.6), "small", samples=60)
    assert {finding.word for finding in question.findings} == {"unclear"}
    assert "the data cannot tell large from small" in question.findings[0].text


def test_a_difference_below_the_margin_is_named_as_such() -> None:
    question = asked(cells(0.85, 0.87, 0.6), "small", 0.08, samples=6000, shared=0.6)
    assert "large is better than small" in question.findings[0].text
    assert "but by less than 0.08" in question.findings[0].text


def test_a_smaller_brier_score_is_better() -> None:
    question = asked(cells(0.85, 0.85, 0.6), "ImageNet", metric="brier")
    assert {finding.word for finding in question.findings} == {"better"}
    assert "Brier score -0." in question.findings[0].text


def test_a_question_about_two_cells_quotes_the_verdict_on_that_pair() -> None:
    comparison = compare([sweep_of(cells(0.80, 0.82, 0.6))], Choices("auroc"))
    findings = [f for q in questions(comparison) for f in q.findings if f.contrast.rows]
    assert findings
    for finding in findings:
        first, second = finding.contrast.rows
        assert finding.verdict == comparison.pair(first, second).of(first)


def test_contrasts_of_several_cells_are_one_family_for_the_page() -> None:
    comparison = compare([sweep_of(cells(0.80, 0.82, 0.6), datasets=DATASETS)], Choices("auroc"))
    found = [f for q in questions(comparison) for f in q.findings if not f.contrast.rows]
    values = [finding.verdict.p for finding in found]
    assert [finding.verdict.adjusted for finding in found] == pytest.approx(holm(values))
    assert len(found) > len([f for f in found if f.contrast.parts])


def test_an_equivalent_cell_that_loses_in_another_metric_is_named_with_it() -> None:
    sweep = sweep_of(cells(0.85, 0.85, 0.6), samples=4000, shared=0.6)
    for cell in sweep.cells:
        if cell.backbone == "small":  # the same ranks, another threshold
            cell._tables[:] = [shifted(table) for table in cell._tables]
    comparison = compare([sweep], Choices("auroc", 0.05))
    (question,) = (item for item in questions(comparison) if "small" in item.asked)
    assert question.findings[0].word == "equivalent"
    assert "small is worse in accuracy, balanced accuracy, F1" in question.findings[0].text


def shifted(table: pa.Table) -> pa.Table:
    """Return predictions that rank as before and call nearly everything the second class."""
    positive = np.asarray(table["p_class1"]) * 0.4 + 0.6
    at = table.schema.get_field_index
    table = table.set_column(at("p_class1"), "p_class1", pa.array(positive))
    return table.set_column(at("p_class0"), "p_class0", pa.array(1 - positive))


def test_one_backbone_and_mode_leave_nothing_to_ask() -> None:
    one = sweep_of(
        {"small/frozen": 0.8}, backbones=[{"name": "small", "model": "resnet18"}], freeze=["frozen"]
    )
    assert questions(compare([one], Choices("auroc"))) == []


def test_a_metric_without_a_variance_has_no_verdicts() -> None:
    question = asked(cells(0.85, 0.85, 0.6), "ImageNet", metric="ece", datasets=DATASETS)
    assert {finding.word for finding in question.findings} == {"unjudged"}
    assert question.answer == "Of 6 comparisons: no verdict in 6."


def test_the_range_over_data_sets_is_of_the_metric_itself() -> None:
    (overall, *_) = asked(
        cells(0.85, 0.85, 0.6), "ImageNet", metric="brier", datasets=DATASETS
    ).overall
    assert "Brier score -0." in overall.text
    assert "between -0." in overall.text
