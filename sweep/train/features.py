"""Trunk outputs: computed once per backbone, weights and images, then memory-mapped."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor, nn

from sweep.backbones.backbone import Backbone
from sweep.backbones.families.base import Preprocessing, family_of
from sweep.base.atomic import delete_temporaries, write_atomically, write_text
from sweep.base.checksums import sha256
from sweep.base.identity import canonical_hash
from sweep.data.store.image_store import Store
from sweep.data.store.mapped import MappedRows, write_rows
from sweep.train.read_ahead import read_ahead
from sweep.train.schedule import halving_memory

VERSION = 1  # version of the computation: increase it when features change
THROUGHPUT_IMAGES = 256  # number of images for measuring a network's throughput
BATCH = {"cpu": 32, "cuda": 256}  # images in one pass

Progress = Callable[[int, int], None]


class Features:
    """The (N, D) float32 outputs of a trunk for every sample of a store."""

    def __init__(self, path: Path) -> None:
        self._rows = MappedRows.open([path], "features", np.float32)
        self.shape = (len(self._rows), *self._rows.row_shape)

    def rows(self, indices: NDArray[np.int64]) -> Tensor:
        """Return the features (len(indices), D) of these samples as a new tensor."""
        return torch.from_numpy(self._rows.rows(indices))


def open_features(
    backbone: Backbone,
    store: Store,
    cache: Path,
    device: torch.device,
    progress: Progress | None = None,
) -> Features:
    """Open the features of a store's images, computing them first if need be.

    Those that are not what their SHA-256 says are computed anew.
    """
    key = features_key(backbone, store, device)
    path = cache / "features" / f"{key}.arrow"
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = path.with_suffix(".sha256")
    # This needs no lock, so that a cache on a read-only disk can be used.
    if (known := _load(path, digest)) is not None:
        return known
    with FileLock(path.with_suffix(".lock")):
        # Another process computed them while this one waited for the lock.
        if (known := _load(path, digest)) is not None:
            return known
        digest.unlink(missing_ok=True)
        delete_temporaries(path)
        write_atomically(path, lambda file: _compute(file, backbone, store, device, progress))
        write_text(digest, sha256(path))
    return Features(path)


def _load(path: Path, digest: Path) -> Features | None:
    """Return the features in a file; None if they are not there yet, or damaged."""
    try:
        return Features(path) if digest.read_text() == sha256(path) else None
    except (OSError, pa.ArrowInvalid):
        return None


def features_key(backbone: Backbone, store: Store, device: torch.device) -> str:
    """Return the identity of a set of features: whatever changes them changes it."""
    chosen = backbone.preprocessing
    images = [store.fingerprint, store.size, list(chosen.mean), list(chosen.std)]
    network = [backbone.spec.model, backbone.weights_hash]
    spec = backbone.spec
    version = family_of(spec).code_version(spec)
    others: list[object] = [version] if version else []
    others += [{"features": spec.features}] if spec.features not in {None, "pool"} else []
    others += [{"kwargs": spec.kwargs}] if spec.kwargs else []
    return canonical_hash([VERSION, *network, *images, device.type, *others])


def normalise(images: Tensor, chosen: Preprocessing) -> Tensor:
    """Turn uint8 (B, S, S, 3) into normalised float32 (B, 3, S, S), channels last."""
    mean, std = (torch.tensor(item, device=images.device) for item in (chosen.mean, chosen.std))
    scaled = (images.float() - mean * 255) / (std * 255)
    return scaled.permute(0, 3, 1, 2)


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return mixed precision where the device has bfloat16, else nothing."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def _compute(
    path: Path, backbone: Backbone, store: Store, device: torch.device, progress: Progress | None
) -> None:
    trunk = backbone.trunk.to(device)
    size = BATCH.get(device.type, 32)

    def batches() -> Iterator[NDArray[np.float32]]:
        rows_of = np.split(np.arange(len(store)), range(size, len(store), size))
        for rows, images in zip(rows_of, read_ahead(store, rows_of), strict=True):
            yield trunk_outputs(trunk, images, backbone.preprocessing, device).numpy()
            if progress:
                progress(int(rows[-1]) + 1, len(store))

    write_rows(path, "features", backbone.features * 4, batches())


def images_per_second(
    network: nn.Module, images: NDArray[np.uint8], chosen: Preprocessing, device: torch.device
) -> float:
    """Measure a network's forward pass on uint8 images (B, S, S, 3), for a third of a second.

    The time of one image says how many of them to take.
    """
    network = network.to(device).eval()

    def seconds(count: int) -> float:
        began = time.perf_counter()
        # Copying the result to the CPU waits for the device.
        trunk_outputs(network, images[:count], chosen, device)
        return time.perf_counter() - began

    first = seconds(1)  # the first call also warms up
    count = min(len(images), max(1, int(0.3 / min(first, seconds(1)))))
    return count / seconds(count)


def trunk_outputs(
    trunk: nn.Module, images: NDArray[np.uint8], chosen: Preprocessing, device: torch.device
) -> Tensor:
    """Return what a trunk makes of uint8 images (B, S, S, 3): float32 (B, D) on the CPU."""
    parts: list[Tensor] = []

    def run(size: int) -> None:
        parts.clear()
        for piece in torch.from_numpy(images).split(size):
            parts.append(trunk(normalise(piece.to(device), chosen)).float().cpu())

    with torch.inference_mode(), autocast(device):
        halving_memory(len(images), run)
    return torch.cat(parts)
