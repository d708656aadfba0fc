"""The winner on other images: what `sweep predict` says is what the confirmations have stored."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sweep.records.home import hashed_id
from tests.conftest import Command, tiny_space, write_images

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MODES = ["knn", "prototypes", "logreg", "frozen", "lora:2", "full"]


def stored_predictions(mode: str) -> pd.DataFrame:
    """Return the test predictions of the confirmation whose model a cell has kept."""
    for path in Path("sweeps/s/runs").glob("*.json"):
        record = json.loads(path.read_text())
        if record["kind"] == "confirmation" and record["freeze"] == mode and record["model"]:
            return pd.read_parquet(Path("sweeps/s/predictions") / record["predictions"])
    raise AssertionError(f"{mode} has kept no model")


def test_the_test_images_predicted_again_give_the_stored_predictions(
    sweep: Command, images: Path
) -> None:
    dataset = {"name": "cells", "layout": "folder", "path": str(images / "cells")}
    space = tiny_space(
        "s", dataset, freeze=MODES, image_size=160, budget={"trials": 2, "epochs": 2},
        backbones=[{"name": "small", "model": "test_vit", "weights": "none"}],
        search={"features": ["mean", "cls+mean"]}, recipe={"preset": "modern"},
    )  # fmt: skip
    done = sweep("launch", "--space", space, "--local")
    assert done.code == 0, done.err
    key = bytes.fromhex(Path("sweeps/.ids.key").read_text())
    for mode in MODES:
        done = sweep("predict", "s", f"cells/small/{mode}", images / "cells", "--output", "p.csv")
        assert done.code == 0, done.err
        found = pd.read_csv("p.csv")
        assert len(found) == 40
        below = [Path(path).relative_to(images / "cells") for path in found["path"]]
        found["sample"] = [hashed_id(key, f"cells/{path}") for path in below]
        both = found.merge(stored_predictions(mode), on="sample", suffixes=("", "_stored"))
        assert len(both) == 8
        difference = both["p_light"] - both["p_light_stored"]
        assert np.abs(difference).max() < 1e-4
        assert (found["class"] == np.where(found["p_light"] > 0.5, "light", "dark")).all()


@pytest.fixture
def done(sweep: Command, images: Path) -> Command:
    """A command line in a folder with a finished sweep of one frozen cell."""
    dataset = {"name": "cells", "layout": "folder", "path": str(images / "cells")}
    launched = sweep("launch", "--space", tiny_space("s", dataset), "--local")
    assert launched.code == 0, launched.err
    return sweep


CELL = "cells/small/frozen"


def test_files_folders_and_tables_are_predicted(done: Command, tmp_path: Path) -> None:
    write_images(tmp_path / "new" / "deep", 2, 70)
    write_images(tmp_path / "new", 1, 180, prefix="one")
    (one,) = (tmp_path / "new").glob("one*.png")
    (tmp_path / "table.csv").write_text(f"path,note\nnew/{one.name},x\n")
    ended = done(
        "predict", "s", CELL, tmp_path / "new", one, tmp_path / "table.csv", "--output", "p.csv"
    )
    assert ended.code == 0, ended.err
    found = pd.read_csv("p.csv")
    assert len(found) == 3 + 1 + 1
    of_one = found[found["path"].str.endswith(one.name)]
    assert len(of_one) == 3
    assert of_one["p_dark"].nunique() == 1


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_predicted(
    done: Command, tmp_path: Path
) -> None:
    write_images(tmp_path / "new", 2, 70)
    (tmp_path / "new" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing more")
    ended = done("predict", "s", CELL, tmp_path / "new", "--output", "p.csv")
    assert ended.code == 1
    assert "2 of 3 predicted" in ended.err
    assert "cut.png" in ended.err
    found = pd.read_csv("p.csv").set_index("path")
    assert found["class"].isna().tolist() == [name.endswith("cut.png") for name in found.index]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("s", "cells/small/frozn", "."), "did you mean cells/small/frozen"),
        (("s", CELL, "nowhere"), "nowhere is not there"),
        (("s", CELL, "empty"), "empty holds no pictures"),
        (("s", CELL, "odd.csv"), "no column 'path'"),
        (("s", CELL, "gone.csv"), "1 files are not there:\n  row 2: x.png"),
        (("other", CELL, "."), "no sweep 'other'"),
    ],
)
def test_what_is_wrong_is_said(done: Command, arguments: tuple[str, ...], words: str) -> None:
    Path("empty").mkdir()
    Path("odd.csv").write_text("file\nx.png\n")
    Path("gone.csv").write_text("path\nx.png\n")
    ended = done("predict", *arguments, "--output", "p.csv")
    assert ended.code == 2
    assert words in ended.err
    assert not Path("p.csv").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_model_whose_file_is_damaged_is_refused(done: Command, name: str) -> None:
    (kept,) = Path("sweeps/s/models").glob(f"*/{name}")
    kept.write_bytes(kept.read_bytes()[:100])
    ended = done("predict", "s", CELL, ".", "--output", "p.csv")
    assert ended.code == 2
    assert f"{name} is damaged" in ended.err


@pytest.mark.parametrize("masks", [False, True], ids=["middle slices", "by masks"])
def test_volumes_are_predicted_by_the_mean_of_their_slices(
    sweep: Command, shared_data: Path, masks: bool
) -> None:
    pytest.importorskip("nibabel", reason="needs the extra sweep[medical]")
    pytest.importorskip("pydicom", reason="needs the extra sweep[medical]")
    table = pd.read_csv(shared_data / "glioma_volumes" / "volumes.csv")
    own = table[table["modality"] == "flair"].drop(columns=[] if masks else "mask")
    for column in {"path", "mask"} & set(own):
        there = own[column].notna()  # series of DICOM have no masks
        own.loc[there, column] = f"{shared_data / 'glioma_volumes'}/" + own.loc[there, column]
    Path("volumes").mkdir()
    own.to_csv("volumes/volumes.csv", index=False)
    # Of one slice: the volumes have three, which would be all taken with a mask and without.
    place = str(Path("volumes").absolute())
    dataset = {"name": "gliomas", "layout": "volumes", "path": place, "slices": 1}
    launched = sweep("launch", "--space", tiny_space("s", dataset), "--local")
    assert launched.code == 0, launched.err
    done = sweep("predict", "s", "gliomas/small/frozen", "volumes/volumes.csv", "--output", "p.csv")
    assert done.code == 0, done.err
    found = pd.read_csv("p.csv").assign(patient=own["patient"].to_numpy())
    key = bytes.fromhex(Path("sweeps/.ids.key").read_text())
    found["sample"] = [hashed_id(key, f"gliomas/{patient}") for patient in found["patient"]]
    both = found.merge(stored_predictions("frozen"), on="sample", suffixes=("", "_stored"))
    assert len(both) >= 4
    column = next(name for name in both if name.endswith("_stored") and name.startswith("p_"))
    difference = both[column] - both[column.removesuffix("_stored")]
    assert np.abs(difference).max() < 1e-4
    own.drop(columns="mask", errors="ignore").to_csv("volumes/middle.csv", index=False)
    sweep("predict", "s", "gliomas/small/frozen", "volumes/middle.csv", "--output", "m.csv")
    columns = [name for name in found if name.startswith("p_")]
    middle = pd.read_csv("m.csv")[columns]
    assert np.allclose(found[columns], middle, atol=1e-4) is not masks
