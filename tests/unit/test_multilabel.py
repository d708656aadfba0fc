"""Several labels a picture: metrics against scikit-learn's, splits, losses, heads."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics as oracle

from sweep.data.layouts import read_samples
from sweep.data.manifest import Manifest, Sample
from sweep.data.splits import assign_splits, nested
from sweep.errors import DataError
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec
from sweep.train.metrics import all_metrics, influences, pool, score
from sweep.train.metrics.base import Metric, WeightedPredictions


@st.composite
def labelled(draw: st.DrawFn):
    """A matrix of 2 to 5 labels, each on some samples and not on others, and probabilities."""
    count, samples = draw(st.integers(2, 5)), draw(st.integers(8, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    labels = (rng.random((samples, count)) < rng.uniform(0.1, 0.6, count)).astype(np.int64)
    labels[0], labels[1] = 1, 0
    probabilities = np.clip(rng.random((samples, count)) * 0.7 + 0.3 * labels, 0, 1)
    if draw(st.booleans()):
        probabilities = np.round(probabilities, 1)
    return labels, probabilities


def by_scikit_learn(labels, probabilities) -> dict[str, float]:
    predicted, columns = (probabilities > 0.5).astype(int), range(labels.shape[1])

    def mean_of(metric, values) -> float:
        return float(np.mean([metric(labels[:, c], values[:, c]) for c in columns]))

    def averaged(metric, how: str) -> float:
        return metric(labels, predicted, average=how, zero_division=0)

    return {
        "auroc": oracle.roc_auc_score(labels, probabilities, average="macro"),
        "auprc": oracle.average_precision_score(labels, probabilities, average="macro"),
        "accuracy": 1 - oracle.hamming_loss(labels, predicted),
        "balanced_accuracy": mean_of(oracle.balanced_accuracy_score, predicted),
        "mcc": mean_of(oracle.matthews_corrcoef, predicted),
        "brier": mean_of(oracle.brier_score_loss, probabilities),
        "precision": averaged(oracle.precision_score, "weighted"),
        "recall": averaged(oracle.recall_score, "weighted"),
        "f1": averaged(oracle.f1_score, "weighted"),
        "precision_macro": averaged(oracle.precision_score, "macro"),
        "recall_macro": averaged(oracle.recall_score, "macro"),
        "f1_macro": averaged(oracle.f1_score, "macro"),
    }


@given(labelled())
@settings(max_examples=60, deadline=None)
def test_every_metric_of_several_labels_is_scikit_learns(drawn) -> None:
    labels, probabilities = drawn
    found = score(labels, probabilities, "multilabel")
    assert list(found) == list(all_metrics("multilabel"))
    for name, value in by_scikit_learn(labels, probabilities).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    assert 0 <= found["ece"] <= 1


@pytest.mark.parametrize(
    "name", [n for n, metric in all_metrics("multilabel").items() if metric.has_variance]
)
def test_influences_of_several_labels_are_those_of_the_slow_way(name: str) -> None:
    rng, metric = np.random.default_rng(3), all_metrics()[name]
    labels = (rng.random((80, 4)) < 0.3).astype(np.int64)
    probabilities = np.clip(rng.random((80, 4)) * 0.6 + 0.4 * labels, 0, 1)
    one = WeightedPredictions.of_weight_1(labels, probabilities[None])
    found = influences(labels, probabilities, "multilabel")[name]
    assert Metric.influences(metric, one) == pytest.approx(found, abs=1e-6)
    assert found.sum() == pytest.approx(0, abs=1e-9)


def test_a_sample_of_weight_2_counts_like_two_samples() -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random((30, 3)) < 0.4).astype(np.int64)
    probabilities, times = rng.random((30, 3)), rng.integers(1, 4, 30)
    repeated = score(np.repeat(labels, times, 0), np.repeat(probabilities, times, 0), "multilabel")
    given_ = WeightedPredictions(labels, probabilities[None], times.astype(float))
    for name, metric in all_metrics("multilabel").items():
        assert metric.score(given_)[0] == pytest.approx(repeated[name]), name


def test_the_predictions_of_a_patient_are_averaged_label_by_label() -> None:
    labels = np.array([[1, 0], [1, 0], [0, 1]])
    probabilities = np.array([[[0.2, 0.4], [0.6, 0.0], [0.1, 0.9]]])
    pooled, means = pool(labels, probabilities, np.array([0, 0, 1]))
    assert pooled.tolist() == [[1, 0], [0, 1]]
    assert means[0] == pytest.approx(np.array([[0.4, 0.2], [0.1, 0.9]]))


def write_table(folder: Path, rows: list[str], head: str = "path,label") -> DatasetSpec:
    """Write a table of pictures that are there; return the entry of the data set."""
    (folder / "img").mkdir(exist_ok=True)
    for row in rows:
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / row.partition(",")[0])
    (folder / "t.csv").write_text("\n".join([head, *rows]))
    columns = head.split(",")[1:] if "label" not in head else True
    entry = {"name": "d", "layout": "csv", "path": "t.csv", "multilabel": columns}
    return DatasetSpec.model_validate(entry)


def labels_of_table(folder: Path, rows: list[str], head: str = "path,label") -> list[str]:
    return [sample.label for sample in read_samples(write_table(folder, rows, head), folder)]


def test_labels_are_read_from_a_text_and_a_word_for_none_is_no_label(tmp_path: Path) -> None:
    rows = ["img/0.png,Nodule|Effusion", "img/1.png,No Finding", "img/2.png,Effusion | Effusion"]
    assert labels_of_table(tmp_path, rows) == ["Effusion|Nodule", "", "Effusion"]


def test_labels_are_read_from_columns_of_0_and_1(tmp_path: Path) -> None:
    rows = ["img/0.png,1,0", "img/1.png,1.0,1", "img/2.png,0,0"]
    found = labels_of_table(tmp_path, rows, "path,Mass,Edema")
    assert found == ["Mass", "Edema|Mass", ""]


@pytest.mark.parametrize("value", ["-1", "", "0.5", "yes"])
def test_a_column_of_labels_with_another_value_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(DataError, match="neither 0 nor 1 in 'Edema': row 3"):
        labels_of_table(tmp_path, ["img/0.png,1,0", f"img/1.png,1,{value}"], "path,Mass,Edema")


def test_no_finding_beside_a_finding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'No Finding' beside other labels"):
        labels_of_table(tmp_path, ["img/0.png,No Finding|Mass", "img/1.png,Edema"])


def test_a_label_in_two_spellings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one word or number, written in several ways"):
        labels_of_table(tmp_path, ["img/0.png,Mass", "img/1.png,mass|Edema"])


def test_a_table_of_several_labels_without_the_key_names_the_key(tmp_path: Path) -> None:
    spec = write_table(tmp_path, ["img/0.png,Mass|Edema", "img/1.png,Edema"])
    with pytest.raises(DataError, match="multilabel: true"):
        read_samples(spec.model_copy(update={"multilabel": False}), tmp_path)


def samples_with(labels: list[str]) -> list[Sample]:
    return [Sample(f"{i}", label, f"p{i // 2}", None) for i, label in enumerate(labels)]


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_splits_keep_rare_labels_in_proportion_and_patients_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = {"common": 0.5, "some": 0.1, "rare": 0.03}
    texts = ["|".join(n for n, p in shares.items() if rng.random() < p) for _ in range(800)]
    texts[:6] = ["rare"] * 6
    samples = samples_with(texts)
    splits = assign_splits("d", samples, Split(val=0.2, test=0.2, seed=seed), multilabel=True)
    for name in shares:
        has = np.array([name in text.split("|") for text in texts])
        for part, share in (("test", 0.2), ("val", 0.2), ("train", 0.6)):
            count = (splits[has] == part).sum()
            assert count >= 1
            assert abs(count - share * has.sum()) <= 0.08 * has.sum() + 2
    assert all(splits[i] == splits[i + 1] for i in range(0, 800, 2))


def test_a_fraction_of_the_training_set_holds_every_label() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 5)) < [0.5, 0.3, 0.1, 0.05, 0.02]).astype(np.int64)
    labels[:2, 4] = 1
    small, large = (nested(labels, np.arange(400), share, 0) for share in (0.1, 0.4))
    assert labels[small].any(axis=0).all()
    assert (small <= large).all()


def test_a_manifest_gives_labels_as_a_matrix_and_as_texts() -> None:
    samples = samples_with(["a|c", "", "b", "a|c"])
    manifest = Manifest.of(samples, ["train"] * 3 + ["test"], ["a", "b", "c"], multilabel=True)
    assert manifest.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert manifest.label_texts == ["a|c", "", "b", "a|c"]
    assert manifest.counts()["train"] == {"a": 1, "b": 1, "c": 1}
    assert manifest.summary().startswith("train 3 (a 1, b 1, c 1)")
    assert manifest.resplit(np.array(["val"] * 4)).labels.shape == (4, 3)


def test_chestmnist_has_its_labels_by_its_name(tmp_path: Path) -> None:
    spec, rng = DatasetSpec.model_validate("chestmnist"), np.random.default_rng(0)
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 255, (4, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.eye(4, 14, dtype=np.uint8)[[3, 1, 0, 2]]
    arrays["train_labels"][0, 13] = 1
    arrays["val_labels"][0] = 0
    np.savez(tmp_path / "chestmnist.npz", **arrays)
    found = read_samples(spec, tmp_path)
    assert found[0].label == "hernia|infiltration"
    assert found[4].label == ""
    assert spec.target == "multilabel"


def test_nihs_table_is_read_with_its_patients_and_its_test_list(tmp_path: Path) -> None:
    root = tmp_path / "chest_xray14"
    (root / "images_001" / "images").mkdir(parents=True)
    names = ["00000001_000.png", "00000001_001.png", "00000002_000.png"]
    for name in names:
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "images_001" / "images" / name)
    rows = [
        f"{names[0]},Cardiomegaly|Emphysema,1",
        f"{names[1]},No Finding,1",
        f"{names[2]},Mass,2",
    ]
    head = "Image Index,Finding Labels,Patient ID"
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([head, *rows]))
    (root / "test_list.txt").write_text(f"{names[2]}\n")
    found = read_samples(DatasetSpec.model_validate("chest_xray14"), tmp_path)
    assert [(s.label, s.group, s.split) for s in found] == [
        ("Cardiomegaly|Emphysema", "1", "train"), ("", "1", "train"), ("Mass", "2", "test"),
    ]  # fmt: skip
    (root / "images_001" / "images" / names[0]).unlink()
    with pytest.raises(DataError, match="1 images of"):
        read_samples(DatasetSpec.model_validate("chest_xray14"), tmp_path)


def test_a_column_that_the_entry_names_is_a_label_whatever_its_name(tmp_path: Path) -> None:
    rows = ["img/0.png,1,0", "img/1.png,0,1"]
    assert labels_of_table(tmp_path, rows, "path,normal,Edema") == ["normal", "Edema"]


def test_a_text_without_a_label_is_not_taken_for_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 rows name no label: row 3"):
        labels_of_table(tmp_path, ["img/0.png,Mass", "img/1.png,|"])


def test_a_label_that_the_entry_does_not_name_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "1.png")
    for name in ("Mass", "Edema"):
        (tmp_path / "d" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "d" / name / "1.png")
    entry = {"name": "d", "layout": "folder", "path": "d", "multilabel": ["Mass", "Oedema"]}
    with pytest.raises(DataError, match=r"'Edema' is none of those .* did you mean Oedema"):
        read_samples(DatasetSpec.model_validate(entry), tmp_path)


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    """NIH's folder with two pictures."""
    root = tmp_path / "chest_xray14"
    (root / "images").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "images" / name)
    (root / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Patient ID\na.png,Mass,1\nb.png,No Finding,2\n"
    )
    return root


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("test_list.txt", b"\xff\xfe\x00", "test_list.txt is damaged"),
        ("test_list.txt", b"", "test_list.txt names no image"),
        ("test_list.txt", b"other.png\n", "test_list.txt names no image"),
        ("Data_Entry_2017_v2020.csv", b"", "is not a CSV table"),
        ("Data_Entry_2017_v2020.csv", b"Image Index,Patient ID\na.png,1\n", "Finding Labels"),
        ("Data_Entry_2017_v2020.csv", b"Image Index,Finding Labels,Patient ID\na.png,,1\n",
         "1 rows have no Finding Labels"),
        ("Data_Entry_2017_v2020.csv",
         b"Image Index,Finding Labels,Patient ID\na.png,Mass,1\na.png,Edema,1\n", "more than once"),
    ],
)  # fmt: skip
def test_nihs_files_that_are_damaged_are_named(
    tmp_path: Path, nih: Path, name: str, content: bytes, said: str
) -> None:
    (nih / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_samples(DatasetSpec.model_validate("chest_xray14"), tmp_path)


def test_how_a_sample_with_none_of_the_labels_is_written_is_said_where_one_is_blank(
    tmp_path: Path,
) -> None:
    rows = ["img/0.png,Edema", 'img/1.png,""']
    with pytest.raises(DataError, match="none of the labels is to have the label none"):
        labels_of_table(tmp_path, rows)
    assert labels_of_table(tmp_path, ["img/0.png,Edema", "img/1.png,none"]) == ["Edema", ""]
