"""What a result depends on, for its record: versions, device, data, weights, work, memory."""

import platform
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
import timm
import torch

import sweep
from sweep import __version__
from sweep.backbones.backbone import Backbone, bare_network
from sweep.backbones.families.base import family_of
from sweep.backbones.trainable import count_trainable
from sweep.base.identity import canonical_hash, commit_of
from sweep.data.dataset import Dataset
from sweep.data.manifest import SPLITS, UNUSED
from sweep.space.freeze import freeze_mode
from sweep.space.model import Cell
from sweep.train.flops import forward_flops, head_flops, step_flops


def facts_of(backbone: Backbone, dataset: Dataset, cell: Cell) -> dict[str, Any]:
    """Return the facts of a wave of a cell that runs in this process."""
    cuda = torch.cuda.is_available()
    peak = torch.cuda.max_memory_allocated() if cuda else psutil.Process().memory_info().rss
    reserved = torch.cuda.max_memory_reserved() if cuda else peak
    return {
        "version": __version__,
        **_commit(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "python": platform.python_version(),
        "accelerator": "cuda" if cuda else "cpu",
        "device": torch.cuda.get_device_name() if cuda else platform.machine(),
        "threads": torch.get_num_threads(),
        "peak_memory_mib": round(peak / 2**20),
        "reserved_memory_mib": round(reserved / 2**20),
        "image_size": dataset.store.size,
        "model": family_of(backbone.spec).full_name(backbone.spec),
        "weights_hash": backbone.weights_hash,
        **_model_facts(backbone, len(dataset.classes), cell.freeze),
        **_dataset_facts(dataset),
        **_work_facts(backbone, dataset, cell),
    }


@lru_cache(maxsize=8)
def _work_facts(backbone: Backbone, dataset: Dataset, cell: Cell) -> dict[str, float]:
    """Return the floating-point operations of an epoch, of scoring the test split, of features."""
    size, classes = dataset.store.size, len(dataset.classes)
    counts = {split: len(dataset.rows(split)) for split in SPLITS}
    forward = forward_flops(cell.backbone, size)
    if cell.fused:
        head, step = head_flops(cell.freeze, backbone.features, classes, counts["train"])
        features = {"features_flops": forward * sum(counts.values())}
    else:
        head, step, features = forward, step_flops(cell.backbone, size, cell.freeze), {}
    return {
        "epoch_flops": counts["train"] * step + counts["val"] * head,
        "test_flops": counts["test"] * head,
        "image_flops": forward,
        **features,
    }


@lru_cache
def _commit() -> dict[str, str]:
    commit = commit_of(Path(sweep.__file__).parent, "sweep-backbones")
    return {"commit": commit} if commit else {}


@lru_cache(maxsize=8)
def _model_facts(backbone: Backbone, classes: int, mode: str) -> dict[str, int]:
    head = (backbone.features + 1) * classes if freeze_mode(mode)[0].trains_head else 0
    trunk = sum(item.numel() for item in backbone.trunk.parameters())
    network = bare_network(backbone.spec, backbone.image_size, classes)
    return {"parameters": trunk + head, "learnable": count_trainable(network, mode)}


@lru_cache(maxsize=2)
def _dataset_facts(dataset: Dataset) -> dict[str, Any]:
    counts = {split: len(dataset.rows(split)) for split in SPLITS}
    return {
        "fingerprint": dataset.fingerprint(),
        "pixels": dataset.store.fingerprint,
        "split_fingerprint": dataset.split_fingerprint(),
        "test_samples": canonical_hash([dataset.manifest.ids[i] for i in dataset.rows("test")]),
        "samples": counts,
        "groups": {
            split: len({dataset.manifest.groups[row] for row in dataset.rows(split)})
            for split in SPLITS
        },
        "left_out": int((dataset.manifest.splits == UNUSED).sum()),
    }
