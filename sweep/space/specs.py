"""The entry of a dataset in a space file."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from sweep.errors import nearest
from sweep.space.datasets import known_datasets, known_entry
from sweep.space.domains import Part
from sweep.space.names import AugmentationName, Count, GroupPattern, Layout, Leaks, Name, Options
from sweep.space.registries import LAYOUTS

# Keys of a dataset's entry that only some layouts read.
KEYS_OF_LAYOUTS = frozenset({"train", "val", "test", "group", "group_scope", "modality", "slices"})


# What a data set's labels are: one class of several, one of several in an order, or any of several.
Target = Literal["multiclass", "ordinal", "multilabel"]
MULTILABEL: Target = "multilabel"


class Subgroups(Part):
    """A column of a dataset's table by whose values its test samples are looked at one by one.

    Attributes:
        column: its name.
        bands: of numbers: where a band ends and the next one begins; [40, 60] makes three.
    """

    column: str
    bands: tuple[float, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """Read ``sex`` and ``{age: [40, 60]}``."""
        if isinstance(value, str):
            return {"column": value}
        if isinstance(value, Mapping) and len(value) == 1 and "column" not in value:
            ((column, bands),) = value.items()
            return {"column": column, "bands": bands}
        return value

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if any(low >= high for low, high in pairwise(self.bands)):
            raise ValueError(f"the bands of {self.column} must ascend: {list(self.bands)}")
        return self


def _words(value: Any) -> Any:
    """Read names of classes, which a file may write as numbers: true, or a list of some."""
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("the list is empty; write the names, or leave the key out")
        whole = (str(n) if isinstance(n, int) and not isinstance(n, bool) else n for n in value)
        names = tuple(whole)
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is there twice")
        return names
    return value


Words = Annotated[bool | tuple[str, ...], BeforeValidator(_words)]


def _named(value: Any) -> Any:
    """Read external test sets: a mapping of names to entries, which may be known names."""
    if not isinstance(value, Mapping):
        return value
    entries = []
    for name, entry in value.items():
        if isinstance(entry, str) and (known := known_entry(entry)) is not None:
            entries.append({"name": name, **known})
        elif isinstance(entry, Mapping):
            entries.append({"name": name, **entry})
        else:
            names = list(known_datasets())
            raise ValueError(
                f"{name}: {entry!r} is no known data set and no mapping {{layout, path}}"
                f"{nearest(str(entry), names)}"
            )
    return entries


class DatasetSpec(Part):
    """Where a dataset's images are and how to read labels and groups from their layout."""

    name: Name
    layout: Layout
    # Of several paths the first that exists counts; all but the last may be patterns.
    path: str | tuple[str, ...] | None = None
    train: str | tuple[str, ...] | None = None
    val: str | tuple[str, ...] | None = None
    test: str | tuple[str, ...] | None = None
    group: GroupPattern | None = None
    # split: group ids are unique only within one of the dataset's own splits.
    group_scope: Literal["dataset", "split"] = "dataset"
    # drawn: ignore the dataset's own splits and draw new ones.
    splits: Literal["own", "drawn"] = "own"
    # group: the mean of a group's predictions is scored as one sample.
    pool: Literal["none", "group"] | None = None
    modality: str | None = None  # modality of volumes: t1, t1ce, t2 or flair
    slices: Count = 3  # slices taken of each volume
    # Positive class of a binary dataset, for AUPRC, ROC and precision-recall; see data/positive.py.
    positive: str | None = None
    # Each sample has any of several labels, or none: true where a text has them, Effusion|Nodule,
    # or the names of a table's columns of 0 and 1.
    multilabel: Words = Field(default=False, exclude_if=lambda names: not names)
    # The classes in their order, from the lowest, or true for the order of their numbers.
    ordered: Words = Field(default=False, exclude_if=lambda order: not order)
    unreadable: Literal["error", "skip"] = "error"
    leaks: Leaks | None = None  # overrides the space's own setting
    # The augmentation that fits these images, for recipes with augment: auto.
    augment: AugmentationName | None = Field(default=None, exclude_if=lambda name: name is None)
    # Columns of its table whose values the report looks at one by one; not sent to MLflow.
    subgroups: tuple[Subgroups, ...] = Field(default=(), exclude_if=lambda columns: not columns)
    # Data sets of other places, with the same classes, on which the confirmed models are scored.
    external: Annotated[tuple[DatasetSpec, ...], BeforeValidator(_named)] = Field(
        default=(), exclude_if=lambda sets: not sets
    )
    # Keys and values that a layout from outside reads.
    options: Options = Field(default=(), exclude_if=lambda options: not options)

    @model_validator(mode="before")
    @classmethod
    def _known_name(cls, value: Any) -> Any:
        """Take a known data set by its name, alone or in a mapping of what is to be otherwise."""
        if isinstance(value, Mapping) and "layout" not in value:
            name = str(value.get("name"))
            known = known_entry(name)
            if known is None and (hint := nearest(name, list(known_datasets()))):
                raise ValueError(f"{name!r} is no known data set, and has no layout{hint}")
            return {**(known or {}), **value}
        if not isinstance(value, str):
            return value
        known = known_entry(value)
        if known is None:
            names = list(known_datasets())
            raise ValueError(
                f"unknown dataset {value!r}; known: {', '.join(names)}, or a mapping "
                f"{{name, layout, path}}{nearest(value, names)}"
            )
        return {"name": value, **known}

    @model_validator(mode="before")
    @classmethod
    def _own_keys(cls, value: Any) -> Any:
        """Move the keys that the layout alone knows into `options`."""
        if not isinstance(value, dict) or value.get("layout") not in LAYOUTS:
            return value
        others = [key for key in value if key not in cls.model_fields]
        if not others:
            return value
        known = [key for key in others if key in LAYOUTS.get(value["layout"]).keys]
        rest = {key: item for key, item in value.items() if key not in known}
        return {**rest, "options": tuple((key, value[key]) for key in known)}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.path and LAYOUTS.get(self.layout).needs_path:
            raise ValueError(f"dataset {self.name!r} needs a path (its layout is {self.layout})")
        if (self.val or self.test) and not self.train:
            raise ValueError(f"dataset {self.name!r} names a test or val folder but no train one")
        if self.multilabel and (self.ordered or self.positive):
            raise ValueError(
                f"dataset {self.name!r}: multilabel excludes ordered and positive: each label is "
                "there or not"
            )
        if self.ordered and self.positive:
            raise ValueError(
                f"dataset {self.name!r}: positive and ordered exclude each other; of two ordered "
                "classes the last is positive"
            )
        names = [item.name for item in self.external]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"dataset {self.name!r} has two external sets {twice[0]!r}")
        if any(bool(item.multilabel) != bool(self.multilabel) for item in self.external):
            raise ValueError(
                f"dataset {self.name!r}: its entry and those of its external sets must agree on "
                "multilabel: the samples of both have several labels, or one class"
            )
        if any(item.external or item.subgroups for item in self.external):
            raise ValueError(
                f"dataset {self.name!r}: an external set has no external sets or subgroups itself"
            )
        return self

    @property
    def target(self) -> Target:
        """What its labels are."""
        if self.multilabel:
            return MULTILABEL
        return "ordinal" if self.ordered else "multiclass"

    @property
    def pooled(self) -> bool:
        """Whether a group's images are scored as one; by default where labels are patients'."""
        return (self.pool == "group") if self.pool else bool(LAYOUTS.get(self.layout).pools_groups)

    def option(self, key: str, default: Any = None) -> Any:
        """Return the value of a key that the layout alone knows."""
        return dict(self.options).get(key, default)

    def without_place(self) -> DatasetSpec:
        """Return the entry without paths, which are nobody else's business."""
        nowhere = {"path": "elsewhere", "train": None, "val": None, "test": None}
        others = tuple(item.without_place() for item in self.external)
        return self.model_copy(update={**nowhere, "external": others})
