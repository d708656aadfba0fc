"""The space: what a sweep compares. YAML in, cells out; every value checked before any work."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sweep.base.identity import canonical_hash
from sweep.space.backbone import BackboneSpec
from sweep.space.domains import Categorical, Domain, LearningRate, Part
from sweep.space.freeze import freeze_mode
from sweep.space.names import (
    Count,
    Fraction,
    Freeze,
    Leaks,
    Name,
    Objective,
    TrackerName,
    is_frozen,
)
from sweep.space.recipe import Budget, ModeBudget, Recipe, Search, Split
from sweep.space.registries import LOSSES, METRICS
from sweep.space.specs import DatasetSpec

_LEAST_RATES = 4  # a repeated confirmation chooses among at least this many trials
_TRACKERS = ["mlflow"]


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
        return is_frozen(self.freeze)

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


# What makes labels another kind of target.
_HINTS = {
    "multiclass": "; if its classes have an order, say so in its entry: ordered: [lowest, ...]",
    "ordinal": "",
    "multilabel": "",
}


class Space(Part):
    """The axes, the learning-rate domain, the budget and the recipe of a sweep."""

    name: Name
    # Python files beside the space file, which register names that it uses.
    imports: list[str] = Field(default=[], exclude_if=lambda names: not names)
    datasets: Annotated[list[DatasetSpec], Field(min_length=1)]
    backbones: Annotated[list[BackboneSpec], Field(min_length=1)]
    freeze: list[Freeze] = Field(default=["frozen", "full"], min_length=1)
    train_fraction: list[Fraction] = Field(default=[1.0], min_length=1)
    image_size: Annotated[int, Field(ge=16, le=2048)] = 224
    learning_rate: LearningRate = LearningRate(low=1e-5, high=1e-1)
    search: Search = Search()
    budget: Budget = Budget()
    # extend: where the best value lies at the edge of a range, search a power of ten beyond it.
    edges: Literal["extend", "keep"] = "extend"
    objective: Objective = "auroc"
    # The largest difference of the objective that does not matter.
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.01
    # Confirmations of each cell; by default 10 for frozen cells and 5 for others.
    seeds: Count | None = None
    split: Split = Split()
    # all: every confirmation keeps its model, so that they can predict together.
    keep_models: Literal["first", "all"] = Field(default="first", exclude_if=lambda n: n == "first")
    leaks: Leaks = "drop"
    recipe: Recipe = Recipe()
    trackers: list[TrackerName] = Field(default=_TRACKERS, exclude_if=lambda n: n == _TRACKERS)

    @model_validator(mode="before")
    @classmethod
    def _default_preset(cls, value: Any) -> Any:
        """Train with the recipe ``modern`` where the file names none."""
        if isinstance(value, dict) and isinstance(recipe := value.get("recipe", {}), dict):
            return {**value, "recipe": {"preset": "modern", **recipe}}
        return value

    @classmethod
    def launched(cls, document: Any) -> Self:
        """Return the space of a sweep that was launched, from its document.

        One without a preset was launched when there were none, with what is ``study`` now.
        """
        if isinstance(document, dict) and isinstance(recipe := document.get("recipe", {}), dict):
            document = {**document, "recipe": {"preset": "study", **recipe}}
        return cls.model_validate(document)

    @model_validator(mode="after")
    def _settle_learning_rate(self) -> Self:
        """Take ``search: {learning_rate: ...}`` as ``learning_rate``, its short form."""
        if (domain := self.search.learning_rate) is None:
            return self
        if "learning_rate" in self.model_fields_set:
            raise ValueError("learning_rate stands at the top and in search: keep one of them")
        rest = self.search.model_copy(update={"learning_rate": None})
        # The model is frozen; a validator sets the value it was built with.
        object.__setattr__(self, "learning_rate", domain)
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

    @model_validator(mode="after")
    def _fitting_targets(self) -> Self:
        """Refuse an objective or a loss that has no meaning for a data set's labels."""
        named: dict[str, Any] = {f"objective {self.objective}": METRICS.get(self.objective)}
        searched = self.search.domains().get("loss")
        losses = searched.root if isinstance(searched, Categorical) else ()
        for loss in {self.recipe.loss, self.recipe.for_frozen().loss, *map(str, losses)}:
            named[f"loss {loss}"] = LOSSES.get(loss)
        weights = self.search.domains().get("class_weights")
        weighted = {self.recipe.class_weights, self.recipe.for_frozen().class_weights, "none"}
        if any(dataset.multilabel for dataset in self.datasets) and (weights or len(weighted) > 1):
            raise ValueError("class_weights are for classes, and not for several labels a sample")
        for dataset in self.datasets:
            for name, own in named.items():
                if dataset.target not in own.targets:
                    raise ValueError(
                        f"dataset {dataset.name!r}: its labels are {dataset.target}, and {name} is "
                        f"for {' or '.join(sorted(own.targets))} ones{_HINTS[dataset.target]}"
                    )
        return self

    def all_datasets(self) -> list[DatasetSpec]:
        """Return the data sets of the grid, each followed by its external test sets."""
        return [one for dataset in self.datasets for one in (dataset, *dataset.external)]

    def domains(self) -> dict[str, Domain]:
        """Return the domain of each hyper-parameter that is searched, by its name in Optuna."""
        scale = self.learning_rate.backbone_scale
        modes = [freeze_mode(mode)[0] for mode in self.freeze]
        of_heads = {name: item for mode in modes for name, item in mode.domains.items()}
        return {
            **of_heads,
            "learning_rate": self.learning_rate,
            **({"backbone_scale": scale} if scale else {}),
            **self.search.domains(),
        }

    def without_places(self) -> "Space":
        """Return the space without paths and file names, which are nobody else's business."""
        datasets = [item.without_place() for item in self.datasets]
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

    def recipe_of(self, cell: Cell, params: Mapping[str, Any] = MappingProxyType({})) -> Recipe:
        """Return how the models of a cell are trained; of a trial, with what it has chosen."""
        recipe = self.recipe.for_frozen() if cell.fused else self.recipe
        if cell.backbone.weights == "none":  # the lower layers know nothing that is to be kept
            recipe = recipe.model_copy(update={"layer_decay": 1.0})
        recipe = recipe.with_params(params)
        if recipe.augment != "auto":
            return recipe
        return recipe.model_copy(update={"augment": cell.dataset.augment or "no_flip"})

    def _confirmations_of(self, freeze: str) -> int:
        """Return how many models of a cell are tested: one a fold, or one a partition."""
        return self.split.folds or self.seeds or (10 if is_frozen(freeze) else 5)

    def _budget_of(self, freeze: str) -> tuple[int, int]:
        special = self.budget.frozen if is_frozen(freeze) else ModeBudget()
        epochs = freeze_mode(freeze)[0].epochs or special.epochs or self.budget.epochs
        return special.trials or self.budget.trials, epochs
