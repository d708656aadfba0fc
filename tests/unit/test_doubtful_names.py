"""Labels, ids and names as people and systems write them: one class or group each, or refused."""

import os
from pathlib import Path

import numpy as np
import pytest

from sweep.data.layouts import read_samples
from sweep.data.quality.remarks import remarks
from sweep.errors import DataError
from sweep.space.specs import DatasetSpec
from tests.conftest import write_images


def spec(**values: object) -> DatasetSpec:
    return DatasetSpec.model_validate({"name": "d", "layout": "folder", "path": "d", **values})


def table_of(root: Path, rows: list[str], header: str = "path,label") -> DatasetSpec:
    write_images(root / "d", len(rows), 100)
    lines = [f"{i:03}.png,{row}" for i, row in enumerate(rows)]
    (root / "d" / "table.csv").write_text("\n".join([header, *lines]))
    return spec(layout="csv", path="d/table.csv")


def labels_of(root: Path, *labels: str) -> list[str]:
    samples = read_samples(table_of(root, list(labels)), root)
    return [sample.label for sample in samples]


@pytest.mark.parametrize(
    "labels",
    [("1", "1.0", "0"), ("01", "1", "0"), ("+1", "1", "0"), ("Mild", "mild", "no"),
     ("-1.0", "-1", "1"), ("1000", "1E+03", "0")],
)  # fmt: skip
def test_a_class_that_is_written_in_two_ways_is_refused(
    tmp_path: Path, labels: tuple[str, ...]
) -> None:
    with pytest.raises(DataError, match="written in several ways"):
        labels_of(tmp_path, *labels)


def test_blanks_and_invisible_characters_make_no_class(tmp_path: Path) -> None:
    labels = labels_of(tmp_path, "mild case", "mild\u00a0case", "mild  case\u200b", "none")
    assert labels == ["mild case"] * 3 + ["none"]


def test_whole_numbers_that_were_made_fractions_are_whole_again(tmp_path: Path) -> None:
    assert labels_of(tmp_path, "0.0", "1.0", "10.0") == ["0", "1", "10"]


@pytest.mark.parametrize("missing", ["nan", "NaN", "NA", "N/A", "", "null", "<NA>"])
def test_a_value_that_is_missing_is_no_class(tmp_path: Path, missing: str) -> None:
    with pytest.raises(DataError, match="1 rows have no label: row 3"):
        labels_of(tmp_path, "a", missing, "b")


def test_minus_one_beside_other_numbers_is_refused_and_with_one_other_it_is_a_class(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match="1 samples have the label -1, beside 0, 1"):
        labels_of(tmp_path, "0", "1", "-1")
    assert labels_of(tmp_path, "-1", "1") == ["-1", "1"]


@pytest.mark.parametrize("label", ["Mass|Nodule", "Mass;Nodule", "Mass/Nodule", "Mass & Nodule"])
def test_several_labels_in_a_cell_are_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(DataError, match=r"1 rows have several labels.*row 4"):
        labels_of(tmp_path, "Mass", "Nodule", label)


def test_a_separator_within_a_name_is_part_of_it(tmp_path: Path) -> None:
    assert labels_of(tmp_path, "grade 2/3", "none") == ["grade 2/3", "none"]


@pytest.mark.parametrize(
    "ids", [("7", "007"), ("7", "7.0"), ("07", "7"), ("1000", "1E+03"), ("P07", "p07")]
)
def test_ids_that_are_one_number_are_refused(tmp_path: Path, ids: tuple[str, str]) -> None:
    table = table_of(tmp_path, [f"a,{ids[0]}", f"b,{ids[1]}"], "path,label,group")
    with pytest.raises(DataError, match="ids are one number or word, written in several"):
        read_samples(table, tmp_path)


@pytest.mark.parametrize("ids", [("1.1", "1.10"), ("1_2", "12"), ("1.2.3", "1.2.30")])
def test_ids_that_only_look_like_one_number_are_two(tmp_path: Path, ids: tuple[str, str]) -> None:
    table = table_of(tmp_path, [f"a,{ids[0]}", f"b,{ids[1]}"], "path,label,group")
    assert [sample.group for sample in read_samples(table, tmp_path)] == list(ids)


PATIENTS = ["a,P1", "a,P1", "b,P2", "b,P3"]


@pytest.mark.parametrize("column", ["patient", "Patient ID", "subject_id", "PatientID", "case"])
def test_a_column_of_a_table_that_seems_to_name_patients_is_said(
    tmp_path: Path, column: str
) -> None:
    table = table_of(tmp_path, PATIENTS, f"path,label,{column}")
    (remark,) = remarks(table, read_samples(table, tmp_path), tmp_path)
    assert f"1 of 3 values of the table's column {column!r}" in remark.text
    assert f"write group: {column!r} into the entry" in remark.text


