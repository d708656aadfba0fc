"""The 1,797 handwritten digits that scikit-learn ships: for a first try, without any download."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from sweep.data.layouts.base import Layout
from sweep.data.manifest import Sample
from sweep.space.datasets import KnownDataset
from sweep.space.registries import LAYOUTS
from sweep.space.specs import DatasetSpec


class Digits(Layout):
    """Ten classes of pictures of 8 x 8 pixels."""

    are_arrays = True
    needs_path = False
    known: ClassVar = {"digits": KnownDataset({})}

    def read(self, spec: DatasetSpec, path: Path) -> list[Sample]:
        """Name the digits by their number."""
        from sklearn.datasets import load_digits

        return [
            Sample(f"{i:04d}", str(label), f"{i:04d}", None)
            for i, label in enumerate(load_digits().target)
        ]

    def source(self, spec: DatasetSpec, path: Path) -> "_Digits":
        """Open the digits by their number."""
        return _Digits()


class _Digits:
    """The 1,797 digits, by their number."""

    def open(self, name: str) -> Image.Image:
        """Open one digit."""
        return Image.fromarray(self._images[int(name)])

    def stamps(self, names: Sequence[str]) -> list[str]:
        """Return the same for all: they never change."""
        return ["digits"] * len(names)

    @cached_property
    def _images(self) -> Any:
        from sklearn.datasets import load_digits

        return (load_digits().images * (255 / 16)).round().astype(np.uint8)


LAYOUTS.register("digits", Digits())
