"""The hub that timm's weights come from: is it there, what is cached, and doing without it."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch

_FILES = ("model.safetensors", "pytorch_model.bin")


def cached_file(config: Any) -> Path | None:
    """Return the weights of a timm `PretrainedCfg` that were downloaded before, if they were."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if not config.hf_hub_id:
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(config.url).name
        return file if file.is_file() else None
    for name in (config.hf_hub_filename,) if config.hf_hub_filename else _FILES:
        with suppress(EntryNotFoundError):
            return Path(hf_hub_download(config.hf_hub_id, name, local_files_only=True))
    return None


@lru_cache
def require() -> None:
    """Raise OSError at once if there is no network: the hub's client would retry for a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    if not getproxies():
        host = urlsplit(constants.ENDPOINT)
        default_port = 80 if host.scheme == "http" else 443
        socket.create_connection((host.hostname or "", host.port or default_port), 5).close()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what the client says of its attempts to itself."""
    loggers = [logging.getLogger(name) for name in ("timm", "huggingface_hub", "httpx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
