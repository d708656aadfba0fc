"""Predictions as they are read from a run's file."""

import numpy as np
import pyarrow as pa
import pytest

from sweep.records.predictions import Predictions, classes_of


def table(*groups: str) -> pa.Table:
    probabilities = np.linspace(0.1, 0.9, len(groups))
    return pa.table({
        "group": list(groups), "label": [0, 1] * (len(groups) // 2),
        "p_no": 1 - probabilities, "p_yes": probabilities,
    })  # fmt: skip


def test_they_hold_labels_groups_and_a_column_for_each_class() -> None:
    found = Predictions.of_table(table("a", "a", "b", "b"))
    assert found.labels_N.tolist() == [0, 1, 0, 1]
    assert found.probabilities_NC.shape == (4, 2)
    assert classes_of(table("a", "b")) == ["no", "yes"]


def test_groups_are_numbered_alike_whatever_key_their_names_were_hashed_with() -> None:
    one = Predictions.of_table(table("f3", "f3", "07", "a1"))
    other = Predictions.of_table(table("00", "00", "ee", "3b"))
    assert one.groups_N.tolist() == other.groups_N.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("lost", ["label", "group", "p_no"])
def test_a_table_that_lacks_a_column_is_refused(lost: str) -> None:
    columns = [lost] if lost != "p_no" else ["p_no", "p_yes"]
    with pytest.raises(ValueError, match="missing"):
        Predictions.of_table(table("a", "b").drop_columns(columns))
