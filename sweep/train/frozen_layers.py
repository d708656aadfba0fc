"""The outputs of a network's lower layers, where these do not change, computed once for training.

Without augmentation the layers below the first one that is trained give the same for an image in
every epoch.

Dimensions: B images, N of all that are trained or validated on.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Rows = NDArray[np.int64]

_SHARE_OF_MEMORY = 0.1  # of what is free, as several trials may share it
_LEAST_SHARE = 0.05  # of a network's parameters
_BATCH = 64


class FrozenLayers:
    """Outputs of the last frozen layer of a network for a number of images.

    Args:
        network: in the state in which it is trained.
        inputs: yields the normalised images (B, 3, S, S) of batches of rows.
        rows: of the images, each once.
    """

    def __init__(
        self,
        network: nn.Module,
        names: Sequence[str],
        inputs: Callable[[list[Rows]], Iterator[Tensor]],
        rows: Rows,
    ) -> None:
        self._names = names
        self._place = np.full(int(rows.max()) + 1, -1)
        self._place[rows] = np.arange(len(rows))
        batches = np.split(rows, range(_BATCH, len(rows), _BATCH))
        self._outputs_N: Tensor | None = None
        for start, images in zip(range(0, len(rows), _BATCH), inputs(batches), strict=True):
            output = _output_of(network, names[-1], images)
            if self._outputs_N is None:
                self._outputs_N = output.new_empty(len(rows), *output.shape[1:])
            self._outputs_N[start : start + len(output)] = output

    def of(self, rows: Rows) -> Tensor:
        """Return the outputs for the images of some rows."""
        assert self._outputs_N is not None
        places = torch.from_numpy(self._place[rows]).to(self._outputs_N.device)
        return self._outputs_N[places]

    @contextmanager
    def replayed(self, network: nn.Module, outputs: Tensor) -> Iterator[None]:
        """Let a network, or a copy of it, use these outputs in place of its frozen layers."""
        with _replaced(network, self._names, outputs):
            yield


def frozen_names(network: nn.Module, images: Tensor) -> list[str]:
    """Return the names of a network's frozen lower layers, in the order of their computation.

    The longest run of layers is returned whose replacement by the last one's output leaves the
    network's output for `images` as it was, to the bit; empty if there is none.
    """
    trunk = getattr(network, "trunk", network)
    prefix = "trunk." if trunk is not network else ""
    with torch.no_grad():
        wanted = network(images)
        for names in _candidates(trunk):
            own = [prefix + name for name in names]
            try:
                output = _output_of(network, own[-1], images)
                with _replaced(network, own, output):
                    if torch.equal(network(images), wanted):
                        return own
            except (RuntimeError, TypeError, ValueError, AttributeError, AssertionError):
                continue  # this network's layers do not follow one another
    return []


def is_worth_it(network: nn.Module, names: Sequence[str]) -> bool:
    """Tell whether layers are more than a small part of a network."""
    held = sum(p.numel() for name in names for p in network.get_submodule(name).parameters())
    return bool(held > _LEAST_SHARE * sum(p.numel() for p in network.parameters()))


def fits_in_memory(network: nn.Module, name: str, images: Tensor, count: int) -> bool:
    """Tell whether the outputs of a layer for so many images fit where they are computed."""
    output = _output_of(network, name, images[:1])
    free = psutil.virtual_memory().available
    if images.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(images.device)
    return bool(count * output.numel() * output.element_size() < _SHARE_OF_MEMORY * free)


def _candidates(trunk: nn.Module) -> Iterator[list[str]]:
    """Yield runs of layers to try, the longest first.

    Some models compute from their first layers and from parameters of their own what the blocks
    get, as a transformer's positions; there the run begins with the blocks.
    """
    names = list(_layers(trunk, ""))
    learning = [any(p.requires_grad for p in trunk.get_submodule(n).parameters()) for n in names]
    end = learning.index(True) if True in learning else len(names)
    firsts = dict.fromkeys(name.partition(".")[0] for name in names[:end])
    for first in firsts:
        start = next(i for i, name in enumerate(names) if name.partition(".")[0] == first)
        run = names[start:end]
        while run:
            yield run
            # Without the layers of the last module: it may compute otherwise than in their order.
            parent = run[-1].rpartition(".")[0]
            run = [n for n in run if not n.startswith(f"{parent}.")] if parent else []


def _layers(module: nn.Module, prefix: str) -> Iterator[str]:
    """Yield the names of a module's layers: what is trained in part is taken apart."""
    for name, child in module.named_children():
        learning = {parameter.requires_grad for parameter in child.parameters()}
        is_list = isinstance(child, nn.Sequential | nn.ModuleList)
        if (is_list or len(learning) > 1) and next(child.children(), None) is not None:
            yield from _layers(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


class _Reached(Exception):  # noqa: N818 - it ends a forward pass, and is no error
    """The layer whose output is wanted has been computed."""

    def __init__(self, output: Tensor) -> None:
        self.output = output


@torch.no_grad()
def _output_of(network: nn.Module, name: str, images: Tensor) -> Tensor:
    """Return a layer's output, without computing what comes after it."""

    def stop(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        raise _Reached(output)

    handle = network.get_submodule(name).register_forward_hook(stop)
    try:
        network(images)
    except _Reached as reached:
        return reached.output
    finally:
        handle.remove()
    raise ValueError(f"{name} is not computed")


@contextmanager
def _replaced(network: nn.Module, names: Sequence[str], output: Tensor) -> Iterator[None]:
    """Let layers give their input, and the last of them `output`."""
    with ExitStack() as stack:
        for name in names:
            module = network.get_submodule(name)
            is_last = name == names[-1]
            module.forward = (  # type: ignore[method-assign]
                (lambda *_, **__: output) if is_last else (lambda given, *_, **__: given)
            )
            stack.callback(module.__dict__.pop, "forward", None)
        yield
