"""Subgroups: which there are, and whether gaps between them are found, and only real ones."""

from pathlib import Path

import numpy as np
import pytest

from sweep.comparison.caveats import caveats
from sweep.comparison.comparison import Choices, compare
from sweep.comparison.formats.tables import sentences
from sweep.comparison.stats.across_samples import difference_across
from sweep.comparison.stats.sampling import estimate
from sweep.comparison.subgroups import gap_between, split_by, subgroup_results
from sweep.data.subgroups import read_subgroups, subgroup_table
from sweep.errors import DataError
from sweep.records.home import hashed_id
from sweep.records.predictions import Predictions
from sweep.space.specs import DatasetSpec
from tests.conftest import write_images
from tests.simulated import classifier, sweep_of

TABLE = "path,label,group,sex,age\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_images(tmp_path / "pictures", 6, 100)
    rows = [
        f"pictures/{i:03}.png,{'ab'[i % 2]},p{i // 2},{'FM '[i // 2]},{10 * i}" for i in range(6)
    ]
    (tmp_path / "table.csv").write_text(TABLE + "\n".join(rows) + "\n")
    return tmp_path


def spec(*subgroups: object, **changes: object) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {"name": "t", "layout": "csv", "path": "table.csv", "subgroups": subgroups, **changes}
    )


def test_columns_are_read_and_numbers_cut_into_bands(root: Path) -> None:
    found = read_subgroups(spec("sex", {"age": [20, 40]}), root)
    assert found["sex"] == ["F", "F", "M", "M", "", ""]
    assert found["age"] == ["< 20", "< 20", "20 to < 40", "20 to < 40", "≥ 40", "≥ 40"]


def test_the_table_that_is_kept_names_samples_by_their_hashes_alone(root: Path) -> None:
    table = subgroup_table(spec("sex"), root, b"key")
    assert list(table["sample"])[:1] == [hashed_id(b"key", "t/pictures/000.png")]
    assert set(table.columns) == {"sex", "sample"}


def test_a_pooled_group_with_several_values_has_none(root: Path) -> None:
    lines = (root / "table.csv").read_text().splitlines()
    lines = [line.replace(",a,", ",b,") for line in lines]
    lines[1] = lines[1].replace(",F,", ",M,")
    (root / "table.csv").write_text("\n".join(lines))
    table = subgroup_table(spec("sex", pool="group"), root, b"key")
    assert table["sex"].tolist() == ["", "M", ""]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("sx", "no column 'sx'; it has path, label, group, sex, age; did you mean sex"),
        ({"sex": [40]}, "cut into bands and has no numbers"),
    ],
)
def test_what_cannot_be_is_refused(root: Path, column: object, words: str) -> None:
    with pytest.raises(DataError, match=words.replace("?", r"\?")):
        read_subgroups(spec(column), root)


def planted(gap: bool, seed: int = 0) -> tuple[list[Predictions], np.ndarray]:
    """Return confirmations whose AUROC on half of the samples is lower, if there is a gap."""
    rng = np.random.default_rng(seed)
    labels = np.arange(600) % 2
    values = np.where(np.arange(600) < 300, "A", "B").astype(object)
    cell = []
    for _ in range(4):
        signal = np.where(values == "A", 2.0, 0.7 if gap else 2.0)
        score = 1 / (1 + np.exp(-(rng.normal(size=600) + signal * (labels - 0.5))))
        cell.append(Predictions(labels, np.arange(600), np.stack([1 - score, score], axis=1)))
    return cell, values


def test_a_planted_gap_is_found_and_none_where_there_is_none() -> None:
    for gap in (True, False):
        cell, values = planted(gap)
        found = gap_between(*split_by(values, cell, "auroc"))
        assert found is not None
        assert (found.p < 0.001) is gap


