"""The test pictures that the confirmed models of a cell get wrong, by the names of their files.

Records know samples by keyed hashes alone: their names are found by whoever has the key of the
home, and the data.

Dimensions: N samples, F confirmations, C classes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweep.data.dataset import read_manifest
from sweep.data.layouts import location
from sweep.data.manifest import Manifest
from sweep.data.multilabel import DECISION_THRESHOLD, predicted_labels
from sweep.errors import SweepError
from sweep.records.folder import SweepFolder
from sweep.records.home import hashed_id, hashing_key
from sweep.records.results import CellResult, home_results
from sweep.run.winner import cell_of
from sweep.space.model import Cell

_NONE = "no label"


@dataclass(frozen=True)
class Mistake:
    """A test picture, or a group of pooled ones, that the mean of the confirmations gets wrong.

    Attributes:
        rows: of its pictures in the manifest.
        names: of its pictures, as the layout calls them.
        label, predicted: classes; of several labels a text of them.
        surest: the class that was predicted, or the label about which it is surest and wrong.
        probability: of the predicted class, the mean over the confirmations.
        wrong, of: how many confirmations get it wrong, and how many there are.
    """

    rows: tuple[int, ...]
    names: tuple[str, ...]
    label: str
    predicted: str
    probability: float
    surest: str
    wrong: int
    of: int


@dataclass(frozen=True)
class Mistakes:
    """What the confirmed models of a cell get wrong, the most certain mistake first.

    Attributes:
        tested: how many pictures, or groups of them, were scored.
        place: the folder that names are relative to.
    """

    cell: Cell
    found: list[Mistake]
    tested: int
    place: Path


def mistakes(folder: SweepFolder, name: str, data_root: Path | None = None) -> Mistakes:
    """Return what the confirmed models of a cell get wrong on the test split.

    Args:
        name: of the cell, ``dataset/backbone/freeze``.
        data_root: where the data is now; by default where it was at the launch.

    Raises:
        SweepError: there is no such cell, it is not confirmed, or the samples of its predictions
            are not those of the data: other data, or another key.
    """
    cell, sweep = cell_of(folder, name), home_results(folder)
    result = next(found for found in sweep.cells if found.name == name)
    if not result.confirmations:
        raise SweepError(
            f"{name} of {folder.name} has no test predictions yet, as it is not confirmed; see how "
            f"far it is with: sweep status {folder.name}"
        )
    root = data_root or Path(folder.settings().data_root)
    manifest = read_manifest(cell.dataset, sweep.space.split, root)
    rows = _rows_by_hash(folder, cell, manifest)
    found, tested = _wrong(result, rows, manifest)
    return Mistakes(cell, found, tested, location(cell.dataset, root))


def _rows_by_hash(folder: SweepFolder, cell: Cell, manifest: Manifest) -> dict[str, list[int]]:
    """Return the rows of the pictures, or of the pooled groups, behind each hash."""
    key, found = hashing_key(folder.home), dict[str, list[int]]()
    ids = manifest.groups if cell.dataset.pooled else manifest.ids
    for row, name in enumerate(ids):
        found.setdefault(hashed_id(key, f"{cell.dataset.name}/{name}"), []).append(row)
    return found


def _wrong(
    result: CellResult, rows: dict[str, list[int]], manifest: Manifest
) -> tuple[list[Mistake], int]:
    predictions, samples = result.predictions(), result.samples
    if absent := sum(sample not in rows for sample in samples):
        raise SweepError(
            f"{absent} of {len(samples)} test samples of {result.name} are not in the data: it has "
            "changed since the launch, or the home has another key (.ids.key) than at the launch"
        )
    probabilities_FNC = np.stack([item.probabilities_NC for item in predictions])
    labels_N, mean_NC = predictions[0].labels_N, probabilities_FNC.mean(axis=0)
    if labels_N.ndim == 2:
        return _wrong_labels(result, rows, manifest, labels_N, probabilities_FNC)
    predicted_N, classes = mean_NC.argmax(axis=1), result.classes
    wrong_N = (probabilities_FNC.argmax(axis=2) != labels_N).sum(axis=0)
    found = [
        Mistake(
            tuple(rows[samples[place]]),
            tuple(manifest.paths[row] for row in rows[samples[place]]),
            classes[labels_N[place]],
            classes[predicted_N[place]],
            float(mean_NC[place, predicted_N[place]]),
            classes[predicted_N[place]],
            int(wrong_N[place]),
            len(predictions),
        )
        for place in np.flatnonzero(predicted_N != labels_N).tolist()
    ]
    return sorted(found, key=lambda item: -item.probability), len(samples)


def _wrong_labels(
    result: CellResult,
    rows: dict[str, list[int]],
    manifest: Manifest,
    labels_NC: NDArray[np.int64],
    probabilities_FNC: NDArray[np.float64],
) -> tuple[list[Mistake], int]:
    """Return the samples of which a label is wrong, those first of which the surest label is."""
    mean_NC, samples = probabilities_FNC.mean(axis=0), result.samples
    predicted_NC, has_NC = mean_NC > DECISION_THRESHOLD, labels_NC == 1
    wrong_NC = predicted_NC != has_NC
    certain_NC = np.where(wrong_NC, np.maximum(mean_NC, 1 - mean_NC), 0)
    models_N = ((probabilities_FNC > DECISION_THRESHOLD) != has_NC).any(axis=2).sum(axis=0)

    found = [
        Mistake(
            tuple(rows[samples[place]]),
            tuple(manifest.paths[row] for row in rows[samples[place]]),
            predicted_labels(result.classes, labels_NC[place].tolist()) or _NONE,
            predicted_labels(result.classes, mean_NC[place].tolist()) or _NONE,
            float(certain_NC[place].max()),
            result.classes[int(certain_NC[place].argmax())],
            int(models_N[place]),
            len(probabilities_FNC),
        )
        for place in np.flatnonzero(wrong_NC.any(axis=1)).tolist()
    ]
    return sorted(found, key=lambda item: -item.probability), len(samples)
