"""What a wave works on, in a worker: backbone, dataset, features; the last ones are kept."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

from sweep.backbones.backbone import Backbone, input_size, load_backbone
from sweep.data.dataset import Dataset, DatasetView, open_dataset, samples_hash
from sweep.data.store.building import describe_pixels
from sweep.data.store.image_store import Store
from sweep.errors import BackboneError, DataError
from sweep.train.feature_search import backbone_of
from sweep.train.features import Features, open_features
from sweep.train.wave import SweepContext, Wave

# A reused worker keeps the inputs that the next wave of a cell needs.
_open_dataset = lru_cache(maxsize=2)(open_dataset)


class DecodingProgress:
    """Progress of decoding, that shows life; equal to any other, so that caches ignore it."""

    def __init__(self, show_life: Callable[[], None]) -> None:
        self._show_life = show_life

    def __call__(self, done: int, total: int) -> None:
        """Take note of how many images of how many are decoded."""
        self._show_life()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DecodingProgress)

    def __hash__(self) -> int:
        return 0


def open_inputs(
    context: SweepContext, wave: Wave, show_life: Callable[[], None]
) -> tuple[Backbone, Dataset]:
    """Load the backbone of a wave and open its dataset.

    Args:
        show_life: called now and then while images are decoded.

    Raises:
        BackboneError: the weights are not those that the sweep was launched with.
        DataError: the dataset cannot be read, or is not the one it was launched with.
    """
    cell = wave.cell
    size = input_size(cell.backbone, context.space.image_size)
    spec = backbone_of(cell, context.space)
    backbone = load_backbone(spec, size, context.weights_dir)
    view = DatasetView(
        cell.dataset,
        context.space.split,
        size,
        backbone.preprocessing.interpolation,
        wave.fold,
        wave.partition,
        cell.train_fraction,
        backbone.preprocessing.crop,
    )
    progress = DecodingProgress(show_life)
    dataset = _open_dataset(view, context.data_root, context.node_cache(), progress)
    _refuse_other_weights(context, backbone)
    refuse_other_pictures(context, view, dataset, cell.dataset.name)
    return backbone, dataset


def _refuse_other_weights(context: SweepContext, backbone: Backbone) -> None:
    """Raise BackboneError if the weights are not those that the sweep was launched with."""
    name, digest = backbone.spec.name, backbone.weights_hash
    if context.inputs.get(f"weights {name}", digest) != digest:
        raise BackboneError(f"the weights of {name} are not those the sweep was launched with")


def refuse_other_pictures(
    context: SweepContext, view: DatasetView, dataset: Dataset, name: str
) -> None:
    """Raise DataError if samples are not those that the sweep was launched with.

    They may have changed while it runs, or since a node was asked.

    Args:
        name: by which the sweep knows the samples.
    """
    pixels = describe_pixels(view.size, view.interpolation, view.crop)
    found = {
        f"samples {name}": samples_hash(view.spec, context.data_root),
        f"pixels {name} {pixels}": dataset.store.fingerprint,
    }
    if other := [key for key, digest in found.items() if context.inputs.get(key, digest) != digest]:
        raise DataError(", ".join(other))


def open_counted_features(
    backbone: Backbone,
    store: Store,
    cache: Path,
    device: torch.device,
    show_life: Callable[[], None],
) -> tuple[Features, int]:
    """Open the features of a store's images; return also how many had to be computed for that."""
    computed = [0]

    def note(done: int, _: int) -> None:
        computed[0] = done
        show_life()

    return open_features(backbone, store, cache, device, note), computed[0]
