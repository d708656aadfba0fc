"""How each layout names its samples and opens its images."""

from pathlib import Path

from sweep.catalog import HOW_TO_GET
from sweep.data.layouts.arrays import DIGITS, MEDMNIST
from sweep.data.layouts.base import Layout, Source
from sweep.data.layouts.folder import FOLDER
from sweep.data.layouts.glioma import VOLUMES
from sweep.data.layouts.ham10000 import HAM10000
from sweep.data.layouts.ichallenge import ICHALLENGE_AMD, ICHALLENGE_PM
from sweep.data.layouts.lgg_mri import LGG_MRI
from sweep.data.layouts.table import TABLE
from sweep.data.manifest import Sample
from sweep.errors import DataError, listing
from sweep.space import DatasetSpec

LAYOUTS: dict[str, Layout] = {
    "folder": FOLDER,
    "csv": TABLE,
    "medmnist": MEDMNIST,
    "volumes": VOLUMES,
    "digits": DIGITS,
    "ham10000": HAM10000,
    "ichallenge_amd": ICHALLENGE_AMD,
    "ichallenge_pm": ICHALLENGE_PM,
    "lgg_mri": LGG_MRI,
}


def read_samples(spec: DatasetSpec, data_root: Path) -> list[Sample]:
    """Return every sample of a dataset, in sorted order.

    Raises DataError if the dataset is not there, its layout is not as `spec` says, or its
    labels are doubtful.
    """
    if problem := missing(spec, data_root):
        raise DataError(problem)
    place = location(spec, data_root)
    try:
        samples = LAYOUTS[spec.layout].read(spec, place)
    except OSError as error:
        raise DataError(
            f"dataset {spec.name}: {error.filename or place}: {error.strerror}"
        ) from None
    if not samples:
        raise DataError(f"dataset {spec.name}: {place} holds no images")
    _refuse_near_labels(spec, samples)
    if spec.pooled:
        _refuse_contradictions(spec, samples)
    return samples


def source(spec: DatasetSpec, data_root: Path) -> Source:
    """Return what opens the images of a dataset that is there."""
    return LAYOUTS[spec.layout].source(spec, location(spec, data_root))


def location(spec: DatasetSpec, data_root: Path) -> Path:
    """Return where the dataset is: relative paths are under the data root.

    Of several places, which may be patterns, it is the first folder that is there.
    """
    places = (spec.path,) if isinstance(spec.path, str) else spec.path or ("",)
    for place in map(Path, places[:-1]):
        for found in [place] if place.is_absolute() else sorted(data_root.glob(str(place))):
            if found.is_dir():
                return found
    return data_root / Path(places[-1]).expanduser()


def missing(spec: DatasetSpec, data_root: Path) -> str | None:
    """Say what is missing and how to get it, or return None if the dataset is there."""
    if spec.layout == "digits":
        return None
    path = location(spec, data_root)
    if spec.layout == "volumes":
        there = path.exists()
    else:
        there = path.is_file() if LAYOUTS[spec.layout].is_file else path.is_dir()
    if there:
        return None
    found = "is not there" if not path.exists() else "is a folder" if path.is_dir() else "is a file"
    how = HOW_TO_GET.get(spec.name, "check the path in the space file, or --data-root")
    return f"dataset {spec.name}: {path} {found}. {how}."


def _refuse_near_labels(spec: DatasetSpec, samples: list[Sample]) -> None:
    """Labels that differ in case or blanks alone are one class, misspelt."""
    first: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample.label, sample)
    alike: dict[str, list[Sample]] = {}
    for sample in first.values():
        alike.setdefault(" ".join(sample.label.casefold().split()), []).append(sample)
    odd = [
        " and ".join(f"{sample.label!r} (first: {sample.path})" for sample in group)
        for group in alike.values()
        if len(group) > 1
    ]
    if odd:
        raise DataError(
            f"dataset {spec.name}: labels differ in case or blanks alone:\n{listing(odd)}\n"
            "Write each class in one way."
        )


def _refuse_contradictions(spec: DatasetSpec, samples: list[Sample]) -> None:
    """Where predictions are pooled by group, a group has one label."""
    labels: dict[str, dict[str, str]] = {}
    for sample in samples:
        labels.setdefault(sample.group, {}).setdefault(sample.label, sample.path)
    odd = [
        f"group {group!r}: " + ", ".join(f"{label} ({path})" for label, path in found.items())
        for group, found in labels.items()
        if len(found) > 1
    ]
    if odd:
        raise DataError(
            f"dataset {spec.name}: {len(odd)} groups have several labels, but are scored as one:\n"
            f"{listing(odd)}\nGive each group one label, or write 'pool: none'."
        )
