"""The hub that timm's weights come from: is it there, what is cached, and doing without it."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch


def is_cached(config: Any) -> bool:
    """Tell whether the weights of a timm `PretrainedCfg` were downloaded before."""
    from huggingface_hub import try_to_load_from_cache

    if not config.hf_hub_id:
        name = Path(config.url).name
        return (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file()
    names = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(config.hf_hub_id, n), str) for n in names)


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
def offline() -> Iterator[None]:
    """Use the cache alone: by default the client asks whether what it has is the newest."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


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