@pytest.mark.parametrize("column", ["scanner", "patient_age", "outpatient"])
def test_a_column_of_something_else_is_not(tmp_path: Path, column: str) -> None:
    table = table_of(tmp_path, PATIENTS, f"path,label,{column}")
    assert remarks(table, read_samples(table, tmp_path), tmp_path) == []


def test_the_entry_may_name_the_column_of_a_table_that_groups_its_samples(tmp_path: Path) -> None:
    table = table_of(tmp_path, PATIENTS, "path,label,Patient ID")
    named = table.model_copy(update={"group": "Patient ID"})
    samples = read_samples(named, tmp_path)
    assert [sample.group for sample in samples] == ["P1", "P1", "P2", "P3"]
    assert remarks(named, samples, tmp_path) == []
    wrong = table.model_copy(update={"group": "PatientId"})
    with pytest.raises(DataError, match="did you mean Patient ID"):
        read_samples(wrong, tmp_path)


def test_ids_of_a_column_that_start_anew_in_each_split_are_others_there(tmp_path: Path) -> None:
    rows = ["a,P1,train", "a,P1,test", "b,P2,train", "b,P2,test"]
    table = table_of(tmp_path, rows, "path,label,group,split")
    anew = table.model_copy(update={"group_scope": "split"})
    groups = [sample.group for sample in read_samples(anew, tmp_path)]
    assert groups == ["train/P1", "test/P1", "train/P2", "test/P2"]
    assert [sample.group for sample in read_samples(table, tmp_path)] == ["P1", "P1", "P2", "P2"]


def test_a_label_that_may_mean_not_known_is_said(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["a", "b", "unknown", "unknown"])
    (remark,) = remarks(table, read_samples(table, tmp_path), tmp_path)
    assert "2 samples have the label 'unknown', which is taken as a class" in remark.text


def test_a_picture_that_is_named_twice_in_two_spellings_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "d", 2, 100)
    (tmp_path / "d" / "t.csv").write_text("path,label\n000.png,a\n./000.png,b\n001.png,b\n")
    with pytest.raises(DataError, match="1 paths appear more than once: row 3"):
        read_samples(spec(layout="csv", path="d/t.csv"), tmp_path)


def test_ids_of_a_pattern_are_looked_at_as_well(tmp_path: Path) -> None:
    write_images(tmp_path / "d" / "a", 2, 50, prefix="p7_")
    write_images(tmp_path / "d" / "b", 2, 90, prefix="p007_")
    with pytest.raises(DataError, match="ids are one number"):
        read_samples(spec(group=r"^p(\d+)_"), tmp_path)


@pytest.mark.parametrize("value", ["", "nan", "NA"])
@pytest.mark.parametrize("column", ["group", "split"])
def test_a_blank_group_or_split_is_named(tmp_path: Path, column: str, value: str) -> None:
    other = "p1" if column == "group" else "train"
    table = table_of(tmp_path, [f"a,{other}", f"b,{value}"], f"path,label,{column}")
    with pytest.raises(DataError, match=f"1 rows have no {column}: row 3"):
        read_samples(table, tmp_path)


@pytest.mark.parametrize("value", ["None", "unknown", "?"])
def test_a_group_that_nobody_knows_is_no_patient(tmp_path: Path, value: str) -> None:
    table = table_of(tmp_path, ["a,p1", f"b,{value}"], "path,label,group")
    with pytest.raises(DataError, match=r"1 rows have no group: row 3"):
        read_samples(table, tmp_path)


def test_paths_of_windows_are_found(tmp_path: Path) -> None:
    write_images(tmp_path / "d" / "img", 2, 100)
    (tmp_path / "d" / "t.csv").write_text("path,label\nimg\\000.png,a\n.\\img\\001.png,b\n")
    samples = read_samples(spec(layout="csv", path="d/t.csv"), tmp_path)
    assert [sample.path for sample in samples] == ["img/000.png", "./img/001.png"]


def test_a_name_in_the_other_form_of_unicode_is_found(tmp_path: Path) -> None:
    write_images(tmp_path / "d", 1, 100, prefix="Gro\u0308\u00dfe")  # as a Mac writes it
    (tmp_path / "d" / "t.csv").write_text("path,label\nGr\u00f6\u00dfe000.png,a\n")
    (sample,) = read_samples(spec(layout="csv", path="d/t.csv"), tmp_path)
    assert (tmp_path / "d" / sample.path).is_file()


def test_folders_of_one_name_in_two_forms_of_unicode_are_one_class(tmp_path: Path) -> None:
    for name in ("Gr\u00f6\u00dfe", "Gro\u0308\u00dfe", "other"):
        write_images(tmp_path / "d" / name, 3, 100)
    assert {sample.label for sample in read_samples(spec(), tmp_path)} == {
        "Gr\u00f6\u00dfe",
        "other",
    }


