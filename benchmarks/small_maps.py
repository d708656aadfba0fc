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
LAYERS = ((1152, 2, 5), (1152, 2, 3), (672, 3, 5), (480, 3, 5), (768, 2, 7))  # C, pixels, kernel
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
    print("backward pass of a depthwise convolution, ms")
    for channels, size, kernel in LAYERS:
        plain = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        theirs, ours = medians(plain, channels, size, chosen.repeats)
        what = f"{channels} x {size} x {size}, kernel {kernel}"
        print(f"{what:30} {1e3 * theirs:8.2f} {1e3 * ours:8.2f} {theirs / ours:6.1f}", flush=True)
    print(f"{'model':24} {'size':>5} {'nn.Conv2d':>10} {'small maps':>11} {'ratio':>6}")
    for model, size in [(chosen.model, chosen.size)] if chosen.model else MODELS:
        plain = timm.create_model(model, num_classes=2).train()
        theirs, ours = medians(plain, 3, size, chosen.repeats)
        print(f"{model:24} {size:5} {theirs:8.3f} s {ours:9.3f} s {theirs / ours:6.2f}", flush=True)


def medians(plain: nn.Module, channels: int, size: int, repeats: int) -> tuple[float, float]:
    """Return the seconds of a plain network, and with small maps; of a layer backward alone."""
    plain.to(memory_format=torch.channels_last)
    own = nn.Sequential(copy.deepcopy(plain))
    use_small_maps(own)
    took: dict[nn.Module, list[float]] = {plain: [], own: []}
    for _ in range(repeats + 1):
        for network, seconds in took.items():
            seconds.append(step(network, channels, size))
    theirs, ours = (statistics.median(seconds[1:]) for seconds in took.values())
    return theirs, ours


def step(network: nn.Module, channels: int, size: int) -> float:
    """Return the seconds of a training step of a network, or of the backward pass of a layer."""
    maps = torch.randn(BATCH, channels, size, size).to(memory_format=torch.channels_last)
    network.zero_grad()
    begin = time.perf_counter()
    of_layer = channels > 3
    output = network(maps.requires_grad_(of_layer))
    if of_layer:
        begin = time.perf_counter()
    output.backward(output.detach())
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
