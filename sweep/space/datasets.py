"""Datasets that a space file may name without explaining them; each layout knows some."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweep.space.registries import LAYOUTS


@dataclass(frozen=True)
class KnownDataset:
    """A published dataset.

    Attributes:
        keys: of its entry in a space file. Of several paths the first that is there is taken: our
            name, then those of the publishers.
        how_to_get: where it is published, and what to put where.
        size: images (or slices) and classes, to estimate the work where the data are not there.
    """

    keys: Mapping[str, Any]
    how_to_get: str = ""
    size: tuple[int, int] | None = None


def known_datasets() -> dict[str, KnownDataset]:
    """Return every known dataset by its name."""
    layouts = LAYOUTS.items().values()
    return dict(sorted(item for layout in layouts for item in layout.known.items()))


def known_dataset(name: str) -> KnownDataset | None:
    """Return what a name stands for, or None if nothing is known by it."""
    found = (layout.known_dataset(name) for layout in LAYOUTS.items().values())
    return next((item for item in found if item is not None), None)


def known_entry(name: str) -> dict[str, Any] | None:
    """Return the entry of a space file that a name stands for, without its name, or None."""
    for layout_name, layout in LAYOUTS.items().items():
        if (known := layout.known_dataset(name)) is not None:
            return {"layout": layout_name, **known.keys}
    return None