def test_a_pattern_may_name_a_folder_and_is_noted_where_it_is_lacking(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for patient in range(4):
            write_images(tmp_path / "d" / label / f"patient{label}{patient}", 3, 100)
    alone = read_samples(spec(), tmp_path)
    (remark,) = remarks(spec(), alone, tmp_path)
    assert "24 files lie in 8 folders below those of the classes" in remark.text
    grouped = spec(group="([^/]+)/[^/]+$")
    samples = read_samples(grouped, tmp_path)
    assert len({sample.group for sample in samples}) == 8
    assert remarks(grouped, samples, tmp_path) == []


@pytest.mark.parametrize("depth", [1, 2])
def test_a_folder_that_holds_one_folder_is_seen_through(tmp_path: Path, depth: int) -> None:
    root = tmp_path / "d" / "/".join(["data"] * depth)
    for part in ("train", "valid", "test"):
        for label in ("a", "b"):
            write_images(root / part / label, 2, 100)
    samples = read_samples(spec(), tmp_path)
    assert {sample.split for sample in samples} == {"train", "val", "test"}
    assert {sample.label for sample in samples} == {"a", "b"}


SYSTEMS = ["@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX",
           ".ipynb_checkpoints", "#recycle", ".Trash-1000"]  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
def test_folders_of_systems_are_no_classes_and_counted(tmp_path: Path, name: str) -> None:
    for label in ("a", "b"):
        write_images(tmp_path / "d" / label, 3, 100)
    write_images(tmp_path / "d" / name, 2, 100)
    write_images(tmp_path / "d" / "a" / name, 2, 100)
    samples = read_samples(spec(), tmp_path)
    assert len(samples) == 6
    (remark,) = remarks(spec(), samples, tmp_path)
    assert "2 files or folders of systems, or hidden: passed over" in remark.text


def test_a_class_may_begin_with_an_underscore(tmp_path: Path) -> None:
    for label in ("a", "b", "_other"):
        write_images(tmp_path / "d" / label, 3, 100)
    assert {sample.label for sample in read_samples(spec(), tmp_path)} == {"a", "b", "_other"}


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in ("a", "b"):
            write_images(tmp_path / "d" / part / label, 3, 100)
    write_images(tmp_path / "d" / "unlabelled", 5, 100)
    (tmp_path / "d" / "train" / "a" / "notes.docx").write_text("x")
    found = {r.kind: r for r in remarks(spec(), read_samples(spec(), tmp_path), tmp_path)}
    assert "5 files outside of the folders of classes" in found["pictures_left_out"].text
    assert found["files_left_out"].items == ["train/a/notes.docx"]
    assert ".docx 1" in found["files_left_out"].text


def test_a_test_folder_without_classes_is_said(tmp_path: Path) -> None:
    for label in ("a", "b"):
        write_images(tmp_path / "d" / "train" / label, 3, 100)
    write_images(tmp_path / "d" / "test", 5, 100)
    samples = read_samples(spec(), tmp_path)
    (remark,) = remarks(spec(), samples, tmp_path)
    assert remark.kind == "pictures_left_out"
    assert len(remark.items) == 5


def test_every_suffix_that_pillow_reads_is_an_image(tmp_path: Path) -> None:
    write_images(tmp_path / "d" / "a", 3, 100)
    write_images(tmp_path / "d" / "b", 3, 100)
    for number, suffix in enumerate((".jfif", ".jpe", ".jp2", ".pgm", ".tga", ".ico")):
        path = tmp_path / "d" / "a" / "000.png"
        (tmp_path / "d" / "b" / f"x{number}{suffix}").write_bytes(path.read_bytes())
    assert len(read_samples(spec(), tmp_path)) == 12


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    for label in ("a", "b"):
        write_images(tmp_path / "d" / label, 3, 100)
    odd = tmp_path / "d" / "a" / os.fsdecode(b"R\xf6ntgen.png")
    (tmp_path / "d" / "a" / "000.png").rename(odd)
    with pytest.raises(DataError, match=r"1 file names are not UTF-8:\n  a/R\\xf6ntgen.png"):
        read_samples(spec(), tmp_path)


def npz(root: Path, labels: np.ndarray) -> DatasetSpec:
    images = np.zeros((len(labels), 8, 8), np.uint8)
    np.savez(root / "d.npz", train_images=images, train_labels=labels)
    return spec(layout="medmnist", path="d.npz")


def test_labels_of_an_npz_may_be_texts(tmp_path: Path) -> None:
    samples = read_samples(npz(tmp_path, np.asarray(["mild", "none"])), tmp_path)
    assert [sample.label for sample in samples] == ["mild", "none"]


@pytest.mark.parametrize(
    "labels",
    [[0.5, 1], [np.nan, 1], [np.inf, 1], ["nan", "a"], ["", "a"], [1j, 2]],
)
def test_labels_of_an_npz_that_are_no_classes_are_refused(
    tmp_path: Path, labels: list[object]
) -> None:
    with pytest.raises(DataError, match=r"are no class, such as|are complex128"):
        read_samples(npz(tmp_path, np.asarray(labels)), tmp_path)
