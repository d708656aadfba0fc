"""What a confirmation leaves behind: predictions of the test split and its model.

Dimensions: N samples, U units of scoring, C classes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from sweep.backbones.backbone import Backbone, Network, export_state
from sweep.base.atomic import write_atomically, write_text
from sweep.base.checksums import sha256
from sweep.data.dataset import Dataset
from sweep.records.folder import SweepFolder
from sweep.records.home import hashed_id
from sweep.records.predictions import LABEL, PROBABILITY, UNCALIBRATED
from sweep.space.backbone import BackboneSpec
from sweep.space.specs import MULTILABEL
from sweep.train.calibration import divide_logits, fit_temperature, with_temperature
from sweep.train.external import external_probabilities
from sweep.train.learner import Learner
from sweep.train.metrics import pool, score
from sweep.train.thresholds import choose_thresholds
from sweep.train.wave import Report, SweepContext, Wave

Probabilities = NDArray[np.float64]


@dataclass
class Confirmation:
    """Scores the chosen model of a confirmation, once, and keeps what it says and is.

    Attributes:
        backbone: the one whose features are cached.
        external: external test sets, by their names.
        temperature: by which logits are divided; None without calibration.
        thresholds: of the operating points of two classes, by their names.
    """

    context: SweepContext
    wave: Wave
    backbone: Backbone
    dataset: Dataset
    external: dict[str, Dataset]
    temperature: float | None = None
    thresholds: dict[str, float] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return what the validation split has chosen, for the record."""
        chosen = {"temperature": self.temperature, "thresholds": self.thresholds}
        return {name: value for name, value in chosen.items() if value}

    def settle(self, learner: Learner) -> None:
        """Choose, on the validation split, the temperature and the thresholds."""
        labels_N = self.dataset.labels[self.dataset.rows("val")]
        units_N = self.dataset.units("val") if self.dataset.pooled else None
        probabilities_NC = learner.probabilities("val")

        def pooled(scaled_NC: Probabilities) -> Probabilities:
            found: Probabilities = pool(labels_N, scaled_NC[None], units_N)[1][0]
            return found

        labels_U, _ = pool(labels_N, probabilities_NC[None], units_N)
        if self.context.space.recipe_of(self.wave.cell).calibration != "none":
            self.temperature = fit_temperature(labels_U, probabilities_NC, pooled)
        if probabilities_NC.shape[1] == 2 and labels_U.ndim == 1:
            scaled_UC = pooled(with_temperature(probabilities_NC, self.temperature or 1.0))
            self.thresholds = choose_thresholds(labels_U, scaled_UC[:, 1])

    def score(self, learner: Learner, report: Report, show_life: Callable[[], None]) -> None:
        """Score the test split and the external sets; keep predictions and model."""
        cell, key = self.wave.cell, self.wave.key
        report.predictions, report.test = self._score(
            report, key, cell.dataset.name, self.dataset, learner.probabilities("test")
        )
        keeps_model = self.wave.index == 0 or self.context.space.keep_models == "all"
        if not (self.external or keeps_model):
            return
        network = learner.network()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for name, dataset in self.external.items():
            found_NC = external_probabilities(
                dataset, network, learner.backbone, self.backbone, cell.freeze,
                self.context.node_cache(), device, show_life, cell.dataset.target,
            )  # fmt: skip
            of = f"{cell.dataset.name}.{name}"
            file, scores = self._score(report, f"{key}:external:{name}", of, dataset, found_NC)
            report.external[name] = {"predictions": file, "test": scores}
        if keeps_model:
            self._keep_model(network, learner.backbone.spec, report)

    def _keep_model(self, network: Network, backbone: BackboneSpec, report: Report) -> None:
        size, classes = self.dataset.store.size, self.dataset.classes
        folder = self.context.folder.file("models", self.wave.key, "")
        report.model = folder.name
        several = self.dataset.manifest.multilabel
        about = {"target": MULTILABEL} if several else {}
        written = write_model(folder, network, backbone, size, classes, self.temperature, about)
        for path in written:
            report.checksums[f"models/{folder.name}/{path.name}"] = sha256(path)

    def _score(
        self,
        report: Report,
        key: str,
        name: str,
        dataset: Dataset,
        probabilities_NC: Probabilities,
    ) -> tuple[str, dict[str, float]]:
        """Keep the predictions of a test split, calibrated; return their file and metrics.

        Args:
            name: of the dataset, for the hashes of its samples' names.
            probabilities_NC: of the chosen model, without a temperature.
        """
        scaled_NC, uncalibrated_NC = probabilities_NC, None
        if self.temperature:
            several = dataset.manifest.multilabel
            scaled_NC = with_temperature(probabilities_NC, self.temperature, several)
            uncalibrated_NC = probabilities_NC
        secret = self.context.ids_key
        table = prediction_table(dataset, name, secret, "test", scaled_NC, uncalibrated_NC)
        scores_NC = table[[f"{PROBABILITY}{label}" for label in dataset.classes]].to_numpy()
        file = write_table(self.context.folder, report, "predictions", key, table)
        return file, score(labels_in(table), scores_NC, self.wave.cell.dataset.target)


