"""Hugging Face's hub: what of it is here, how to get the rest, and doing without it.

A repository is named ``ORG/NAME`` or ``ORG/NAME@REVISION``. It is looked for in the folders into
which `sweep weights pull` has put it, and in the hub's own cache.
"""

import logging
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch

from sweep.space.backbone import SUFFIXES

CONFIG = "config.json"
_FILES = ("model.safetensors", "pytorch_model.bin")
_PREFERRED = (*_FILES, "open_clip_model.safetensors", "open_clip_pytorch_model.bin")

_folders: list[Path] = []


def search_folder(folder: Path | None) -> None:
    """Let this process find repositories and models in a folder; the last one comes first."""
    if folder is not None:
        _folders[:] = [folder, *(item for item in _folders if item != folder)]


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


def folder_name(repository: str) -> str:
    """Return the name of the folder into which a repository, at its revision, is pulled."""
    return repository.replace("/", "--")


def repository_folders(repository: str) -> list[Path]:
    """Return the folders with what is here of a repository: those pulled, and the cache's."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    pulled = [folder / folder_name(repository) for folder in _folders]
    found = [folder for folder in pulled if folder.is_dir()]
    name, _, revision = repository.partition("@")
    with suppress(LocalEntryNotFoundError):
        cached = snapshot_download(name, revision=revision or None, local_files_only=True)
        found.append(Path(cached))
    return found


def local_folder(place: str) -> Path | None:
    """Return a folder that is named by its path, also by one below a folder of weights."""
    places = (folder / place for folder in [*_folders, Path()])
    return next((folder for folder in places if folder.is_dir()), None)


def weights_in(folders: Iterable[Path], file: str = "") -> Path | None:
    """Return the first file of weights in folders: the one of that name, or the usual one."""
    for folder in folders:
        names = sorted(path.name for path in folder.iterdir())
        chosen = file or choose_weights(names)
        if chosen and (folder / chosen).is_file():
            return folder / chosen
    return None


def choose_weights(names: Sequence[str]) -> str | None:
    """Return which of a repository's files holds its weights; None if none does, or several may."""
    for name in _PREFERRED:
        if name in names:
            return name
    for suffix in SUFFIXES:
        found = [name for name in names if name.endswith(suffix)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def download(repository: str, file: str = "", config: bool = False) -> None:
    """Download the weights of a repository into the hub's cache, and its configuration if asked.

    Raises OSError without a network, and whatever the hub's client raises.
    """
    from huggingface_hub import HfApi, hf_hub_download

    require()
    name, _, revision = repository.partition("@")
    with quiet():
        chosen = file or choose_weights(HfApi().list_repo_files(name, revision=revision or None))
        for wanted in ([CONFIG] if config else []) + ([chosen] if chosen else []):
            hf_hub_download(name, wanted, revision=revision or None)


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
