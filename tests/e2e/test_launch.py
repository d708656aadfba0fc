"""One sweep over real images through the command line, and everything that it leaves behind."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image, ImageOps
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from sweep.records.home import hashed_id

pytestmark = [pytest.mark.e2e, pytest.mark.ray, pytest.mark.timeout(600)]

SPACE = {
    "name": "real",
    "datasets": [
        {"name": "brain", "layout": "folder", "path": "brain_mri", "train": "Training",
         "test": "Testing"},
        {"name": "chest", "layout": "folder", "path": "nih_chest_xray", "group": r"^(\d+)_"},
    ],
    "backbones": [
        {"name": "lite0", "model": "tf_efficientnet_lite0",
         "weights": "tf_efficientnet_lite0.in1k.safetensors"},
        {"name": "lite0_random", "model": "tf_efficientnet_lite0", "weights": "none"},
    ],
    "freeze": ["frozen"],
    "image_size": 64,
    "budget": {"trials": 8, "epochs": 30},
    "seeds": 3,
    "edges": "keep",
}  # fmt: skip


@dataclass
class Here:
    """A folder in which a sweep was launched, and what the launch printed."""

    folder: Path
    out: str
    err: str
    weights: Path
    data: Path

    def sweep(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return command(self.folder, *arguments)

    def runs(self) -> list[Run]:
        client = MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("real")
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id], max_results=1000))


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEP", "MLFLOW"))}
    environment["SWEEP_CACHE"] = str(folder / "cache")
    return subprocess.run(
        [sys.executable, "-m", "sweep", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, shared_data: Path, shared_weights: Path) -> Here:
    folder = tmp_path_factory.mktemp("real")
    (folder / "real.yaml").write_text(yaml.safe_dump(SPACE))
    done = command(
        folder, "launch", "--space", "real.yaml", "--data-root", str(shared_data),
        "--weights-dir", str(shared_weights),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Here(folder, done.stdout, done.stderr, shared_weights, shared_data)


@pytest.fixture(scope="module")
def compared(here: Here) -> dict[str, dict[str, object]]:
    done = here.sweep("compare", "real", "--format", "json")
    cells = json.loads(done.stdout)["cells"]
    return {f"{cell['dataset']}/{cell['backbone']}": cell for cell in cells}


def test_pre_trained_weights_beat_random_ones(compared) -> None:
    # Without the copies of test pictures brain_mri is as hard as it is.
    for dataset, least in (("brain", 0.65), ("chest", 0.80)):
        good, random = (compared[f"{dataset}/{name}"] for name in ("lite0", "lite0_random"))
        assert good["metrics"]["auroc"]["mean"] > least
        assert good["metrics"]["auroc"]["mean"] > random["metrics"]["auroc"]["mean"] + 0.02


def test_every_cell_was_searched_and_confirmed(compared) -> None:
    assert len(compared) == 4
    for cell in compared.values():
        assert (cell["trials"], cell["failed"], cell["seeds"]) == (8, 0, 3)
        assert cell["pruned"] == 0  # as frozen cells train as one matrix
        assert cell["seconds"] > 0
        for name, interval in cell["metrics"].items():
            if name == "ece":
                assert (interval["low"], interval["high"]) == (None, None)
                continue
            assert interval["low"] < interval["mean"] < interval["high"]


def test_progress_and_the_table_were_printed(here: Here) -> None:
    assert "runs done" in here.err
    assert "best val/auroc" in here.err
    assert "brain: lite0/frozen has the highest test score" in here.out


def test_the_intervals_come_from_the_stored_predictions(here: Here, compared) -> None:
    files = list((here.folder / "sweeps" / "real" / "predictions").glob("*.parquet"))
    assert len(files) == 12
    means = []
    for file in files:
        table = pd.read_parquet(file)
        if {"p_NORMAL", "p_PNEUMONIA"} <= set(table.columns):
            assert table["sample"].is_unique
            assert table["group"].nunique() < len(table)
            means.append(roc_auc_score(table["label"], table["p_PNEUMONIA"]))
    wanted = [
        compared[f"chest/{name}"]["metrics"]["auroc"]["mean"] for name in ("lite0", "lite0_random")
    ]
    assert sorted(means)[3:] == pytest.approx([max(wanted)] * 3, abs=0.05)
    assert np.mean(means) == pytest.approx(np.mean(wanted), abs=1e-9)


def test_mlflow_holds_a_parent_a_cell_and_a_child_a_run(here: Here) -> None:
    runs = [run for run in here.runs() if run.data.tags["sweep.kind"] != "comparison"]
    kinds = [run.data.tags["sweep.kind"] for run in runs]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "cell": 4, "trial": 32, "confirmation": 12,
    }  # fmt: skip
    assert {run.info.status for run in runs} == {"FINISHED"}
    parents = {r.info.run_id: r for r in runs if r.data.tags["sweep.kind"] == "cell"}
    for run in runs:
        for name in ("dataset", "backbone", "freeze", "image_size", "batch_size", "optimizer"):
            assert run.data.params[name], name
        if run.info.run_id not in parents:
            parent = parents[run.data.tags["mlflow.parentRunId"]]
            assert parent.data.tags["sweep.cell"] == run.data.tags["sweep.cell"]
            assert "val/auroc" in run.data.metrics
    for parent in parents.values():
        assert {"test/auroc", "test/auroc_low", "test/auroc_high"} <= set(parent.data.metrics)


def test_no_file_name_or_group_of_the_data_is_in_mlflow_or_the_predictions(here: Here) -> None:
    names = [path.name for path in (here.data / "nih_chest_xray").rglob("*.jpg")][:200]
    names += [path.name for path in (here.data / "nih_chest_xray").rglob("*.png")][:200]
    assert names
    places = [here.folder / "mlflow.db", *(here.folder / "mlruns").rglob("*")]
    places += (here.folder / "sweeps" / "real" / "predictions").glob("*")
    for place in places:
        if place.is_file() and place.suffix != ".safetensors":
            content = place.read_bytes()
            assert not [name for name in names if name.encode() in content], place
            assert str(here.data).encode() not in content


def test_the_logged_model_gives_the_stored_predictions_with_timm_and_pillow_alone(
    here: Here,
) -> None:
    (parent,) = (
        run for run in here.runs()
        if run.data.tags["sweep.kind"] == "cell"
        and run.data.tags["sweep.cell"] == "chest/lite0/frozen"
    )  # fmt: skip
    client = MlflowClient(f"sqlite:///{here.folder / 'mlflow.db'}")
    folder = Path(client.download_artifacts(parent.info.run_id, "model", str(here.folder)))
    about = json.loads((folder / "model.json").read_text())
    model = timm.create_model(about["model"], pretrained=False, **about["kwargs"]).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    predictions = here.folder / "sweeps" / "real" / "predictions" / first_predictions(here)
    kept = pd.read_parquet(predictions).set_index("sample")
    key = bytes.fromhex((here.folder / "sweeps" / ".ids.key").read_text())
    side = (about["image_size"], about["image_size"])
    how = Image.Resampling[about["interpolation"].upper()]
    found = 0
    for path in sorted((here.data / "nih_chest_xray").rglob("*.*")):
        name = str(path.relative_to(here.data / "nih_chest_xray"))
        sample = hashed_id(key, f"chest/{name}")
        if sample not in kept.index:
            continue
        image = Image.open(path)
        image.draft(None, tuple(about["jpeg_draft"]))
        image = ImageOps.exif_transpose(image).convert("RGB").resize(side, how)
        pixels = torch.from_numpy(np.array(image)) / 255
        pixels = (pixels - torch.tensor(about["mean"])) / torch.tensor(about["std"])
        with torch.inference_mode():
            probabilities = model(pixels.permute(2, 0, 1)[None]).softmax(1)[0].numpy()
        stored = kept.loc[sample, [f"p_{label}" for label in about["classes"]]].to_numpy(float)
        assert probabilities == pytest.approx(stored, abs=1e-4)
        found += 1
    assert found == len(kept)
    assert about["positive"] == "PNEUMONIA"


def first_predictions(here: Here) -> str:
    """Return the file of the first confirmation's predictions."""
    (run,) = (
        run for run in here.runs()
        if run.data.tags["sweep.key"].endswith(":chest/lite0/frozen:confirmation:0")
    )  # fmt: skip
    return str(run.data.tags["sweep.predictions"])


