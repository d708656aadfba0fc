"""The study's questions are answered in sentences that are true of simulated classifiers."""

import pytest

from sweep.compare.comparison import Choices, compared
from sweep.compare.questions import Question, questions
from tests.simulated import sweep_of

DATASETS = [{"name": name, "layout": "folder", "path": name} for name in ("eyes", "lungs", "skin")]


def asked(
    aurocs: dict[str, float],
    word: str,
    margin: float = 0.01,
    metric: str = "auroc",
    **changes: object,
) -> Question:
    comparison = compared([sweep_of(aurocs, **changes)], Choices(metric, margin, 1000))
    (question,) = (item for item in questions(comparison) if word in item.asked)
    return question


def cells(small: float, large: float, other: float, full: float = 0.0) -> dict[str, float]:
    frozen = {"small/frozen": small, "large/frozen": large, "other/frozen": other}
    return frozen | {f"{k.partition('/')[0]}/full": v + full for k, v in frozen.items()}


def test_a_better_pre_training_is_found_on_every_dataset() -> None:
    question = asked(cells(0.85, 0.85, 0.6), "ImageNet", datasets=DATASETS)
    assert question.asked == "Is ImageNet pre-training better than random initialisation?"
    assert {finding.verdict for finding in question.findings} == {"better"}
    assert question.answer == "Of 6 comparisons: ImageNet pre-training better in 6."
    overall = question.overall[0]
    assert overall.where == "all datasets"
    assert "ImageNet pre-training is better than random initialisation: AUROC +0.2" in overall.text
    assert overall.gain.point == pytest.approx(0.25, abs=0.03)


def test_freezing_that_helps_is_found() -> None:
    question = asked(cells(0.9, 0.9, 0.9, full=-0.2), "frozen")
    assert question.asked == "Is training 'full' better than leaving the backbone frozen?"
    assert question.answer == "Of 3 comparisons: frozen better in 3."
    assert "eyes, small: full is worse than frozen: AUROC -0.2" in question.findings[0].text


def test_a_small_model_as_good_as_the_large_is_equivalent_within_the_margin() -> None:
    question = asked(cells(0.85, 0.85, 0.6), "small", 0.05, samples=3000, shared=0.6)
    assert question.asked == "Is the larger large better than small, or is the small one as good?"
    assert {finding.verdict for finding in question.findings} == {"equivalent"}
    assert "equivalent within 0.05" in question.findings[0].text
    assert "TOST p < 0.001" in question.findings[0].text


def test_too_few_samples_cannot_tell() -> None:
    question = asked(cells(0.80, 0.81, 0.6), "small", samples=60)
    assert {finding.verdict for finding in question.findings} == {"unclear"}
    assert "the data cannot tell large from small" in question.findings[0].text


def test_a_difference_below_the_margin_is_named_as_such() -> None:
    question = asked(cells(0.85, 0.87, 0.6), "small", 0.08, samples=6000, shared=0.6)
    assert "large is better than small" in question.findings[0].text
    assert "but by less than 0.08" in question.findings[0].text


def test_a_smaller_brier_score_is_better() -> None:
    question = asked(cells(0.85, 0.85, 0.6), "ImageNet", metric="brier")
    assert {finding.verdict for finding in question.findings} == {"better"}
    assert "Brier score +0." in question.findings[0].text


def test_p_values_of_a_question_are_one_family() -> None:
    findings = asked(cells(0.80, 0.82, 0.6), "small", datasets=DATASETS).findings
    assert len(findings) == 8
    smallest = min(findings, key=lambda finding: finding.p)
    assert smallest.adjusted == pytest.approx(min(1, 8 * smallest.p))


def test_one_backbone_and_mode_leave_nothing_to_ask() -> None:
    one = sweep_of(
        {"small/frozen": 0.8}, backbones=[{"name": "small", "model": "resnet18"}], freeze=["frozen"]
    )
    assert questions(compared([one], Choices("auroc", resamples=200))) == []
