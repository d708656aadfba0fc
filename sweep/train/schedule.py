"""What every way of training shares: the order of the samples and the course of the rate."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sweep.base.identity import canonical_hash
from sweep.space.recipe import Recipe

BETAS = (0.9, 0.999)
EPSILON = 1e-8
MOMENTUM = 0.9  # momentum of SGD


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of all randomness within one epoch, so that a resumed run repeats it."""
    return int(canonical_hash([seed, epoch], length=15), 16)


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """Return the shuffled positions 0..count-1 of an epoch in batches.

    A last batch of a single sample joins the one before: batch norm cannot train on one.
    """
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    batches = list(torch.randperm(count, generator=generator).split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


class RateSchedule:
    """The share of the learning rate in each step of a training.

    It rises in the first steps, and then stays, or falls by half a cosine to 0: with each epoch,
    or with each step.

    Args:
        steps: of an epoch.
    """

    def __init__(self, recipe: Recipe, epochs: int, steps: int) -> None:
        self._schedule, self._epochs, self._steps = recipe.schedule, epochs, steps
        self._warmup = round(recipe.warmup_ratio * epochs * steps)

    def factor(self, epoch: int, step: int) -> float:
        """Return the share in step `step` (from 0) of epoch `epoch` (from 1)."""
        done = (epoch - 1) * self._steps + step
        if done < self._warmup:
            return (done + 1) / (self._warmup + 1)
        if self._schedule == "constant":
            return 1.0
        if self._schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (epoch - 1) / self._epochs))
        falling = self._epochs * self._steps - self._warmup
        return 0.5 * (1 + math.cos(math.pi * (done - self._warmup) / falling))


def halving_memory(size: int, run: Callable[[int], None]) -> int:
    """Call `run(size)`, with half the size for as long as a GPU runs out of memory.

    Returns the size that fitted. Raises torch.OutOfMemoryError if not even one sample does.
    """
    for attempt in _halves(size):
        try:
            run(attempt)
            return attempt
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            if attempt == 1:
                raise
    return size


def _halves(size: int) -> Iterator[int]:
    while size >= 1:
        yield size
        size //= 2
