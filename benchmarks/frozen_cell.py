"""A frozen cell costs little more than one pass of its backbone over the images.

16 learning rates x 100 epochs on brain_mri, EfficientNet-Lite0 at 224 px, against
- one bare forward pass of the same network over the same images from memory,
- the original procedure: decode and forward every image, every epoch, for every rate.

    SWEEP_DATA=... SWEEP_WEIGHTS=... python benchmarks/frozen_cell.py [--epochs 2]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from machine import brain_mri, data_root, describe, lite0, run_sweep
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from sweep.backbones.backbone import load_backbone
from sweep.data.dataset import DatasetView, open_dataset, read_manifest
from sweep.space.recipe import Split
from sweep.train.allocator import keep_freed_memory
from sweep.train.features import normalise

SIZE, RATES, EPOCHS, BATCH = 224, 16, 100, 32


def bare_pass(cache: Path, keep: bool = False) -> float:
    """Return the seconds of one forward pass over images that lie normalised in memory.

    Args:
        keep: as the workers of a sweep do, do not hand freed memory back to the kernel.
    """
    if keep:
        keep_freed_memory()
    backbone = load_backbone(lite0(), SIZE, None)
    interpolation = backbone.preprocessing.interpolation
    dataset = open_dataset(
        DatasetView(brain_mri(), Split(), SIZE, interpolation), data_root(), cache
    )
    images = torch.from_numpy(dataset.store.rows(np.arange(len(dataset.store))))
    batches = [normalise(part, backbone.preprocessing) for part in images.split(BATCH)]
    with torch.inference_mode():
        backbone.trunk(batches[0])
        began = time.perf_counter()
        for batch in batches:
            backbone.trunk(batch)
        return time.perf_counter() - began


class Files(Dataset):
    """A split's images as the original procedure reads them: decoded anew each time."""

    def __init__(self, split: str) -> None:
        manifest = read_manifest(brain_mri(), Split(), data_root())
        chosen = load_backbone(lite0(), SIZE, None).preprocessing
        self.rows = np.flatnonzero(manifest.splits == split)
        self.paths, self.labels = manifest.paths, manifest.labels
        self.transform = v2.Compose(
            [
                v2.Resize((SIZE, SIZE)),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(chosen.mean, chosen.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        row = self.rows[index]
        image = Image.open(data_root() / "brain_mri" / self.paths[row]).convert("RGB")
        return self.transform(image), int(self.labels[row])


def original_epoch(epochs: int) -> float:
    """Return the mean seconds of an epoch of the original procedure, for one rate."""
    network = load_backbone(lite0(), SIZE, None).network(4, 0).eval()
    network.to(memory_format=torch.channels_last)
    network.trunk.requires_grad_(False)
    optimizer = torch.optim.Adam(network.head.parameters(), lr=1e-3)
    loader = DataLoader(Files("train"), batch_size=BATCH, shuffle=True)
    validation = DataLoader(Files("val"), batch_size=BATCH)
    began = time.perf_counter()
    for _ in range(epochs):
        for images, labels in loader:
            loss = torch.nn.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            for images, _ in validation:
                network(images)
    return (time.perf_counter() - began) / epochs


def space_file(folder: Path) -> Path:
    """Write the space of the one cell; no trial is pruned, so that all work is done."""
    space = {
        "name": "frozen_cell", "datasets": ["brain_mri"], "backbones": ["lite0"],
        "freeze": ["frozen"], "image_size": SIZE, "seeds": 2,
        "budget": {"trials": RATES, "epochs": EPOCHS, "pruner": "none"}, "leaks": "allow",
    }  # fmt: skip
    path = folder / "frozen_cell.yaml"
    path.write_text(yaml.safe_dump(space))
    return path


def trial_seconds(folder: Path) -> float:
    """Return what the search's trials took, as the sweep recorded it."""
    paths = (folder / "sweeps" / "frozen_cell" / "runs").glob("*.json")
    records = [json.loads(path.read_text()) for path in paths]
    return sum(record["seconds"] for record in records if record["kind"] == "trial")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=2, help="of the original procedure")
    chosen = parser.parse_args()
    torch.set_num_threads(torch.get_num_threads())
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = bare_pass(folder / "bare")
        whole = run_sweep(
            "launch", "--space", space_file(folder), "--data-root", data_root(), folder=folder
        )
        after = bare_pass(folder / "bare")
        inside = trial_seconds(folder)
        epoch = original_epoch(chosen.epochs)
        kept = bare_pass(folder / "bare", keep=True)
    bare = (before + after) / 2
    original = epoch * EPOCHS * RATES
    print(
        f"one bare forward pass             {bare:9.1f} s  (before {before:.1f}, after {after:.1f})"
    )
    print(f"  the same, keeping freed memory  {kept:9.1f} s  {kept / bare:.2f} x the pass")
    print(f"16 rates x 100 epochs, the trials {inside:9.1f} s  {inside / bare:.2f} x the pass")
    print(f"the whole command, start to table {whole:9.1f} s  {whole / bare:.2f} x the pass")
    print(f"the original procedure, one epoch {epoch:9.1f} s  (mean of {chosen.epochs})")
    print(f"  16 rates x 100 epochs of it     {original:9.0f} s  {original / inside:,.0f} x them")


if __name__ == "__main__":
    main()