def test_every_format_of_the_comparison(here: Here) -> None:
    table = here.sweep("compare", "real", "--metric", "f1")
    assert "F1" in table.stdout
    rows = list(
        csv.DictReader(io.StringIO(here.sweep("compare", "real", "--format", "csv").stdout))
    )
    assert len(rows) == 4
    markdown = here.sweep("compare", "real", "--format", "markdown").stdout
    assert sum(line.startswith("|") for line in markdown.splitlines()) == 6
    here.sweep("compare", "real", "--format", "latex", "--output", "table.tex")
    assert r"\toprule" in (here.folder / "table.tex").read_text()
    here.sweep("compare", "real", "--format", "parquet", "--output", "table.parquet")
    assert len(pd.read_parquet(here.folder / "table.parquet")) == 4


def test_the_studys_questions_are_answered(here: Here) -> None:
    table = here.sweep("compare", "real", "--margin", "0.02").stdout
    assert "Is ImageNet pre-training better than random initialisation?" in table
    assert (
        "ImageNet pre-training is better than random initialisation for models trained on" in table
    )


def test_mlflow_alone_gives_the_same_comparison(here: Here) -> None:
    plain = here.sweep("compare", "real", "--format", "json")
    uri = f"sqlite:///{here.folder / 'mlflow.db'}"
    alone = here.sweep("compare", "real", "--format", "json", "--tracking-uri", uri)
    assert alone.returncode == 0, alone.stderr
    assert json.loads(alone.stdout) == json.loads(plain.stdout)
    assert alone.stderr == plain.stderr


