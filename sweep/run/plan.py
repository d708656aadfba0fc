"""The plan: what a sweep would do, and everything that stands in its way, before it runs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from sweep.backbones.backbone import (
    bare_network,
    features_of,
    forget_backbones,
    input_size,
    load_backbone,
    note_on_preprocessing,
    preprocessing,
)
from sweep.backbones.families.base import fetch_weights, missing_weights
from sweep.backbones.trainable import count_trainable, head_parameters, learnable_parameters
from sweep.base.processes import end_processes
from sweep.base.settings import default_cache
from sweep.data.dataset import (
    Dataset,
    DatasetView,
    open_dataset,
    read_manifest,
    samples_of,
    store_plan,
)
from sweep.data.external import external_store, open_external
from sweep.data.inputs import Inputs
from sweep.data.layouts import missing as missing_data
from sweep.data.manifest import Manifest, positives
from sweep.data.quality.remarks import remarks
from sweep.data.store.building import Progress, StorePlan
from sweep.data.subgroups import read_subgroups
from sweep.errors import BackboneError, SweepError, collect, shorten
from sweep.run.work import Work, work_of
from sweep.search.ray.resources import ModelSize
from sweep.space.backbone import BackboneSpec
from sweep.space.datasets import known_dataset
from sweep.space.domains import Categorical
from sweep.space.freeze import freeze_mode
from sweep.space.model import Cell, Space
from sweep.space.recipe import Split
from sweep.space.specs import DatasetSpec
from sweep.train.flops import forward_flops, step_flops


@dataclass(frozen=True)
class CellPlan:
    """What one cell is going to be.

    Attributes:
        size: side in pixels of the images its backbone sees.
        classes: of its dataset; None if that is not known.
        parameters, trainable: numbers in the network, and those of them that are trained.
        features: numbers in the trunk's output for an image.
        work: None if the number of images is not known.
    """

    cell: Cell
    size: int
    classes: int | None
    parameters: int
    trainable: int
    features: int
    work: Work | None

    @property
    def flops(self) -> float | None:
        """Floating-point operations of its work."""
        return None if self.work is None else self.work.flops


@dataclass(frozen=True)
class Decoding:
    """Images of one dataset to decode once, at one size.

    Attributes:
        of: the data set whose models are scored, if this is an external test set of it.
    """

    dataset: DatasetSpec
    size: int
    interpolation: str
    crop: float | None = None
    of: DatasetSpec | None = None

    @property
    def name(self) -> str:
        """The name by which the sweep knows its samples."""
        return f"{self.of.name}.{self.dataset.name}" if self.of else self.dataset.name

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"{self.name} at {self.size} px"

    def view(self, split: Split) -> DatasetView:
        """Return what is opened of the dataset."""
        return DatasetView(self.dataset, split, self.size, self.interpolation, crop=self.crop)

    def store(self, split: Split, data_root: Path) -> StorePlan:
        """Return the store that it fills; raises DataError if the dataset cannot be read."""
        if self.of:
            return external_store(self.view(split), self.of, data_root)
        manifest = read_manifest(self.dataset, split, data_root)
        pixels = self.size, self.interpolation
        return store_plan(self.dataset, manifest, *pixels, data_root, self.crop)


def plan_cells(space: Space, data_root: Path) -> list[CellPlan]:
    """Return what every cell of a space is going to be; works without data and weights.

    Raises SweepError with everything that cannot be: sizes, freeze modes, datasets' trees.
    """
    manifests = _manifests(space, data_root)
    return collect(space.cells(), lambda cell: _plan_cell(space, cell, manifests))


def model_sizes(plans: list[CellPlan]) -> dict[str, ModelSize]:
    """Return the size of each cell's network, by the cell's name."""
    return {plan.cell.name: ModelSize(plan.parameters, plan.trainable) for plan in plans}


def missing(space: Space, data_root: Path, weights_dir: Path | None, fetch: bool) -> list[str]:
    """Return everything a sweep needs and lacks, and how to get it.

    Args:
        fetch: download weights that timm's hub has.
    """
    find = fetch_weights if fetch else missing_weights
    lacking = [missing_data(dataset, data_root) for dataset in space.all_datasets()]
    of_weights = [(spec.name, find(spec, weights_dir)) for spec in space.backbones]
    lacking += [f"backbone {name}: {text}" for name, text in of_weights if text]
    return [text for text in lacking if text]


def what_is_there(space: Space, data_root: Path) -> str | None:
    """Say how to launch with the data sets that are there, if some are and some are not."""
    there = [
        dataset.name
        for dataset in space.datasets
        if not any(missing_data(one, data_root) for one in (dataset, *dataset.external))
    ]
    if not there or len(there) == len(space.datasets):
        return None
    return f"To launch with the data sets that are there: --only dataset={','.join(there)}"


def all_problems(lacking: list[str], of_cells: str) -> str:
    """Say what a space lacks, and what else is wrong with its cells, each once."""
    others = [line for line in of_cells.splitlines() if line not in lacking]
    if not lacking:
        return "\n".join(others)
    count = f"{len(lacking)} things are" if len(lacking) > 1 else "something is"
    return "\n".join([f"{count} missing:", *(f"  {text}" for text in lacking), *others])


def without_unusable(space: Space, weights_dir: Path | None) -> tuple[Space, list[str]]:
    """Return a space without the backbones that cannot be used, and why each of them cannot.

    Raises SweepError if none is left.
    """
    usable, problems = [], []
    for backbone in space.backbones:
        try:
            check_backbone(space, backbone, weights_dir)
            usable.append(backbone)
        except SweepError as error:
            problems.append(str(error))
    if not usable:
        raise SweepError("no backbone can be used:\n" + "\n".join(problems))
    return space.model_copy(update={"backbones": usable}), problems


def check_backbone(space: Space, backbone: BackboneSpec, weights_dir: Path | None) -> None:
    """Build a backbone, load its weights, and run it on the meta device in each freeze mode.

    Raises SweepError if any of that cannot be.
    """
    if text := fetch_weights(backbone, weights_dir):
        raise SweepError(f"backbone {backbone.name}: {text}")
    size = input_size(backbone, space.image_size)
    load_backbone(backbone, size, weights_dir)
    forget_backbones()
    forward_flops(backbone, size)
    _refuse_other_features(space, backbone)
    for mode in space.freeze:
        network = bare_network(backbone, size, 2)
        if not freeze_mode(mode)[0].trunk_is_frozen and count_trainable(network, mode):
            step_flops(backbone, size, mode)


def _refuse_other_features(space: Space, backbone: BackboneSpec) -> None:
    """Raise BackboneError if a backbone has none of the features that are searched."""
    domain = space.search.domains().get("features")
    frozen = any(cell.fused for cell in space.cells())
    if not isinstance(domain, Categorical) or backbone.features or not frozen:
        return
    own = features_of(backbone, space.image_size)
    if not set(own) & set(domain.root):
        raise BackboneError(
            f"backbone {backbone.name}: search.features: it has none of "
            f"{', '.join(map(str, domain.root))} ({backbone.model}); add one of {', '.join(own)}"
        )


def check_networks(space: Space, weights_dir: Path | None) -> list[str]:
    """Build each backbone, with its weights where they are there, and run it on one image.

    Returns notes on how weights were read.

    Raises SweepError with all that is wrong with any of them.
    """

    def check(backbone: BackboneSpec) -> tuple[str, ...]:
        size = input_size(backbone, space.image_size)
        there = missing_weights(backbone, weights_dir) is None
        random = backbone.model_copy(update={"weights": "none"})
        return load_backbone(backbone if there else random, size, weights_dir).notes

    notes = collect(space.backbones, check)
    forget_backbones()
    return [line for lines in notes for line in lines]


def decodings(space: Space) -> list[Decoding]:
    """Return which images the sweep reads: one size and interpolation may serve many cells."""
    wanted = [
        Decoding(
            images,
            input_size(backbone, space.image_size),
            preprocessing(backbone).interpolation,
            preprocessing(backbone).crop,
            None if images is dataset else dataset,
        )
        for dataset in space.datasets
        for images in (dataset, *dataset.external)
        for backbone in space.backbones
    ]
    return list(dict.fromkeys(wanted))


def split_summaries(space: Space, data_root: Path) -> dict[str, str]:
    """Return the numbers of images by split and class of each dataset that is there, by its name.

    Samples that leak are still among them.
    """
    manifests = _manifests(space, data_root)
    return {name: manifest.summary() for name, manifest in manifests.items()}


def left_to_decode(
    wanted: list[Decoding], split: Split, data_root: Path
) -> list[tuple[Decoding, int]]:
    """Return the decodings that the cache does not hold, with their numbers of images.

    Data that is not there is passed over.
    """
    left = []
    for item in wanted:
        if missing_data(item.dataset, data_root):
            continue
        store = item.store(split, data_root)
        if not store.is_built(default_cache() / "stores"):
            left.append((item, len(store.names)))
    return left


@dataclass(frozen=True)
class Prepared:
    """What a sweep learns from, what its cells are, and what is to be shown of it.

    Attributes:
        notes: on samples that were excluded, as they leak, and on how files were read.
    """

    inputs: Inputs
    plans: list[CellPlan]
    notes: list[str]


def prepare(
    space: Space,
    data_root: Path,
    weights_dir: Path | None,
    progress: Callable[[str], Progress],
) -> Prepared:
    """Check weights, sizes and freeze modes, read every dataset, and decode its images.

    Raises SweepError with all that is wrong with any of them.
    """
    lacking = missing(space, data_root, weights_dir, fetch=True)
    try:
        plans, of_cells = plan_cells(space, data_root), ""
    except SweepError as error:
        plans, of_cells = [], str(error)
    if lacking or of_cells:
        hint = what_is_there(space, data_root)
        raise SweepError("\n".join([all_problems(lacking, of_cells), *([hint] if hint else [])]))
    inputs = Inputs()

    def load(backbone: BackboneSpec) -> list[str]:
        loaded = load_backbone(backbone, input_size(backbone, space.image_size), weights_dir)
        inputs.take_backbone(loaded, weights_dir)
        note = note_on_preprocessing(backbone)
        return [*loaded.notes, note] if note else list(loaded.notes)

    of_weights = collect(space.backbones, load)
    forget_backbones()

    def decode(item: Decoding) -> list[str]:
        view, store = item.view(space.split), item.store(space.split, data_root)
        if item.of:
            shown = progress(item.title)
            external = open_external(view, item.of, data_root, None, shown, verify=True)
            inputs.take_dataset(item.name, item.dataset, data_root, external, store)
            return [
                *_of_external(item.name, external),
                *reading(item.name, item.dataset, data_root),
            ]
        opened = [open_dataset(view, data_root, None, progress(item.title), verify=True)]
        folds = range(1, space.split.folds or 1)
        opened += [open_dataset(replace(view, fold=fold), data_root) for fold in folds]
        for partition in range(1, 1 + max(cell.confirmations for cell in space.cells())):
            open_dataset(replace(view, partition=partition), data_root)
        for fraction in space.train_fraction:
            open_dataset(replace(view, train_fraction=fraction), data_root)
        inputs.take_dataset(item.name, item.dataset, data_root, opened[0], store)
        return [*_excluded(item.dataset, opened), *reading(item.name, item.dataset, data_root)]

    notes = [*of_weights, *collect(decodings(space), decode)]
    end_processes()
    return Prepared(inputs, plans, list(dict.fromkeys(line for lines in notes for line in lines)))


def reading(name: str, dataset: DatasetSpec, data_root: Path) -> list[str]:
    """Return what is to be said of how the files of a data set, or an external one, are read."""
    found = remarks(dataset, samples_of(dataset, data_root), data_root)
    return [f"{name}: {remark.text}" for remark in found]


def _excluded(spec: DatasetSpec, opened: list[Dataset]) -> list[str]:
    """Tell the splits, and what was left out of training; of several folds the first."""
    several = len(opened) > 1 and len({dataset.fingerprint() for dataset in opened}) > 1
    fold = f", fold 1 of {len(opened)}" if several else ""
    lines = [f"{spec.name}{fold}: {opened[0].manifest.summary()}"]
    return lines + [f"{spec.name}{fold}: left out, {text}" for text in opened[0].dropped]


def _of_external(name: str, dataset: Dataset) -> list[str]:
    """Tell how many samples of each class an external set has, and what was left out."""
    rows = dataset.labels[dataset.rows("test")]
    counts = [int(positives(rows, place).sum()) for place in range(len(dataset.classes))]
    found = zip(dataset.classes, counts, strict=True)
    of_class = shorten([f"{label} {count:,}" for label, count in found])
    lines = [f"{name}: external test set, {len(rows):,} ({of_class})"]
    return lines + [f"{name}: left out, {text}" for text in dataset.dropped]


def _manifests(space: Space, data_root: Path) -> dict[str, Manifest]:
    def read(dataset: DatasetSpec) -> tuple[str, Manifest] | None:
        if missing_data(dataset, data_root):
            return None
        read_subgroups(dataset, data_root)  # it raises an error for an unknown column
        return dataset.name, read_manifest(dataset, space.split, data_root)

    return dict(item for item in collect(space.datasets, read) if item)


def _plan_cell(space: Space, cell: Cell, manifests: dict[str, Manifest]) -> CellPlan:
    manifest = manifests.get(cell.dataset.name)
    known = known_dataset(cell.dataset.name)
    counts = known.size if known else None
    if manifest is not None:
        counts = (len(manifest), len(manifest.classes))
    images, classes = counts or (None, None)
    size = input_size(cell.backbone, space.image_size)
    _refuse_other_features(space, cell.backbone)
    trunk, features = _trunk_size(cell.backbone, size)
    about = cell.freeze, features, classes or 2
    parameters = trunk + head_parameters(*about)
    trainable = learnable_parameters(cell.backbone, size, *about)
    work = work_of(space, cell, size, images, manifest)
    return CellPlan(cell, size, classes, parameters, trainable, features, work)


@lru_cache
def _trunk_size(spec: BackboneSpec, size: int) -> tuple[int, int]:
    """Return how many parameters a backbone has, and how many features."""
    network = bare_network(spec, size, 1)
    features = network.head.state_dict()["weight"].shape[1]
    return sum(item.numel() for item in network.trunk.parameters()), features
