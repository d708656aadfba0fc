"""Checkpoints: states of training on disk, known as damaged if they are.

A file holds the SHA-256 of what follows, then what `torch.save` writes. It is read without
unpickling anything but tensors and plain values.
"""

import io
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from sweep.base.atomic import write_atomically
from sweep.errors import DamagedError
from sweep.train.learner import EpochScore, State

_DIGEST_BYTES = 32


def write_checkpoint(path: Path, learner: State, history: list[EpochScore], **more: Any) -> None:
    """Write the state of a learner and what it has told so far, atomically.

    Args:
        more: plain values to keep with them.
    """
    buffer = io.BytesIO()
    plain = [asdict(item) for item in history]
    torch.save({"learner": learner, "history": plain, **more}, buffer)
    content = buffer.getbuffer()

    def write(file: Path) -> None:
        with file.open("wb") as sink:
            sink.write(sha256(content).digest())
            sink.write(content)

    write_atomically(path, write)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what `write_checkpoint` has written; raises DamagedError if it is not that."""
    content = path.read_bytes()
    digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if sha256(content).digest() != digest:
        raise DamagedError(path, "its content is not what its SHA-256 says")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
        state["history"] = [EpochScore(**item) for item in state["history"]]
    except Exception as error:  # torch raises many kinds of errors
        raise DamagedError(path, error) from None
    return state
