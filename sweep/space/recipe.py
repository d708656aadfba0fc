"""How the models of a sweep are searched and trained: budget, splits, recipe, domains."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sweep.errors import nearest
from sweep.space.domains import Categorical, Domain, LearningRate, Part, Range, ReadDomain
from sweep.space.freeze import head_domains
from sweep.space.names import Count, Loss


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
    augment: Literal["none", "light", "xray", "fundus", "dermoscopy", "mri"] = "none"
    loss: Loss = "cross_entropy"
    # balanced: every class weighs the same in the loss, as scikit-learn's class_weight.
    class_weights: Literal["none", "balanced"] = Field(
        default="none", exclude_if=lambda how: how == "none"
    )

    def with_params(self, params: Mapping[str, Any]) -> "Recipe":
        """Return the recipe with what a trial has chosen of its keys."""
        chosen = {key: params[key] for key in Recipe.model_fields if params.get(key) is not None}
        return self.model_copy(update=chosen)


def _check_head_domain(name: str, domain: Domain) -> None:
    """Refuse values that a head cannot have: all of its hyper-parameters are above 0."""
    if isinstance(domain, Range):
        if isinstance(head_domains()[name], Categorical):
            raise ValueError(f"{name}: a range is not allowed; write a list of values")
        if not domain.low:
            raise ValueError(f"{name}: low is 0; it must be above 0")
        return
    whole = isinstance(head_domains()[name], Categorical)
    for value in domain.root:
        is_number = isinstance(value, int if whole else (int, float))
        if isinstance(value, bool) or not is_number or float(value) <= 0:
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{name}: {value!r} is not allowed; write {kind} above 0")


class Search(Part):
    """The domains of the hyper-parameters that are searched; others are fixed by the recipe.

    Besides the learning rate any key of the recipe can be searched, and what heads have of their
    own (``C`` of logreg, ``n_neighbors`` of knn): over a range, if it is a number, or over a list
    of values.
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
        known = [*cls.model_fields, *Recipe.model_fields, *head_domains()]
        for key in given:
            if key not in known:
                raise ValueError(
                    f"{key!r} cannot be searched; allowed: {', '.join(known)}{nearest(key, known)}"
                )
        return given

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        for name, domain in self.domains().items():
            if name in head_domains():
                _check_head_domain(name, domain)
                continue
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
