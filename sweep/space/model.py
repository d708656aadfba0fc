"""The space: what a sweep compares. YAML in, cells out; every value checked before any work."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from sweep.base.identity import canonical_hash
from sweep.errors import nearest
from sweep.space.catalog import (
    BACKBONES,
    family_name,
    is_timm_model,
    pretraining,
    timm_models,
    timm_tags,
)
from sweep.space.datasets import known_datasets, known_entry
from sweep.space.domains import Categorical, Domain, LearningRate, Part, ReadDomain
from sweep.space.freeze import freeze_mode
from sweep.space.registries import BACKBONES as REGISTERED
from sweep.space.registries import LAYOUTS, LOSSES, METRICS, TRACKERS

_LONGEST_NAME = 100


def check_name(name: str) -> str:
    """Return a name of a sweep, a dataset or a backbone; raises ValueError if it cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"{name!r} may hold only letters, digits, '.', '_' and '-'")
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"{name[:20]!r}... is longer than {_LONGEST_NAME} characters")
    return name


def _check_freeze(mode: str) -> str:
    freeze_mode(mode)
    return mode


def _is_frozen(mode: str) -> bool:
    return bool(freeze_mode(mode)[0].trunk_is_frozen)


def _check_objective(name: str) -> str:
    if METRICS.get(name).lower_is_better:
        raise ValueError(
            f"{name!r} is an error; trials are chosen by a metric of which more is better"
        )
    return name


def _check_group(pattern: str) -> str:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    if compiled.groups > 1:
        raise ValueError(f"{pattern!r} has {compiled.groups} groups; mark the group id with one")
    return pattern


def _check_layout(name: str) -> str:
    if name not in LAYOUTS:
        LAYOUTS.get(name)  # raises, with the nearest name
    return name


def _check_loss(name: str) -> str:
    if name not in LOSSES:
        LOSSES.get(name)  # raises, with the nearest name
    return name


def _check_tracker(name: str) -> str:
    if name not in TRACKERS:
        TRACKERS.get(name)  # raises, with the nearest name
    return name


