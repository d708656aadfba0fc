"""The confirmed model of a cell on external test sets.

Dimensions: N samples, D features, C classes.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sweep.backbones.backbone import Backbone, Network
from sweep.data.dataset import Dataset, DatasetView
from sweep.data.external import open_external
from sweep.space.freeze import freeze_mode
from sweep.space.model import Cell
from sweep.space.specs import DatasetSpec
from sweep.train.feature_search import own_columns
from sweep.train.features import BATCH, trunk_outputs
from sweep.train.loading import DecodingProgress, open_counted_features, refuse_other_pictures
from sweep.train.probabilities import as_array
from sweep.train.wave import SweepContext

# A reused worker keeps those that the next wave of a cell needs.
_open_external = lru_cache(maxsize=4)(open_external)


def open_external_sets(
    context: SweepContext, cell: Cell, backbone: Backbone, show_life: Callable[[], None]
) -> dict[str, Dataset]:
    """Open the external test sets of a cell's data set, by their names.

    Raises:
        DataError: one cannot be read, or is not as it was when the sweep was launched.
    """
    found = {}
    for spec in cell.dataset.external:
        view = _view(context, spec, backbone)
        where = context.data_root, context.node_cache()
        found[spec.name] = _open_external(view, cell.dataset, *where, DecodingProgress(show_life))
        refuse_other_pictures(context, view, found[spec.name], f"{cell.dataset.name}.{spec.name}")
    return found


def _view(context: SweepContext, spec: DatasetSpec, backbone: Backbone) -> DatasetView:
    chosen = backbone.preprocessing
    size, split = backbone.image_size, context.space.split
    return DatasetView(spec, split, size, chosen.interpolation, crop=chosen.crop)


def external_probabilities(
    dataset: Dataset,
    network: Network,
    own: Backbone,
    backbone: Backbone,
    mode: str,
    cache: Path,
    device: torch.device,
    show_life: Callable[[], None],
    target: str,
) -> NDArray[np.float64]:
    """Return the class probabilities (N, C) of an external set's samples.

    Where the trunk is frozen its outputs come from the cache, as those of the data set do.

    Args:
        network: the chosen model, without a temperature.
        own: the backbone with the features of the chosen model.
        backbone: the backbone whose features are cached.
    """
    rows = dataset.rows("test")
    if freeze_mode(mode)[0].trunk_is_frozen:
        found, _ = open_counted_features(backbone, dataset.store, cache, device, show_life)
        features_ND = own_columns(found.rows(rows), backbone, own)
        with torch.inference_mode():
            logits_NC = network.head.cpu()(features_ND)
        return as_array(logits_NC, target)
    network, size, parts = network.to(device).eval(), BATCH.get(device.type, 32), []
    for start in range(0, len(rows), size):
        images = dataset.store.rows(rows[start : start + size])
        logits_BC = trunk_outputs(network, images, backbone.preprocessing, device)
        parts.append(as_array(logits_BC, target))
        show_life()
    return np.concatenate(parts)