def folded(cell: list[Predictions], folds: int = 4) -> tuple[list[Predictions], np.ndarray]:
    """Return what each fold's model says of its fold, and the places of the samples in them."""
    places = [np.arange(600)[np.arange(600) // 2 % folds == fold] for fold in range(folds)]
    own = [item.of_samples(rows) for item, rows in zip(cell, places, strict=True)]
    return own, np.concatenate(places)


def pooled(folds: list[Predictions]) -> Predictions:
    names = ("labels_N", "groups_N", "probabilities_NC")
    return Predictions(*(np.concatenate([getattr(own, name) for own in folds]) for name in names))


def test_folds_are_pooled_and_their_planted_gap_is_found() -> None:
    for gap in (True, False):
        cell, values = planted(gap)
        folds, places = folded(cell)
        first, second = split_by(values[places], [pooled(folds)], "auroc", 0.0, folds)
        assert first.counts.samples == second.counts.samples == 300
        assert len(first.values) == 4
        part = folds[1].of_samples(values[places[150:300]] == "A")
        (alone,) = split_by(np.full(len(part.labels_N), "A", dtype=object), [part], "auroc")
        assert first.values[1] == alone.values[0]
        found = gap_between(first, second)
        assert found is not None
        assert (found.p < 0.05) is gap


def test_a_fold_without_a_class_of_a_subgroup_says_nothing_of_it() -> None:
    cell, values = planted(True)
    folds, places = folded(cell)
    in_fold = (np.arange(600) // 2 % 4 == 0) & (values == "B") & (np.arange(600) % 2 == 1)
    values[in_fold] = "A"  # the first fold has one class of B
    first, second = split_by(values[places], [pooled(folds)], "auroc", 0.0, folds)
    assert np.isnan(second.values).tolist() == [True, False, False, False]
    found = gap_between(first, second)
    assert found is not None
    assert found.judged
    assert found.point > 0.2


def test_a_subgroup_with_few_patients_of_a_class_is_not_compared() -> None:
    cell, values = planted(False)
    values[:] = "A"
    values[:6] = "B"
    _, few = split_by(values, cell, "auroc")
    assert few.estimate is None
    assert few.counts.samples == 6


def test_the_same_samples_twice_differ_by_nothing() -> None:
    cell, _ = planted(False)
    item = estimate(cell)["auroc"]
    values = [(0.9, 0.9)] * len(cell)
    twice = difference_across(item, item, values, same_groups=True).test
    assert twice < 0.01 * difference_across(item, item, values).test


def test_all_tests_of_a_page_are_one_family_and_the_best_cell_is_spoken_of() -> None:
    sweep = sweep_of({"small/frozen": 0.9, "large/frozen": 0.85})
    values = ["F" if i % 4 < 2 else "M" for i in range(300)]
    for cell in sweep.cells:
        cell.__dict__["subgroups"] = {"sex": values} if cell.confirmations else {}
    found = compare([sweep], Choices("auroc"))
    results = subgroup_results(found)["eyes"]
    assert [item.row.label for item in results] == ["small/frozen", "large/frozen"]
    assert all(item.gap is not None for item in results)
    (line,) = sentences(found)["Do they do alike for all subgroups?"]
    assert line.startswith("eyes, small/frozen: sex F and M")
    ps = sorted(item.gap.verdict.p for item in results)
    assert max(item.gap.verdict.adjusted for item in results) >= min(1, 2 * ps[0])


def test_groups_keep_their_patients_together() -> None:
    one = classifier(400, 0.8, 1, groups=40)
    values = np.where(one.groups_N < 20, "A", "B").astype(object)
    first, second = split_by(values, [one] * 3, "auroc")
    assert first.counts.groups == second.counts.groups == 20


def test_subgroups_that_are_not_known_here_are_said_to_be_missing() -> None:
    eyes = {"name": "eyes", "layout": "csv", "path": "eyes.csv", "subgroups": ["sex"]}
    found = compare([sweep_of({"small/frozen": 0.9}, datasets=[eyes])], Choices("auroc"))
    assert any("eyes: its subgroups are not known here" in note for note in caveats(found))
    assert "Do they do alike for all subgroups?" not in sentences(found)
