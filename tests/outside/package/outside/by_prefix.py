"""A layout: all images in one folder, the class before a separator in the file's name."""

from pathlib import Path

from PIL import Image

from sweep.data.layouts.base import Files, Layout
from sweep.data.manifest import Sample
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec


class _Negatives(Files):
    """The images turned dark for bright: an opener of one's own."""

    def open(self, name: str) -> Image.Image:
        """Open one image."""
        return Image.eval(super().open(name), lambda value: 255 - value)


class ByPrefix(Layout):
    """``dark_001.png`` is of the class dark; the key ``separator`` says what is behind it."""

    keys = frozenset({"separator"})

    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name the images."""
        separator = spec.option("separator", "_")
        return [
            Sample(file.name, file.name.partition(separator)[0], file.name, None)
            for file in sorted(path.glob("*.png"))
        ]

    def source(self, spec: DatasetSpec, path: Path) -> Files:
        """Open negatives."""
        return _Negatives(path)


BY_PREFIX = ByPrefix()
LAYOUTS.register("by_prefix", BY_PREFIX)