def write_table(
    folder: SweepFolder, report: Report, place: str, key: str, table: pd.DataFrame
) -> str:
    """Write a table of predictions into a sweep's folder; return its name."""
    path = folder.file(place, key, ".parquet")
    write_atomically(path, lambda file: table.to_parquet(file, index=False))
    report.checksums[f"{place}/{path.name}"] = sha256(path)
    return path.name


def prediction_table(
    dataset: Dataset,
    name: str,
    key: bytes,
    split: str,
    probabilities_NC: Probabilities,
    uncalibrated_NC: Probabilities | None = None,
) -> pd.DataFrame:
    """Return what is kept of a split: a row for each unit of scoring, its ids hashed.

    Args:
        name: of the dataset.
        key: of the home, under which ids are hashed.
        probabilities_NC: of each sample of the split.
        uncalibrated_NC: the same as they were without a temperature, if there was one.
    """
    manifest = dataset.manifest
    rows, units_N = dataset.rows(split), dataset.units(split)
    first_U = rows[np.unique(units_N, return_index=True)[1]]
    ids = manifest.groups if dataset.pooled else manifest.ids
    columns: dict[str, Any] = {
        "sample": [hashed_id(key, f"{name}/{ids[row]}") for row in first_U],
        "group": [hashed_id(key, f"{name}/{dataset.clusters[row]}") for row in first_U],
    }
    if dataset.manifest.multilabel:
        for place, label in enumerate(dataset.classes):
            columns[f"{LABEL}{label}"] = dataset.labels[first_U, place]
    else:
        columns["label"] = dataset.labels[first_U]
    for prefix, values_NC in ((PROBABILITY, probabilities_NC), (UNCALIBRATED, uncalibrated_NC)):
        if values_NC is None:
            continue
        scored = (dataset.labels[rows], values_NC[None])
        _, values_KUC = pool(*scored, units_N if dataset.pooled else None)
        for index, label in enumerate(dataset.classes):
            columns[f"{prefix}{label}"] = values_KUC[0, :, index]
    return pd.DataFrame(columns)


def labels_in(table: pd.DataFrame) -> NDArray[np.int64]:
    """Return the class indices (N,) in a table of predictions, or 0 and 1 (N, C) of its labels."""
    columns = [name for name in table if str(name).startswith(LABEL)]
    return np.asarray(table[columns or "label"].to_numpy(), dtype=np.int64)


def write_model(
    folder: Path,
    network: Network,
    backbone: BackboneSpec,
    size: int,
    classes: list[str],
    temperature: float | None,
    more: Mapping[str, Any],
) -> list[Path]:
    """Write a confirmed model into a folder; return its files.

    Args:
        size: side of the images in pixels.
        temperature: by which the logits are divided from now on.
        more: that ``model.json`` says.
    """
    divide_logits(network.head, temperature or 1.0)
    state, about = export_state(network, backbone, size, classes)
    about |= more
    if temperature:
        about["temperature"] = temperature
    if about.get("target") == MULTILABEL:
        about.pop("positive", None)
    tensors: dict[str, Tensor] = state
    weights, description = folder / "model.safetensors", folder / "model.json"
    write_atomically(weights, lambda file: save_file(tensors, file))
    write_text(description, json.dumps(about, indent=1))
    return [weights, description]
