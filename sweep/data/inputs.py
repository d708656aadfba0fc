"""What a sweep learns from: its pictures, labels and weights, as they were when it was launched.

A sweep that is resumed on other data would mix two results into one. The file that remembers
them is encrypted with the key of the home: it names pictures, which may name patients.
"""

import base64
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from sweep.backbones.backbone import Backbone
from sweep.backbones.families.base import weights_file
from sweep.base.atomic import write_atomically
from sweep.data.dataset import Dataset, samples_hash, samples_of
from sweep.data.io.extras import decoders
from sweep.data.store.building import StorePlan
from sweep.errors import SweepError
from sweep.records.folder import SweepFolder
from sweep.records.home import hashing_key
from sweep.records.record import RunRecord
from sweep.space.specs import DatasetSpec

_FILE = "inputs.bin"
_NAMED = 3


@dataclass
class DatasetInputs:
    """The pictures of a dataset.

    Attributes:
        samples: of each picture, by its path: label, group, size and time of its file, and its
            split, if the dataset brings one.
        pixels: hash of the decoded pictures, by ``SIZE INTERPOLATION``.
        decoders: the libraries that decoded them, with their versions.
        hash: of the samples, without sizes and times of files.
    """

    samples: dict[str, Sequence[str]] = field(default_factory=dict)
    pixels: dict[str, str] = field(default_factory=dict)
    decoders: list[str] = field(default_factory=list)
    hash: str = ""


@dataclass
class Inputs:
    """All that a sweep learns from.

    Attributes:
        datasets: by name.
        weights: of each backbone, by name: the hash of its weights, and where they come from.
    """

    datasets: dict[str, DatasetInputs] = field(default_factory=dict)
    weights: dict[str, Sequence[str]] = field(default_factory=dict)

    def take_dataset(
        self, name: str, spec: DatasetSpec, data_root: Path, dataset: Dataset, plan: StorePlan
    ) -> None:
        """Take note of a dataset that is open, by its name, or the name of an external set."""
        samples = samples_of(spec, data_root)
        own = self.datasets.setdefault(name, DatasetInputs())
        own.samples = {
            sample.path: (sample.label, sample.group, stamp, sample.split or "")
            for sample, stamp in zip(samples, plan.stamps, strict=True)
        }
        own.hash = samples_hash(spec, data_root)
        own.pixels[plan.pixels] = dataset.store.fingerprint
        own.decoders = _decoders()

    def take_backbone(self, backbone: Backbone, weights_dir: Path | None) -> None:
        """Take note of a backbone that is loaded."""
        file = weights_file(backbone.spec, weights_dir)
        source = file.name if file else backbone.spec.weights
        self.weights[backbone.spec.name] = (backbone.weights_hash, source)

    def identities(self) -> dict[str, str]:
        """Return what workers compare with what they find: hashes, by names without paths."""
        found = {f"weights {name}": digest for name, (digest, _) in self.weights.items()}
        for name, dataset in self.datasets.items():
            found[f"samples {name}"] = dataset.hash
            found |= {f"pixels {name} {of}": digest for of, digest in dataset.pixels.items()}
        return found


def write_inputs(folder: SweepFolder, inputs: Inputs) -> None:
    """Write down in the folder of a sweep what it learns from."""
    content = zlib.compress(json.dumps(asdict(inputs)).encode())
    sealed = _fernet(folder).encrypt(content)
    write_atomically(folder.path / _FILE, lambda file: file.write_bytes(sealed))


def read_inputs(folder: SweepFolder) -> Inputs | None:
    """Return what a sweep learnt from before; None if that is not known.

    It is not in a home with another key than the one in which the sweep was launched.
    """
    path = folder.path / _FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(zlib.decompress(_fernet(folder).decrypt(path.read_bytes())))
    except (InvalidToken, ValueError, zlib.error):
        return None
    datasets = {name: DatasetInputs(**about) for name, about in found["datasets"].items()}
    return Inputs(datasets, found["weights"])


def refuse_changes(folder: SweepFolder, now: Inputs) -> None:
    """Raise SweepError, naming all that has changed, if a sweep would go on with other inputs."""
    before = read_inputs(folder)
    if before is None:
        changes = list(_against_records(folder.records(), now))
    else:
        changes = list(_against(before, now))
    if changes:
        text = "\n".join(f"  {line}" for line in changes)
        raise SweepError(
            f"the sweep {folder.name} cannot go on, as its results would be of two kinds: what it "
            f"learns from is not what it was:\n{text}\n"
            "Put it back as it was, or launch another sweep under its own --name."
        )


def _fernet(folder: SweepFolder) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashing_key(folder.home)))


def _against(before: Inputs, now: Inputs) -> Iterator[str]:
    for name, dataset in now.datasets.items():
        if name in before.datasets:
            for text in _dataset_changes(before.datasets[name], dataset):
                yield f"dataset {name}: {text}"
    for name, (digest, source) in now.weights.items():
        if name in before.weights and before.weights[name][0] != digest:
            was = before.weights[name][1]
            origin = source if source == was else f"{source}, before {was}"
            yield f"backbone {name}: the weights are others ({origin})"


def _dataset_changes(before: DatasetInputs, now: DatasetInputs) -> Iterator[str]:
    common = [path for path in now.samples if path in before.samples]
    yield from _some("gone", [path for path in before.samples if path not in now.samples])
    yield from _some("new", [path for path in now.samples if path not in before.samples])
    for place, what in ((0, "label"), (1, "group"), (3, "split")):
        changed = [
            f"{path} (was {before.samples[path][place]}, is {now.samples[path][place]})"
            for path in common
            if len(before.samples[path]) > place  # older versions wrote fewer columns
            and before.samples[path][place] != now.samples[path][place]
        ]
        yield from _some(f"of another {what}", changed)
    differing = [k for k, v in now.pixels.items() if before.pixels.get(k, v) != v]
    if not differing or len(common) < len(now.samples) or len(common) < len(before.samples):
        return
    touched = [path for path in common if before.samples[path][2] != now.samples[path][2]]
    yield from _some("of other content, as far as size and time of files tell", touched)
    if before.decoders != now.decoders:
        yield f"decoded by {', '.join(now.decoders)}, before by {', '.join(before.decoders)}"
    if not touched and before.decoders == now.decoders:
        yield "the decoded pictures are others"


def _some(what: str, names: list[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        yield f"{len(names):,} {what}: {', '.join(names[:_NAMED])}{more}"


def _against_records(records: list[RunRecord], now: Inputs) -> Iterator[str]:
    """Compare with the hashes that records hold: these name no file."""
    changes = set()
    for record in records:
        pixels, weights = record.facts.get("pixels"), record.facts.get("weights_hash")
        dataset = now.datasets.get(record.dataset)
        known = dataset.pixels.values() if dataset else ()
        if pixels and known and pixels not in known:
            changes.add(f"dataset {record.dataset}: the decoded pictures are others")
        if weights and now.weights.get(record.backbone, (weights,))[0] != weights:
            changes.add(f"backbone {record.backbone}: the weights are others")
    yield from sorted(changes)


def _decoders() -> list[str]:
    names = ["pillow", *decoders()]
    return [f"{name} {version(name)}" for name in names if _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:  # the distribution's name may differ from the module's name
        return False
    return True
