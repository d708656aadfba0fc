"""Which of two classes is the positive one: by name, by rule, never by accident."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.data.positive import ordered_classes
from sweep.errors import DataError


@pytest.mark.parametrize(
    "healthy",
    ["normal", "NORMAL", "benign", "Healthy", "control", "negative", "none", "no_tumor",
     "No Finding", "non-AMD", "0", "-1"],
)  # fmt: skip
@pytest.mark.parametrize("ill", ["malignant", "AMD", "zoster", "1", "Abnormal"])
def test_the_class_beside_a_healthy_one_is_positive(healthy: str, ill: str) -> None:
    for labels in ([healthy] * 9 + [ill], [healthy] + [ill] * 9):
        assert ordered_classes("d", labels) == [healthy, ill]


def test_where_no_name_tells_the_rarer_class_is_positive() -> None:
    assert ordered_classes("d", ["cat"] * 3 + ["dog"] * 5) == ["dog", "cat"]
    assert ordered_classes("d", ["cat"] * 5 + ["dog"] * 3) == ["cat", "dog"]
    assert ordered_classes("d", ["benign"] * 2 + ["normal"] * 5) == ["normal", "benign"]


def test_the_entry_of_the_data_set_goes_before_the_rule() -> None:
    assert ordered_classes("d", ["normal", "ill"], "normal") == ["ill", "normal"]


@pytest.mark.parametrize(("labels", "positive"), [(["a", "b"], "c"), (["a", "b", "c"], "a")])
def test_a_positive_class_that_cannot_be_is_refused(labels: list[str], positive: str) -> None:
    with pytest.raises(DataError, match="must be one of two classes"):
        ordered_classes("d", labels, positive)


def test_more_classes_are_sorted_by_number_then_by_word() -> None:
    assert ordered_classes("d", ["10", "2", "x", "1"]) == ["1", "2", "10", "x"]


@given(st.lists(st.sampled_from(["a", "b"]), min_size=2))
def test_the_order_of_the_samples_does_not_matter(labels: list[str]) -> None:
    assert ordered_classes("d", labels) == ordered_classes("d", labels[::-1])
