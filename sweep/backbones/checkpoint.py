"""Reading files of weights: safetensors, and what torch writes, without running code of theirs."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from sweep.backbones.formats.base import StateDict
from sweep.base import checksums
from sweep.base.lfs import refuse_pointer
from sweep.errors import BackboneError, first_line

_DEEPEST = 4


class _Inert:
    """Stands for an object of a class that is not loaded, such as the options of a training."""

    name = ""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_checkpoint(file: Path, name: str) -> dict[tuple[str, ...], StateDict]:
    """Return every state dict in a file, by the keys that lead to it.

    A file of one state dict holds it under ``()``. Options and counters are passed over.

    Args:
        name: of the backbone, for messages.

    Raises:
        BackboneError: the file is damaged, is not what was pulled, or holds no state dict.
    """
    checksums.verify(file)
    with file.open("rb") as opened:
        head = opened.read(64)
    try:
        refuse_pointer(head)
        content = load_file(file) if file.suffix == ".safetensors" else _load(file)
    except Exception as error:
        kind = "safetensors file" if file.suffix == ".safetensors" else "checkpoint of torch"
        blocked = re.search(r"Trying to load unsupported GLOBAL (\S+)", str(error))
        why = f"it calls {blocked[1]}, which is not run" if blocked else _reason(file, error)
        raise BackboneError(f"backbone {name}: {file} is not a readable {kind}: {why}") from None
    found = dict(_state_dicts(content, ()))
    if not found:
        what = f"an object of the class {content.name}" if isinstance(content, _Inert) else "none"
        raise BackboneError(
            f"backbone {name}: {file} holds no state dict, but {what}; write one with "
            "torch.save(model.state_dict(), FILE)"
        )
    return found


def _reason(file: Path, error: Exception) -> str:
    if not file.stat().st_size:
        return "it is empty"
    if "weights_only" in str(error):  # torch's advice is to run the code in the file
        return "its content is damaged, or is nothing that torch has written"
    return first_line(error)


def _load(file: Path) -> Any:
    """Load a pickle with torch's restricted unpickler.

    Objects of other classes come without content, so that no code that the file names is run.
    """
    others = ["argparse.Namespace"]
    with suppress(ValueError):  # a file of torch before 1.6 does not tell its classes
        others = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    stubs = [(type("Stub", (_Inert,), {"name": name}), name) for name in others]
    with torch.serialization.safe_globals(stubs):  # type: ignore[arg-type]
        return torch.load(file, map_location="cpu", weights_only=True)


def _state_dicts(
    content: Any, keys: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], StateDict]]:
    if not isinstance(content, Mapping) or len(keys) > _DEEPEST:
        return
    tensors = {
        name: item
        for name, item in content.items()
        if isinstance(name, str) and isinstance(item, Tensor)
    }
    if tensors:
        yield keys, tensors
    for key, item in content.items():
        if isinstance(key, str):
            yield from _state_dicts(item, (*keys, key))
