"""How well near-identical pictures are told from merely similar ones.

For each image set at hand: the share of changed copies of its pictures that are found, and how
many pairs of its own pictures of different groups count as alike.

    SWEEP_DATA=... python benchmarks/likeness.py
"""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import data_root, describe
from PIL import Image

from sweep.data.dataset import read_manifest, store_plan
from sweep.data.io.images import decode
from sweep.data.quality.near_duplicates import ALIKE, THUMBNAIL, signatures
from sweep.data.store.image_store import Store, open_store
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec

SETS: list[object] = [
    "brain_mri", "chest_xray", "ham10000", "ichallenge_pm", "lgg_mri", "glioma_t1",
    "glioma_flair", "glioma_t1ce", "pneumoniamnist",
    {"name": "nih", "layout": "folder", "path": "nih_chest_xray", "group": r"^(\d+)_"},
]  # fmt: skip
COPIES = 100  # of each set, for each change


def scaled(factor: float) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        return image.resize([max(8, round(side * factor)) for side in image.size])

    return change


def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return change


def brighter(image: Image.Image) -> Image.Image:
    return image.convert("RGB").point(lambda value: min(255, round(value * 1.1 + 10)))


CHANGES = {
    "half size": scaled(0.5),
    "double size": scaled(2),
    "JPEG 75": jpeg(75),
    "JPEG 30": jpeg(30),
    "half, JPEG 60": lambda image: jpeg(60)(scaled(0.5)(image)),
    "brighter": brighter,
}


def main() -> None:
    print(describe())
    print(f"alike: correlation of {ALIKE} or more")
    print(f"{'':16} {'pictures':>8} {'alike pairs':>11}  " + "  ".join(CHANGES))
    for entry in SETS:
        spec = DatasetSpec.model_validate(entry)
        manifest = read_manifest(spec, Split(), data_root())
        plan = store_plan(spec, manifest, THUMBNAIL, "bilinear", data_root())
        with tempfile.TemporaryDirectory() as folder:
            own = signatures(open_store(Path(folder), plan), np.arange(len(manifest)))
        groups = np.unique(manifest.groups, return_inverse=True)[1]
        alike = (own @ own.T >= ALIKE) & (groups[:, None] != groups)
        chosen = np.random.default_rng(0).permutation(len(own))[:COPIES]
        images, found = plan.source(), []
        for change in CHANGES.values():
            copies = [
                decode(change(images.open(manifest.paths[row])), THUMBNAIL, "bilinear")
                for row in chosen
            ]
            theirs = signatures(Store.of(np.stack(copies), ""), np.arange(len(copies)))
            found.append(((theirs * own[chosen]).sum(axis=1) >= ALIKE).mean())
        shares = "  ".join(
            f"{share:>{len(name)}.0%}" for name, share in zip(CHANGES, found, strict=True)
        )
        print(f"{spec.name:16} {len(own):8,} {int(alike.sum() // 2):11,}  {shares}")


if __name__ == "__main__":
    main()
