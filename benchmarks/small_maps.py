"""A training step at small image sizes with sweep.backbones.small_maps, against nn.Conv2d.

Both take the same step on a CPU with one thread. They alternate, and the medians are compared.

    python benchmarks/small_maps.py [--model tf_efficientnet_lite0 --size 48]
"""

import argparse
import copy
import statistics
import time

import timm
import torch
from machine import describe
from torch import nn

from sweep.backbones.small_maps import use_small_maps
from sweep.train.allocator import keep_freed_memory

MODELS = (
    ("tf_efficientnet_lite0", 48), ("tf_efficientnet_lite0", 28), ("efficientnet_b0", 64),
    ("mobilenetv3_large_100", 48), ("convnext_tiny", 64), ("resnet18", 28), ("resnet50", 28),
    ("densenet121", 64), ("resnet50", 64), ("tf_efficientnet_lite0", 224),
)  # fmt: skip
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(describe())
    print(f"{'model':24} {'size':>5} {'nn.Conv2d':>10} {'small maps':>11} {'ratio':>6}")
    for model, size in [(chosen.model, chosen.size)] if chosen.model else MODELS:
        plain = timm.create_model(model, num_classes=2).train()
        plain.to(memory_format=torch.channels_last)
        own = copy.deepcopy(plain)
        use_small_maps(own)
        seconds: dict[nn.Module, list[float]] = {plain: [], own: []}
        for _ in range(chosen.repeats + 1):
            for network, took in seconds.items():
                took.append(step(network, size))
        theirs, ours = (statistics.median(took[1:]) for took in seconds.values())
        print(f"{model:24} {size:5} {theirs:8.3f} s {ours:9.3f} s {theirs / ours:6.2f}", flush=True)


def step(network: nn.Module, size: int) -> float:
    """Return the seconds of a forward and a backward pass."""
    images = torch.randn(BATCH, 3, size, size).to(memory_format=torch.channels_last)
    network.zero_grad()
    begin = time.perf_counter()
    network(images).sum().backward()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
