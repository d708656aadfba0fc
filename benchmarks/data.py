"""How fast data are got ready: decoding, the store, manifests, near-duplicates, the check.

Each against a plain alternative in the same run, on real photographs and X-rays.

    SWEEP_DATA=... python benchmarks/data.py
"""

import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from machine import brain_mri, data_root, describe
from PIL import Image
from scipy.ndimage import affine_transform

from sweep.data.dataset import read_manifest, samples_of, store_plan
from sweep.data.io.images import decode
from sweep.data.layouts.base import Files
from sweep.data.quality import near_duplicates as quality
from sweep.data.quality.checks import check
from sweep.data.store import building as stores
from sweep.data.store.building import StorePlan
from sweep.data.store.image_store import open_store
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec
from sweep.train.allocator import keep_freed_memory

SIZE = 224
COPIES = 30  # of each photograph, so that decoding takes longer than starting processes
MANY = 100_000


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def build(folder: Path, plan: StorePlan, processes: int) -> float:
    shutil.rmtree(folder, ignore_errors=True)
    original = stores.processes.cpu_count
    stores.processes.cpu_count = lambda: processes
    try:
        return seconds(lambda: open_store(folder, plan))
    finally:
        stores.processes.cpu_count = original


def decoding(work: Path) -> None:
    """Photographs of several megapixels into the store: all processes, and one."""
    pictures = sorted(path.name for path in (data_root() / "dermoscopy_large").glob("*.jpg"))
    names = pictures * COPIES
    stamps = [str(i) for i in range(len(names))]
    source = partial(Files, data_root() / "dermoscopy_large")
    plan = StorePlan(names, stamps, source, SIZE, "bicubic")
    cores = stores.processes.cpu_count()
    build(work / "warm", plan, cores)  # starts the processes, which later stores find running
    one, several = build(work / "one", plan, 1), build(work / "several", plan, cores)
    print(f"decoding {len(names)} photographs to {SIZE} px")
    print(f"  one process        {one:6.2f} s")
    print(f"  {cores} processes        {several:6.2f} s  {one / several:.2f} x")


def drafts() -> None:
    """JPEG's draft mode against a plain full decode, and what it does to the pixels."""
    paths = sorted((data_root() / "dermoscopy_large").glob("*.jpg"))

    def full(path: Path) -> np.ndarray:
        image = Image.open(path)
        image.load()
        return decode(image, SIZE, "bicubic")

    plain = seconds(lambda: [full(path) for path in paths])
    fast = seconds(lambda: [decode(Image.open(path), SIZE, "bicubic") for path in paths])
    gaps = [np.abs(decode(Image.open(p), SIZE, "bicubic") - full(p).astype(int)) for p in paths]
    sides = sorted(min(Image.open(path).size) for path in paths)
    print(f"{len(paths)} photographs, shorter side {sides[0]} to {sides[-1]} px, to {SIZE} px")
    print(f"  full decode        {plain:6.2f} s")
    print(f"  draft mode         {fast:6.2f} s  {plain / fast:.1f} x")
    mean, high = (
        np.mean([gap.mean() for gap in gaps]),
        np.mean([np.percentile(g, 99) for g in gaps]),
    )
    most = max(gap.max() for gap in gaps)
    print(
        f"  pixels differ by {mean:.2f} of 255, 99 % by less than {high:.0f}, none by over {most}"
    )


