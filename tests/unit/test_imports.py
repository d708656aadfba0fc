"""The training core works on a machine that has neither ray nor mlflow nor optuna."""

import subprocess
import sys

import pytest

CORE = ["data.dataset", "data.store.image_store", "train.probe", "train.finetune",
        "train.features", "train.metrics", "backbones.backbone", "backbones.trainable"]  # fmt: skip

BLOCKED = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"ray", "mlflow", "optuna"}:
            raise ImportError(f"{name} must not be imported here")
sys.meta_path.insert(0, Refuse())
"""


@pytest.mark.parametrize("group", ["data", "train", "all"])
def test_the_core_needs_no_ray_mlflow_or_optuna(group: str) -> None:
    modules = CORE if group == "all" else [name for name in CORE if name.startswith(group)]
    code = BLOCKED + "\n".join(f"import sweep.{name}" for name in modules)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_notebook_trains_a_probe_with_the_core_alone(tmp_path) -> None:
    code = (
        BLOCKED
        + f"""
import torch
from pathlib import Path
from sweep.backbones.backbone import load_backbone
from sweep.data.dataset import DatasetView, open_dataset
from sweep.space.recipe import Recipe, Split
from sweep.space.backbone import BackboneSpec
from sweep.space.specs import DatasetSpec
from sweep.train.features import open_features
from sweep.train.learner import Task, Trial
from sweep.train.probe import BatchedLinearProbe

cpu, here = torch.device("cpu"), Path({str(tmp_path)!r})
backbone = load_backbone(BackboneSpec.model_validate("lite0"), 32, None)
view = DatasetView(DatasetSpec.model_validate("digits"), Split(), 32, "bicubic")
digits = open_dataset(view, here, here)
features = open_features(backbone, digits.store, here, cpu)
rows = {{split: digits.rows(split) for split in ("train", "val", "test")}}
labels = {{split: torch.from_numpy(digits.labels[own]) for split, own in rows.items()}}
inputs = {{split: features.rows(own) for split, own in rows.items()}}
trials = [Trial(0, {{"learning_rate": 0.01}})]
task = Task(backbone, labels, 10, Recipe(), 5, "auroc", 0, cpu)
wave = BatchedLinearProbe(task, inputs, trials)
for _ in range(5):
    wave.train_epoch()
assert wave.best[0].value > 0.97, wave.best
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
