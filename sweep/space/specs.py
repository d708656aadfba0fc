"""The entry of a dataset in a space file."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sweep.errors import nearest
from sweep.space.datasets import known_datasets, known_entry
from sweep.space.domains import Part
from sweep.space.names import AugmentationName, Count, GroupPattern, Layout, Leaks, Name, Options
from sweep.space.registries import LAYOUTS

# Keys of a dataset's entry that only some layouts read.
KEYS_OF_LAYOUTS = frozenset({"train", "val", "test", "group", "group_scope", "modality", "slices"})


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
    unreadable: Literal["error", "skip"] = "error"
    leaks: Leaks | None = None  # overrides the space's own setting
    # The augmentation that fits these images, for recipes with augment: auto.
    augment: AugmentationName | None = Field(default=None, exclude_if=lambda name: name is None)
    # Keys and values that a layout from outside reads.
    options: Options = Field(default=(), exclude_if=lambda options: not options)

    @model_validator(mode="before")
    @classmethod
    def _known_name(cls, value: Any) -> Any:
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
        return self

    @property
    def pooled(self) -> bool:
        """Whether a group's images are scored as one; by default where labels are patients'."""
        return (self.pool == "group") if self.pool else bool(LAYOUTS.get(self.layout).pools_groups)

    def option(self, key: str, default: Any = None) -> Any:
        """Return the value of a key that the layout alone knows."""
        return dict(self.options).get(key, default)
