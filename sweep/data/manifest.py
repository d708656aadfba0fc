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
UNUSED = "unused"  # the split of leaks and of samples beyond the train fraction

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # unique in the dataset
        (
            "path",
            pa.string(),
        ),  # what the source opens: a file, an array row or a slice
        ("label", pa.int32()),  # index into the classes
        ("group", pa.string()),  # samples of a group stay in one split: patient, lesion or eye
        ("split", pa.string()),  # train, val, test or unused
    ]
)


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
        cls, samples: Sequence[Sample], splits: Sequence[str], classes: Sequence[str]
    ) -> "Manifest":
        """Return the manifest of `samples`, each in its split; `classes` in their order."""
        index = {name: i for i, name in enumerate(classes)}
        columns = [
            [sample.path for sample in samples],
            [sample.path for sample in samples],
            [index[sample.label] for sample in samples],
            [sample.group for sample in samples],
            list(splits),
        ]
        schema = SCHEMA.with_metadata({"classes": json.dumps(list(classes))})
        arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
        return cls(pa.Table.from_arrays(arrays, schema=schema))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return split -> class -> number of samples, for train, val and test."""
        return {
            part: dict(
                zip(
                    self.classes,
                    np.bincount(
                        self.labels[self.splits == part], minlength=len(self.classes)
                    ).tolist(),
                    strict=True,
                )
            )
            for part in SPLITS
        }

    def summary(self) -> str:
        """Return the numbers of samples by split and class, as one line."""
        parts = []
        for part, found in self.counts().items():
            of_class = shorten([f"{label} {count:,}" for label, count in found.items()])
            parts.append(f"{part} {sum(found.values()):,} ({of_class})")
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

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class indices, shape (N,)."""
        return np.asarray(self.table["label"].to_numpy(), dtype=np.int64)

    @cached_property
    def groups(self) -> list[str]:
        """The group of each sample."""
        return list(self.table["group"].to_pylist())

    @cached_property
    def splits(self) -> NDArray[np.str_]:
        """The split of each sample, shape (N,)."""
        return np.asarray(self.table["split"].to_pylist(), dtype=np.str_)
