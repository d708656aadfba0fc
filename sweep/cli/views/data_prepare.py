"""`sweep data prepare`: download what can be downloaded, and decode ahead of a sweep."""

import shutil
from collections.abc import Callable
from pathlib import Path

from sweep.base.settings import default_cache
from sweep.data.dataset import open_near_duplicates, read_manifest
from sweep.data.layouts import location, missing
from sweep.data.layouts.base import layout_of
from sweep.data.store.building import Progress
from sweep.data.store.image_store import open_store
from sweep.errors import SweepError, collect
from sweep.run.plan import Decoding, left_to_decode
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec


def download(spec: DatasetSpec, data_root: Path) -> bool:
    """Download a dataset that is not there, if its layout can; tell whether that was done.

    Raises DataError if it cannot be; nothing half-downloaded remains.
    """
    if missing(spec, data_root) is None:
        return False
    return layout_of(spec).download(spec, location(spec, data_root))


def prepare_stores(
    wanted: list[Decoding],
    split: Split,
    data_root: Path,
    progress: Callable[[str], Progress],
) -> list[str]:
    """Decode images into their stores and find near-duplicates, as far as they are not there.

    Args:
        progress: makes what is called with (done, all) for a store, given its title.

    Returns:
        A line on each store.

    Raises:
        SweepError: data is missing or wrong, or the disk cannot hold all of it; then nothing is
            decoded.
    """
    plans = collect(wanted, lambda item: item.store(split, data_root))
    require_space(left_to_decode(wanted, split, data_root))
    cache, lines = default_cache(), []
    for item, plan in zip(wanted, plans, strict=True):
        there = plan.is_built(cache / "stores")
        store = open_store(cache / "stores", plan, progress(item.title))
        if item.dataset.leaks != "allow":
            manifest = read_manifest(item.dataset, split, data_root)
            open_near_duplicates(item.dataset, manifest, data_root, cache)
        unreadable = f", {len(store.unreadable)} cannot be read" if store.unreadable else ""
        done = "there already" if there else "decoded"
        lines.append(f"{item.title}: {len(store):,} images {done}{unreadable}")
    return lines


def require_space(left: list[tuple[Decoding, int]]) -> None:
    """Raise SweepError, saying how much it needs, if the disk cannot hold these decodings."""
    needed = sum(count * item.size**2 * 3 for item, count in left)
    folder = default_cache()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed * 1.02:
        shown = "\n".join(
            f"  {item.title}: {count:,} images, {count * item.size**2 * 3 / 2**20:,.0f} MiB"
            for item, count in left
        )
        raise SweepError(
            f"decoded images need {needed / 2**30:,.2f} GiB in {folder}, and "
            f"{free / 2**30:,.2f} GiB are free:\n{shown}\nFree some, or set SWEEP_CACHE elsewhere."
        )