Options = tuple[tuple[str, Any], ...]
TrackerName = Annotated[str, AfterValidator(_check_tracker)]
Loss = Annotated[str, AfterValidator(_check_loss)]
Layout = Annotated[str, AfterValidator(_check_layout)]
Name = Annotated[str, AfterValidator(check_name)]
Freeze = Annotated[str, AfterValidator(_check_freeze)]
GroupPattern = Annotated[str, AfterValidator(_check_group)]
Objective = Annotated[str, AfterValidator(_check_objective)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
# What to do with training pictures that are, or belong to the group of, test pictures.
Leaks = Literal["drop", "error", "allow"]


# Keys of a dataset's entry that some layouts read and others do not.
KEYS_OF_LAYOUTS = frozenset({"train", "val", "test", "group", "group_scope", "modality", "slices"})


class DatasetSpec(Part):
    """Where a dataset's images are and how to read labels and groups from their layout."""

    name: Name
    layout: Layout
    # Several: the first that is there; all but the last may be patterns.
    path: str | tuple[str, ...] | None = None
    train: str | tuple[str, ...] | None = None
    val: str | tuple[str, ...] | None = None
    test: str | tuple[str, ...] | None = None
    group: GroupPattern | None = None
    # split: the ids start anew in each of the dataset's own splits, so equal ids are not leaks.
    group_scope: Literal["dataset", "split"] = "dataset"
    # drawn: leave the dataset's own splits out and draw new ones.
    splits: Literal["own", "drawn"] = "own"
    # group: the predictions for a group's images are averaged and scored as one.
    pool: Literal["none", "group"] | None = None
    modality: str | None = None  # of volumes: t1, t1ce, t2, flair
    slices: Count = 3  # looked at in each volume
    # of two classes the one that AUPRC, ROC and precision-recall speak of; see data/positive.py
    positive: str | None = None
    unreadable: Literal["error", "skip"] = "error"
    leaks: Leaks | None = None  # by default what the space says
    # Keys of layouts that are none of ours, and their values.
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


class BackboneSpec(Part):
    """A timm model and where its weights come from.

    `weights` is ``hub`` (timm's own, from its hub or its cache), ``none`` (random),
    the name of a ``.safetensors`` file, or ``package:NAME`` (a package that ships them).
    `pretraining` says how they were learnt, where their name does not.
    """

    name: Name
    model: str
    weights: str = "hub"
    pretraining: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _alias(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value, **BACKBONES.get(value, {"model": value})}
        if isinstance(value, dict) and value.get("model") in BACKBONES:
            return {**value, **{**BACKBONES[value["model"]], **_without_model(value)}}
        return value

    @model_validator(mode="after")
    def _exists(self) -> Self:
        if (family := family_name(self.model)) is not None:
            if problem := REGISTERED.get(family).check(self.model):
                raise ValueError(f"model {self.model!r} of {self.name!r}: {problem}")
        elif not is_timm_model(self.model):
            architecture = self.model.partition(".")[0]
            own = [*BACKBONES, *(name for name in REGISTERED.names() if name != "timm")]
            near = nearest(self.model, [*own, *timm_models(), *timm_tags(architecture)])
            raise ValueError(
                f"unknown backbone {self.model!r}; allowed: {', '.join(own)} "
                f"or any timm model{near}"
            )
        if self.weights in {"hub", "none"}:
            return self
        if not (self.weights.startswith("package:") or self.weights.endswith(".safetensors")):
            raise ValueError(
                f"weights {self.weights!r} of {self.name!r}: allowed are hub, none, "
                f"FILE.safetensors and package:NAME{nearest(self.weights, ['hub', 'none'])}"
            )
        return self

    def without_file(self) -> "BackboneSpec":
        """Return the backbone without the name of its weights' file."""
        if not self.weights.endswith(".safetensors"):
            return self
        known = pretraining(self.model, self.weights)
        learnt = self.pretraining or (known if known != self.weights else "own weights")
        return self.model_copy(update={"weights": "file.safetensors", "pretraining": learnt})


def _without_model(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != "model"}


class ModeBudget(Part):
    """A budget that differs for frozen cells, whose trials are nearly free."""

    trials: Count | None = None
    epochs: Count | None = None


class Budget(Part):
    """How much search a cell gets."""

    trials: Count = 16
    epochs: Count = 100
    pruner: Literal["hyperband", "median", "none"] = "hyperband"
    frozen: ModeBudget = ModeBudget()


_VAL = 0.2


def _check_val(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "own" or (is_number and 0 < value < 1):
        return value
    raise ValueError(f"{value!r} is not allowed; write a fraction between 0 and 1, or own")


ValFraction = Annotated[float | Literal["own"], BeforeValidator(_check_val)]
_LEAST_RATES = 4  # that a confirmation chooses among, where trials are dealt to confirmations


class Split(Part):
    """Fractions of the groups, used where a dataset brings no split of its own.

    Validation samples are drawn from all that are not test samples, anew for each confirmation;
    ``val: own`` keeps a dataset's own validation split instead, the same for every confirmation.

    `folds` cuts a dataset that brings no test split into so many test parts; each is tested
    by a confirmation that was trained on the others.
    """

    val: ValFraction = _VAL
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0
    folds: Annotated[int, Field(ge=2, le=100)] | None = None

    @model_validator(mode="after")
    def _room_for_training(self) -> Self:
        if self.val_fraction + self.test >= 1:
            raise ValueError(
                f"val {self.val_fraction:g} + test {self.test:g} leaves nothing to train on"
            )
        return self

    @property
    def val_fraction(self) -> float:
        """The share of the samples to validate on, where they are drawn."""
        return _VAL if self.val == "own" else self.val


class Recipe(Part):
    """How every model of the sweep is trained."""

    batch_size: Count = 32
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    augment: Literal["none", "light"] = "none"
    loss: Loss = "cross_entropy"

    def with_params(self, params: Mapping[str, Any]) -> "Recipe":
        """Return the recipe with what a trial has chosen of its keys."""
        chosen = {key: params[key] for key in Recipe.model_fields if params.get(key) is not None}
        return self.model_copy(update=chosen)


@dataclass(frozen=True)
class Cell:
    """One point of the grid."""

    dataset: DatasetSpec
    backbone: BackboneSpec
    freeze: str
    trials: int
    epochs: int
    confirmations: int
    train_fraction: float = 1.0

    @cached_property
    def fused(self) -> bool:
        """Whether the trials train together, as heads on the same features."""
        return _is_frozen(self.freeze)

    @property
    def repeated(self) -> bool:
        """Whether the trials are dealt to the confirmations, each with its own partition.

        Where they are enough for each to choose among several.
        """
        return not self.fused and self.trials >= _LEAST_RATES * self.confirmations

    @property
    def name(self) -> str:
        """The cell as users write it: ``dataset/backbone/freeze``."""
        return cell_name(self.dataset.name, self.backbone.name, self.freeze, self.train_fraction)

    def seed(self, seed: int, what: str | int) -> int:
        """Return a seed of this cell for something: another one for each backbone and mode.

        The data set's name is no part of it, so that the same pictures under two names give the
        same numbers.
        """
        method = [self.backbone.name, self.freeze, self.train_fraction]
        return int(canonical_hash([seed, *method, what], length=8), 16)


def cell_name(dataset: str, backbone: str, freeze: str, train_fraction: float) -> str:
    """Return ``dataset/backbone/freeze``, with ``@0.1`` where a part of the training set is used.

    A float's repr is exact, so that two fractions never share a name.
    """
    suffix = "" if train_fraction == 1 else f"@{float(train_fraction)!r}"
    return f"{dataset}/{backbone}/{freeze}{suffix}"


_TRACKERS = ["mlflow"]


class Search(Part):
    """The domains of the hyper-parameters that are searched; others are fixed by the recipe.

    Besides the learning rate any key of the recipe can be searched: over a range, if it is a
    number, or over a list of values.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, ReadDomain] = Field(init=False)

    learning_rate: LearningRate | None = None

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = {key: item for key, item in value.items() if item is not None}
        known = [*cls.model_fields, *Recipe.model_fields]
        for key in given:
            if key not in known:
                raise ValueError(
                    f"{key!r} cannot be searched; allowed: {', '.join(known)}{nearest(key, known)}"
                )
        return given

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        for name, domain in self.domains().items():
            tried = domain.root if isinstance(domain, Categorical) else (domain.at(1 / 3),)
            for value in tried:
                try:
                    Recipe.model_validate({name: value})
                except ValidationError as error:
                    what = f"its value {value!r}" if isinstance(domain, Categorical) else "a range"
                    raise ValueError(
                        f"{name}: {what} is not allowed: {error.errors()[0]['msg']}; write a list "
                        "of values"
                    ) from None
        return self

    def domains(self) -> dict[str, Domain]:
        """Return the domain of each key of the recipe that is searched."""
        return dict(self.__pydantic_extra__ or {})


class Space(Part):
    """The axes, the learning-rate domain, the budget and the recipe of a sweep."""

    name: Name
    # Python files beside the space's: they register what it names.
    imports: list[str] = Field(default=[], exclude_if=lambda names: not names)
    datasets: Annotated[list[DatasetSpec], Field(min_length=1)]
    backbones: Annotated[list[BackboneSpec], Field(min_length=1)]
    freeze: list[Freeze] = Field(default=["frozen", "full"], min_length=1)
    train_fraction: list[Fraction] = Field(default=[1.0], min_length=1)
    image_size: Annotated[int, Field(ge=16, le=2048)] = 224
    learning_rate: LearningRate = LearningRate(low=1e-5, high=1e-1)
    search: Search = Search()
    budget: Budget = Budget()
    # extend: where the best value of a range lies at its edge, search a power of ten beyond it.
    edges: Literal["extend", "keep"] = "extend"
    objective: Objective = "auroc"
    # A difference of the objective that would not matter.
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.01
    # Confirmations of each cell; by default 10 of frozen cells and 5 of others.
    seeds: Count | None = None
    split: Split = Split()
    leaks: Leaks = "drop"
    recipe: Recipe = Recipe()
    trackers: list[TrackerName] = Field(default=_TRACKERS, exclude_if=lambda n: n == _TRACKERS)

    @model_validator(mode="after")
    def _settle_learning_rate(self) -> Self:
        """Take ``search: {learning_rate: ...}`` as ``learning_rate``, its short form."""
        if (domain := self.search.learning_rate) is None:
            return self
        if "learning_rate" in self.model_fields_set:
            raise ValueError("learning_rate stands at the top and in search: keep one of them")
        rest = self.search.model_copy(update={"learning_rate": None})
        object.__setattr__(self, "learning_rate", domain)  # as it is read, not after
        object.__setattr__(self, "search", rest)
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        axes = {
            "datasets": [item.name for item in self.datasets],
            "backbones": [item.name for item in self.backbones],
            "freeze": list(self.freeze),
            "train_fraction": [str(item) for item in self.train_fraction],
        }
        for axis, names in axes.items():
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"{axis} names {', '.join(twice)} more than once")
        return self

    @model_validator(mode="after")
    def _settle_leaks(self) -> Self:
        for index, dataset in enumerate(self.datasets):
            if dataset.leaks is None:
                self.datasets[index] = dataset.model_copy(update={"leaks": self.leaks})
        return self

    def domains(self) -> dict[str, Domain]:
        """Return the domain of each hyper-parameter that is searched, by its name in Optuna."""
        scale = self.learning_rate.backbone_scale
        return {
            "learning_rate": self.learning_rate,
            **({"backbone_scale": scale} if scale else {}),
            **self.search.domains(),
        }

    def without_places(self) -> "Space":
        """Return the space without paths and file names, which are nobody else's business."""
        nowhere = {"path": "elsewhere", "train": None, "val": None, "test": None}
        datasets = [item.model_copy(update=nowhere) for item in self.datasets]
        backbones = [item.without_file() for item in self.backbones]
        return self.model_copy(update={"datasets": datasets, "backbones": backbones})

    def cells(self) -> list[Cell]:
        """Return every (dataset, backbone, freeze mode) of the grid, datasets outermost."""
        return [
            Cell(
                dataset,
                backbone,
                freeze,
                *self._budget_of(freeze),
                self._confirmations_of(freeze),
                fraction,
            )
            for dataset in self.datasets
            for backbone in self.backbones
            for freeze in self.freeze
            for fraction in self.train_fraction
        ]

    def _confirmations_of(self, freeze: str) -> int:
        """Return how many models of a cell are tested: one a fold, or one a partition."""
        return self.split.folds or self.seeds or (10 if _is_frozen(freeze) else 5)

    def _budget_of(self, freeze: str) -> tuple[int, int]:
        special = self.budget.frozen if _is_frozen(freeze) else ModeBudget()
        return special.trials or self.budget.trials, special.epochs or self.budget.epochs
