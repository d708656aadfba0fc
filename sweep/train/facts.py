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
from sweep.backbones.backbone import Backbone
from sweep.backbones.families.base import family_of
from sweep.backbones.trainable import head_parameters, learnable_parameters
from sweep.base.identity import canonical_hash, commit_of
from sweep.data.dataset import Dataset
from sweep.data.manifest import SPLITS, UNUSED
from sweep.space.model import Cell
from sweep.train.flops import ImageFlops, head_flops, image_flops


def facts_of(
    backbone: Backbone, dataset: Dataset, cell: Cell, counted: ImageFlops | None = None
) -> dict[str, Any]:
    """Return the facts of a wave of a cell that runs in this process.

    Args:
        counted: operations of one image, if they are known; else they are counted.
    """
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
        **_work_facts(backbone, dataset, cell, counted),
    }


def _work_facts(
    backbone: Backbone, dataset: Dataset, cell: Cell, counted: ImageFlops | None
) -> dict[str, float]:
    """Return the floating-point operations of an epoch, of scoring the test split, of features."""
    size, classes = dataset.store.size, len(dataset.classes)
    counts = {split: len(dataset.rows(split)) for split in SPLITS}
    image = counted or image_flops(cell, size)
    if cell.fused:
        head, step = head_flops(cell.freeze, backbone.features, classes, counts["train"])
        features = {"features_flops": image.forward * sum(counts.values())}
    else:
        head, step, features = image.forward, image.step, {}
    return {
        "epoch_flops": counts["train"] * step + counts["val"] * head,
        "test_flops": counts["test"] * head,
        "image_flops": image.forward,
        **features,
    }


@lru_cache
def _commit() -> dict[str, str]:
    commit = commit_of(Path(sweep.__file__).parent, "sweep-backbones")
    return {"commit": commit} if commit else {}


def _model_facts(backbone: Backbone, classes: int, mode: str) -> dict[str, int]:
    spec, size, features = backbone.spec, backbone.image_size, backbone.features
    trunk = sum(item.numel() for item in backbone.trunk.parameters())
    return {
        "parameters": trunk + head_parameters(mode, features, classes),
        "learnable": learnable_parameters(spec, size, mode, features, classes),
    }


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
