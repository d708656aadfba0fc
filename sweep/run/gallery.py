"""The mistakes of a cell to look at: one local HTML file with patients' pictures."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from sweep import __version__
from sweep.backbones.backbone import preprocessing
from sweep.base.settings import default_cache
from sweep.data.dataset import DatasetView, read_manifest, store_plan
from sweep.data.store.image_store import open_store
from sweep.records.folder import SweepFolder
from sweep.run.mistakes import Mistake, Mistakes
from sweep.run.winner import load_winner
from sweep.train.heatmaps import heat_maps

WARNING = "This file holds pictures of patients: keep it where the data may be kept."
_OPACITY = 0.45  # of a heat map above a picture
_SHOWN_SIDE = 224  # small pictures are enlarged to this many pixels
_AT_ONCE = 16

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Card:
    """A mistake and its pictures, as data addresses: without and with the heat map."""

    mistake: Mistake
    pictures: list[tuple[str, str | None]]


def gallery(
    folder: SweepFolder,
    found: Mistakes,
    data_root: Path,
    most: int,
    with_heat_maps: bool,
    progress: Progress = lambda *_: None,
) -> str:
    """Return the most certain mistakes as one HTML document; its first line is a warning.

    Pictures are shown as the models see them. Heat maps are those of the first confirmation's
    model, for the class that the confirmations predict together; of several labels for the one that
    is wrong most surely.

    Args:
        most: how many mistakes are shown.
        with_heat_maps: None are drawn where the network has neither attention nor maps.

    Raises:
        SweepError: the cell's model or the data cannot be read, or a package is missing.
    """
    shown = found.found[:most]
    winner = load_winner(folder, found.cell.name)
    rows = [row for item in shown for row in item.rows]
    images = _images(folder, found, data_root, winner.model.image_size, rows)
    classes = winner.model.classes
    targets = [classes.index(item.surest) for item in shown for _ in item.rows]
    pictures: list[tuple[str, str | None]] = []
    for start in range(0, len(rows), _AT_ONCE):
        part, own = images[start : start + _AT_ONCE], targets[start : start + _AT_ONCE]
        maps = heat_maps(winner.model, part, own) if with_heat_maps else None
        for place, pixels in enumerate(part):
            heat = None if maps is None or maps[place].isnan().any() else maps[place].numpy()
            heated = None if heat is None else _address(_heated(pixels, heat))
            pictures.append((_address(pixels), heated))
        progress(len(pictures), len(rows))
    left = iter(pictures)
    cards = [Card(item, [next(left) for _ in item.rows]) for item in shown]
    environment = Environment(
        loader=PackageLoader("sweep.run"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("gallery.html.j2").render(
        warning=WARNING, found=found, cards=cards, sweep=folder.name, version=__version__,
        maps_found=any(heated for _, heated in pictures), asked=with_heat_maps,
    )  # fmt: skip


def _images(
    folder: SweepFolder, found: Mistakes, data_root: Path, size: int, rows: list[int]
) -> NDArray[np.uint8]:
    """Return pictures as the models see them, uint8 (len(rows), S, S, 3), from the image store."""
    space, cell = folder.space(), found.cell
    chosen = preprocessing(cell.backbone)
    view = DatasetView(cell.dataset, space.split, size, chosen.interpolation, crop=chosen.crop)
    manifest = read_manifest(view.spec, view.split, data_root)
    plan = store_plan(view.spec, manifest, size, view.interpolation, data_root, view.crop)
    return open_store(default_cache() / "stores", plan).rows(np.asarray(rows, dtype=np.int64))


def _heated(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    colours = mpl.colormaps["inferno"](heat)[..., :3] * 255
    mixed: NDArray[np.uint8] = ((1 - _OPACITY) * pixels + _OPACITY * colours).astype(np.uint8)
    return mixed


def _address(pixels: NDArray[np.uint8]) -> str:
    """Return a picture as the address of its data."""
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    if max(image.size) < _SHOWN_SIDE:
        image = image.resize((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.BICUBIC)
    image.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
