"""The manifest: the Arrow table that names every sample of a dataset."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sweep.errors import shorten

SPLITS = ("train", "val", "test")
SEPARATOR = "|"  # between the labels of a sample that may have several
UNUSED = "unused"  # the split of leaks and of samples beyond the train fraction

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # unique in the dataset
        (
            "path",
            pa.string(),
        ),  # what the source opens: a file, an array row or a slice
        # Index into the classes; of several labels a sample, into the sets of labels.
        ("label", pa.int32()),
        ("group", pa.string()),  # samples of a group stay in one split: patient, lesion or eye
        ("split", pa.string()),  # train, val, test or unused
    ]
)


def positives(labels: NDArray[np.int64], place: int) -> NDArray[np.bool_]:
    """Return which samples have the class, or the label, at a place: mask (N,)."""
    return np.asarray(labels == place if labels.ndim == 1 else labels[:, place] == 1)


@dataclass(frozen=True)
class Sample:
    """One image as its layout names it; `split` is None where the dataset brings none."""

    path: str
    label: str
    group: str
    split: str | None


@dataclass(frozen=True)
class Manifest:
    """Every sample of a dataset, in a fixed order."""

    table: pa.Table

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        splits: Sequence[str],
        classes: Sequence[str],
        multilabel: bool = False,
    ) -> "Manifest":
        """Return the manifest of `samples`, each in its split; `classes` in their order.

        Args:
            multilabel: each sample has a set of `classes`, as ``Effusion|Nodule`` or none.
        """
        about = {"classes": json.dumps(list(classes))}
        kinds: Sequence[str] = classes
        if multilabel:
            kinds = sorted({sample.label for sample in samples})
            about["label_sets"] = json.dumps(kinds)
        index = {name: i for i, name in enumerate(kinds)}
        columns = [
            [sample.path for sample in samples],
            [sample.path for sample in samples],
            [index[sample.label] for sample in samples],
            [sample.group for sample in samples],
            list(splits),
        ]
        schema = SCHEMA.with_metadata(about)
        arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
        return cls(pa.Table.from_arrays(arrays, schema=schema))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return split -> class -> number of samples, for train, val and test."""
        return {
            part: {
                label: int(positives(self.labels[self.splits == part], place).sum())
                for place, label in enumerate(self.classes)
            }
            for part in SPLITS
        }

    def summary(self) -> str:
        """Return the numbers of samples by split and class, as one line."""
        parts = []
        for part, found in self.counts().items():
            of_class = shorten([f"{label} {count:,}" for label, count in found.items()])
            parts.append(f"{part} {int((self.splits == part).sum()):,} ({of_class})")
        return ", ".join(parts)

    def resplit(self, splits: NDArray[np.str_]) -> "Manifest":
        """Return the same samples in other splits."""
        at = self.table.schema.get_field_index("split")
        return Manifest(self.table.set_column(at, "split", pa.array(splits.tolist(), pa.string())))

    @cached_property
    def classes(self) -> list[str]:
        """The class names, in the order of the labels."""
        return list(json.loads(self.table.schema.metadata[b"classes"]))

    @cached_property
    def ids(self) -> list[str]:
        """The sample ids, unique."""
        return list(self.table["id"].to_pylist())

    @cached_property
    def paths(self) -> list[str]:
        """What the layout's source opens for each sample."""
        return list(self.table["path"].to_pylist())

    @property
    def multilabel(self) -> bool:
        """Whether a sample may have several labels, or none."""
        return b"label_sets" in self.table.schema.metadata

    @cached_property
    def label_sets(self) -> NDArray[np.int64]:
        """Of each sample the number of its class, or of its set of labels, shape (N,)."""
        return np.asarray(self.table["label"].to_numpy(), dtype=np.int64)

    @cached_property
    def label_texts(self) -> list[str]:
        """Of each sample the name of its class, or of its labels as ``Effusion|Nodule``."""
        names = self.classes
        if self.multilabel:
            names = json.loads(self.table.schema.metadata[b"label_sets"])
        return [names[kind] for kind in self.label_sets]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class indices, shape (N,); of several labels a sample 1 for those it has, (N, C)."""
        if not self.multilabel:
            return self.label_sets
        kinds = json.loads(self.table.schema.metadata[b"label_sets"])
        places = {name: place for place, name in enumerate(self.classes)}
        of_kind = np.zeros((len(kinds), len(places)), dtype=np.int64)
        for kind, text in enumerate(kinds):
            of_kind[kind, [places[name] for name in text.split(SEPARATOR) if name]] = 1
        return of_kind[self.label_sets]

    @cached_property
    def groups(self) -> list[str]:
        """The group of each sample."""
        return list(self.table["group"].to_pylist())

    @cached_property
    def splits(self) -> NDArray[np.str_]:
        """The split of each sample, shape (N,)."""
        return np.asarray(self.table["split"].to_pylist(), dtype=np.str_)
