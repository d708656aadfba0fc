"""How the models of a sweep are searched and trained: budget, splits, recipe, domains."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    field_serializer,
    model_validator,
)

from sweep.errors import nearest
from sweep.space.backbone import Features
from sweep.space.domains import (
    Categorical,
    Domain,
    LearningRate,
    NotNegative,
    Part,
    Range,
    ReadDomain,
)
from sweep.space.freeze import head_domains
from sweep.space.names import AugmentationName, Count, Loss


class ModeBudget(Part):
    """A budget that differs for frozen cells, whose trials are nearly free."""

    trials: Count | None = None
    epochs: Count | None = None


class Budget(Part):
    """How much search a cell gets."""

    trials: Count = 16
    epochs: Count = 100
    pruner: Literal["hyperband", "median", "none"] = "hyperband"
    # Hours from the launch on, after which the sweep is over: all cells then have the same share of
    # their trials, and are confirmed. By default it takes as long as it takes.
    hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, exclude_if=lambda hours: hours is None
    )
    frozen: ModeBudget = ModeBudget()


_VAL = 0.2


def _check_val(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "own" or (is_number and 0 < value < 1):
        return value
    raise ValueError(f"{value!r} is not allowed; write a fraction between 0 and 1, or own")


ValFraction = Annotated[float | Literal["own"], BeforeValidator(_check_val)]


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


Share = Annotated[float, Field(ge=0, lt=1)]

# What each preset says of the keys that it does not leave at their defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "study": {},
    "modern": {
        "optimizer": "adamw",
        "weight_decay": 0.05,
        "weight_decay_on": "matrices",
        "schedule": "cosine_by_step",
        "warmup_ratio": 0.1,
        "max_grad_norm": 1.0,
        "layer_decay": 0.75,
        "drop_path_rate": 0.1,
        "label_smoothing": 0.1,
        "ema_decay": 0.999,
        "augment": "auto",
        "calibration": "temperature",
        # A linear layer on features that do not change has nothing to be regularised by but this.
        "frozen": {"weight_decay": 0.0, "warmup_ratio": 0.0},
    },
}


class HeadRecipe(Part):
    """The keys of a recipe that have a meaning for heads on the outputs of a frozen trunk."""

    batch_size: Count = 32
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    # matrices: biases, norms and the tokens that timm excepts do not decay.
    weight_decay_on: Literal["all", "matrices"] = "all"
    # cosine falls by epoch, cosine_by_step with every step.
    schedule: Literal["constant", "cosine", "cosine_by_step"] = "constant"
    # Share of all steps in which the rate rises to its full value.
    warmup_ratio: Share = 0.0
    loss: Loss = "cross_entropy"
    # balanced: every class weighs the same in the loss, as scikit-learn's class_weight.
    class_weights: Literal["none", "balanced"] = "none"
    # Features of frozen trunks are brought to mean 0 and variance 1 before the head. Probes by
    # gradient descent were the worse for it on five data sets of six: benchmarks/README.md.
    standardize: bool = False
    # temperature: logits are divided by a number that makes the validation loss smallest.
    calibration: Literal["none", "temperature"] = "none"
    # The chosen head of a frozen cell is trained again on training and validation samples together,
    # as scikit-learn's refit. Where the trunk learns nothing is, so that a frozen cell would win by
    # samples: it is off unless it is asked for.
    refit: bool = False


class Recipe(HeadRecipe):
    """How every model of the sweep is trained.

    A preset gives the keys that are not given. ``study`` is that of Huang et al. 2024; ``modern``
    is that of today's fine-tuning.
    """

    preset: Literal["study", "modern"] = "study"
    max_grad_norm: NotNegative = 0.0  # 0 clips nothing
    # The rate of each of 12 layers of the trunk, by that of the one above it; of more layers each
    # is a part of these. Without pre-trained weights there is none.
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    drop_path_rate: Share = 0.0
    label_smoothing: Share = 0.0
    ema_decay: Share = 0.0  # 0 averages no weights
    augment: AugmentationName | Literal["none", "auto"] = "none"
    # Networks whose trunk learns are compiled: minutes for each trial, for faster steps.
    compile: bool = False
    # What is different for frozen cells.
    frozen: HeadRecipe = HeadRecipe()

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, value: Any) -> Any:
        """Take from the preset what is not given; keys of a preset for frozen cells, too."""
        if not isinstance(value, dict):
            return value
        name = value.get("preset", "study")
        preset = PRESETS.get(name, {}) if isinstance(name, str) else {}
        given, frozen = {**preset, **value}, value.get("frozen", {})
        if isinstance(frozen, dict) and (own := preset.get("frozen")):
            given["frozen"] = {**{key: own[key] for key in own if key not in value}, **frozen}
        return given

    @field_serializer("frozen")
    def _as_given(self, frozen: HeadRecipe) -> dict[str, Any]:
        return frozen.model_dump(exclude_unset=True)

    def for_frozen(self) -> "Recipe":
        """Return the recipe of frozen cells: what has no meaning for them is off."""
        shared = {key: getattr(self, key) for key in HeadRecipe.model_fields}
        own = self.frozen.model_dump(exclude_unset=True)
        return Recipe().model_copy(update={**shared, **own, "preset": self.preset})

    def with_params(self, params: Mapping[str, Any]) -> "Recipe":
        """Return the recipe with what a trial has chosen of its keys."""
        chosen = {key: params[key] for key in Recipe.model_fields if params.get(key) is not None}
        return self.model_copy(update=chosen)


# The keys of a recipe that can be searched.
_NOT_SEARCHED = {"preset", "frozen", "standardize", "calibration", "refit", "compile"}
SEARCHABLE = tuple(key for key in Recipe.model_fields if key not in _NOT_SEARCHED)


def _problem(name: str, domain: Domain) -> str | None:
    """Say what is wrong with the domain of a hyper-parameter, if anything is."""
    if name in head_domains():
        return _problem_of_head(name, domain)
    if name == "features":
        return _problem_of_features(domain)
    tried = domain.root if isinstance(domain, Categorical) else (domain.at(1 / 3),)
    for value in tried:
        try:
            Recipe.model_validate({name: value})
        except ValidationError as error:
            what = f"its value {value!r}" if isinstance(domain, Categorical) else "a range"
            reason = error.errors()[0]["msg"]
            return f"{name}: {what} is not allowed: {reason}; write a list of values"
    return None


def _problem_of_features(domain: Domain) -> str | None:
    known = get_args(Features)
    if isinstance(domain, Range):
        return f"features: a range is not allowed; write a list of {', '.join(known)}"
    unknown = [str(value) for value in domain.root if value not in known]
    if not unknown:
        return None
    hints = "".join(nearest(value, known) for value in unknown)
    return f"features: {', '.join(unknown)} not allowed; allowed: {', '.join(known)}{hints}"


def _problem_of_head(name: str, domain: Domain) -> str | None:
    """Name the values that a head cannot have: all of its hyper-parameters are above 0."""
    whole = isinstance(head_domains()[name], Categorical)
    if isinstance(domain, Range):
        if whole:
            return f"{name}: a range is not allowed; write a list of values"
        return None if domain.low else f"{name}: low is 0; it must be above 0"
    for value in domain.root:
        is_number = isinstance(value, int if whole else (int, float))
        if isinstance(value, bool) or not is_number or float(value) <= 0:
            kind = "a whole number" if whole else "a number"
            return f"{name}: {value!r} is not allowed; write {kind} above 0"
    return None


class Search(Part):
    """The domains of the hyper-parameters that are searched; others are fixed by the recipe.

    Besides the learning rate any key of the recipe can be searched, and what heads have of their
    own (``C`` of logreg, ``n_neighbors`` of knn), and in frozen cells the features: over a range,
    if it is a number, or over a list of values.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, ReadDomain] = Field(init=False)

    learning_rate: LearningRate | None = None
    # First try where finished cells of the same backbone and freeze mode have their best choices.
    warm_start: StrictBool = Field(default=False, exclude_if=lambda on: not on)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = {key: item for key, item in value.items() if item is not None}
        known = [*cls.model_fields, *SEARCHABLE, *head_domains(), "features"]
        unknown = [key for key in given if key not in known]
        if unknown:
            hints = "".join(nearest(key, known) for key in unknown)
            raise ValueError(
                f"{', '.join(map(repr, unknown))} cannot be searched; allowed: "
                f"{', '.join(known)}{hints}"
            )
        return given

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        problems = [p for name, domain in self.domains().items() if (p := _problem(name, domain))]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def domains(self) -> dict[str, Domain]:
        """Return the domain of each key of the recipe that is searched."""
        return dict(self.__pydantic_extra__ or {})