def test_a_sweep_that_is_nowhere_is_refused_with_the_nearest_names(here: Here) -> None:
    done = here.sweep("compare", "reel", "--home", "nowhere")
    assert done.returncode == 2
    assert "no sweep 'reel' in MLflow" in done.stderr
    assert "did you mean real?" in done.stderr


def test_the_report_is_written_and_shown_by_mlflow(here: Here) -> None:
    done = here.sweep("report", "real", "--output", "out/report.html")
    assert done.returncode == 0, done.stderr
    assert "written to out/report.html" in done.stdout
    text = (here.folder / "out" / "report.html").read_text("utf-8")
    assert "brain: lite0/frozen has the highest test score" in text
    assert text.count("<figure>") == 8 + 9  # of two classes decision curves, too
    client = MlflowClient(f"sqlite:///{here.folder / 'mlflow.db'}")
    (run,) = (r for r in here.runs() if r.data.tags["sweep.kind"] == "comparison")
    (artifact,) = client.list_artifacts(run.info.run_id)
    assert artifact.path == "report.html"
    again = here.sweep("report", "real", "--output", "r.html",
                       "--home", "nowhere")  # fmt: skip
    assert again.returncode == 0, again.stderr
    comparisons = [r for r in here.runs() if r.data.tags["sweep.kind"] == "comparison"]
    assert len(comparisons) == 1
    # From MLflow alone it is the same, trials and training curves included.
    without_time = [re.sub(r"\d\d:\d\d UTC|[mp][0-9a-f]{10}", "", t) for t in
                    (text, (here.folder / "r.html").read_text("utf-8"))]  # fmt: skip
    assert without_time[0] == without_time[1]


def test_the_same_name_again_is_refused_with_what_to_do(here: Here) -> None:
    done = here.sweep("launch", "--space", "real.yaml", "--data-root", str(here.data),
                      "--weights-dir", str(here.weights))  # fmt: skip
    assert done.returncode == 2
    assert "sweep compare real" in done.stderr
    assert "Traceback" not in done.stderr


def test_resuming_a_finished_sweep_prints_its_table(here: Here) -> None:
    done = here.sweep("resume", "real")
    assert done.returncode == 0
    assert "has the highest test score" in done.stdout


def test_status_in_words_and_json(here: Here) -> None:
    assert "real: finished, 44 of 44 runs done" in here.sweep("status", "real").stdout
    status = json.loads(here.sweep("status", "real", "--json").stdout)
    assert status["state"] == "finished"
    assert status["waiting_for_mlflow"] == 0


def test_nothing_of_tune_or_the_search_is_left_over(here: Here) -> None:
    folder = here.folder / "sweeps" / "real"
    assert not (folder / "tune").exists()
    assert not list((folder / "checkpoints").iterdir())
    assert not list((folder / "spool").iterdir())
    assert len(list((folder / "models").iterdir())) == 4
