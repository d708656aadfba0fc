"""How fast a processor is with a network: measured on noise, by the loops that train and predict.

Reading and decoding of images is not measured; see benchmarks/finetune_throughput.py for how little
the store adds.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from sweep.backbones.backbone import input_size, load_backbone
from sweep.data.store.image_store import Store
from sweep.space.backbone import BackboneSpec
from sweep.space.model import Space
from sweep.train.features import BATCH, trunk_outputs
from sweep.train.finetune import FineTuning
from sweep.train.flops import forward_flops, step_flops
from sweep.train.learner import Task, Trial

_SECONDS = 10.0  # at most as long for predicting, and as long for training
_CALL_SECONDS = 1.0  # a call of what is measured takes about as long, if a batch is not less
_LEAST_CALLS, _SPREAD = 6, 0.05
_CLASSES = 2

# Dense peak of matrix products in TFLOP/s, from the vendors' data sheets: of bfloat16 with 32-bit
# sums, and of float32 for those that have none. A longer name comes before its parts.
_PEAK = {
    "B200": 2250, "B100": 1750, "GH200": 989, "H200": 989, "H100 PCIe": 756, "H100": 989,
    "H800": 989, "H20": 148, "L40S": 362, "L40": 181, "L4": 121, "A100": 312, "A800": 312,
    "A40": 150, "A30": 165, "A16": 18, "A10G": 70, "A10": 125, "A6000": 155, "A5000": 111,
    "A4000": 77, "6000 Ada": 364, "V100": 16, "T4": 8, "P100": 9, "RTX 5090": 209,
    "RTX 4090": 165, "RTX 4080": 97, "RTX 3090": 71, "RTX 3080": 60, "RTX 2080": 10,
    "MI300X": 1307, "MI250X": 383,
}  # fmt: skip
_SUSTAINED = 0.25  # of its peak, as an assumption; measure it rather
UNKNOWN_GPU, _CPU_CORE = 20e12, 15e9  # as an assumption


@dataclass(frozen=True)
class Speed:
    """Floating-point operations a second that a processor sustains with a network.

    Attributes:
        scoring: in forward passes alone.
        training: in training steps.
    """

    scoring: float
    training: float

    def __add__(self, other: "Speed") -> "Speed":
        """Return the speed of two processors that share the work."""
        return Speed(self.scoring + other.scoring, self.training + other.training)

    def __mul__(self, count: float) -> "Speed":
        """Return the speed of several processors of the kind."""
        return Speed(self.scoring * count, self.training * count)


def assumed_speed(gpu: str | None, cores: float = 1.0) -> Speed:
    """Return what a GPU sustains, by its name, or so many cores of a CPU, if nobody measures it."""
    if gpu is None:
        return Speed(_CPU_CORE * cores, _CPU_CORE * cores)
    peak = _peak(gpu)
    sustained = UNKNOWN_GPU if peak is None else _SUSTAINED * peak * 1e12
    return Speed(sustained, sustained)


def is_known(gpu: str) -> bool:
    """Tell whether there is a data sheet's number for a GPU of this name."""
    return _peak(gpu) is not None


def _peak(gpu: str) -> float | None:
    """Return the peak of the first name that is there as a word: A40 is none of A4000."""
    found = (peak for name, peak in _PEAK.items() if re.search(rf"\b{name}\b", gpu))
    return next(found, None)


def measure_speed(space: Space, backbone: BackboneSpec, threads: int) -> Speed:
    """Measure a backbone with random weights, where this runs, for at most 20 seconds.

    The steps are those of the space's freeze mode that costs most; those of the others are as
    fast by the operation.

    Args:
        threads: of the CPU, if there is no GPU.
    """
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = input_size(backbone, space.image_size)
    loaded = load_backbone(backbone.model_copy(update={"weights": "none"}), size, None)
    images = np.random.default_rng(0).integers(0, 256, (BATCH[device.type], size, size, 3), "uint8")
    trunk = loaded.trunk.to(device)

    def score(count: int) -> None:
        trunk_outputs(trunk, images[:count], loaded.preprocessing, device)

    forward = forward_flops(backbone, size)
    scored = _images_per_second(score, len(images)) * forward
    trained = {cell.freeze: cell for cell in space.cells() if not cell.fused}
    if not trained:
        return Speed(scored, scored)
    flops, mode = max((step_flops(backbone, size, mode), mode) for mode in trained)
    recipe = space.recipe_of(trained[mode]).model_copy(update={"compile": False})
    store = Store.of(images[: recipe.batch_size], "noise")
    labels = {"train": torch.arange(len(store)) % _CLASSES}
    params = {"learning_rate": 1e-6}

    def tuning(count: int) -> FineTuning:
        task = Task(loaded, labels, _CLASSES, recipe, 10**6, space.objective, 0, device)
        return FineTuning(task, store, {"train": np.arange(count)}, mode, Trial(0, params))

    learner = lru_cache(maxsize=1)(tuning)

    def train(count: int) -> None:
        learner(count).epoch += 1
        learner(count).train_only()

    return Speed(scored, _images_per_second(train, len(store), least=2) * flops)


def _images_per_second(work: Callable[[int], None], batch: int, least: int = 1) -> float:
    """Return how many images a second go through `work(count)`, the median of its calls.

    A call takes a batch, or as many images as a second allows.
    """
    end = time.perf_counter() + _SECONDS
    work(least)  # the first call warms up
    count = max(least, min(batch, int(_CALL_SECONDS * least / _seconds(work, least))))
    if time.perf_counter() + 2 * _CALL_SECONDS < end:
        work(count)
    rates: list[float] = []
    while not rates or (time.perf_counter() < end and not _is_steady(rates)):
        rates.append(count / _seconds(work, count))
    return float(np.median(rates))


def _seconds(work: Callable[[int], None], count: int) -> float:
    began = time.perf_counter()
    work(count)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _is_steady(rates: list[float]) -> bool:
    if len(rates) < _LEAST_CALLS:
        return False
    low, middle, high = np.quantile(rates, (0.25, 0.5, 0.75))
    return bool(high - low < _SPREAD * middle)
