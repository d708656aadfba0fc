"""Ordered classes: their order, their metrics against scikit-learn's, their loss."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from pydantic import ValidationError
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

from sweep.comparison.comparison import Choices, compare
from sweep.data.positive import ordered_classes
from sweep.errors import DataError, SweepError
from sweep.space.model import Space
from sweep.space.specs import DatasetSpec
from sweep.train.losses.base import loss_of
from sweep.train.metrics import score
from tests.simulated import sweep_of
from tests.unit.test_metrics import predictions

GRADES = ["none", "mild", "severe"]


def space(ordered: object, **more: object) -> Space:
    entry = {"name": "eyes", "layout": "csv", "path": "eyes.csv", "ordered": ordered}
    return Space.model_validate({"name": "s", "datasets": [entry], "backbones": ["lite0"], **more})


@given(predictions())
@settings(max_examples=60, deadline=None)
def test_the_metrics_of_ordered_classes_are_scikit_learns(drawn) -> None:
    labels, probabilities = drawn
    found, predicted = score(labels, probabilities, "ordinal"), probabilities.argmax(axis=1)
    assert found["mae"] == pytest.approx(mean_absolute_error(labels, predicted))
    kappa = cohen_kappa_score(labels, predicted, weights="quadratic")
    assert found["quadratic_kappa"] == pytest.approx(kappa, abs=1e-12, nan_ok=True)


def test_classes_without_an_order_have_no_such_metrics() -> None:
    found = score(np.array([0, 1, 2]), np.eye(3))
    assert not {"quadratic_kappa", "mae"} & set(found)


def test_classes_stand_in_the_order_of_the_entry_or_of_their_numbers() -> None:
    assert ordered_classes("d", ["severe", "mild", "none"], ordered=GRADES) == GRADES
    assert ordered_classes("d", ["10", "2", "0"], ordered=True) == ["0", "2", "10"]


@pytest.mark.parametrize("ordered", [GRADES[:2], [*GRADES, "other"], ["none", "none", "mild"]])
def test_an_order_that_does_not_name_each_class_once_is_refused(ordered: list[str]) -> None:
    with pytest.raises(DataError, match="must be its classes, each once: mild, none, severe"):
        ordered_classes("d", GRADES, ordered=ordered)


def test_classes_that_are_words_have_no_order_by_themselves() -> None:
    with pytest.raises(DataError, match=r"write the order, ordered: \[mild, none, severe\]"):
        ordered_classes("d", GRADES, ordered=True)


def test_the_loss_of_ordered_classes_grows_with_the_distance() -> None:
    logits, labels = torch.tensor([[9.0, 0, 0, 0]] * 4), torch.arange(4)
    losses = loss_of("earth_mover").of_each(logits, labels)
    assert torch.equal(losses, losses.sort().values)
    torch.testing.assert_close(losses, torch.arange(4.0), atol=0.01, rtol=0)


def test_an_objective_and_a_loss_of_ordered_classes_need_an_order() -> None:
    chosen = {"objective": "quadratic_kappa", "recipe": {"loss": "earth_mover"}}
    assert space(GRADES, **chosen).datasets[0].target == "ordinal"
    for key, value in [*chosen.items(), ("search", {"loss": ["cross_entropy", "earth_mover"]})]:
        with pytest.raises(ValidationError, match="if its classes have an order"):
            space(False, **{key: value})


def test_retinamnist_is_ordered_by_its_name() -> None:
    assert DatasetSpec.model_validate("retinamnist").target == "ordinal"
    assert DatasetSpec.model_validate("retinamnist_224").target == "ordinal"


def test_a_comparison_by_a_metric_that_the_labels_do_not_have_is_refused() -> None:
    with pytest.raises(SweepError, match="is for ordinal labels, and those of"):
        compare([sweep_of({"small/frozen": 0.8})], Choices("quadratic_kappa"))


def test_an_order_may_be_written_in_numbers() -> None:
    assert space([0, 1, 2]).datasets[0].ordered == ("0", "1", "2")


@pytest.mark.parametrize("key", ["ordered", "multilabel"])
@pytest.mark.parametrize(("names", "said"), [([], "the list is empty"), (["a", "a"], "twice")])
def test_a_list_that_names_nothing_or_a_name_twice_is_refused(
    key: str, names: list[str], said: str
) -> None:
    entry = {"name": "d", "layout": "csv", "path": "d.csv", key: names}
    with pytest.raises(ValidationError, match=said):
        DatasetSpec.model_validate(entry)
