"""Several labels a picture through the command line: from the table to the exported model."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from sweep.records.home import hashed_id
from tests.conftest import Command
from tests.running import Sweep

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

LABELS = ["blue", "green", "red"]
MODES = ["frozen", "logreg", "knn", "prototypes", "full"]


def write_table(folder: Path, name: str, count: int, seed: int) -> None:
    """Write pictures, each label of which brightens one colour, and the table of their labels."""
    rng, rows = np.random.default_rng(seed), ["path,label,sex"]
    (folder / name).mkdir(parents=True)
    for number in range(count):
        has = rng.random(3) < [0.5, 0.4, 0.25]
        pixels = rng.integers(0, 90, (40, 40, 3)) + 90 * has[::-1]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
        text = "|".join(label for label, own in zip(LABELS, has, strict=True) if own)
        rows.append(f"{name}/{number}.png,{text or 'No Finding'},{'mf'[number % 2]}")
    (folder / f"{name}.csv").write_text("\n".join(rows))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tables of pictures, and a finished sweep of every kind of head."""
    folder = tmp_path_factory.mktemp("several")
    write_table(folder, "here", 150, 0)
    write_table(folder, "there", 40, 1)
    dataset = {
        "name": "colours", "layout": "csv", "path": str(folder / "here.csv"), "multilabel": True,
        "subgroups": ["sex"],
        "external": {
            "there": {"layout": "csv", "path": str(folder / "there.csv"), "multilabel": True}
        },
    }  # fmt: skip
    space = {
        "name": "s", "datasets": [dataset], "freeze": MODES, "image_size": 32, "edges": "keep",
        "backbones": [{"name": "small", "model": "test_resnet", "weights": "none"}],
        "budget": {"trials": 2, "epochs": 2}, "seeds": 3, "keep_models": "all",
    }  # fmt: skip
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    Sweep(folder, "s").run("launch", "--space", "space.yaml", "--local")
    return folder


def test_every_kind_of_head_is_compared_by_means_over_labels_and_label_by_label(
    sweep: Command, home: Path
) -> None:
    done = sweep("compare", "s", "--home", home / "sweeps", "--format", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert {cell["freeze"] for cell in found["cells"]} == set(MODES)
    for cell in found["cells"]:
        own = [item for item in found["labels"] if item["freeze"] == cell["freeze"]]
        assert [item["label"] for item in own] == LABELS
        mean = np.mean([item["metrics"]["auroc"]["mean"] for item in own])
        assert cell["metrics"]["auroc"]["mean"] == pytest.approx(mean)
        assert cell["metrics"]["auroc"]["low"] < mean <= cell["metrics"]["auroc"]["high"]
    assert max(cell["metrics"]["auroc"]["mean"] for cell in found["cells"]) > 0.8
    assert len(found["external"]) == len(MODES)
    assert found["positive"] == {}
    assert found["operating_points"] == []


def test_the_report_shows_each_label(sweep: Command, home: Path) -> None:
    done = sweep("report", "s", "--home", home / "sweeps", "--no-track")
    assert done.code == 0, done.err
    page = Path("report.html").read_text()
    assert "Each label: AUROC" in page
    assert "each was trained by its binary cross-entropy" in page
    assert "Confusion matrices" not in page
    assert "Subgroups by sex" in page
    assert "External test set there" in page


@pytest.mark.parametrize("mode", MODES)
def test_pictures_predicted_again_give_the_stored_predictions(
    sweep: Command, home: Path, mode: str
) -> None:
    cell = f"colours/small/{mode}"
    where = ("--home", home / "sweeps", "--output", "out.csv")
    assert sweep("predict", "s", cell, home / "here.csv", *where).code == 0
    table = pd.read_csv("out.csv", keep_default_na=False)
    key = bytes.fromhex((home / "sweeps" / ".ids.key").read_text())
    (name,) = (
        record["predictions"]
        for path in (home / "sweeps/s/runs").glob("*.json")
        if (record := json.loads(path.read_text()))["kind"] == "confirmation"
        and (record["freeze"], record["number"]) == (mode, 0)
    )
    stored = pd.read_parquet(home / "sweeps/s/predictions" / name).set_index("sample")
    table.index = [hashed_id(key, f"colours/here/{Path(path).name}") for path in table["path"]]
    own = table.loc[stored.index]
    for label in LABELS:
        assert own[f"p_{label}"].to_numpy() == pytest.approx(stored[f"p_{label}"], abs=1e-4)
    first = table.iloc[0]
    assert first["labels"].split("|") == [n for n in LABELS if first[f"p_{n}"] > 0.5] or (
        first["labels"] == "" and all(first[f"p_{n}"] <= 0.5 for n in LABELS)
    )


@pytest.mark.parametrize("style", ["onnx", "mlflow"])
def test_an_exported_model_gives_the_probability_of_each_label(
    sweep: Command, home: Path, style: str
) -> None:
    where = ("--home", home / "sweeps", "--output", "out", "--format", style)
    done = sweep("export", "s", "colours/small/full", *where)
    assert done.code == 0, done.err
    images = np.random.default_rng(0).random((3, 3, 32, 32), dtype=np.float32)
    if style == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession("out/model.onnx")
        (found,) = session.run(None, {"images": images})
    else:
        from sweep.tracking.model import predict

        found = predict(Path("out"), images)
    assert found.shape == (3, 3)
    assert np.abs(found.sum(axis=1) - 1).max() > 1e-3  # they are no shares of one
    assert "each of its labels, or none" in Path("out/README.md").read_text()


def test_the_wrong_pictures_are_listed_with_their_labels(sweep: Command, home: Path) -> None:
    cell = ("s", "colours/small/full", "--home", home / "sweeps")
    done = sweep("errors", *cell, "--output", "wrong.csv", "--gallery", "g.html", "--most", "3")
    assert done.code == 0, done.err
    wrong = pd.read_csv("wrong.csv", keep_default_na=False)
    assert len(wrong)
    assert (wrong["label"] != wrong["predicted"]).all()
    assert "<img" in Path("g.html").read_text()


def test_the_check_counts_labels_and_pictures(sweep: Command, home: Path) -> None:
    entry = {"name": "c", "layout": "csv", "path": "here.csv", "multilabel": True}
    space = {"name": "one", "backbones": ["lite0"], "datasets": [entry]}
    (home / "one.yaml").write_text(yaml.safe_dump(space))
    done = sweep("data", "check", "c", "--space", home / "one.yaml", "--data-root", home, "--json")
    assert done.code == 0, done.err + done.out
    found = json.loads(done.out)
    assert set(found["images"]["test"]) == set(LABELS)
