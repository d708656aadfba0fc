"""The study's modalities are launched by name, from their own trees, and give a table."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.conftest import Command

pytest.importorskip("nibabel", reason="needs the extra sweep[medical]")
pytest.importorskip("pydicom", reason="needs the extra sweep[medical]")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NAMES = [
    "chest_xray", "ham10000", "ichallenge_pm", "lgg_mri", "brain_mri",
    "glioma_t1", "glioma_flair", "glioma_t1ce",
]  # fmt: skip


def launch(sweep: Command, data: Path, weights: Path, **changes: object) -> list[dict[str, object]]:
    document = {
        "name": "native",
        "datasets": NAMES,
        "backbones": [
            {
                "name": "lite0",
                "model": "tf_efficientnet_lite0",
                "weights": "tf_efficientnet_lite0.in1k.safetensors",
            }
        ],
        "freeze": ["frozen"],
        "image_size": 64,
        "budget": {"trials": 2, "epochs": 5},
        "seeds": 1,
        "edges": "keep",
        **changes,
    }
    Path("native.yaml").write_text(yaml.safe_dump(document))
    where = ("--data-root", data, "--weights-dir", weights)
    done = sweep("launch", "--space", "native.yaml", "--local", *where)
    assert done.code == 0, done.err
    assert "lite0" in done.out
    found = json.loads(sweep("compare", "native", "--format", "json").out)["cells"]
    return list(found)


def predictions() -> dict[tuple[str, float], list[pd.DataFrame]]:
    """Test predictions of each dataset and train fraction."""
    result: dict[tuple[str, float], list[pd.DataFrame]] = {}
    for path in Path("sweeps/native/runs").glob("*.json"):
        record = json.loads(path.read_text())
        if record["kind"] == "confirmation":
            table = pd.read_parquet(Path("sweeps/native/predictions") / record["predictions"])
            key = (record["dataset"], record["train_fraction"])
            result.setdefault(key, []).append(table)
    return result


def test_every_dataset_at_hand_gives_a_cell(
    sweep: Command, shared_data: Path, shared_weights: Path
) -> None:
    cells = launch(sweep, shared_data, shared_weights)
    assert {cell["dataset"] for cell in cells} == set(NAMES)
    assert all(cell["metrics"] for cell in cells)
    rows = {name: len(table) for (name, _), (table,) in predictions().items()}
    assert rows["glioma_t1"] == 4  # patients, not their slices
    assert rows["lgg_mri"] == 22
    assert rows["chest_xray"] == 264


def test_folds_test_every_patient_once_and_fractions_are_cells(
    sweep: Command, shared_data: Path, shared_weights: Path
) -> None:
    changes = {"split": {"folds": 4}, "train_fraction": [0.5, 1.0], "datasets": ["glioma_flair"]}
    cells = launch(sweep, shared_data, shared_weights, **changes)
    assert {cell["train_fraction"] for cell in cells} == {0.5, 1.0}
    assert {cell["seeds"] for cell in cells} == {4}
    for tables in predictions().values():
        groups = pd.concat(tables)["group"]
        assert len(groups) == groups.nunique() == 24
    table = sweep("compare", "native").out
    assert "frozen@0.5" in table
    assert "predictions of all folds, pooled" in table