def reading(work: Path) -> None:
    """A random batch from the store against decoding the same JPEGs, small and large."""
    spec = DatasetSpec.model_validate("ham10000")
    manifest = read_manifest(spec, Split(), data_root())
    plan = store_plan(spec, manifest, SIZE, "bicubic", data_root())
    store = open_store(work / "ham", plan)
    rng, images = np.random.default_rng(0), plan.source()
    batches = [rng.choice(len(store), 256, replace=False) for _ in range(20)]

    def read_all() -> None:
        for rows in batches:
            store.rows(rows)

    read_all()  # the pages of a new file are mapped once
    mapped = seconds(read_all) / len(batches)
    names = [manifest.paths[row] for row in batches[0]]
    decoded = seconds(lambda: [decode(images.open(name), SIZE, "bicubic") for name in names])
    paths = sorted((data_root() / "dermoscopy_large").glob("*.jpg"))
    large = seconds(lambda: [decode(Image.open(p), SIZE, "bicubic") for p in paths])
    large *= 256 / len(paths)
    print(f"a random batch of 256 images of {SIZE} px")
    print(f"  from the store                  {1000 * mapped:8.1f} ms")
    print(
        f"  JPEGs of {SIZE} px, decoded        {1000 * decoded:8.1f} ms  {decoded / mapped:.0f} x"
    )
    print(f"  photographs, decoded (draft)    {1000 * large:8.1f} ms  {large / mapped:,.0f} x")


def manifests(work: Path) -> None:
    """A folder of many files: samples, splits, and the store's identity."""
    for label in range(5):
        (work / "many" / f"class{label}").mkdir(parents=True)
        for i in range(MANY // 5):
            (work / "many" / f"class{label}" / f"{i // 4:06d}_{label}_{i}.png").touch()
    spec = DatasetSpec(name="many", layout="folder", path="many", group=r"^(\d+)_")
    took = {"samples": seconds(lambda: samples_of(spec, work))}
    took["splits and manifest"] = seconds(lambda: read_manifest(spec, Split(), work))
    manifest = read_manifest(spec, Split(), work)
    took["fingerprint"] = seconds(lambda: store_plan(spec, manifest, SIZE, "bicubic", work).key)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{MANY:,} files, with the group in their names")
    for name, value in took.items():
        print(f"  {name:20} {value:5.2f} s")
    print(f"  all                  {sum(took.values()):5.2f} s  peak of the process {peak:.2f} GiB")


def near_duplicates(work: Path) -> None:
    """All near-identical pairs among warped X-rays, photographs and slices."""
    grey = []
    for name in ("brain_mri", "chest_xray", "ham10000", "ichallenge_pm"):
        spec = DatasetSpec.model_validate(name)
        manifest = read_manifest(spec, Split(), data_root())
        plan = store_plan(spec, manifest, quality.THUMBNAIL, "bilinear", data_root())
        store = open_store(work / "thumbnails", plan)
        grey.append(quality.signatures(store, np.arange(len(store))).reshape(-1, 32, 32))
    base, rng = np.concatenate(grey), np.random.default_rng(0)
    made = np.empty((MANY, 1024), dtype=np.float32)
    for row in range(MANY):
        turn, shift = np.eye(2) + rng.normal(0, 0.08, (2, 2)), rng.normal(0, 2, 2)
        picture = base[rng.integers(len(base))]
        made[row] = affine_transform(picture, turn, shift, order=1, mode="nearest").ravel()
    made -= made.mean(axis=1, keepdims=True)
    made /= np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-6)
    print("near-identical pairs among warped medical pictures")
    times = {}
    for count in (MANY // 4, MANY // 2, MANY):
        times[count] = seconds(lambda count=count: quality._near_pairs(made[:count]))
        print(f"  {count:7,}            {times[count]:6.2f} s")
    compared = seconds(lambda: made[:5000] @ made[:5000].T) * (MANY / 5000) ** 2
    print(f"  comparing all pairs of {MANY:,} would take {compared:.0f} s for the products alone")


def checking(work: Path) -> None:
    """The whole check of 3,264 brain MRI slices, nothing cached."""
    took = seconds(lambda: check(brain_mri(), Split(), data_root(), work / "check"))
    print(f"sweep data check brain_mri, decoding included: {took:.1f} s")


def main() -> None:
    keep_freed_memory()  # as workers do
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        manifests(work)
        checking(work)
        decoding(work)
        drafts()
        reading(work)
        near_duplicates(work)


if __name__ == "__main__":
    main()
