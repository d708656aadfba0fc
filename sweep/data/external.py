"""External test sets: data of other places, on which the confirmed models of a data set are scored.

All of their samples are test samples, whatever splits they bring.
"""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweep.base.atomic import write_atomically
from sweep.base.identity import canonical_hash
from sweep.base.settings import default_cache
from sweep.data.dataset import Dataset, DatasetView, classes_of, samples_of, store_plan
from sweep.data.manifest import UNUSED, Manifest, positives
from sweep.data.multilabel import labels_of
from sweep.data.quality.near_duplicates import THUMBNAIL, same_as_any
from sweep.data.store.building import Progress, StorePlan
from sweep.data.store.image_store import open_store
from sweep.errors import DataError, listing, nearest, shorten
from sweep.space.specs import DatasetSpec

_NAMED = 5  # a message names this many excluded samples


def external_manifest(spec: DatasetSpec, of: DatasetSpec, data_root: Path) -> Manifest:
    """Return the samples of an external set, all of them in the test split.

    Args:
        of: the data set whose models are scored; its classes are theirs.

    Raises:
        DataError: it has a class that the data set has not, or lacks one.
    """
    samples, classes = samples_of(spec, data_root), classes_of(of, samples_of(of, data_root))
    several = bool(of.multilabel)
    each = (labels_of(sample, several) for sample in samples)
    own = list(dict.fromkeys(label for labels in each for label in labels))
    if unknown := [label for label in own if label not in classes]:
        hints = "".join(nearest(label, classes) for label in unknown[:1])
        raise DataError(
            f"external set {spec.name} of {of.name}: its classes {shorten(unknown)} are none of "
            f"the data set's, {', '.join(classes)}{hints}; name the classes alike in both"
        )
    if absent := [label for label in classes if label not in own]:
        raise DataError(
            f"external set {spec.name} of {of.name} has no sample of {shorten(absent)}: metrics "
            "over all classes cannot be compared with those of the test split"
        )
    return Manifest.of(samples, ["test"] * len(samples), classes, several)


def external_store(view: DatasetView, of: DatasetSpec, data_root: Path) -> StorePlan:
    """Return the store of an external set's images, as `view` wants them."""
    manifest = external_manifest(view.spec, of, data_root)
    return store_plan(view.spec, manifest, view.size, view.interpolation, data_root, view.crop)


def open_external(
    view: DatasetView,
    of: DatasetSpec,
    data_root: Path,
    cache: Path | None = None,
    progress: Progress | None = None,
    verify: bool = False,
) -> Dataset:
    """Open an external set with its images decoded.

    Pictures that are pictures of the data set, too, are left out, as the models may have been
    trained on them; with ``leaks: error`` they are refused, with ``leaks: allow`` kept.

    Args:
        view: of the external set, with the size that the models see.
        of: the data set whose models are scored.
        verify: compare the decoded images with their SHA-256.

    Raises:
        DataError: it cannot be read, holds pictures that it may not, or lacks a class.
    """
    cache, spec = cache or default_cache(), view.spec
    manifest = external_manifest(spec, of, data_root)
    plan = store_plan(spec, manifest, view.size, view.interpolation, data_root, view.crop)
    store = open_store(cache / "stores", plan, progress, verify)
    dataset = Dataset(manifest, store, manifest.groups, spec.pooled)
    if store.unreadable and spec.unreadable == "error":
        shown = [f"{manifest.ids[row]}: {why}" for row, why in store.unreadable.items()]
        raise DataError(
            f"external set {spec.name} of {of.name}: {len(shown)} images cannot be read:\n"
            f"{listing(shown)}\nMend or remove them, or write 'unreadable: skip' into its entry."
        )
    if of.leaks == "allow":
        return dataset
    known = _shared_pictures(spec, of, data_root, cache)
    if not known.any():
        return dataset
    names = [manifest.ids[row] for row in np.flatnonzero(known)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    text = (
        f"{len(names):,} pictures that are pictures of {of.name}, too: "
        f"{', '.join(names[:_NAMED])}{more}"
    )
    if of.leaks == "error":
        raise DataError(f"external set {spec.name} of {of.name}: {text}; 'leaks' refuses them")
    splits = np.where(known, UNUSED, manifest.splits)
    kept = Dataset(manifest.resplit(splits), store, manifest.groups, spec.pooled, (text,))
    left = kept.labels[kept.rows("test")]
    if absent := [n for i, n in enumerate(kept.classes) if not positives(left, i).any()]:
        raise DataError(f"external set {spec.name} of {of.name}: {text}; none is left of {absent}")
    return kept


def _shared_pictures(
    spec: DatasetSpec, of: DatasetSpec, data_root: Path, cache: Path
) -> NDArray[np.bool_]:
    """Tell which pictures of an external set are those of the data set, shape (N,)."""
    plans = [_thumbnails(one, data_root) for one in (spec, of)]
    place = cache / "near_duplicates" / f"{canonical_hash([plan.key for plan in plans])}.npy"
    try:
        found = np.load(place, allow_pickle=False)
        if found.shape == (len(plans[0].names),):
            return np.asarray(found, dtype=bool)
    except (OSError, ValueError):  # not there, or damaged: it is computed
        pass
    stores = [open_store(cache / "stores", plan) for plan in plans]
    found = same_as_any(*stores)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, partial(_save, found))
    return found


def _save(found: NDArray[np.bool_], path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, found)


def _thumbnails(spec: DatasetSpec, data_root: Path) -> StorePlan:
    samples = samples_of(spec, data_root)
    labels = sorted({sample.label for sample in samples})
    manifest = Manifest.of(samples, ["test"] * len(samples), labels)
    return store_plan(spec, manifest, THUMBNAIL, "bilinear", data_root)
